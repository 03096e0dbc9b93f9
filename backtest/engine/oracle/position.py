"""One position and its margin figures at a mark.

Sources: Binance, How to Calculate Liquidation Price of USDS-M Futures Contracts (maintenance = notional x rate -
deduction, at mark); Bybit, New Margin Calculation, 2025-09-18 (closing-fee reserve in initial and maintenance margin).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from backtest.engine.oracle.model import TierRow
from backtest.engine.oracle.numbers import E8, E16, ceil_div, e8, fill_value, half_even


class Row(NamedTuple):
    """A tier in units of 1e-8."""

    cap: int | None
    rate: int
    deduction: int
    max_leverage: int | None


def exact_rows(rows: tuple[TierRow, ...]) -> tuple[Row, ...]:
    """Turn a risk table into units of 1e-8."""
    return tuple(
        Row(
            None if row.cap is None else e8(row.cap),
            e8(row.rate),
            e8(row.deduction),
            None if row.max_leverage is None else e8(row.max_leverage),
        )
        for row in rows
    )


class Figures(NamedTuple):
    """Equity, maintenance margin and initial margin of the margin unit at one mark."""

    equity: int
    maintenance: int
    initial: int

    @property
    def headroom(self) -> int:
        return self.equity - self.maintenance

    @property
    def liquidated(self) -> bool:
        return self.equity <= self.maintenance

    @property
    def buffer_base(self) -> int:
        """Initial less maintenance margin: the buffer is null where this is not positive."""
        return self.initial - self.maintenance


class Reduction(NamedTuple):
    """A position after some of it is closed, the value of the fill, and the realised result."""

    position: Position
    value: int
    realised: int


@dataclass(frozen=True, slots=True)
class Position:
    """Quantity and cost, with the leverage, risk table and taker rate in force."""

    side: int
    qty: int
    cost: int
    leverage: int
    rows: tuple[Row, ...]
    taker: int
    fee_reserve: bool

    def tier(self, mark: int) -> int:
        """Give the index of the first row whose cap is not passed by qty x mark, the last row above all caps."""
        notional = self.qty * mark
        for index, row in enumerate(self.rows):
            if row.cap is None or notional <= row.cap * E8:
                return index
        return len(self.rows) - 1

    def allows(self, leverage: int, mark: int) -> bool:
        """Say whether the tier of qty x mark allows a leverage; a maximum that is not known does."""
        row = self.rows[self.tier(mark)]
        inside = row.cap is None or self.qty * mark <= row.cap * E8
        return inside and (row.max_leverage is None or leverage <= row.max_leverage)

    def closing_fee(self) -> int:
        """Give the fee kept back for the close: cost x (1 - side / leverage) x taker, rounded up once."""
        if not self.fee_reserve:
            return 0
        return ceil_div(self.cost * (self.leverage - self.side * E8) * self.taker, self.leverage * E8)

    def unrealised(self, mark: int) -> int:
        """Give the unrealised profit at a mark, rounded against the account."""
        notional = self.qty * mark
        return notional // E8 - self.cost if self.side > 0 else self.cost - ceil_div(notional, E8)

    def figures(self, wallet: int, mark: int) -> Figures:
        """Give equity, maintenance and initial margin: each one rounding of its exact product."""
        notional = self.qty * mark
        row = self.rows[self.tier(mark)]
        reserve = self.closing_fee()
        return Figures(
            wallet + self.unrealised(mark),
            ceil_div(notional * row.rate, E16) - row.deduction + reserve,
            ceil_div(notional, self.leverage) + reserve,
        )

    def liquidated(self, wallet: int, mark: int) -> bool:
        """Say whether the liquidation predicate holds: equity at or below maintenance margin, with quantity."""
        return self.qty > 0 and self.figures(wallet, mark).liquidated

    def bankruptcy_price(self, wallet: int) -> int:
        """Give the price at which closing all leaves nothing, on the grid point that leaves no debt; never under 0."""
        if self.side > 0:
            return max(0, ceil_div((self.cost - wallet) * E8, self.qty))
        return max(0, (self.cost + wallet) * E8 // self.qty)

    def reduced(self, qty: int, price: int) -> Reduction:
        """Close a quantity at a price: the cost share is half even, the rest keeps what is left of the cost."""
        value = fill_value(qty, price, buying=self.side < 0)
        share = half_even(self.cost * qty, self.qty)
        realised = self.side * (value - share)
        return Reduction(replace(self, qty=self.qty - qty, cost=self.cost - share), value, realised)
