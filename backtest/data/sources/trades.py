"""Files of single trades, joined into bars of the last price: Binance's aggTrades and Bybit's daily trade files.

    …/um/daily/aggTrades/APEUSDT/APEUSDT-aggTrades-2024-10-18.zip     (binance-public-data, README)
    …/trading/BTCUSDT/BTCUSDT2020-03-25.csv.gz                        (public.bybit.com)

Bybit stamps in seconds with decimals, and older files begin with the newest trade. A bar in which nobody traded is not
there: nothing is made up.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from backtest.data import detect
from backtest.data.detect import Floats, Ints
from backtest.data.manifest import Dataset
from backtest.data.sources.archive import read_gzip, read_member
from backtest.data.sources.columns import header_of, read_csv
from backtest.data.sources.rows import ImportOptions, Rows
from backtest.data.sources.vision import VENUES
from backtest.errors import DataError, Problem, UsageError
from backtest.units import duration_ms

DEFAULT_INTERVAL = "1m"
AGG_COLUMNS = (
    "agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time", "is_buyer_maker",
)  # fmt: skip
_BINANCE = re.compile(r"(?P<symbol>[A-Z0-9_]+)-aggTrades-\d{4}-\d{2}(-\d{2})?\.zip")
_BYBIT = re.compile(r"(?P<symbol>[A-Z0-9]+?)\d{4}-\d{2}-\d{2}\.csv\.gz")
_INT, _FLOAT = pa.int64(), pa.float64()


class Trades(NamedTuple):
    """Trades of one symbol, oldest first; `stands_for` is of how many trades a row is the sum."""

    time_ms: Ints
    price: Floats
    qty: Floats
    stands_for: Ints


def recognises(path: Path) -> bool:
    """Say whether a file has the name of a file of trades."""
    return bool(_BINANCE.fullmatch(path.name) or _BYBIT.fullmatch(path.name))


def read(path: Path, options: ImportOptions) -> list[Rows]:
    """Read one file as bars of the interval that the options name, else of one minute."""
    binance = _BINANCE.fullmatch(path.name)
    bybit = _BYBIT.fullmatch(path.name)
    if binance is not None:
        venue = next((VENUES[folder] for folder in reversed(path.resolve().parts) if folder in VENUES), options.venue)
        symbol, trades = binance["symbol"], _binance(path)
    elif bybit is not None:
        venue, symbol, trades = "bybit", bybit["symbol"], _bybit(path)
    else:
        raise UsageError(Problem(path.name, "is not a name of a file of trades", "BTCUSDT-aggTrades-2024-10-18.zip"))
    if venue is None:
        raise UsageError(Problem(path.name, "does not say which market it is from", "name the venue (--venue)"))
    if not len(trades.time_ms):
        raise DataError(Problem(path.name, "has no trades", "fetch the file again"))
    interval = options.interval or DEFAULT_INTERVAL
    time_ms, bars, sums = detect.trade_bars(*trades, duration_ms(interval))
    return [Rows(path, Dataset(venue, "klines", symbol, interval), time_ms, bars._asdict() | sums)]


def _binance(path: Path) -> Trades:
    content = read_member(path, f"{path.stem}.csv")
    header = not content[:1].isdigit()
    _require(path, header_of(content) if header else AGG_COLUMNS, AGG_COLUMNS)
    types = {"price": _FLOAT, "quantity": _FLOAT, "first_trade_id": _INT, "last_trade_id": _INT, "transact_time": _INT}
    table = read_csv(path.name, content, AGG_COLUMNS, types, header=header)
    time = table["transact_time"].to_numpy()
    micro = len(time) > 0 and detect.time_units(time[:1])[0] == detect.UNITS.index("us")
    count = table["last_trade_id"].to_numpy() - table["first_trade_id"].to_numpy() + 1
    return _in_order(path, time // 1000 if micro else time, table, "quantity", count)


def _bybit(path: Path) -> Trades:
    content = read_gzip(path)
    wanted = ("timestamp", "price", "homeNotional")
    _require(path, header_of(content), wanted)
    table = read_csv(path.name, content, None, dict.fromkeys(wanted, _FLOAT))
    seconds = table["timestamp"].to_numpy()
    if len(seconds) and seconds[0] > seconds[-1]:
        table, seconds = table.take(pa.array(np.arange(len(seconds))[::-1])), seconds[::-1]
    time_ms = np.floor(seconds * 1000 + 1e-3).astype(np.int64)
    return _in_order(path, time_ms, table, "homeNotional", np.ones(len(seconds), np.int64))


def _require(path: Path, names: tuple[str, ...] | list[str], wanted: tuple[str, ...]) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(Problem(path.name, f"has no column {', '.join(missing)}", f"wanted {', '.join(wanted)}"))


def _in_order(path: Path, time_ms: Ints, table: pa.Table, qty: str, count: Ints) -> Trades:
    price, amount = table["price"].to_numpy(), table[qty].to_numpy()
    bad = np.flatnonzero(~((price >= detect.PRICE_MIN) & (price < detect.PRICE_MAX) & (amount >= 0)))
    if bad.size:
        row = int(bad[0])
        what = f"price {price[row]} or quantity {amount[row]} cannot be ({bad.size} rows)"
        raise DataError(Problem(f"{path.name} row {row + 1}", what, "fetch the file again"))
    unsorted = detect.out_of_order(time_ms)
    if unsorted.size:
        raise DataError(Problem(f"{path.name} row {unsorted[0] + 1}", "is earlier than the trade before it"))
    return Trades(time_ms, price, amount, count)
