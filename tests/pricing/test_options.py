"""Option prices against QuantLib, published figures and the laws that hold for any option."""

from __future__ import annotations

import math
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
import QuantLib
from hypothesis import given
from hypothesis import strategies as st

from backtest.pricing.options import RIGHTS, YEAR_MS, black_76, realised_volatility, written_margins
from backtest.units import HOUR_MS

KINDS = {"put": QuantLib.Option.Put, "call": QuantLib.Option.Call}
NORMAL = NormalDist()


def price(right: str, forward: float, strike: float, volatility: float, years: float) -> float:
    return float(black_76(right, *(np.array([value]) for value in (forward, strike, volatility, years)))[0])


GRID = list(product(RIGHTS, (40.0, 90.0, 100.0, 110.0, 250.0), (0.05, 0.4, 0.8, 2.5), (1e-6, 1 / 365, 30 / 365, 3.0)))


@pytest.mark.parametrize(("right", "forward", "volatility", "years"), GRID)
def test_prices_are_those_of_quantlib(right, forward, volatility, years):
    theirs = QuantLib.blackFormula(KINDS[right], 100.0, forward, volatility * math.sqrt(years), 1.0)
    assert price(right, forward, 100.0, volatility, years) == pytest.approx(theirs, rel=1e-9, abs=1e-11)


def test_a_put_is_the_mean_of_what_it_pays():
    """By quadrature of the payoff over the lognormal law: no formula is shared."""
    deviation = 0.9 * math.sqrt(45 / 365)
    normal = np.array([NORMAL.inv_cdf((n + 0.5) / 20_000) for n in range(20_000)])
    paid = np.maximum(31_000 - 30_000 * np.exp(deviation * normal - deviation**2 / 2), 0.0)
    assert price("put", 30_000, 31_000, 0.9, 45 / 365) == pytest.approx(paid.mean(), rel=1e-4)


def test_a_published_figure():
    # J. Hull, Options, Futures and Other Derivatives, on a future: F = K = 20, 9 %, 25 %, four months: 1.12.
    assert math.exp(-0.09 * 4 / 12) * price("put", 20, 20, 0.25, 4 / 12) == pytest.approx(1.12, abs=0.005)


SIZE = st.floats(0.01, 1e6)
MARKETS = (SIZE, SIZE, st.floats(0.01, 4.0), st.floats(1e-6, 5.0))


@given(*MARKETS)
def test_put_and_call_differ_by_what_the_forward_gives(forward, strike, volatility, years):
    put, call = (price(right, forward, strike, volatility, years) for right in RIGHTS)
    assert call - put == pytest.approx(forward - strike, rel=1e-9, abs=1e-9 * (forward + strike))


@given(*MARKETS, st.floats(1.0, 1.5), st.sampled_from(RIGHTS))
def test_an_option_lies_in_its_bounds_and_is_dearer_with_more_time_or_volatility(f, k, v, t, more, right):
    worth = price(right, f, k, v, t)
    assert max(f - k if right == "call" else k - f, 0.0) <= worth <= (f if right == "call" else k) * (1 + 1e-12)
    slack = 1e-12 * (f + k)
    assert price(right, f, k, v * more, t) >= worth - slack
    assert price(right, f, k, v, t * more) >= worth - slack
    change = price(right, f * more, k, v, t) - worth
    assert -slack <= (change if right == "call" else -change) <= f * (more - 1) + slack


@pytest.mark.parametrize(("volatility", "years"), [(0.8, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_without_time_or_volatility_an_option_is_what_exercise_gives(volatility, years):
    assert [price("put", f, 100.0, volatility, years) for f in (70.0, 100.0, 130.0)] == [30.0, 0.0, 0.0]
    assert [price("call", f, 100.0, volatility, years) for f in (70.0, 100.0, 130.0)] == [0.0, 0.0, 30.0]


@pytest.mark.parametrize(
    ("right", "mark", "strike", "value", "initial", "maintenance"),
    [
        ("put", 100.0, 100.0, 8.0, 15.0, 7.5),
        ("put", 100.0, 97.0, 6.0, 12.0, 7.5),  # 3 out of the money
        ("put", 100.0, 70.0, 1.0, 10.0, 7.5),  # never under 10 %
        ("put", 20.0, 100.0, 80.5, 6.0375, 6.0375),  # deep in the money: 7.5 % of its value
        ("call", 100.0, 104.0, 5.0, 11.0, 7.5),
        ("call", 100.0, 50.0, 51.0, 15.0, 7.5),
    ],
)
def test_what_a_written_option_needs(right, mark, strike, value, initial, maintenance):
    found = written_margins(right, *(np.array([one]) for one in (mark, strike, value)))
    assert [float(one[0]) for one in found] == pytest.approx([initial, maintenance])


def test_realised_volatility_of_a_steady_swing():
    close = 100.0 * np.exp(0.01 * (np.arange(60) % 2))
    known = realised_volatility(close, HOUR_MS, 24)
    assert np.isnan(known[:25]).all()
    assert known[25:] == pytest.approx(0.01 * math.sqrt(YEAR_MS / HOUR_MS), rel=1e-12)


@given(st.integers(0, 59), st.floats(1.0, 500.0))
def test_realised_volatility_at_an_open_knows_no_later_close(row, other):
    close = 100.0 + np.sin(np.arange(60.0))
    changed = close.copy()
    changed[row:] = other
    before, after = (realised_volatility(one, HOUR_MS, 12)[: row + 1] for one in (close, changed))
    assert np.array_equal(before, after, equal_nan=True)


def test_too_short_a_history_is_not_known():
    assert np.isnan(realised_volatility(np.full(5, 7.0), HOUR_MS, 24)).all()
