"""Dated tier tables: which maintenance ladder was in force, and how well that is known.

A tier holds for `floor < notional <= cap`; maintenance is `notional x rate - deduction`. The deduction makes it
continuous: `deduction[n] = deduction[n-1] + floor[n] x (rate[n] - rate[n-1])`, which is checked on every table read.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from backtest.errors import CoverageError, IntegrityError, Problem, did_you_mean
from backtest.schema import TIER_FIDELITY
from backtest.units import DAY_MS, E8, time_ms, to_e8
from backtest.venues.symbols import load_table, normalize_symbol


class Tier(NamedTuple):
    """One row of a tier table; `cap_e8` None: no upper bound, `max_leverage_e2` None: not known."""

    floor_e8: int
    cap_e8: int | None
    rate_e8: int
    deduction_e8: int
    max_leverage_e2: int | None


@dataclass(frozen=True, slots=True)
class TierTable:
    """A tier table as it was seen from `first_ms` to `last_ms`, both included."""

    symbol: str
    first_ms: int
    last_ms: int
    tiers: tuple[Tier, ...]
    source: str


def tier_tables(venue: str, symbol: str, mode: str = "as-of") -> tuple[TierTable, ...]:
    """Give the tier tables of a symbol, oldest first.

    `mode` is "as-of" (all snapshots), "current" (the newest), an ISO date (the one in force that day), or the path of
    a file: our own form, freqtrade's `binance_leverage_tiers.json`, or ccxt's `fetch_leverage_tiers`; a path that ends
    in "/" is a folder of dated snapshots, all of which are taken.

    Raises CoverageError for a symbol without tiers, and for a table that is not a contiguous, continuous ladder.

    >>> tier_tables("binance", "BTCUSDT", "current")[0].tiers[0].rate_e8
    400000
    """
    name = normalize_symbol(symbol, venue)
    if mode.endswith("/"):
        return _from_folder(Path(mode), venue, name)
    if mode.endswith(".json") or "/" in mode:
        return _from_file(Path(mode), venue, name)
    known = _packaged(venue)
    if name not in known:
        raise CoverageError.at(f"{venue} {symbol}", "a symbol without tiers", did_you_mean(name, known))
    tables = known[name]
    if mode == "as-of":
        return tables
    if mode == "current":
        return tables[-1:]
    try:
        day_ms = time_ms(mode)
    except ValueError:
        raise CoverageError.at("tiers", f'"{mode}" is no way to choose tiers', _MODES) from None
    return (as_of(tables, day_ms),)


_MODES = 'write "as-of", "current", a date such as 2022-02-13, or the path of a JSON file or of a folder ("…/")'


def is_dated(mode: str) -> bool:
    """Say whether a way to choose tiers takes the table of the day, and not one for all dates."""
    return mode == "as-of" or mode.endswith("/")


def as_of(tables: Sequence[TierTable], time_ms: int) -> TierTable:
    """Give the table in force: the newest whose first day is not later; before the first, the first."""
    return tables[max(bisect_right([table.first_ms for table in tables], time_ms) - 1, 0)]


def fidelity(tables: Sequence[TierTable], start_ms: int, end_ms: int, mode: str = "as-of") -> str:
    """Give the worst class of the tables in force over [start_ms, end_ms].

    `exact`: inside the days on which the table was seen; `bounded`: between two snapshots, so that the day of change
    is only bounded; `current`: one table for all dates, or the newest one after it was last seen; `extrapolated`:
    before the first snapshot.
    """
    if not is_dated(mode):
        return "current"
    ranks = [0]
    if start_ms < tables[0].first_ms:
        ranks.append(3)
    if end_ms > tables[-1].last_ms:
        ranks.append(2)
    for table, after in pairwise(tables):
        if start_ms < after.first_ms and end_ms > table.last_ms:
            ranks.append(1)
    return TIER_FIDELITY[max(ranks)]


def read_tiers(rows: Iterable[Mapping[str, Any]], where: str, *, excerpt: bool = False) -> tuple[Tier, ...]:
    """Read rows with `floor`, `cap`, `rate`, `deduction`, `max_leverage` (decimal text) into checked tiers.

    A `deduction` of None is filled in by continuity; a stated one must equal it. A missing `floor` is the cap before.
    An `excerpt` may begin above the first tier.
    """
    tiers: list[Tier] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows, start=1):
        place = f"{where} tier {number}"
        try:
            tier = _read_tier(row, tiers[-1] if tiers else None)
        except ValueError as error:
            problems.append(Problem(place, str(error)))
            break
        problems += [Problem(place, what) for what in _faults(tier, tiers[-1] if tiers else None)]
        if tiers or not excerpt:
            problems += [Problem(place, what) for what in _breaks(tier, tiers[-1] if tiers else None)]
        tiers.append(tier)
    if not tiers and not problems:
        problems.append(Problem(where, "a tier table without rows"))
    if problems:
        raise CoverageError(*problems)
    return tuple(tiers)


def _read_tier(row: Mapping[str, Any], before: Tier | None) -> Tier:
    rate_e8 = to_e8(row["rate"])
    before_cap_e8 = before.cap_e8 if before else 0
    floor = row.get("floor")
    floor_e8 = to_e8(floor) if floor is not None else before_cap_e8
    if floor_e8 is None:
        raise ValueError("it follows a tier without an upper bound")
    deduction = row.get("deduction")
    deduction_e8 = to_e8(deduction) if deduction is not None else _continuous_e8(floor_e8, rate_e8, before)
    cap, leverage = row.get("cap"), row.get("max_leverage")
    return Tier(
        floor_e8,
        to_e8(cap) if cap is not None else None,
        rate_e8,
        deduction_e8,
        int(to_e8(leverage) * 100 // E8) if leverage is not None else None,
    )


def _continuous_e8(floor_e8: int, rate_e8: int, before: Tier | None) -> int:
    """Give the deduction that continues the ladder; more than 8 decimals is an error."""
    if before is None:
        return 0
    step, rest = divmod(floor_e8 * (rate_e8 - before.rate_e8), E8)
    if rest:
        raise ValueError("its deduction has more than 8 decimals")
    return before.deduction_e8 + step


def _faults(tier: Tier, before: Tier | None) -> list[str]:
    """Say what is wrong with a tier of its own."""
    faults = []
    if tier.cap_e8 is not None and tier.cap_e8 <= tier.floor_e8:
        faults.append("its cap is not above its floor")
    if not (before.rate_e8 if before else 0) <= tier.rate_e8 < E8:
        faults.append("its rate is not between the rate before and 1")
    return faults


def _breaks(tier: Tier, before: Tier | None) -> list[str]:
    """Say where a tier does not continue the one before it, or does not begin the ladder."""
    breaks = []
    if tier.floor_e8 != (before.cap_e8 if before else 0):
        breaks.append("its floor is not the cap of the tier before")
    if tier.deduction_e8 != _continuous_e8(tier.floor_e8, tier.rate_e8, before):
        breaks.append("its deduction breaks the continuity of maintenance")
    return breaks


@cache
def _packaged(venue: str) -> dict[str, tuple[TierTable, ...]]:
    return _own_form(load_table(venue, "tiers"), f"{venue} tiers")


def _own_form(table: Mapping[str, Any], where: str) -> dict[str, tuple[TierTable, ...]]:
    columns = table["columns"]
    return {
        symbol: tuple(
            TierTable(
                symbol,
                time_ms(snapshot["first"]),
                _last_ms(snapshot["last"]),
                read_tiers([dict(zip(columns, row, strict=True)) for row in snapshot["tiers"]], f"{where} {symbol}"),
                snapshot["source"],
            )
            for snapshot in snapshots
        )
        for symbol, snapshots in table["symbols"].items()
    }


def _last_ms(text: str) -> int:
    """A date means the whole day; a time means itself."""
    return time_ms(text) if "T" in text else time_ms(text) + DAY_MS - 1


def _from_file(path: Path, venue: str, symbol: str) -> tuple[TierTable, ...]:
    content = _content(path)
    if "symbols" in content:
        known = _own_form(content, str(path))
    else:
        named = {normalize_symbol(name, venue): rows for name, rows in content.items()}
        known = {symbol: (_ccxt_form(named[symbol], symbol, path),)} if symbol in named else dict.fromkeys(named, ())
    if symbol not in known:
        raise CoverageError.at(f"{path} {symbol}", "a symbol without tiers", did_you_mean(symbol, known))
    return known[symbol]


def _from_folder(folder: Path, venue: str, symbol: str) -> tuple[TierTable, ...]:
    """Read the dated snapshots of a venue; days on which the same table was seen become one stretch."""
    tables: list[TierTable] = []
    for path in sorted(folder.glob(f"{venue}-tiers-*.json")):
        content = _content(path)
        if symbol in content["symbols"]:
            tables += _own_form({**content, "symbols": {symbol: content["symbols"][symbol]}}, str(path))[symbol]
            if len(tables) > 1 and tables[-2].tiers == tables[-1].tiers:
                tables[-2:] = [replace(tables[-2], last_ms=tables[-1].last_ms)]
    if not tables:
        remedy = 'pull one every now and then: tables = ["tiers"]'
        raise CoverageError.at(f"{folder} {venue} {symbol}", "no snapshot of tiers names it", remedy)
    return tuple(tables)


def _content(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_float=str, parse_int=str)
    except OSError as error:
        raise CoverageError.at(path, f"cannot be read: {error.strerror}", _MODES) from None
    except ValueError as error:
        raise CoverageError.at(path, f"is not JSON: {error}", _MODES) from None
    if ("seen" in content or "sha256" in content) and content.get("sha256") != document_hash(content):
        raise IntegrityError.at(path, "is not what its own hash says", "restore it, or take another day's")
    return content


def document_hash(document: Mapping[str, Any]) -> str:
    """Hash a snapshot's content: everything but the hash that it states itself."""
    stated = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _ccxt_form(rows: Sequence[Mapping[str, Any]], symbol: str, path: Path) -> TierTable:
    """Read ccxt's rows, whose numbers may have passed through floats; `info` holds the venue's own text."""
    own = [
        {
            "floor": row["minNotional"],
            "cap": row.get("maxNotional"),
            "rate": row["maintenanceMarginRate"],
            "max_leverage": row.get("maxLeverage"),
            "deduction": None,
        }
        for row in rows
    ]
    return TierTable(symbol, 0, time_ms("2100-01-01"), read_tiers(own, f"{path} {symbol}"), str(path))
