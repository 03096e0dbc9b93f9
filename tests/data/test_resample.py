"""Stress markets: days drawn anew or larger moves, with mark, last price and funding in step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_files import FUNDING, KLINES, MARK, bars, funding, piece
from test_tape import ONE_TIER

from backtest.data.detect import Prices
from backtest.data.join import Joined
from backtest.data.resample import Bootstrap, ScaledWindows, draw, read_market, with_scaled_windows
from backtest.data.store import Lake
from backtest.data.tape import build_tape
from backtest.errors import StudyError
from backtest.units import DAY_MS, HOUR_MS, time_ms

START = time_ms("2024-01-01")
DAYS = 20
STOP = START + DAYS * DAY_MS


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    """Give twenty days of hourly bars of two symbols, funding with some ms off the hour."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    for seed, symbol in ((1, "BTCUSDT"), (5, "ETHUSDT")):
        rates = funding(3 * DAYS, start_ms=START)
        rates["funding_time_ms"] = rates["funding_time_ms"] + np.arange(3 * DAYS) % 29
        lake.merge(
            [
                piece(bars(24 * DAYS, seed, START), KLINES._replace(symbol=symbol), "k.csv"),
                piece(bars(24 * DAYS, seed + 1, START), MARK._replace(symbol=symbol), "m.csv"),
                piece(rates, FUNDING._replace(symbol=symbol), "f.csv"),
            ]
        )
    return lake


def market(lake: Lake, spec=None, symbol: str = "BTCUSDT", policy="error", start_ms=START, stop_ms=STOP) -> Joined:
    return read_market(lake, "binance", symbol, "1h", start_ms, stop_ms, policy, spec)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(0, 2**63 - 1))
def test_every_drawn_day_is_a_day_of_history_scaled_as_a_whole(lake, days, seed):
    spec = Bootstrap(days * DAY_MS, seed)
    truth, made = market(lake), market(lake, spec)
    assert made.time_ms.tolist() == list(range(START, STOP, HOUR_MS))
    cuts = draw(spec, START, STOP)
    assert all((cut.stop_ms - cut.start_ms) % DAY_MS == cut.shift_ms % DAY_MS == 0 for cut in cuts)
    level = truth.mark.open[0]
    for cut in cuts:
        old = slice(*np.searchsorted(truth.time_ms, (cut.start_ms, cut.stop_ms)))
        new = slice(*np.searchsorted(made.time_ms, (cut.start_ms + cut.shift_ms, cut.stop_ms + cut.shift_ms)))
        assert made.mark.open[new.start] == pytest.approx(level, rel=1e-12)
        factor = level / truth.mark.open[old.start]
        for mine, theirs in zip((*made.mark, *made.last), (*truth.mark, *truth.last), strict=True):
            assert mine[new] == pytest.approx(theirs[old] * factor, rel=1e-12)
        assert made.quote_volume[new] == pytest.approx(truth.quote_volume[old] * factor)
        level = made.mark.close[new.stop - 1]
        rates = (truth.funding_ms >= cut.start_ms) & (truth.funding_ms < cut.stop_ms)
        mine = np.isin(made.funding_ms, truth.funding_ms[rates] + cut.shift_ms)
        assert made.funding_rate[mine].tolist() == truth.funding_rate[rates].tolist()
    assert len(made.funding_ms) == 3 * DAYS
    assert (np.diff(made.funding_ms) > 0).all()


def test_a_seed_is_a_market_and_all_symbols_have_the_same_days(lake):
    spec = Bootstrap(3 * DAY_MS, 7)
    once, again, other = (market(lake, one) for one in (spec, spec, Bootstrap(3 * DAY_MS, 8)))
    assert once.mark.close.tolist() == again.mark.close.tolist() != other.mark.close.tolist()
    btc, eth = (market(lake, spec, symbol) for symbol in ("BTCUSDT", "ETHUSDT"))
    for joined, symbol in ((btc, "BTCUSDT"), (eth, "ETHUSDT")):
        truth = market(lake, symbol=symbol)
        cut = draw(spec, START, STOP)[2]
        ratio = joined.mark.close[144:216] / truth.mark.close[(cut.start_ms - START) // HOUR_MS :][:72]
        assert np.ptp(ratio) < 1e-9


def test_a_hole_is_a_hole_wherever_its_day_is_played(tmp_path):
    lake, hours = Lake(tmp_path), 24 * DAYS
    holes = [30, 31]
    columns = {name: np.delete(column, holes) for name, column in bars(hours, 2, START).items()}
    lake.merge([piece(bars(hours, 1, START)), piece(columns, MARK), piece(funding(3 * DAYS, START), FUNDING)])
    spec = Bootstrap(DAY_MS, 3)
    made = market(lake, spec, policy="flag")
    expected = []
    for cut in draw(spec, START, STOP):
        if cut.start_ms == START + DAY_MS:
            expected.append((cut.start_ms + cut.shift_ms + 6 * HOUR_MS, cut.start_ms + cut.shift_ms + 7 * HOUR_MS))
    assert expected
    assert made.holes == tuple(expected)
    missing = set(range(START, STOP, HOUR_MS)) - set(made.time_ms.tolist())
    assert missing == {ms for hole in expected for ms in hole}


def test_a_bootstrap_wants_history_over_its_whole_range(lake):
    with pytest.raises(StudyError, match="BTCUSDT has bars from 2024-01-01 00:00"):
        market(lake, Bootstrap(DAY_MS, 1), start_ms=START - DAY_MS)
    with pytest.raises(StudyError, match="to 2024-01-20 23:00 only"):
        market(lake, Bootstrap(DAY_MS, 1), stop_ms=STOP + DAY_MS)


def walk(scale_e2: int, *windows: tuple[int, int]) -> tuple[Joined, Joined]:
    """Give ten hours in which the price falls from 100 to 80 in hours 2 to 4, as it was and with larger moves."""
    close = np.array([100, 100, 90, 84, 80, 80, 88, 88, 88, 88], float)
    opens = np.array([100, 100, 100, 90, 84, 80, 80, 88, 88, 88], float)
    mark = Prices(opens, np.maximum(opens, close) + 1, np.minimum(opens, close) - 1, close)
    last = Prices(*(column + 0.5 for column in mark))
    stamps, rates = np.array([START], np.int64), np.array([1e-4])
    opens = START + HOUR_MS * np.arange(10)
    joined = Joined(opens, opens + HOUR_MS, last, mark, last.close * 10, stamps, rates, (), ())
    spans = tuple((START + a * HOUR_MS, START + b * HOUR_MS) for a, b in windows)
    return joined, with_scaled_windows(joined, ScaledWindows(spans, scale_e2))


def test_moves_inside_a_window_are_larger_and_what_follows_goes_on_from_there():
    truth, made = walk(150, (2, 5))
    assert made.mark.close.tolist() == pytest.approx([100, 100, 85, 76, 70, 70, 77, 77, 77, 77])
    assert made.mark.open.tolist() == pytest.approx([100, 100, 100, 85, 76, 70, 70, 77, 77, 77])
    assert made.mark.low[2:5] == pytest.approx([83.5, 74.5, 68.5])
    assert made.last.close[2:5] == pytest.approx([85.75, 76.75, 70.75])
    assert made.last.close[5:] / made.mark.close[5:] == pytest.approx(truth.last.close[5:] / truth.mark.close[5:])
    assert made.quote_volume == pytest.approx(made.last.close * 10)
    assert (made.funding_ms.tolist(), made.funding_rate.tolist()) == ([START], [1e-4])


def test_a_second_window_begins_where_the_first_left_the_price():
    _, made = walk(200, (2, 4), (6, 7))
    low = 68 * 80 / 84
    assert made.mark.close.tolist() == pytest.approx([100, 100, 80, 68, low, low, *[low * 1.2] * 4])


def test_a_scale_of_one_changes_nothing():
    truth, made = walk(100, (2, 5))
    for mine, theirs in zip((*made.mark, *made.last), (*truth.mark, *truth.last), strict=True):
        assert mine.tolist() == theirs.tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 130), st.integers(0, 8), st.integers(1, 9))
def test_every_bar_keeps_the_order_of_its_prices(scale_e2, first, length):
    truth, made = walk(scale_e2, (first, min(first + length, 10)))
    for old, new in ((truth.mark, made.mark), (truth.last, made.last)):
        assert (new.low <= np.minimum(new.open, new.close)).all()
        assert (new.high >= np.maximum(new.open, new.close)).all()
        assert ((new.close > new.open) == (old.close > old.open)).all()


def test_a_scale_that_leaves_no_price_is_refused(lake):
    low = int(np.argmin(market(lake).mark.low))
    window = (START + (low - 40) * HOUR_MS, START + (low + 1) * HOUR_MS)
    with pytest.raises(StudyError, match=r"BTCUSDT would reach -.* which is no price"):
        market(lake, ScaledWindows((window,), 100_000))


def test_a_window_without_bars_is_refused(lake):
    with pytest.raises(StudyError, match="no bar in its window 2023-12-01"):
        market(lake, ScaledWindows(((START - 31 * DAY_MS, START - 30 * DAY_MS),), 150))


def test_a_kept_tape_is_another_for_another_market(lake, tmp_path):
    def tape(spec):
        common = {"venue": "binance", "symbol": "BTCUSDT", "interval": "1h", "start_ms": START, "stop_ms": STOP}
        rules = {"tiers": [ONE_TIER], "taker_fee_steps": [(0, 40_000)]}
        return build_tape(lake, **common, **rules, resample=spec, cache=tmp_path).tape

    specs = [None, Bootstrap(DAY_MS, 1), Bootstrap(DAY_MS, 2), ScaledWindows(((START, START + DAY_MS),), 120)]
    made = [tape(spec).mark_close_e8.tolist() for spec in specs]
    assert len({tuple(closes) for closes in made}) == 4
    assert [tape(spec).mark_close_e8.tolist() for spec in specs] == made
