"""Files of Lean: zips of CSV without a header, whose members' names say what they are.

    spy.csv                                                         date,open,high,low,close,volume; prices x 10000
    20210104_spx_minute_trade.csv                                   ms of the New York day,open,high,low,close,volume
    20210104_spxw_minute_quote_european_call_37000000_20210106.csv  ms,bid open…close,size,ask open…close,size; x 10000

A quote bar of an option becomes a mark bar, the middle of bid and ask; its symbol is SPXW-2021-01-06-3700-C.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from backtest.data.detect import Ints
from backtest.data.manifest import Dataset
from backtest.data.sources.archive import read_members
from backtest.data.sources.columns import as_floats, as_times, read_csv
from backtest.data.sources.rows import PRICE_COLUMNS, ImportOptions, Rows

VENUE = "us"
_SCALE = 10_000
_NEW_YORK = ZoneInfo("America/New_York")
_BARS = ("time", *PRICE_COLUMNS, "volume")
_SIDES = ("bid", "ask")
_QUOTES = ("time", *(f"{side}_{name}" for side in _SIDES for name in (*PRICE_COLUMNS, "size")))
_DAILY = re.compile(r"(?P<symbol>[a-z]+)\.csv")
_INDEX = re.compile(r"(?P<day>\d{8})_(?P<symbol>[a-z]+)_minute_trade\.csv")
_OPTION = re.compile(
    r"(?P<day>\d{8})_(?P<symbol>[a-z]+)_minute_quote_(european|american)_(?P<right>call|put)_(?P<strike>\d+)_"
    r"(?P<expiry>\d{8})\.csv"
)


def recognises(path: Path) -> bool:
    """Say whether a file is a zip whose members have names that Lean gives."""
    if path.suffix != ".zip":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    forms = (_DAILY, _INDEX, _OPTION)
    return bool(names) and any(all(form.fullmatch(name) for name in names) for form in forms)


def read(path: Path, options: ImportOptions) -> list[Rows]:
    """Read one file, one dataset a member."""
    return [_member(path, name, content, options) for name, content in sorted(read_members(path).items())]


def _member(path: Path, name: str, content: bytes, options: ImportOptions) -> Rows:
    venue = options.venue or VENUE
    daily, index, option = (form.fullmatch(name) for form in (_DAILY, _INDEX, _OPTION))
    if daily is not None:
        table = read_csv(name, content, _BARS, dict.fromkeys(_BARS), header=False)
        time, _ = as_times(name, "time", table["time"], "%Y%m%d %H:%M")
        values = {column: as_floats(name, column, table[column]) for column in _BARS[1:]}
        values |= {column: values[column] / _SCALE for column in PRICE_COLUMNS}
        return Rows(path, Dataset(venue, "klines", daily["symbol"].upper(), "1d"), time, values, label=f" {name}")
    if index is not None:
        table = read_csv(name, content, _BARS, dict.fromkeys(_BARS, pa.float64()), header=False)
        values = {column: table[column].to_numpy() for column in _BARS[1:]}
        dataset = Dataset(venue, "klines", index["symbol"].upper(), "1m")
        return Rows(path, dataset, _times(index["day"], table), values, label=f" {name}")
    assert option is not None
    table = read_csv(name, content, _QUOTES, dict.fromkeys(_QUOTES, pa.float64()), header=False)
    sides = [[table[f"{side}_{column}"].to_numpy() for column in PRICE_COLUMNS] for side in _SIDES]
    values = {c: (bid + ask) / 2 / _SCALE for c, bid, ask in zip(PRICE_COLUMNS, *sides, strict=True)}
    expiry, strike = dt.datetime.strptime(option["expiry"], "%Y%m%d").date(), int(option["strike"]) / _SCALE
    symbol = f"{option['symbol'].upper()}-{expiry}-{strike:g}-{option['right'][0].upper()}"
    dataset = Dataset(venue, "mark_price", symbol, "1m")
    rows = Rows(path, dataset, _times(option["day"], table), values, label=f" {name}")
    return rows.take(np.flatnonzero(~np.isnan(values["open"])))  # while one side has no quote there is no middle


def _times(day: str, table: pa.Table) -> Ints:
    midnight = dt.datetime.strptime(day, "%Y%m%d").replace(tzinfo=_NEW_YORK)
    times: Ints = int(midnight.timestamp() * 1000) + table["time"].to_numpy().astype(np.int64)
    return times
