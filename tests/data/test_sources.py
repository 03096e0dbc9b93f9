"""Formats that are not bars as they lie there: trades, zips of Lean, open interest, calendars, no header."""

from __future__ import annotations

import datetime as dt
import gzip
import itertools
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_files import write_vision

from backtest.data import detect
from backtest.data.imports import ImportOptions, import_file, import_path
from backtest.data.manifest import Dataset
from backtest.data.pull.http import read_json
from backtest.data.readers import read_file
from backtest.data.sources import columns
from backtest.data.store import Lake
from backtest.errors import DataError, UsageError
from backtest.units import DAY_MS, HOUR_MS, MINUTE_MS, time_ms

DAY = time_ms("2024-10-18")
TRADES = [  # ms of the day, price, quantity, trades
    (5, 10.0, 1.0, 1),
    (59_999, 12.0, 2.0, 3),
    (60_000, 11.0, 0.5, 1),
    (3_600_000, 9.0, 4.0, 2),
]
BARS = {
    "open_time_ms": [DAY, DAY + MINUTE_MS, DAY + HOUR_MS],
    "open": [10.0, 11.0, 9.0],
    "high": [12.0, 11.0, 9.0],
    "low": [10.0, 11.0, 9.0],
    "close": [12.0, 11.0, 9.0],
    "volume": [3.0, 0.5, 4.0],
    "quote_volume": [34.0, 5.5, 36.0],
}


def binance_trades(folder: Path, rows=TRADES, *, header: bool = True, scale: int = 1) -> Path:
    lines = ["agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"] if header else []
    lines += [f"{n},{p},{q},{n},{n + count - 1},{(DAY + t) * scale},true" for n, (t, p, q, count) in enumerate(rows)]
    name = "data/futures/um/daily/aggTrades/APEUSDT/APEUSDT-aggTrades-2024-10-18.zip"
    return write_vision(folder / name, "\n".join(lines) + "\n")


def bybit_trades(folder: Path, rows=TRADES, *, newest_first: bool = False) -> Path:
    head = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    lines = [f"{(DAY + t) / 1000:.4f},X,Buy,{q},{p},ZeroPlusTick,a-b,1e8,{q},{p * q}" for t, p, q, _ in rows]
    path = folder / "APEUSDT2024-10-18.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(("\n".join([head, *(lines[::-1] if newest_first else lines)]) + "\n").encode()))
    return path


def stored(lake: Lake, dataset: Dataset) -> dict[str, list[object]]:
    return lake.read(dataset).select(list(BARS)).to_pydict()


@pytest.mark.parametrize(("header", "scale"), list(itertools.product([True, False], [1, 1000])))
def test_trades_of_binance_become_bars_of_a_minute(tmp_path, header, scale):
    lake = Lake(tmp_path / "lake")
    report = import_path(lake, binance_trades(tmp_path, header=header, scale=scale).parent)
    assert report.unrecognised == ()
    dataset = Dataset("binance", "klines", "APEUSDT", "1m")
    assert stored(lake, dataset) == BARS
    assert lake.read(dataset)["trade_count"].to_pylist() == [4, 1, 2]


@pytest.mark.parametrize("newest_first", [False, True])
def test_trades_of_bybit_become_bars_whichever_end_their_file_begins_at(tmp_path, newest_first):
    lake = Lake(tmp_path / "lake")
    import_file(lake, bybit_trades(tmp_path, newest_first=newest_first))
    assert stored(lake, Dataset("bybit", "klines", "APEUSDT", "1m")) == BARS


def test_trades_become_bars_of_the_interval_that_is_named(tmp_path):
    lake = Lake(tmp_path / "lake")
    import_file(lake, binance_trades(tmp_path), ImportOptions(interval="1h"))
    assert stored(lake, Dataset("binance", "klines", "APEUSDT", "1h"))["high"] == [12.0, 9.0]


@given(st.lists(st.tuples(st.integers(0, 9 * MINUTE_MS), st.integers(1, 99)), min_size=1, max_size=40))
def test_bars_of_trades_agree_with_a_loop(pairs):
    pairs.sort(key=lambda pair: pair[0])
    time, price = (np.array(column) for column in zip(*pairs, strict=True))
    ones = np.ones(len(time))
    opens, bars, sums = detect.trade_bars(time, price.astype(float), ones, ones.astype(np.int64), MINUTE_MS)
    for n, (minute, group) in enumerate(itertools.groupby(pairs, key=lambda pair: pair[0] // MINUTE_MS)):
        prices = [price for _, price in group]
        assert (opens[n], *(column[n] for column in bars)) == (
            minute * MINUTE_MS, prices[0], max(prices), min(prices), prices[-1],
        )  # fmt: skip
        assert [sums[name][n] for name in ("volume", "quote_volume", "trade_count")] == [
            len(prices), sum(prices), len(prices),
        ]  # fmt: skip
    assert len(opens) == n + 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(0, 0.0, 1.0, 1)], "price 0.0 or quantity 1.0 cannot be"),
        ([(0, 1.0, -1.0, 1)], "quantity -1.0 cannot be"),
        ([(9, 1.0, 1.0, 1), (3, 1.0, 1.0, 1)], "row 2: is earlier than the trade before it"),
        ([], "has no trades"),
    ],
)
def test_trades_that_cannot_be_are_refused(tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        import_file(Lake(tmp_path / "lake"), binance_trades(tmp_path, rows))


@pytest.mark.parametrize("cut", [0.5, -1, -9])
def test_a_cut_gzip_file_is_refused(tmp_path, cut):
    path = bybit_trades(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut) if cut > 0 else cut])
    with pytest.raises(DataError, match="not a sound gzip file"):
        import_file(Lake(tmp_path / "lake"), path)


@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_in_a_gzip_file_is_refused_or_changes_nothing(tmp_path, seed):
    path = bybit_trades(tmp_path, [(t, 10.0 + t % 7, 1.0, 1) for t in range(0, 80_000_000, 50_000)])
    (before,) = read_file(path)
    content = bytearray(path.read_bytes())
    content[10 + seed * 7919 % (len(content) - 10)] ^= 1 << seed % 8
    path.write_bytes(content)
    try:
        (after,) = read_file(path)
    except DataError:
        return
    assert after.values["close"].tolist() == before.values["close"].tolist()


# --- Lean ----------------------------------------------------------------------------------------------------------


def lean_zip(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)
    return path


def test_lean_daily_bars_are_ten_thousand_times_too_large(tmp_path):
    path = lean_zip(tmp_path / "any.zip", spy="19980102 00:00,973100,975300,965300,973600,2150000\n")
    lake = Lake(tmp_path / "lake")
    import_file(lake, path)
    (row,) = lake.read(Dataset("us", "klines", "SPY", "1d")).to_pylist()
    assert (row["open_time_ms"], row["open"], row["close"], row["volume"]) == (
        time_ms("1998-01-02"), 97.31, 97.36, 2_150_000,
    )  # fmt: skip


def test_lean_index_minutes_count_from_midnight_in_new_york(tmp_path):
    text = "30600000,3764.61,3769.99,3764.61,3766.63,59\n30660000,3766.41,3767.22,3765.83,3766.13,60\n"
    lake = Lake(tmp_path / "lake")
    import_path(lake, lean_zip(tmp_path / "x.zip", **{"20210104_spx_minute_trade": text}).parent)
    rows = lake.read(Dataset("us", "klines", "SPX", "1m"))
    assert rows["open_time_ms"][0].as_py() == time_ms("2021-01-04T13:30")
    summer = lean_zip(tmp_path / "y.zip", **{"20210705_spx_minute_trade": text})
    assert read_file(summer)[0].time[0] == time_ms("2021-07-05T12:30")


def test_lean_option_quotes_become_marks_where_both_sides_quote(tmp_path):
    text = "34200000,651000,671000,635000,649000,48,692000,707000,674000,679000,15\n34260000,,,,,,1,2,1,2,9\n"
    name = "20210104_spxw_minute_quote_european_call_37000000_20210106"
    path = lean_zip(tmp_path / "o.zip", **{name: text, name.replace("call", "put"): text})
    found = {rows.dataset.symbol: rows for rows in read_file(path)}
    assert set(found) == {"SPXW-2021-01-06-3700-C", "SPXW-2021-01-06-3700-P"}
    rows = found["SPXW-2021-01-06-3700-C"]
    assert rows.dataset.table == "mark_price"
    assert [rows.values[name].tolist() for name in ("open", "high", "low", "close")] == [
        [67.15], [68.9], [65.45], [66.4],
    ]  # fmt: skip


# --- series, calendars, files without a header -----------------------------------------------------------------------


def test_open_interest_becomes_two_series_a_symbol_known_at_their_stamp(tmp_path):
    times = [DAY, DAY + 4 * HOUR_MS]
    table = {"symbol": ["A", "A", "B"], "timestamp": [*times, DAY], "sum_open_interest": [1.0, 2.0, 3.0]}
    pq.write_table(pa.table(table | {"sum_open_interest_value": [10.0, 20.0, 30.0]}), tmp_path / "oi.parquet")
    lake = Lake(tmp_path / "lake")
    import_path(lake, tmp_path, ImportOptions(venue="binance"))
    assert [dataset.symbol for dataset in lake.datasets()] == [
        "A.open_interest", "A.open_interest_value", "B.open_interest", "B.open_interest_value",
    ]  # fmt: skip
    rows = lake.read(Dataset("binance", "series", "A.open_interest_value", "event"))
    assert (rows["value"].to_pylist(), rows["available_ms"].to_pylist()) == ([10.0, 20.0], times)


def test_a_file_without_a_header_is_read_by_the_names_that_are_given(tmp_path):
    path = tmp_path / "spot.csv"
    path.write_text(f"{DAY},1,3,1,2,5,x\n{DAY + HOUR_MS},2,3,1,2,6,y\n")
    lake = Lake(tmp_path / "lake")
    names = ("time", "open", "high", "low", "close", "volume", "rest")
    import_file(lake, path, ImportOptions("mine", "klines", "BTCUSDT", header=names))
    assert lake.read(Dataset("mine", "klines", "BTCUSDT", "1h"))["volume"].to_pylist() == [5.0, 6.0]
    with pytest.raises(DataError, match="not sound CSV"):
        import_file(lake, path, ImportOptions("mine", "klines", "BTCUSDT", header=names[:-1]))


def test_a_calendar_is_a_series_of_dates_with_one_value_known_beforehand(tmp_path):
    path = tmp_path / "fomc.csv"
    path.write_text("date\n2024-01-31\n2024-03-20\n")
    lake = Lake(tmp_path / "lake")
    options = ImportOptions("fed", "series", "FOMC", columns={"time": "date", "value": "1"}, available_after_ms=0)
    import_file(lake, path, options)
    rows = lake.read(Dataset("fed", "series", "FOMC", "event"))
    assert rows["value"].to_pylist() == [1.0, 1.0]
    assert rows["time_ms"].to_pylist() == [time_ms(dt.date(2024, 1, 31)), time_ms(dt.date(2024, 3, 20))]


def test_a_release_calendar_says_when_each_period_was_known(tmp_path):
    path = tmp_path / "cpi.csv"
    path.write_text("release_date,period,headline\n2025-02-12,2025-01-01,319.1\n2025-03-12,2025-02-01,319.8\n")
    names = {"time": "period", "value": "headline", "available_ms": "release_date"}
    lake = Lake(tmp_path / "lake")
    import_file(lake, path, ImportOptions("bls", "series", "CPI", columns=names))
    rows = lake.read(Dataset("bls", "series", "CPI", "event"))
    assert rows["time_ms"][0].as_py() + 42 * DAY_MS == rows["available_ms"][0].as_py() == time_ms("2025-02-12")


def test_symbols_of_series_keep_their_spelling(tmp_path):
    path = tmp_path / "chain.csv"
    path.write_text(f"instrument_name,timestamp,mark_iv\nBTC-26FEB21-49000-P,{DAY},100\nBTC-5MAR21-57500-C,{DAY},48\n")
    names = {"symbol": "instrument_name", "value": "mark_iv"}
    lake = Lake(tmp_path / "lake")
    import_file(lake, path, ImportOptions("deribit", "series", columns=names, available_after_ms=0))
    assert [dataset.symbol for dataset in lake.datasets()] == ["BTC-26FEB21-49000-P", "BTC-5MAR21-57500-C"]


# --- what is too large ---------------------------------------------------------------------------------------------


def refused_within(path: Path, match: str, peak_mb: float, options: ImportOptions | None = None) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((DataError, UsageError), match=match):
            read_file(path, options)
        assert tracemalloc.get_traced_memory()[1] < peak_mb * 1e6
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_refused(tmp_path):
    path = tmp_path / "APEUSDT2024-10-18.csv.gz"
    path.write_bytes(gzip.compress(b"0,0\n" * 50_000_000))
    refused_within(path, "more than 100 times its size", 60)


def test_a_bomb_in_many_members_is_refused(tmp_path):
    path = tmp_path / "options.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for day in range(1, 29):
            archive.writestr(f"202101{day:02}_spx_minute_trade.csv", b"0,0\n" * 1_000_000)
    refused_within(path, "times its size", 40)


def test_more_members_than_any_archive_has_are_refused(tmp_path):
    members = {f"2021{month:02}{day:02}_{name}_minute_trade": "" for month in range(1, 13) for day in range(1, 29)
               for name in ("a", "b", "c")}  # fmt: skip
    refused_within(lean_zip(tmp_path / "many.zip", **members), "holds 1008 files, wanted 1 to 1000", 8)


def test_a_line_without_end_in_plain_text_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"time,open\n" + b"0" * 100_000_000)
    refused_within(path, "line longer than", 4, ImportOptions("mine", "klines", "X"))


def test_json_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "BTC_USDT-1h-futures.json"
    path.write_text("[" * 200_000)
    refused_within(path, "not sound JSON", 40, ImportOptions(venue="binance"))
    with pytest.raises(ValueError, match="nested"):
        read_json(b"[" * 200_000)


def test_a_parquet_file_of_more_rows_than_can_be_held_is_refused(tmp_path, monkeypatch):
    pq.write_table(pa.table({"time": [1, 2], "x": [1.0, 2.0]}), tmp_path / "x.parquet")
    monkeypatch.setattr(columns, "MAX_CELLS", 3)
    with pytest.raises(DataError, match="holds 2 rows, more than can be taken at once"):
        columns.read_parquet(tmp_path / "x.parquet", ["time", "x"])
