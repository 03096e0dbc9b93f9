"""Binance Vision archives: one zip with one CSV, `…/markPriceKlines/BTCUSDT/1h/BTCUSDT-1h-2024-10.zip`.

The folders say market and table, the name symbol, interval and period. Headers appear in 2022; spot files turn from
milliseconds to microseconds on 2025-01-01 (binance-public-data, README), so both are taken here and nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

from backtest.data import detect
from backtest.data.manifest import EVENT, Dataset
from backtest.data.sources.archive import read_member
from backtest.data.sources.columns import as_floats, header_of, read_csv
from backtest.data.sources.rows import PRICE_COLUMNS, ImportOptions, Rows
from backtest.errors import DataError, Problem, UsageError

KLINE_COLUMNS = (
    "open_time",
    *PRICE_COLUMNS,
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
FUNDING_COLUMNS = ("calc_time", "funding_interval_hours", "last_funding_rate")
_TABLES = {
    "klines": "klines",
    "markPriceKlines": "mark_price",
    "indexPriceKlines": "index_price",
    "premiumIndexKlines": "premium_index",
    "fundingRate": "funding_rate",
}
COIN_MARGINED = "binance-coinm"
VENUES = {"um": "binance", "cm": COIN_MARGINED, "spot": "binance-spot"}
_NAME = re.compile(r"(?P<symbol>[A-Z0-9_]+)-(?P<what>\d+[smhdw]|fundingRate)-(?P<period>\d{4}-\d{2}(-\d{2})?)\.zip")


def recognises(path: Path) -> bool:
    """Say whether a file has a name of the archive of klines or funding."""
    return _NAME.fullmatch(path.name) is not None


def read(path: Path, options: ImportOptions) -> list[Rows]:
    """Read one archive. Raises `DataError` where it is not what its name says."""
    dataset = _dataset(path, options)
    content = read_member(path, f"{path.stem}.csv")
    names = FUNDING_COLUMNS if dataset.table == "funding_rate" else KLINE_COLUMNS
    header = not content[:1].isdigit()
    if header and header_of(content) != list(names):
        raise DataError(
            Problem(path.name, f"has the header {','.join(header_of(content))}", f"wanted {','.join(names)}")
        )
    if dataset.table == "funding_rate":
        wanted = {"funding_rate": "last_funding_rate"}
    else:
        wanted = {name: name for name in PRICE_COLUMNS}
    if dataset.table == "klines":
        wanted |= {"volume": "volume", "trade_count": "count"}
        if dataset.venue != COIN_MARGINED:  # there the column holds volume in coin
            wanted["quote_volume"] = "quote_volume"
    types = {names[0]: pa.int64(), **dict.fromkeys(wanted.values(), pa.float64())}
    table = read_csv(path.name, content, names, types, header=header)
    values = {column: as_floats(path.name, own, table[own]) for column, own in wanted.items()}
    time = table[names[0]].to_numpy()
    micro = len(time) > 0 and detect.time_units(time[:1])[0] == detect.UNITS.index("us")
    return [Rows(path, dataset, time, values, "us" if micro else "ms")]


def _dataset(path: Path, options: ImportOptions) -> Dataset:
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise UsageError(Problem(path.name, "is not a name of the archive", "BTCUSDT-1h-2024-10.zip"))
    folders = path.resolve().parts
    table = "funding_rate" if name["what"] == "fundingRate" else options.table
    table = table or next((_TABLES[folder] for folder in reversed(folders) if folder in _TABLES), None)
    if table is None:
        raise UsageError(
            Problem(
                path.name,
                "does not say whether it holds last, mark, index or premium prices",
                "name the table (--table)",
            )
        )
    venue = next((VENUES[folder] for folder in reversed(folders) if folder in VENUES), options.venue)
    if venue is None:
        raise UsageError(Problem(path.name, "does not say which market it is from", "name the venue (--venue)"))
    return Dataset(venue, table, name["symbol"], EVENT if table == "funding_rate" else name["what"])
