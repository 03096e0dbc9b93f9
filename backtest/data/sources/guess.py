"""What a CSV file most likely is, by its header, its cells and its name: for a check before anyone has said so.

An import never guesses: it takes what the user says. Bars are recognised by their four prices, funding by its name,
and every other column of numbers is a series of its own; dates alone are a calendar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from backtest.data import detect
from backtest.data.detect import Floats, Ints
from backtest.data.manifest import EVENT, Dataset
from backtest.data.sources.columns import as_floats, as_times
from backtest.data.sources.generic import open_table
from backtest.data.sources.rows import MARGIN_COLUMNS, PRICE_COLUMNS, Rows
from backtest.errors import DataError, Problem
from backtest.units import DAY_MS, duration_text, time_ms

UNKNOWN = "unknown"
VENUES = ("binance", "bybit", "gate", "htx", "kucoin", "mexc", "dydx", "deribit", "cboe")
_TIMES = (
    "date", "timestamp", "time", "opentime", "opentimems", "fundingtime", "fundingtimems", "observationdate",
    "tradedate", "releasedate",
)  # fmt: skip
_PERIODS = ("referencemonth", "period")
_PATTERNS = (None, "%m/%d/%Y", "%Y-%m", "%Y%m%d")
# Words of a file's name that name no instrument.
_GENERIC = {"daily", "history", "close", "index", "data", "monthly", "release", "dates", "us"}
_CHAIN_VALUES = ("mark_price", "close")


def venue_of(path: Path) -> str:
    """Give the venue that a file's name or folders mention, the nearest first."""
    for part in (path.name, *reversed(path.resolve().parent.parts)):
        for word in re.split(r"[^a-z0-9]+", part.lower()):
            if word in VENUES:
                return word
    return UNKNOWN


def read(path: Path) -> list[Rows]:
    """Read a CSV file as what it most likely is. Raises `DataError` where it has no column of times."""
    names, load = open_table(path, None)
    plain = {re.sub(r"[ _#]", "", name).lower(): name for name in reversed(names)}
    data = load(names)
    stamp = next((plain[name] for name in _TIMES if name in plain), None)
    if stamp is None and {"expiry", "strike", "right", "close"} <= set(plain):
        return _chain(path, plain, data)
    if stamp is None:
        raise DataError(Problem(path.name, "has no column of times", f"its columns: {', '.join(names)}"))
    time, unit = _times(path, stamp, data)
    period = next((plain[name] for name in _PERIODS if name in plain), None)
    numbers = {name: _numbers(data[name]) for name in names if name not in (stamp, period)}
    values = {name: column for name, column in numbers.items() if column is not None}
    if "asset" in plain and {plain.get(name) for name in PRICE_COLUMNS} <= values.keys():
        return _assets(path, time, unit, plain, data)
    symbols = plain.get("symbol") or plain.get("instrumentname")
    if period is not None:  # a calendar of releases: the row speaks of a period, and was known on a date
        about, _ = _times(path, period, data)
        return [_series(path, about, {"value": np.ones(len(about)), "available_ms": time.astype(np.float64)}, "")]
    if symbols is not None and "fundingrate" not in plain:
        value = next(name for name in _CHAIN_VALUES if name in values)
        return [
            _series(path, time[at], {"value": values[value][at]}, f".{symbol}", unit)
            for symbol in sorted(set(data[symbols].to_pylist()))
            for at in [np.flatnonzero(np.array(data[symbols].to_pylist()) == symbol)]
        ]
    return list(_tables(path, time, unit, plain, values))


def _chain(path: Path, plain: dict[str, str], data: pa.Table) -> list[Rows]:
    """Read the close of each contract of an option chain, whose day is in the file's name."""
    day = re.search(r"(\d{4})(\d{2})(\d{2})", path.stem)
    if day is None:
        raise DataError(Problem(path.name, "has no column of times, and no day in its name"))
    time = np.array([time_ms("-".join(day.groups()))], np.int64)
    contract = zip(*(data[plain[name]].to_pylist() for name in ("expiry", "strike", "right", "close")), strict=True)
    return [
        _series(path, time, {"value": np.array([float(close)])}, f".{expiry}-{strike:g}-{right}")
        for expiry, strike, right, close in contract
        if expiry is not None
    ]


def _assets(path: Path, time: Ints, unit: str, plain: dict[str, str], data: pa.Table) -> list[Rows]:
    """Read the marks of each valued asset of a file; margins that are not there are 0."""
    columns = {name: plain.get(name.replace("_", "")) for name in (*PRICE_COLUMNS, *MARGIN_COLUMNS)}
    values = {
        name: np.zeros(len(time)) if own is None else as_floats(path.name, own, data[own])
        for name, own in columns.items()
    }
    named = np.array(data[plain["asset"]].to_pylist(), object)
    places = {str(asset): np.flatnonzero(named == asset) for asset in dict.fromkeys(named.tolist())}
    step = detect.usual_step(time[max(places.values(), key=len)]) or DAY_MS
    interval = duration_text(_to_ms(step, unit))
    return [
        Rows(path, Dataset(venue_of(path), "asset_marks", asset, interval), time, values, unit, f" {asset}").take(rows)
        for asset, rows in places.items()
    ]


def _to_ms(step: int, unit: str) -> int:
    return step * {"s": 1000, "ms": 1}.get(unit, 1) // {"us": 1000, "ns": 1_000_000}.get(unit, 1)


def _tables(path: Path, time: Ints, unit: str, plain: dict[str, str], values: dict[str, Floats]) -> Sequence[Rows]:
    venue, symbol = venue_of(path), symbol_of(path)
    if "fundingrate" in plain:
        rate = {"funding_rate": values[plain["fundingrate"]]}
        return [Rows(path, Dataset(venue, "funding_rate", symbol, EVENT), time, rate, unit)]
    found = []
    bars = {name: values[plain[name]] for name in (*PRICE_COLUMNS, "volume") if plain.get(name) in values}
    if set(bars) >= set(PRICE_COLUMNS):
        interval = duration_text(_to_ms(detect.usual_step(time) or DAY_MS, unit))
        found.append(Rows(path, Dataset(venue, "klines", symbol, interval), time, bars, unit))
        used = {plain[name] for name in bars} | {name for name in values if plain.get("settle") != name}
        values = {name: column for name, column in values.items() if name not in used}
    found += [_series(path, time, {"value": column}, f".{name}", unit) for name, column in values.items()]
    return found or [_series(path, time, {"value": np.ones(len(time))}, "", unit)]


def symbol_of(path: Path) -> str:
    """Give the instrument that a file's name mentions: BTC-USDT, VIX, SPY; else the name itself."""
    pair = re.match(r"([A-Z0-9]+)[-_](USDT|USD|USDC)(?![A-Z])", path.name)
    if pair is not None:
        return pair[1] + pair[2]
    words = [word for word in re.split(r"[^A-Za-z0-9]+", path.name.split(".csv")[0]) if word]
    named = [word for word in words if word.lower() not in _GENERIC and not re.fullmatch(r"\d+[smhdw]?", word)]
    return "-".join(named).upper() or path.stem


def _series(path: Path, time: Ints, values: dict[str, Floats], label: str, unit: str = "ms") -> Rows:
    dataset = Dataset(venue_of(path), "series", f"{symbol_of(path)}{label}", EVENT)
    return Rows(path, dataset, time, values, unit, label)


def _times(path: Path, name: str, data: pa.Table) -> tuple[Ints, str]:
    for pattern in _PATTERNS:
        try:
            raw, unit = as_times(path.name, name, data[name], pattern)
        except DataError as error:
            problem = error
            continue
        whole = pa.types.is_integer(data[name].type) and len(raw) > 0
        return raw, detect.UNITS[int(detect.time_units(raw[:1])[0])] if whole else unit
    raise problem


def _numbers(column: pa.ChunkedArray) -> Floats | None:
    if pa.types.is_string(column.type) or pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return None
    if pa.types.is_time(column.type) or pa.types.is_boolean(column.type):
        return None
    return as_floats("", "", column)
