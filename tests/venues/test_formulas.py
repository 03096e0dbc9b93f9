"""The formulas in integers are the formulas in fractions, each term rounded once in its direction."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.engine import margin as kernel
from backtest.engine.compile import jit
from backtest.units import E8
from backtest.venues.exact import EXACT, exact_formulas, round_up
from backtest.venues.ladder import Ladder
from backtest.venues.tiers import read_tiers
from tests.venues.test_engine_agrees import CASES, Case
from tests.venues.test_engine_agrees import kernel as kernel_figures

PATIENT = settings(deadline=None)  # the first call compiles
SIDES = st.sampled_from((1, -1))
AMOUNT = st.integers(-(10**15), 10**15)
POSITIVE = st.integers(1, 10**15)
LIMIT = st.integers(0, 5 * E8)


@jit
def decided(equity: int, maintenance: int, initial: int, limit: int) -> tuple[bool, bool]:
    """Ask both thresholds; they are callable from compiled functions only."""
    return kernel.buffer_at_most(equity, maintenance, initial, limit), kernel.ratio_at_least(equity, maintenance, limit)


def natural(units: int) -> Fraction:
    return Fraction(units, E8)


@PATIENT
@given(CASES)
def test_equity_and_margins(case: Case) -> None:
    equity, maintenance, initial = kernel_figures(case, 0, case.mark)
    ladder = Ladder.of(read_tiers(case.ladder, "test"), "test")
    value, cost = natural(case.qty) * natural(case.mark), natural(case.cost)
    row = ladder.rows[EXACT.tier(ladder.caps, len(ladder.rows), value)]
    assert equity == floor((natural(case.wallet) + EXACT.profit(case.side, value, cost)) * E8)
    assert maintenance == ceil(EXACT.maintenance(value, row.rate, row.deduction, Fraction(0)) * E8)
    assert initial == ceil(EXACT.initial(value, Fraction(case.leverage), Fraction(0)) * E8)


@PATIENT
@given(SIDES, POSITIVE, st.integers(100, 15_000), st.integers(0, 10**6))
def test_the_fee_reserve(side: int, cost: int, leverage_e2: int, fee: int) -> None:
    exact = EXACT.fee_reserve(natural(cost), side, Fraction(leverage_e2, 100), natural(fee))
    assert kernel.fee_reserve(cost, side, leverage_e2, fee) == ceil(exact * E8)


@PATIENT
@given(AMOUNT, POSITIVE, POSITIVE, LIMIT)
def test_the_thresholds(equity: int, maintenance: int, more: int, limit: int) -> None:
    ties = (equity, maintenance + more * limit // E8, maintenance * E8 // max(limit, 1))
    for one in (step + tie for tie in ties for step in (-1, 0, 1) if abs(tie) < 10**17):
        values = (natural(one), natural(maintenance))
        exact = (
            EXACT.buffer_at_most(*values, natural(maintenance + more), natural(limit)),
            EXACT.ratio_at_least(*values, natural(limit)),
        )
        assert decided(one, maintenance, maintenance + more, limit) == exact


@PATIENT
@given(SIDES, POSITIVE, AMOUNT)
def test_nothing_is_left_at_the_bankruptcy_value(side: int, cost: int, wallet: int) -> None:
    value = EXACT.bankruptcy_value(side, natural(cost), natural(wallet))
    assert natural(wallet) + EXACT.profit(side, value, natural(cost)) == 0


def test_a_venue_may_round_what_it_multiplies_by() -> None:
    """1 / 3 and the fee rate at 8 decimals upwards, as Bybit did before the mark era."""
    venue = exact_formulas(share_of=round_up, fee_rate_of=round_up)
    thousand, three, fee = Fraction(1000), Fraction(3), Fraction("0.0006")
    assert venue.initial(thousand, three, Fraction(0)) == Fraction("333.33334")
    assert EXACT.initial(thousand, three, Fraction(0)) == Fraction(1000, 3)
    assert (
        venue.fee_reserve(thousand, 1, Fraction(7), fee)
        == Fraction("0.51429")
        != EXACT.fee_reserve(thousand, 1, Fraction(7), fee)
    )
    assert EXACT.fee_reserve(thousand, -1, Fraction(10), fee) == Fraction("0.66")
