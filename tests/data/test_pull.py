"""Pulling from Binance: what is missing comes, once, checked; what a source revises is noticed."""

from __future__ import annotations

import datetime as dt

import pytest
from market_files import tree
from pulling import pulled, recipe

from backtest.data.manifest import Dataset
from backtest.data.pull.run import plan
from backtest.data.store import Lake
from backtest.errors import DataError, SourceError
from backtest.units import DAY_MS, HOUR_MS, time_ms

KLINES = Dataset("binance", "klines", "BTCUSDT", "1h")
FUNDING = Dataset("binance", "funding_rate", "BTCUSDT", "event")
# The server's day is 2025-01-05, BTCUSDT is listed on 2024-11-10, months lag by three days, days by one.
LISTED, TODAY = time_ms("2024-11-10"), time_ms("2025-01-05")
HOURS = (TODAY - LISTED) // HOUR_MS


# --- what comes ----------------------------------------------------------------------------------------------------


def test_months_then_days_then_the_interface_give_every_hour_up_to_yesterday(tmp_path, market):
    report = pulled(tmp_path, market)
    rows = Lake(tmp_path).read(KLINES)
    assert rows["open_time_ms"].to_pylist() == list(range(LISTED, TODAY, HOUR_MS))
    truth = market.bars("klines", HOUR_MS, LISTED, TODAY)
    assert rows["close"].to_pylist() == [float(cells[3]) for _, cells in truth]
    assert rows["volume"].to_pylist() == [float(cells[4]) for _, cells in truth]
    assert rows["trade_count"].to_pylist() == [int(cells[7]) for _, cells in truth]
    sources = {source.name for entry in Lake(tmp_path).entries() for source in entry.sources}
    assert sources == {
        *(f"BTCUSDT-1h-{text}.zip" for text in ("2024-11", "2024-12", "2025-01-01", "2025-01-02", "2025-01-03")),
        "fapi/v1/klines BTCUSDT 1h 2025-01-04",
    }
    assert [period.text for period in report.absent[KLINES]] == ["2024-10"]


def test_all_tables_of_a_symbol_come(tmp_path, market):
    tables = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
    pulled(tmp_path, market, recipe(tables))
    lake = Lake(tmp_path)
    for table in tables[:-1]:
        assert len(lake.read(KLINES._replace(table=table))) == HOURS
    rows = lake.read(FUNDING)
    assert rows["funding_time_ms"].to_pylist() == [t for t, _ in market.funding(LISTED, TODAY)]
    assert rows["funding_rate"].to_pylist() == [float(rate) for _, rate in market.funding(LISTED, TODAY)]


def test_coin_margined_symbols_come_from_their_own_folders(tmp_path, market):
    tables = ("klines", "mark_price", "premium_index", "funding_rate")
    pulled(tmp_path, market, recipe(tables, "binance-coinm", ["BTCUSD_PERP"]))
    pulled(tmp_path, market, recipe(("index_price",), "binance-coinm", ["BTCUSD"]))
    lake = Lake(tmp_path)
    for table in tables[:-1]:
        assert len(lake.read(Dataset("binance-coinm", table, "BTCUSD_PERP", "1h"))) == HOURS
    assert len(lake.read(Dataset("binance-coinm", "index_price", "BTCUSD", "1h"))) == HOURS
    assert len(lake.read(Dataset("binance-coinm", "funding_rate", "BTCUSD_PERP", "event"))) == HOURS // 8
    assert market.asked("/dapi/v1/indexPriceKlines?pair=BTCUSD&")
    rows = lake.read(Dataset("binance-coinm", "klines", "BTCUSD_PERP", "1h"))
    assert (rows["quote_volume"].null_count, rows["volume"].null_count) == (HOURS, 0)  # its column is in coin
    assert market.asked("/data/futures/cm/monthly/markPriceKlines/BTCUSD_PERP/1h/")
    assert market.asked("/dapi/v1/markPriceKlines")
    assert not market.asked("/um/")


def test_a_second_pull_fetches_nothing_and_changes_no_byte(tmp_path, market):
    pulled(tmp_path, market, recipe(("klines", "funding_rate")))
    before = tree(tmp_path)
    market.requests.clear()
    report = pulled(tmp_path, market, recipe(("klines", "funding_rate")))
    assert report.results == []
    assert tree(tmp_path) == before
    # What is there is only compared by checksum; the month before the listing is asked for again.
    assert all(address.endswith(".CHECKSUM") for address in market.requests)


def test_the_next_day_only_that_day_comes(tmp_path, market):
    pulled(tmp_path, market)
    market.today = "2025-01-06"
    market.requests.clear()
    pulled(tmp_path, market)
    fetched = [address for address in market.requests if not address.endswith(".CHECKSUM")]
    assert len(fetched) == 1
    assert f"/fapi/v1/klines?symbol=BTCUSDT&interval=1h&startTime={TODAY}" in fetched[0]
    assert len(Lake(tmp_path).read(KLINES)) == HOURS + 24


def test_a_month_that_is_not_published_yet_comes_day_by_day_and_not_again_later(tmp_path, market):
    market.today = "2025-01-02"
    pulled(tmp_path, market)
    assert len(market.asked("/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12-")) >= 31
    market.today = "2025-01-08"
    market.requests.clear()
    pulled(tmp_path, market)
    assert not [address for address in market.asked("2024-12") if address.endswith(".zip")]
    assert len(Lake(tmp_path).read(KLINES)) == (time_ms("2025-01-08") - LISTED) // HOUR_MS


def test_a_day_of_the_interface_is_compared_with_the_archive_once_it_is_there(tmp_path, market):
    pulled(tmp_path, market)
    market.today = "2025-01-10"
    market.revised.add("BTCUSDT-1h-2025-01-04.zip")
    with pytest.raises(DataError, match=r"2025-01-04\.zip .* against fapi/v1/klines BTCUSDT 1h 2025-01-04"):
        pulled(tmp_path, market)
    assert len(Lake(tmp_path).read(KLINES)) == HOURS + 24 * 5
    pulled(tmp_path, market, replace_rows=True)
    market.requests.clear()
    pulled(tmp_path, market)
    assert all(address.endswith(".CHECKSUM") for address in market.requests)


def test_funding_of_the_interface_is_compared_with_its_month_once_it_is_there(tmp_path, market):
    wanted = recipe(("funding_rate",), start="2024-12-01")
    pulled(tmp_path, market, wanted)
    market.today = "2025-02-02"
    pulled(tmp_path, market, wanted)
    assert len(market.asked("/fapi/v1/fundingRate")) == 32
    pulled(tmp_path, market, wanted)
    assert len(market.asked("/fapi/v1/fundingRate")) == 32
    market.today = "2025-02-05"
    market.revised.add("BTCUSDT-fundingRate-2025-01.zip")
    with pytest.raises(DataError, match=r"2025-01\.zip .* against fapi/v1/fundingRate"):
        pulled(tmp_path, market, wanted)


def test_a_month_that_the_archive_lost_comes_by_days(tmp_path, market):
    market.today, market.listed = "2025-04-05", "2024-12-20"
    market.withdrawn.add("BTCUSDT-1h-2025-01.zip")
    pulled(tmp_path, market, recipe(start="2024-12-01", stop=dt.date(2025, 2, 1)))
    assert len(Lake(tmp_path).read(KLINES)) == (time_ms("2025-02-01") - time_ms("2024-12-20")) // HOUR_MS


def test_months_before_the_listing_are_asked_for_once_each(tmp_path, market):
    market.today, market.listed = "2025-05-20", "2025-03-10"
    pulled(tmp_path, market, recipe(stop=dt.date(2025, 4, 1)))
    assert not market.asked("/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-02")
    assert len(market.asked("BTCUSDT-1h-2024-12")) == 1


def test_a_dry_run_asks_nothing_and_lists_what_a_pull_then_fetches(tmp_path, market):
    missing = plan(Lake(tmp_path), recipe(("klines", "funding_rate")), market.today_ms)
    assert market.requests == []
    assert [(m.dataset, m.first, m.last, m.months, m.days) for m in missing] == [
        (KLINES, "2024-10", "2025-01-04", 3, 4),
        (FUNDING, "2024-10", "2025-01-04", 3, 4),
    ]
    assert missing[0].files == (
        *(f"BTCUSDT-1h-2024-{month}.zip" for month in (10, 11, 12)),
        *(f"BTCUSDT-1h-2025-01-0{day}.zip" for day in (1, 2, 3, 4)),
    )
    assert missing[1].files[3] == "fapi/v1/fundingRate BTCUSDT 2025-01-01"
    pulled(tmp_path, market, recipe(("klines", "funding_rate"), start="2024-11-01"))
    done = plan(Lake(tmp_path), recipe(("klines", "funding_rate"), start="2024-11-01"), market.today_ms)
    assert [(m.months, m.days, m.to_compare) for m in done] == [(0, 0, 5), (0, 0, 2)]


def test_a_range_that_has_ended_is_kept_to(tmp_path, market):
    pulled(tmp_path, market, recipe(stop=dt.date(2025, 1, 3)))
    assert Lake(tmp_path).read(KLINES)["open_time_ms"].to_pylist()[-1] == time_ms("2025-01-03") - HOUR_MS


def test_progress_ends_at_its_total(tmp_path, market):
    seen: list[tuple[int, int]] = []
    pulled(tmp_path, market, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] >= 7


def test_a_symbol_that_no_source_knows_is_an_error(tmp_path, market):
    market.listed = "2026-01-01"
    with pytest.raises(SourceError, match="no source has any of it"):
        pulled(tmp_path, market)
    assert Lake(tmp_path).datasets() == []


# --- revisions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["BTCUSDT-1h-2024-12.zip", "BTCUSDT-1h-2025-01-02.zip", "BTCUSDT-fundingRate-2024-12.zip"]
)
def test_a_file_that_is_revised_is_noticed_and_replaces_only_when_asked(tmp_path, market, name):
    wanted = recipe(("klines", "funding_rate"))
    pulled(tmp_path, market, wanted)
    before = tree(tmp_path)
    market.revised.add(name)
    with pytest.raises(DataError) as caught:
        pulled(tmp_path, market, wanted)
    assert "disagree in 1 rows" in str(caught.value)
    assert name in str(caught.value)
    assert tree(tmp_path) == before
    report = pulled(tmp_path, market, wanted, replace_rows=True)
    assert report.revised == [name]
    assert sum(result.rows_replaced for result in report.results) == 1
    after = tree(tmp_path)
    assert after != before
    assert pulled(tmp_path, market, wanted).revised == []
    assert tree(tmp_path) == after


def test_an_archive_that_contradicts_itself_is_left_out_and_the_others_are_kept(tmp_path, market):
    market.torn.add("BTCUSDT-1h-2024-12.zip")
    with pytest.raises(DataError, match=r"2024-12\.zip row 8: bar contradicts itself"):
        pulled(tmp_path, market)
    months = {time // DAY_MS for time in Lake(tmp_path).read(KLINES)["open_time_ms"].to_pylist()}
    assert time_ms("2024-11-30") // DAY_MS in months
    assert time_ms("2024-12-10") // DAY_MS not in months
