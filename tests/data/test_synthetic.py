"""The synthetic market: same bytes for a seed, sound bars, a mark apart from the last price, plenty of liquidations."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.data.manifest import Dataset
from backtest.data.sources import synthetic
from backtest.data.sources.synthetic import FUNDING_CAP, FUNDING_MS, SPECS, Bars, generate, m30_bars, pieces, write
from backtest.data.sources.synthetic_factor import exp
from backtest.data.store import Lake
from backtest.errors import UsageError
from backtest.units import DAY_MS, E8, HOUR_MS, MINUTE_MS

# The SHA-256 of all arrays of seed 1, two symbols, 30 days of hours: the same on every machine.
SEED_1_SHA256 = "7a82cecd13376c9bec046ba648dad1418f625b3d25d5abccce7d066505338af9"


def digest(market: synthetic.SyntheticMarket) -> str:
    sha = hashlib.sha256()
    for bars in market.bars.values():
        for array in bars[1:]:
            sha.update(array.tobytes())
    sha.update(market.index_points.tobytes())
    return sha.hexdigest()


@pytest.fixture(scope="module")
def demo() -> synthetic.SyntheticMarket:
    return generate(1)


def test_a_seed_gives_the_same_bytes_on_every_machine() -> None:
    assert digest(generate(1, days=30)) == SEED_1_SHA256


def test_another_seed_gives_another_market() -> None:
    assert digest(generate(2, days=30)) != SEED_1_SHA256


def test_a_symbol_does_not_depend_on_the_others_asked_for() -> None:
    alone = generate(3, symbols=["ETHUSDT"], days=5).bars["ETHUSDT"]
    among = generate(3, symbols=["XRPUSDT", "ETHUSDT", "BTCUSDT"], days=5).bars["ETHUSDT"]
    assert all(np.array_equal(a, b) for a, b in zip(alone, among, strict=True))


@given(
    seed=st.integers(0, 2**32),
    symbol=st.sampled_from(sorted(SPECS)),
    interval_ms=st.sampled_from([5 * MINUTE_MS, HOUR_MS, 4 * HOUR_MS, 8 * HOUR_MS]),
    days=st.integers(1, 200),
)
@settings(max_examples=30, deadline=None)
def test_bars_are_sound(seed: int, symbol: str, interval_ms: int, days: int) -> None:
    bars = generate(seed, symbols=[symbol], interval_ms=interval_ms, days=days).bars[symbol]
    assert len(bars.time_ms) == days * DAY_MS // interval_ms
    assert (np.diff(bars.time_ms) == interval_ms).all()
    for opened, high, low, closed in (bars[2:6], bars[6:10]):
        assert (low > 0).all()
        assert (high >= np.maximum(opened, closed)).all()
        assert (low <= np.minimum(opened, closed)).all()
        assert all((prices % SPECS[symbol].tick_e8 == 0).all() for prices in (opened, high, low, closed))
    assert (bars.volume >= 0).all()


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_funding_comes_every_8_hours_within_its_cap(seed: int) -> None:
    bars = generate(seed, days=60).bars["BTCUSDT"]
    late_ms = bars.funding_ms % FUNDING_MS
    assert (late_ms < 20).all()
    assert (np.diff(bars.funding_ms - late_ms) == FUNDING_MS).all()
    assert (np.abs(bars.funding_e8) * 10 <= FUNDING_CAP).all()


def test_funding_rests_at_the_interest_and_moves_with_the_premium(demo: synthetic.SyntheticMarket) -> None:
    rates = np.concatenate([bars.funding_e8 for bars in demo.bars.values()])
    assert np.median(rates) == 10_000  # 0.01 %
    assert rates.min() < -10_000
    assert rates.max() > 20_000


def test_exp_is_right_without_the_library() -> None:
    x = np.linspace(-8.0, 8.0, 2001)
    np.testing.assert_allclose(exp(x), np.exp(x), rtol=2e-12)


def test_symbols_move_together(demo: synthetic.SyntheticMarket) -> None:
    btc, eth = (np.diff(np.log(demo.bars[name].mark_close_e8)) for name in ("BTCUSDT", "ETHUSDT"))
    assert 0.7 < np.corrcoef(btc, eth)[0, 1] < 0.98


def test_last_price_spikes_where_the_mark_stays(demo: synthetic.SyntheticMarket) -> None:
    bars = demo.bars["BTCUSDT"]
    above, below = bars.last_high_e8 / bars.mark_high_e8, bars.last_low_e8 / bars.mark_low_e8
    spikes = int(((above > 1.02) | (below < 0.98)).sum())
    assert 3 <= spikes <= 40
    assert np.median(np.abs(bars.last_close_e8 / bars.mark_close_e8 - 1.0)) < 0.001


def test_there_is_a_crash_episode(demo: synthetic.SyntheticMarket) -> None:
    close = demo.bars["BTCUSDT"].mark_close_e8.astype(float)
    two_days = close[48:] / close[:-48] - 1.0
    assert two_days.min() < -0.10
    assert demo.index_points.max() > 1.5 * np.median(demo.index_points)


def hold_liquidations(bars: Bars, leverage: int, side: int, *, days: int = 30, maintenance: float = 0.005) -> float:
    """Share of 30-day entries, one a day, whose mark reaches the liquidation price of an unguarded position."""
    per_day = DAY_MS // bars.interval_ms
    distance = 1.0 / leverage - maintenance
    dead = []
    for first in range(0, len(bars.time_ms) - days * per_day, per_day):
        window = slice(first, first + days * per_day)
        entry = bars.mark_open_e8[first]
        if side > 0:
            dead.append(bars.mark_low_e8[window].min() <= entry * (1.0 - distance))
        else:
            dead.append(bars.mark_high_e8[window].max() >= entry * (1.0 + distance))
    return float(np.mean(dead))


@pytest.mark.parametrize("seed", range(1, 6))
def test_high_leverage_is_liquidated_often_but_low_leverage_is_not(seed: int) -> None:
    for bars in generate(seed).bars.values():
        rate = {lev: np.mean([hold_liquidations(bars, lev, side) for side in (1, -1)]) for lev in (3, 10, 20)}
        assert rate[20] > 0.6
        assert rate[10] > 0.3
        assert rate[3] < 0.4


def test_bad_arguments_are_all_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        generate(-1, symbols=["BTCUSD"], interval_ms=7 * MINUTE_MS, days=0, start_ms=1)
    places = [problem.where for problem in caught.value.problems]
    assert places == ["symbols", "seed", "interval", "days", "start"]
    assert 'did you mean "BTCUSDT"?' in str(caught.value)


def test_pieces_carry_natural_units_on_the_lake_schema() -> None:
    market = generate(1, days=3)
    held = {piece.dataset: piece.frame for piece in pieces(market)}
    mark = held[Dataset("binance", "mark_price", "BTCUSDT", "1h")]
    bars = market.bars["BTCUSDT"]
    assert np.array_equal(np.rint(mark["low"].to_numpy() * E8), bars.mark_low_e8)
    assert (mark["available_ms"].to_numpy() - mark["open_time_ms"].to_numpy() == HOUR_MS).all()
    funding = held[Dataset("binance", "funding_rate", "BTCUSDT", "event")]
    assert funding["mark_price"].to_numpy()[1] == bars.mark_open_e8[8] / E8
    index = held[Dataset("synthetic", "series", "VIX", "event")]
    assert (index["available_ms"].to_numpy() - index["time_ms"].to_numpy() == DAY_MS).all()


def test_the_lake_says_synthetic_and_a_second_write_changes_nothing(tmp_path: Path) -> None:
    lake, market = Lake(tmp_path), generate(7, days=3)
    write(lake, market)
    before = (tmp_path / "manifest.json").read_bytes()
    assert all(source.name.startswith("SYNTHETIC seed=7") for entry in lake.entries() for source in entry.sources)
    assert all(result.rows_added == 0 for result in write(lake, market))
    assert (tmp_path / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_the_benchmark_market_is_as_long_as_it_must_be_and_leaps_within_a_minute() -> None:
    bars = m30_bars(1)
    assert len(bars.time_ms) == 2_628_000
    leaps = np.abs(np.diff(np.log(bars.mark_close_e8))) > 0.02
    assert 300 < leaps.sum() < 900  # 5 years of them: what liquidates runs that a rule defends
    assert hold_liquidations(bars, 10, 1) > 0.4
