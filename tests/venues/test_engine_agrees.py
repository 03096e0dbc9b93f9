"""The replay's margin formulas and the account calculator give the same figures, but for roundings that are named."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.data.tape import tape_from_arrays
from backtest.engine.margin import fee_reserve, measure
from backtest.engine.market import market_of
from backtest.units import E8, HOUR_MS, e8_text, to_e8
from backtest.venues.account_json import read_account
from backtest.venues.report import compute, is_liquidated
from backtest.venues.tiers import TierTable, read_tiers
from tests.venues.accounts import make_ladder

FAST = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


class Case(NamedTuple):
    """One isolated position: what the kernel takes, and the ladder."""

    side: int
    qty: int
    entry: int
    mark: int
    leverage: int
    wallet: int  # without a fee reserve
    taker: int
    ladder: list[dict[str, str]]

    @property
    def cost(self) -> int:
        """Value at entry; a whole number at 1e-8, as the quantity and the entry price have few decimals."""
        return self.qty * self.entry // E8


def make_case(random: Random) -> Case:
    """Make a position whose mark has eight decimals, so that every product has to be rounded."""
    entry = random.randint(10, 5_000_000) * 10**6
    qty = random.randint(1, 2_000_000) * 10**4
    margin = qty * entry // E8 // random.randint(1, 50)
    return Case(
        side=random.choice((1, -1)),
        qty=qty,
        entry=entry,
        mark=max(1, entry * random.randint(500_000_000, 1_500_000_000) // 10**9),
        leverage=random.randint(1, 125),
        wallet=margin + random.randint(0, 1000),
        taker=random.choice((0, 40_000, 55_000, 64_900, 100_000)),
        ladder=make_ladder(random, 1_000_000),
    )


CASES = st.integers(0, 2**62).map(lambda seed: make_case(Random(seed)))


def account_of(case: Case, venue: str, mark: int) -> dict[str, Any]:
    """Write the case in the calculator's form."""
    position = {
        "symbol": "AAAUSDT",
        "side": "long" if case.side > 0 else "short",
        "qty": e8_text(case.qty),
        "entry_price": e8_text(case.entry),
        "mark_price": e8_text(mark),
        "leverage": str(case.leverage),
        "isolated_wallet": e8_text(case.wallet),
    }
    account: dict[str, Any] = {
        "venue": venue,
        "margin_mode": "isolated",
        "position_mode": "one_way",
        "taker_fee": e8_text(case.taker),
        "collateral": [{"asset": "USDT", "amount": "0", "index_price": "1", "ratio": "1"}],
        "positions": [position],
        "tiers": {"AAAUSDT": case.ladder},
    }
    return account | ({"era": "uta_mark"} if venue == "bybit" else {})


def kernel(case: Case, reserve: int, mark: int) -> tuple[int, int, int]:
    """Give the kernel's equity, maintenance and initial margin."""
    price = np.array([mark], np.int64)
    table = TierTable("AAAUSDT", 0, 0, read_tiers(case.ladder, "test"), "test")
    tape = tape_from_arrays(HOUR_MS, np.zeros(1, np.int64), *[price] * 6, [], [table], [(0, case.taker)])
    figures = measure(
        market_of(tape),
        0,
        case.side,
        case.qty,
        case.cost,
        case.wallet + reserve,
        100 * case.leverage,
        reserve,
        mark,
    )
    equity, maintenance, initial = figures
    return int(equity), int(maintenance), int(initial)


def shown(text: str | None) -> int:
    assert text is not None
    return to_e8(text)


@FAST
@given(CASES)
def test_binance_isolated(case: Case) -> None:
    """One rounding of a term: equity down, margins up; the calculator cuts what it shows towards zero."""
    content = account_of(case, "binance", case.mark)
    equity, maintenance, initial = kernel(case, 0, case.mark)
    position = compute(content).positions[0]
    assert 0 <= shown(position.equity) - equity <= 1
    assert 0 <= maintenance - shown(position.maintenance_margin) <= 1
    assert 0 <= initial - shown(position.initial_margin) <= 1
    if abs(equity - maintenance) > 2:
        assert is_liquidated(read_account(content), 0, Fraction(case.mark, E8)) == (equity <= maintenance)


@FAST
@given(CASES)
def test_bybit_isolated(case: Case) -> None:
    """The fee reserve: the kernel rounds the amount up, the venue the rate (at 1e-8); all else as on Binance.

    The kernel's wallet holds the reserve. Initial margin is compared with the mark at entry, where both take it.
    """
    reserve = int(fee_reserve(case.cost, case.side, 100 * case.leverage, case.taker))
    rate = Fraction(case.taker, E8) * (1 - Fraction(case.side, case.leverage))
    theirs = case.cost * Fraction(ceil(rate * E8), E8)  # of the venue, at 1e-8
    assert reserve == ceil(case.cost * rate)
    assert 0 <= theirs - case.cost * rate <= Fraction(case.cost, E8)
    more = theirs - reserve
    content = account_of(case, "bybit", case.mark)
    equity, maintenance, _ = kernel(case, reserve, case.mark)
    position = compute(content).positions[0]
    assert abs(shown(position.equity) - equity - more) <= 2
    assert abs(shown(position.maintenance_margin) - maintenance - more) <= 2
    if abs(equity - maintenance) > 4:  # the reserve is on both sides of the test
        assert is_liquidated(read_account(content), 0, Fraction(case.mark, E8)) == (equity <= maintenance)
    at_entry = compute(account_of(case, "bybit", case.entry)).positions[0]
    assert abs(shown(at_entry.initial_margin) - kernel(case, reserve, case.entry)[2] - more) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("test", [test_binance_isolated, test_bybit_isolated])
def test_many(test: Any) -> None:
    """The same on ten thousand accounts each."""
    for seed in range(10_000):
        test.hypothesis.inner_test(make_case(Random(seed)))
