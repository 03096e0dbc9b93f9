"""A leg in a valued asset: its price and its margin per unit are data. Section 9 of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from backtest.engine.oracle.numbers import E8, E16, ceil_div, e8, fill_value
from backtest.engine.oracle.pool.legs import Closed, Leg
from backtest.engine.oracle.pool.model import Asset, AssetSpec

VALUE_LIMIT = 10**10 * E8  # of the most that a quantity may ever be worth or need: a limit of the arithmetic


class AssetTerms(NamedTuple):
    """What is in force of an asset: whether it can be bought, and its margins per unit."""

    listed: bool = False  # else the margins are 0
    initial: int = 0
    maintenance: int = 0


@dataclass(frozen=True, slots=True)
class AssetLeg(Leg):
    """Quantity and terms of an asset's slot: share of the value that counts, and the most that may be held."""

    paid: bool = False
    own_account: bool = False
    ratio: int = E8
    size_by: str = "quantity"
    most: int = 0
    terms: AssetTerms = AssetTerms()  # noqa: RUF009 - a named tuple is not mutable

    @property
    def is_owned(self) -> bool:
        """Say whether the asset was paid for whole: it owes nothing and needs no margin."""
        return self.paid and self.side > 0

    @property
    def at_risk(self) -> bool:
        return not self.is_owned

    @property
    def result_kinds(self) -> tuple[str, str]:
        return ("premium", "premium") if self.paid else ("profit", "loss")

    def tier(self, mark: int) -> int:
        return 0

    def allows(self, leverage: int, mark: int) -> bool:
        return True

    def contribution(self, mark: int) -> int:
        """Give what the leg adds to equity: its value, its debt, or, margined, its profit."""
        if self.is_owned:
            return self.qty * mark * self.ratio // E16
        value = fill_value(self.qty, mark, buying=self.side < 0)
        return -value if self.paid else self.side * (value - self.cost)

    def maintenance(self, mark: int) -> int:
        return 0 if self.is_owned else ceil_div(self.qty * self.terms.maintenance, E8)

    def initial(self, mark: int) -> int:
        return self._initial_of(self.qty)

    def _initial_of(self, qty: int) -> int:
        return 0 if self.is_owned else ceil_div(qty * self.terms.initial, E8)

    def opening_cost(self, qty: int, value: int) -> int:
        """Give what opening takes: the price where it is owned, else the initial margin; and the fee."""
        return (value if self.is_owned else self._initial_of(qty)) + self.fee(value)

    def paid_at_opening(self, value: int) -> int:
        return self.side * value if self.paid else 0

    def closed(self, qty: int, price: int) -> Closed:
        """Close a quantity: the result of a paid asset is the price that is received or paid."""
        closed = Leg.closed(self, qty, price)
        return closed._replace(realised=self.side * closed.value) if self.paid else closed


def asset_leg(slot: int, instrument: int, asset: Asset, spec: AssetSpec) -> AssetLeg:
    """Give the flat leg of an asset."""
    dearest = max(E8, *(e8(max(bar.high, bar.initial, bar.maintenance)) for bar in asset.bars))
    return AssetLeg(
        slot=slot,
        instrument=instrument,
        inverse=False,
        side=spec.side,
        leverage=E8,
        step=e8(spec.step),
        min_notional=0,
        slippage=e8(spec.slippage),
        fee_reserve=False,
        taker=e8(asset.fee),
        paid=spec.paid,
        own_account=spec.own_account,
        ratio=E8 if spec.own_account else e8(spec.ratio),
        size_by=spec.size_by,
        most=(VALUE_LIMIT * E8 - 1) // dearest,
    )
