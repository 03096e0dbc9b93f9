"""An option as an asset: fixed until it expires, or rolled without gain or loss; its bars bound every path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.errors import CoverageError
from backtest.pricing.options import YEAR_MS, black_76
from backtest.pricing.rolled import Marks, Series, option_marks
from backtest.units import DAY_MS, HOUR_MS

START = 1_609_459_200_000
PUT = Series("put", 1.0, 4 * DAY_MS)
ROLLED = replace(PUT, roll_ms=DAY_MS)


def market(bars: int = 96, seed: int = 1):
    """Give times and bars of a mark, and a volatility."""
    random = np.random.default_rng(seed)
    close = 30_000 * np.exp(np.cumsum(random.normal(0, 0.01, bars)))
    open = np.concatenate(([30_000.0], close[:-1]))
    high, low = np.maximum(open, close) * 1.004, np.minimum(open, close) * 0.995
    return START + HOUR_MS * np.arange(bars), (open, high, low, close), random.uniform(0.5, 1.2, bars)


def marks(series: Series, bars: int = 96, **changes) -> Marks:
    time_ms, mark, volatility = market(bars)
    return option_marks(changes.get("time_ms", time_ms), changes.get("mark", mark),
                        changes.get("volatility", volatility), series, HOUR_MS)  # fmt: skip


def worth(right: str, forward: float, strike: float, volatility: float, left_ms: int) -> float:
    return float(black_76(right, *(np.array([one]) for one in (forward, strike, volatility, left_ms / YEAR_MS)))[0])


def test_a_fixed_contract_is_priced_at_every_open_and_close_until_it_expires():
    found = marks(replace(PUT, moneyness=0.9), 120)
    time_ms, (open, _, _, close), volatility = market(120)
    assert len(found.bar) == 96
    strike = 0.9 * 30_000
    for row in (0, 7, 95):
        left_ms = START + 4 * DAY_MS - int(time_ms[row])
        assert found.open[row] == pytest.approx(worth("put", open[row], strike, volatility[row], left_ms), abs=1e-8)
        later = worth("put", close[row], strike, volatility[row], left_ms - HOUR_MS)
        assert found.close[row] == pytest.approx(later, abs=1e-8)
    assert found.close[95] == round(max(strike - close[95], 0.0), 8)


@given(st.integers(0, 95), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["put", "call"]))
def test_no_point_of_a_bar_leaves_its_low_and_high(row, up, when, right):
    found = marks(replace(PUT, right=right))
    time_ms, (_, high, low, _), volatility = market()
    left_ms = START + 4 * DAY_MS - int(time_ms[row]) - int(when * HOUR_MS)
    inside = worth(right, low[row] + up * (high[row] - low[row]), 30_000.0, volatility[row], left_ms)
    assert found.low[row] - 1e-8 <= inside <= found.high[row] + 1e-8
    assert found.low[row] <= min(found.open[row], found.close[row])
    assert found.high[row] >= max(found.open[row], found.close[row])


def test_prices_have_eight_decimals():
    for column in marks(ROLLED)[1:]:
        assert np.array_equal(column, np.round(column, 8))


def test_a_roll_neither_gains_nor_loses():
    found = marks(ROLLED)
    _, (open, *_), volatility = market()
    for row in (24, 48, 72):
        sold_strike, left_ms = open[row - 24], 3 * DAY_MS
        held = found.open[row - 24] / worth("put", sold_strike, sold_strike, volatility[row - 24], 4 * DAY_MS)
        assert found.open[row] == pytest.approx(held * worth("put", open[row], sold_strike, volatility[row], left_ms))


def test_a_roll_costs_its_share():
    free, dear = marks(ROLLED), marks(replace(ROLLED, roll_cost=0.02))
    assert dear.open / free.open == pytest.approx(0.98 ** (np.arange(96) // 24), rel=1e-6)


def test_units_of_many_contracts_are_worth_and_need_as_many_times_as_much():
    one, many = marks(ROLLED), marks(replace(ROLLED, contracts=1000.0))
    for column in ("open", "high", "initial_margin", "maintenance_margin"):
        assert getattr(many, column) == pytest.approx(1000.0 * getattr(one, column), abs=1e-5)


def test_skew_lifts_strikes_under_the_mark_only():
    low, high = replace(PUT, moneyness=0.8), replace(PUT, moneyness=1.2)
    _, (open, *_), volatility = market()
    lifted = volatility[0] * (1 - 0.25 * np.log(0.8))
    skewed = marks(replace(low, skew=0.25))
    assert skewed.open[0] == pytest.approx(worth("put", open[0], 24_000.0, lifted, 4 * DAY_MS), abs=1e-8)
    assert marks(high).open.tolist() == marks(replace(high, skew=0.25)).open.tolist()


@given(st.integers(1, 95), st.sampled_from([PUT, ROLLED]))
def test_nothing_is_known_before_its_time(row, series):
    _, mark, volatility = market()
    later = tuple(np.concatenate((column[:row], column[row:] * 1.7)) for column in mark)
    surprised = np.concatenate((volatility[:row], volatility[row:] * 3))
    before, after = marks(series), marks(series, mark=later, volatility=surprised)
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one[:row], other[:row])


def test_a_roll_that_falls_into_a_hole_is_made_at_the_next_bar():
    time_ms, mark, volatility = market()
    keep = ~np.isin(np.arange(96), range(22, 27))
    found = marks(ROLLED, time_ms=time_ms[keep], mark=tuple(one[keep] for one in mark), volatility=volatility[keep])
    strike = mark[0][27]
    row = 22  # the first bar after the hole
    held = found.open[row] / worth("put", strike, strike, volatility[27], 4 * DAY_MS)
    left_ms = 4 * DAY_MS - HOUR_MS
    assert found.open[row + 1] == pytest.approx(held * worth("put", mark[0][28], strike, volatility[28], left_ms))


def test_a_bar_without_a_volatility_is_refused():
    volatility = market()[2]
    volatility[5] = np.nan
    with pytest.raises(CoverageError, match="2021-01-01 05:00: no volatility is known at this bar; begin later"):
        marks(PUT, volatility=volatility)


def test_an_asset_that_was_rolled_to_nothing_is_refused():
    time_ms, (open, high, low, close), volatility = market(24 * 60)
    rising = np.exp(0.01 * np.arange(24 * 60))
    mark = tuple(column * rising for column in (open, high, low, close))
    with pytest.raises(CoverageError, match="too little for 8 decimals; begin with more contracts a unit"):
        marks(ROLLED, 24 * 60, time_ms=time_ms, mark=mark, volatility=volatility)
