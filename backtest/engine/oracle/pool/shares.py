"""What a share of the core is in a leg. Section 7 and 9 of the contract."""

from __future__ import annotations

from typing import NamedTuple

from backtest.engine.oracle.numbers import E8, e8
from backtest.engine.oracle.pool.assets import AssetLeg
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.pool import Marks, Pool


class Whole(NamedTuple):
    """The quantity that share 1 is: an amount, or an amount of quote over a price."""

    amount: int
    price: int | None = None

    def part(self, share: int) -> tuple[int, int]:
        """Give the quantity of a share as numerator and denominator."""
        return self.amount * share, E8 if self.price is None else self.price

    def natural(self) -> float:
        """Give the quantity in units of 1e-8 as a float; 0 where a price of 0 gives none."""
        price = E8 if self.price is None else self.price
        return float(self.amount) / (float(price) / 1e8) if price else 0.0


def core_notional(pool: Pool, marks: Marks) -> int:
    """Add up the notional of the core legs in quote."""
    return sum(leg.notional(leg.qty, marks[leg.instrument]) for leg in pool.core)


def whole_of(pool: Pool, leg: Leg, marks: Marks) -> Whole:
    """Say what share 1 is in a layer at the marks."""
    if isinstance(leg, AssetLeg):
        return _whole_of_asset(pool, leg, marks)
    count = len(pool.plan.core)
    if leg.slot < 2 * count:
        return Whole(pool.legs[leg.slot - count].qty)
    return Whole(core_notional(pool, marks), None if leg.inverse else marks[leg.instrument])


def _whole_of_asset(pool: Pool, leg: AssetLeg, marks: Marks) -> Whole:
    first = pool.legs[0]
    if leg.size_by == "capital":
        return Whole(e8(pool.plan.capital), marks[leg.instrument])
    if leg.size_by == "notional":
        return Whole(core_notional(pool, marks), marks[leg.instrument])
    return Whole(core_notional(pool, marks), marks[first.instrument]) if first.inverse else Whole(first.qty)
