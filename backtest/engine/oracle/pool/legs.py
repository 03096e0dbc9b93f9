"""One leg of a run, linear or inverse, and its figures at a price.

Both forms have one algebra. The *exact value* of a quantity is size x price (linear, in quote) or size / price
(inverse, in coin); a leg *gains with its value* where it is a linear long or an inverse short. Sources: as in
backtest/engine/oracle/position.py; Binance, COIN-M Futures margin and profit; Bybit, Inverse Contract formulas.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from backtest.engine.oracle.numbers import E8, ceil_div, half_even
from backtest.engine.oracle.position import Row


class Closed(NamedTuple):
    """A leg after some of it is closed, the value of the fill, and the realised result, in the leg's asset."""

    leg: Leg
    value: int
    realised: int


@dataclass(frozen=True, slots=True)
class Leg:
    """Quantity, cost and terms of a slot."""

    slot: int
    instrument: int
    inverse: bool
    side: int
    leverage: int
    step: int
    min_notional: int
    slippage: int
    fee_reserve: bool
    rows: tuple[Row, ...] = ()
    taker: int = 0
    qty: int = 0
    cost: int = 0

    @property
    def gains(self) -> int:
        """Say whether the leg gains (+1) or loses (-1) when its value grows."""
        return -self.side if self.inverse else self.side

    @property
    def at_risk(self) -> bool:
        """Say whether the leg can owe something: its unit is then tested."""
        return True

    @property
    def result_kinds(self) -> tuple[str, str]:
        """Give the kinds of the transfers that book a gain and a loss."""
        return "profit", "loss"

    def exact(self, qty: int, price: int) -> tuple[int, int]:
        """Give the value of a quantity at a price as numerator and denominator."""
        return (qty * E8, price) if self.inverse else (qty * price, E8)

    def fill_value(self, qty: int, price: int, *, buying: bool) -> int:
        """Give the value of a fill, rounded against the account: who buys coin gets less, who pays quote pays more."""
        numerator, denominator = self.exact(qty, price)
        return ceil_div(numerator, denominator) if buying != self.inverse else numerator // denominator

    def notional(self, qty: int, mark: int) -> int:
        """Give the notional of a quantity in quote."""
        return qty if self.inverse else qty * mark // E8

    # --- margin figures ------------------------------------------------------------------------------------------

    def tier(self, mark: int) -> int:
        """Give the index of the first row whose cap the exact value does not pass, the last row above all caps."""
        numerator, denominator = self.exact(self.qty, mark)
        for index, row in enumerate(self.rows):
            if row.cap is None or numerator <= row.cap * denominator:
                return index
        return len(self.rows) - 1

    def allows(self, leverage: int, mark: int) -> bool:
        """Say whether the tier at a mark allows a leverage; a maximum that is not known does."""
        numerator, denominator = self.exact(self.qty, mark)
        row = self.rows[self.tier(mark)]
        inside = row.cap is None or numerator <= row.cap * denominator
        return inside and (row.max_leverage is None or leverage <= row.max_leverage)

    def closing_fee(self) -> int:
        """Give the fee kept back for the close at the bankruptcy price, rounded up once."""
        if not self.fee_reserve:
            return 0
        return ceil_div(self.cost * (self.leverage - self.gains * E8) * self.taker, self.leverage * E8)

    def contribution(self, mark: int) -> int:
        """Give what the leg adds to equity at a mark: its unrealised profit, rounded against the account."""
        numerator, denominator = self.exact(self.qty, mark)
        if self.gains > 0:
            return numerator // denominator - self.cost
        return self.cost - ceil_div(numerator, denominator)

    def maintenance(self, mark: int) -> int:
        """Give the maintenance margin: value x rate - deduction + closing fee, one rounding up."""
        numerator, denominator = self.exact(self.qty, mark)
        row = self.rows[self.tier(mark)]
        return ceil_div(numerator * row.rate, denominator * E8) - row.deduction + self.closing_fee()

    def initial(self, mark: int) -> int:
        """Give the initial margin: value / leverage + closing fee, one rounding up."""
        numerator, denominator = self.exact(self.qty, mark)
        return ceil_div(numerator * E8, denominator * self.leverage) + self.closing_fee()

    # --- changes -------------------------------------------------------------------------------------------------

    def fee(self, value: int) -> int:
        """Give the taker fee of a value."""
        return ceil_div(value * self.taker, E8)

    def opening_cost(self, qty: int, value: int) -> int:
        """Give margin and fee of opening a quantity for a value."""
        return ceil_div(value * E8, self.leverage) + self.fee(value)

    def paid_at_opening(self, value: int) -> int:
        """Give what changes hands for an opened value: nothing, the result is settled at the close."""
        return 0

    def funding(self, mark: int, rate: int) -> int:
        """Give the funding to pay (positive, rounded up) or to receive (negative, rounded down)."""
        numerator, denominator = self.exact(self.qty, mark)
        exact = numerator * abs(rate), denominator * E8
        return ceil_div(*exact) if self.side * rate > 0 else -(exact[0] // exact[1])

    def grown(self, qty: int, value: int = 0) -> Leg:
        """Give the leg with more quantity and cost."""
        return replace(self, qty=self.qty + qty, cost=self.cost + value)

    def closed(self, qty: int, price: int) -> Closed:
        """Close a quantity at a price: the cost share is half even, the rest keeps what is left of the cost."""
        value = self.fill_value(qty, price, buying=self.side < 0)
        share = half_even(self.cost * qty, self.qty)
        return Closed(replace(self, qty=self.qty - qty, cost=self.cost - share), value, self.gains * (value - share))

    def steps_to_cap(self, cap: int, mark: int) -> int:
        """Give the least number of steps whose close brings the value at a mark to at most a cap."""
        most_kept = cap * mark // E8 if self.inverse else cap * E8 // mark
        return ceil_div(self.qty - most_kept, self.step)
