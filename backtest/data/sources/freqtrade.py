"""Files of freqtrade: `BTC_USDT_USDT-1h-mark.feather` and the like, feather or JSON.

The name gives symbol, interval and kind. Columns are date (bar open), open, high, low, close, volume. In a funding
file only `open` means anything, the rate settled at `date`, and the interval in its name is a label. Mark files carry
no volume (0 or NaN).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from backtest.data.detect import Floats, Ints
from backtest.data.manifest import EVENT, Dataset
from backtest.data.sources.columns import read_feather, read_json_rows
from backtest.data.sources.rows import PRICE_COLUMNS, ImportOptions, Rows
from backtest.errors import DataError, Problem, UsageError

COLUMNS = ("date", *PRICE_COLUMNS, "volume")
_TABLES = {
    None: "klines",
    "futures": "klines",
    "mark": "mark_price",
    "index": "index_price",
    "premiumIndex": "premium_index",
    "funding_rate": "funding_rate",
}
_NAME = re.compile(
    r"(?P<base>[A-Z0-9]+)_(?P<quote>[A-Z0-9]+)(_[A-Z0-9]+)?-(?P<interval>\d+[smhdw])"
    rf"(-(?P<kind>{'|'.join(kind for kind in _TABLES if kind)}))?\.(feather|json)"
)
_VENUES = ("binance", "bybit")


def recognises(path: Path) -> bool:
    """Say whether a file has a name that freqtrade gives."""
    return _NAME.fullmatch(path.name) is not None


def read(path: Path, options: ImportOptions) -> list[Rows]:
    """Read one file. Raises `DataError` where it is not what its name says, `UsageError` without a venue."""
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise UsageError(Problem(path.name, "is not a name that freqtrade gives", "BTC_USDT_USDT-1h-mark.feather"))
    venue = options.venue or _venue_of(path)
    if venue is None:
        raise UsageError(Problem(path.name, "does not say which venue it is from", "name the venue (--venue)"))
    table = _TABLES[name["kind"]]
    interval = EVENT if table == "funding_rate" else options.interval or name["interval"]
    dataset = Dataset(
        venue if name["kind"] else f"{venue}-spot", table, options.symbol or name["base"] + name["quote"], interval
    )
    time, columns = _feather(path) if path.suffix == ".feather" else _json(path)
    if table == "funding_rate":
        values = {"funding_rate": columns["open"]}
    else:
        values = {column: columns[column] for column in (*PRICE_COLUMNS, *(["volume"] if table == "klines" else []))}
    return [Rows(path, dataset, time, values, options.time_unit or "ms")]


def _venue_of(path: Path) -> str | None:
    """Give the venue that a folder is named after, the nearest first: `binance`, or `bybit-linear-futures`."""
    words = (word for folder in reversed(path.resolve().parts[:-1]) for word in folder.split("-"))
    return next((word for word in words if word in _VENUES), None)


def _feather(path: Path) -> tuple[Ints, dict[str, Floats]]:
    table = read_feather(path)
    missing = [column for column in COLUMNS if column not in table.column_names]
    if missing:
        raise DataError(Problem(path.name, f"has no column {', '.join(missing)}", f"wanted {', '.join(COLUMNS)}"))
    date = table["date"]
    if pa.types.is_timestamp(date.type):
        date = date.cast(pa.timestamp("ms", date.type.tz))
    columns = {column: table[column].cast(pa.float64()).to_numpy() for column in COLUMNS[1:]}
    return date.cast(pa.int64()).to_numpy(), columns


def _json(path: Path) -> tuple[Ints, dict[str, Floats]]:
    try:
        rows = np.array(read_json_rows(path), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(Problem(path.name, f"is not a list of rows of six numbers ({error})")) from None
    if rows.ndim != 2 or rows.shape[1] != len(COLUMNS):
        raise DataError(Problem(path.name, f"is not a list of rows of {', '.join(COLUMNS)}"))
    return rows[:, 0].astype(np.int64), {column: rows[:, i].copy() for i, column in enumerate(COLUMNS) if i}
