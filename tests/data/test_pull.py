"""Pulling: what is missing comes, once, checked; whatever the server does, the lake is right or there is an error."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence

import pytest
from market_files import tree
from pulling import QUICK, move_hosts, pulled, recipe
from server import FAULTS, Answer, Market, serving

from backtest.data.manifest import Dataset
from backtest.data.pull.http import Client, Manners
from backtest.data.pull.run import plan
from backtest.data.sql import query
from backtest.data.store import Lake
from backtest.errors import DataError, SourceError
from backtest.units import DAY_MS, HOUR_MS, time_ms, time_text

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


# --- Bybit, Cboe, Deribit ------------------------------------------------------------------------------------------


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


# --- faults --------------------------------------------------------------------------------------------------------

LASTING = ("refused", "ban", "another host")
PASSING = tuple(name for name in FAULTS if name not in (*LASTING, "busy"))
# Where faults strike, and the times that then cannot come.
PLACES = {
    "2024-12.zip.CHECKSUM": "2024-12",
    "2024-12.zip": "2024-12",
    "2025-01-02.zip": "2025-01-02",
    "/fapi/v1/klines": "2025-01-04",
}


def cases(names: Sequence[str]) -> list[object]:
    """Pair faults with places: each fault at one place in the fast tests, at the others in the slow ones.

    A flipped bit in an answer of the interface is left out: nothing there would show it.
    """
    return [
        pytest.param(name, place, marks=() if (n + p) % len(PLACES) == 1 else pytest.mark.slow)
        for n, name in enumerate(names)
        for p, place in enumerate(PLACES)
        if (name, place) != ("a flipped bit", "/fapi/v1/klines")
    ]


@pytest.fixture
def small(market):
    """Give the market with one month and four days."""
    market.listed = "2024-12-20"
    return market


SMALL = recipe(start="2024-12-01")


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    root = tmp_path_factory.mktemp("calm")
    with serving(Market(listed="2024-12-20")) as market, pytest.MonkeyPatch.context() as patch:
        move_hosts(patch, market.url)
        pulled(root, market, SMALL)
    return tree(root)


@pytest.mark.parametrize(("name", "place"), cases(PASSING))
def test_a_fault_that_passes_leaves_no_trace(tmp_path, small, calm, name, place):
    small.fail(place, name)
    pulled(tmp_path, small, SMALL)
    assert small.faults[0].left == 0
    assert tree(tmp_path) == calm


@pytest.mark.parametrize(("name", "place"), cases([name for name in FAULTS if name != "busy"]))
def test_a_fault_that_stays_is_a_clear_error_and_the_rest_is_right(tmp_path, small, calm, name, place):
    small.fail(place, name, 999)
    with pytest.raises(SourceError) as caught:
        pulled(tmp_path, small, SMALL)
    assert place.removesuffix(".CHECKSUM") in str(caught.value)
    lake = Lake(tmp_path)
    truth = {t: float(cells[3]) for t, cells in small.bars("klines", HOUR_MS, LISTED, TODAY)}
    for dataset in lake.datasets():
        rows = lake.read(dataset)
        stored = dict(zip(rows["open_time_ms"].to_pylist(), rows["close"].to_pylist(), strict=True))
        assert stored == {t: truth[t] for t in stored}
        if name not in ("418", "429", "ban"):  # those stop the pull: the host wants peace
            assert truth.keys() - stored.keys() == {t for t in truth if time_text(t).startswith(PLACES[place])}
    small.faults.clear()
    pulled(tmp_path, small, SMALL)
    assert tree(tmp_path) == calm


SMALL_TRADES = recipe(("klines",), "bybit", ["LUNAUSDT"], start="2024-12-01", archive=True)
SLOWER = ("half, and a length to match", "html", "hang", "429")


@pytest.mark.parametrize(
    "name", ["cut body", "a flipped bit", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOWER)]
)
def test_a_file_of_trades_that_does_not_come_whole_is_asked_for_again(tmp_path, small, name):
    pulled(tmp_path / "calm", small, SMALL_TRADES)
    small.fail("LUNAUSDT2024-12-25.csv.gz", name, 2)
    pulled(tmp_path / "lake", small, SMALL_TRADES)
    assert small.faults[0].left == 0
    assert tree(tmp_path / "lake") == tree(tmp_path / "calm")


# Other sources, and what is pulled from them. Nothing in their answers would show a flipped bit.
OTHERS = {
    "/v5/market/kline": recipe(("klines",), "bybit", start="2024-12-01"),
    "/v5/market/funding/history": recipe(("funding_rate",), "bybit", start="2024-12-01"),
    "VIX_History.csv": recipe(("series",), "cboe", ["VIX"]),
    "get_volatility_index_data": recipe(("series",), "deribit", ["BTC-DVOL"], start="2024-12-01"),
}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        pytest.param(name, place, marks=() if (n + p) % len(PASSING) == 3 else pytest.mark.slow)
        for n, name in enumerate(PASSING)
        for p, place in enumerate(OTHERS)
        if name != "a flipped bit"
    ],
)
def test_a_fault_of_another_source_that_passes_leaves_no_trace_and_one_that_stays_stores_nothing(
    tmp_path, small, name, place
):
    pulled(tmp_path / "calm", small, OTHERS[place])
    small.fail(place, name)
    pulled(tmp_path / "lake", small, OTHERS[place])
    assert small.faults[0].left == 0
    assert tree(tmp_path / "lake") == tree(tmp_path / "calm")
    small.fail(place, name, 999)
    with pytest.raises(SourceError):
        pulled(tmp_path / "none", small, OTHERS[place])
    assert Lake(tmp_path / "none").datasets() == []


def test_the_server_is_given_the_time_that_it_asks_for(tmp_path, market):
    market.fail("2024-12.zip", "429", 3)
    start = time.monotonic()
    pulled(tmp_path, market)
    assert time.monotonic() - start >= 3 * 0.2


def test_a_ban_stops_the_pull_at_once(tmp_path, market):
    market.fail("/", "ban", 999)
    with pytest.raises(SourceError, match="asks to wait 90000 s"):
        pulled(tmp_path, market, recipe(("klines", "mark_price", "funding_rate"), symbols=["BTCUSDT", "ETHUSDT"]))
    assert len(market.requests) <= 8


def test_a_host_that_is_gone_stops_the_pull(tmp_path, market, monkeypatch):
    move_hosts(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="gives no answer"):
        pulled(tmp_path, market)


def test_a_redirect_within_the_host_is_followed(market, monkeypatch):
    real = Market._good

    def moved(self: Market, address: str):
        if address == "/old":
            return Answer(b"", status=301, headers={"Location": "/fapi/v1/klines?" + address_query})
        return real(self, address)

    address_query = f"symbol=X&interval=1h&startTime={LISTED}&endTime={LISTED + DAY_MS}&limit=5"
    monkeypatch.setattr(Market, "_good", moved)
    assert Client(QUICK).get(f"{market.url}/old", len)


def test_a_body_without_end_is_refused(market):
    client = Client(Manners(attempts=1, max_bytes=100))
    with pytest.raises(SourceError, match="more than 100 bytes"):
        client.get(f"{market.url}/data/futures/um/monthly/klines/X/1h/X-1h-2024-12.zip", len)


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
