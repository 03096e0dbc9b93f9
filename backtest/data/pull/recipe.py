"""A recipe: which history to keep in the lake, in one TOML file.

[[pull]]
venue    = "binance"
symbols  = ["BTCUSDT", "ETHUSDT"]
tables   = ["klines", "mark_price", "funding_rate"]
interval = "1h"
start    = 2020-01-01        # and `stop`, exclusive; without it: up to yesterday
# archive = true             # bybit klines: from the public files of trades, which have delisted contracts too
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backtest.data.manifest import EVENT, Dataset
from backtest.data.snapshots import TABLES as SNAPSHOTS
from backtest.errors import BacktestError, Problem, StudyError, UsageError, did_you_mean
from backtest.schema import BAR_TABLES
from backtest.units import DAY_MS, duration_ms, time_ms

_BARS = (*BAR_TABLES, "funding_rate")
# What each venue delivers. `tiers` and `contracts` are dated snapshots of what is in force today.
TABLES = {
    "binance": (*_BARS, "tiers", "contracts"),
    "binance-coinm": (*_BARS, "contracts"),
    "bybit": (*_BARS, "tiers", "contracts"),
    "cboe": ("series",),
    "deribit": ("series",),
}
_KEYS = {
    "venue": str,
    "symbols": list,
    "tables": list,
    "interval": str,
    "start": dt.date,
    "stop": dt.date,
    "archive": bool,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One dataset and the range that a recipe wants of it; `stop_ms` None: all there is.

    `archive` asks for Bybit's public files of trades in place of its interface.
    """

    dataset: Dataset
    start_ms: int
    stop_ms: int | None
    archive: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to pull: datasets with ranges, and (venue, table) pairs of snapshots."""

    datasets: tuple[Wanted, ...]
    snapshots: tuple[tuple[str, str], ...]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises `StudyError` with everything that is wrong in it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError.at(path, f"cannot be read: {error.strerror}", "check the path") from None
    except ValueError as error:
        raise StudyError.at(path, f"is not TOML: {error}") from None
    sections = document.get("pull")
    problems = [
        Problem(path.name, f"has an unknown key {key!r}", "write [[pull]]") for key in document if key != "pull"
    ]
    if not isinstance(sections, list) or not all(isinstance(section, dict) for section in sections):
        problems.append(Problem(path.name, "has no [[pull]] section", "name venue, symbols, tables and interval"))
        raise StudyError(*problems)
    parts = []
    for number, section in enumerate(sections, 1):
        try:
            parts.append(read_section(section, f"{path.name} [[pull]] {number}"))
        except BacktestError as error:
            problems += error.problems
    if problems:
        raise StudyError(*problems)
    return Recipe(
        tuple(dict.fromkeys(wanted for part in parts for wanted in part.datasets)),
        tuple(dict.fromkeys(snapshot for part in parts for snapshot in part.snapshots)),
    )


def read_section(section: Mapping[str, Any], where: str) -> Recipe:
    """Read one section of a recipe, or the same keys from elsewhere."""
    problems = list(_faults(section, where))
    if problems:
        raise StudyError(*problems)
    venue, tables = section["venue"], section["tables"]
    stop = section.get("stop")
    start_ms, stop_ms = time_ms(section.get("start", dt.date(2019, 9, 1))), None if stop is None else time_ms(stop)
    if stop_ms is not None and stop_ms <= start_ms:
        raise StudyError.at(where, "stop is not after start", "stop is exclusive")
    datasets = []
    for symbol in section.get("symbols", ()):
        for table in (table for table in tables if table not in SNAPSHOTS):
            interval = section["interval"] if table in BAR_TABLES else EVENT
            try:
                dataset = Dataset(venue, table, symbol, interval).check()
                datasets.append(Wanted(dataset, start_ms, stop_ms, section.get("archive", False)))
            except UsageError as error:
                problems += [Problem(f"{where}: {problem.where}", problem.what) for problem in error.problems]
    if problems:
        raise StudyError(*problems)
    return Recipe(tuple(datasets), tuple((venue, table) for table in tables if table in SNAPSHOTS))


def _faults(section: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for key, value in section.items():
        if key not in _KEYS:
            yield Problem(where, f"has an unknown key {key!r}", did_you_mean(key, _KEYS))
        elif not isinstance(value, _KEYS[key]) or isinstance(value, dt.datetime):
            yield Problem(where, f"{key} = {value!r} is not a {_KEYS[key].__name__}")
    venue, tables = section.get("venue"), section.get("tables")
    if not isinstance(venue, str) or venue not in TABLES:
        yield Problem(where, f"venue is {venue!r}", did_you_mean(str(venue), TABLES))
        return
    if not isinstance(tables, list) or not tables:
        yield Problem(where, "names no tables", f"tables of {venue}: {', '.join(TABLES[venue])}")
        return
    for table in tables:
        if table not in TABLES[venue]:
            yield Problem(where, f"{venue} does not deliver {table!r}", did_you_mean(str(table), TABLES[venue]))
    if not section.get("symbols") and not all(table in SNAPSHOTS for table in tables):
        yield Problem(where, "names no symbols", 'write symbols = ["BTCUSDT"]')
    if section.get("archive") and (venue, tables) != ("bybit", ["klines"]):
        yield Problem(where, "archive is for klines of bybit alone", "give them a section of their own")
    if any(table in BAR_TABLES for table in tables):
        yield from _interval_faults(section.get("interval"), where)


def _interval_faults(interval: object, where: str) -> Iterator[Problem]:
    try:
        fits = DAY_MS % duration_ms(str(interval)) == 0
    except (ValueError, ZeroDivisionError):
        fits = False
    if not fits:
        yield Problem(where, f"interval is {interval!r}", 'name a bar that divides a day, such as "1m", "1h" or "8h"')
