"""Pulling from Bybit, its files of trades, Cboe and Deribit."""

from __future__ import annotations

import datetime as dt

import pytest
from market_files import tree
from pulling import pulled, recipe

from backtest.data.manifest import Dataset
from backtest.data.sql import query
from backtest.data.store import Lake
from backtest.errors import DataError, SourceError
from backtest.units import HOUR_MS, time_ms, time_text

KLINES = Dataset("binance", "klines", "BTCUSDT", "1h")
FUNDING = Dataset("binance", "funding_rate", "BTCUSDT", "event")
# The server's day is 2025-01-05, BTCUSDT is listed on 2024-11-10, months lag by three days, days by one.
LISTED, TODAY = time_ms("2024-11-10"), time_ms("2025-01-05")
HOURS = (TODAY - LISTED) // HOUR_MS


@pytest.mark.parametrize("interval", ["1h", pytest.param("15m", marks=pytest.mark.slow)])
def test_bybit_comes_page_by_page_newest_first(tmp_path, market, interval):
    tables = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
    pulled(tmp_path, market, recipe(tables, "bybit", interval=interval))
    lake = Lake(tmp_path)
    for table in tables[:-1]:
        rows = lake.read(Dataset("bybit", table, "BTCUSDT", interval))
        assert len(rows) == HOURS * (4 if interval == "15m" else 1)
    assert lake.read(Dataset("bybit", "klines", "BTCUSDT", interval))["quote_volume"][0].as_py() == 1000.5
    assert len(lake.read(Dataset("bybit", "funding_rate", "BTCUSDT", "event"))) == len(market.funding(LISTED, TODAY))
    before = tree(tmp_path)
    pulled(tmp_path, market, recipe(tables, "bybit", interval=interval))
    assert tree(tmp_path) == before


def test_volume_of_an_inverse_contract_is_in_quote(tmp_path, market):
    pulled(tmp_path, market, recipe(("klines",), "bybit", ["BTCUSD"]))
    row = Lake(tmp_path).read(Dataset("bybit", "klines", "BTCUSD", "1h"))
    assert (row["volume"][0].as_py(), row["quote_volume"][0].as_py() != 1000.5) == (1000.5, True)
    assert market.asked("category=inverse")


TRADES = recipe(("klines",), "bybit", ["LUNAUSDT"], archive=True)


def test_bars_of_a_delisted_contract_come_from_the_public_files_of_trades(tmp_path, market):
    report = pulled(tmp_path, market, TRADES)
    rows = Lake(tmp_path).read(Dataset("bybit", "klines", "LUNAUSDT", "1h"))
    assert rows["open_time_ms"].to_pylist() == list(range(LISTED, TODAY, HOUR_MS))
    truth = market.bars("klines", HOUR_MS, LISTED, TODAY)
    for name, place in (("open", 0), ("high", 1), ("low", 2), ("close", 3)):
        assert rows[name].to_pylist() == [float(cells[place]) for _, cells in truth]
    assert set(rows["volume"].to_pylist()) == {1.0}
    assert set(rows["trade_count"].to_pylist()) == {4}
    assert not market.asked("/v5/")
    assert [period.text for period in report.absent[Dataset("bybit", "klines", "LUNAUSDT", "1h")]] == ["2024-10"]
    before = tree(tmp_path)
    market.requests.clear()
    pulled(tmp_path, market, TRADES)
    assert tree(tmp_path) == before
    assert {address[-17:-10] for address in market.requests} == {"2024-10"}


def test_a_day_without_a_file_of_trades_is_a_gap(tmp_path, market):
    market.withdrawn.add("LUNAUSDT2024-12-10.csv.gz")
    pulled(tmp_path, market, TRADES)
    gaps = query(tmp_path, "SELECT first_ms, missing FROM gaps").to_pylist()
    assert gaps == [{"first_ms": time_ms("2024-12-10"), "missing": 24}]


def test_a_file_of_trades_that_never_comes_whole_is_an_error_and_leaves_its_month_out(tmp_path, market):
    market.fail("LUNAUSDT2024-12-10.csv.gz", "a flipped bit", 99)
    with pytest.raises(SourceError, match=r"2024-12-10\.csv\.gz.*not a sound gzip file"):
        pulled(tmp_path, market, TRADES)
    times = Lake(tmp_path).read(Dataset("bybit", "klines", "LUNAUSDT", "1h"))["open_time_ms"].to_pylist()
    assert {time_text(time)[:7] for time in times} == {"2024-11", "2025-01"}


def test_bybit_says_no_with_status_200(tmp_path, market):
    market.fail("/v5/market/kline", "refused", 99)
    with pytest.raises(SourceError, match="Invalid symbol"):
        pulled(tmp_path, market, recipe(("klines",), "bybit"))


def test_a_page_that_is_refused_for_haste_is_asked_for_again(tmp_path, market):
    market.fail("/v5/market/kline", "busy", 2)
    pulled(tmp_path, market, recipe(("klines",), "bybit"))
    assert len(Lake(tmp_path).read(KLINES._replace(venue="bybit"))) == HOURS


def test_volatility_indexes_come_as_series_known_after_the_close(tmp_path, market):
    wanted = recipe(("series",), "cboe", ["VIX", "VVIX"])
    pulled(tmp_path, market, wanted)
    for symbol in ("VIX", "VVIX"):
        rows = Lake(tmp_path).read(Dataset("cboe", "series", symbol, "event"))
        assert rows["time_ms"].to_pylist()[-1] == time_ms("2025-01-03")
        assert rows["available_ms"].to_pylist()[-1] == time_ms("2025-01-04")
        assert rows["value"].to_pylist()[0] == 15 + dt.date(2024, 12, 2).toordinal() % 9
    market.requests.clear()
    pulled(tmp_path, market, wanted)  # a Sunday: nothing can be new
    assert market.requests == []
    market.today = "2025-01-07"
    pulled(tmp_path, market, wanted)
    assert Lake(tmp_path).read(Dataset("cboe", "series", "VIX", "event"))["time_ms"][-1].as_py() == time_ms(
        "2025-01-06"
    )


def test_a_value_that_cboe_corrects_is_an_error_until_it_may_replace(tmp_path, market):
    wanted = recipe(("series",), "cboe", ["VIX"])
    pulled(tmp_path, market, wanted)
    before = tree(tmp_path)
    market.revised.add("VIX_History.csv")
    market.today = "2025-01-07"
    with pytest.raises(DataError, match="disagree in 1 rows, first at 2024-12-03"):
        pulled(tmp_path, market, wanted)
    assert tree(tmp_path) == before
    pulled(tmp_path, market, wanted, replace_rows=True)
    assert len(Lake(tmp_path).read(Dataset("cboe", "series", "VIX", "event"))) == 26


def test_dvol_comes_hourly_by_continuation(tmp_path, market):
    pulled(tmp_path, market, recipe(("series",), "deribit", ["BTC-DVOL"]))
    rows = Lake(tmp_path).read(Dataset("deribit", "series", "BTC-DVOL", "event"))
    assert rows["time_ms"].to_pylist() == list(range(LISTED, TODAY, HOUR_MS))
    assert rows["available_ms"][0].as_py() == LISTED + HOUR_MS
