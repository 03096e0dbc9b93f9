"""Whatever the server does, the lake is right or there is an error, and nothing wrong is in it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from market_files import tree
from pulling import QUICK, move_hosts, pulled, recipe
from server import FAULTS, Answer, Market, serving

from backtest.data.manifest import Dataset
from backtest.data.pull.http import Client, Manners
from backtest.data.store import Lake
from backtest.errors import SourceError
from backtest.units import DAY_MS, HOUR_MS, time_ms, time_text

KLINES = Dataset("binance", "klines", "BTCUSDT", "1h")
FUNDING = Dataset("binance", "funding_rate", "BTCUSDT", "event")
# The server's day is 2025-01-05, BTCUSDT is listed on 2024-11-10, months lag by three days, days by one.
LISTED, TODAY = time_ms("2024-11-10"), time_ms("2025-01-05")
HOURS = (TODAY - LISTED) // HOUR_MS


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
