"""An account as the calculator sees it: what is held, at which marks, under which rules.

Amounts are in the settlement asset of the contract: quote for linear contracts, coin for inverse ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from backtest.venues.exact import EXACT
from backtest.venues.ladder import Ladder

MARGIN_MODES = ("isolated", "cross", "multi_assets", "portfolio")
POSITION_MODES = ("one_way", "hedge")
ERAS = ("classic", "uta_entry", "uta_mark")


class Slice(NamedTuple):
    """A collateral ratio that holds for the quantity from `low` to `high`; None: no end."""

    low: Fraction
    high: Fraction | None
    ratio: Fraction


@dataclass(frozen=True, slots=True)
class Collateral:
    """A balance of one asset, its price in USD, and what share of it counts.

    `exchange_haircut`: what a Binance auto-exchange takes off the asset that pays; None where it is not known.
    """

    asset: str
    amount: Fraction
    index_price: Fraction
    slices: tuple[Slice, ...]
    exchange_haircut: Fraction | None = None

    def counted(self, quantity: Fraction) -> Fraction:
        """Give the USD value of a quantity that counts: each slice at its own ratio, a negative one in full."""
        if quantity < 0:
            return quantity * self.index_price
        inside = (
            ((quantity if part.high is None else min(quantity, part.high)) - part.low) * part.ratio
            for part in self.slices
            if quantity > part.low
        )
        return sum(inside, start=Fraction(0)) * self.index_price


@dataclass(frozen=True, slots=True)
class Position:
    """One position, or one leg in hedge mode; `side` is +1 or -1, `qty` positive."""

    symbol: str
    side: int
    qty: Fraction
    entry_price: Fraction
    mark_price: Fraction
    leverage: Fraction | None
    isolated_wallet: Fraction | None
    extra_margin: Fraction
    margin_mode: str
    inverse: bool
    settle_asset: str
    contract_size: Fraction
    tick_size: Fraction | None
    ladder: Ladder
    auto_add_margin: bool = False

    @property
    def name(self) -> str:
        """Symbol and side."""
        return f"{self.symbol} {'long' if self.side > 0 else 'short'}"

    @property
    def size(self) -> Fraction:
        """Base units of a linear contract, USD of an inverse one."""
        return self.qty * self.contract_size

    @property
    def value(self) -> Fraction:
        """Value at the mark."""
        return self.value_at(self.mark_price)

    @property
    def entry_value(self) -> Fraction:
        """Value at the entry price."""
        return self.value_at(self.entry_price)

    def value_at(self, price: Fraction) -> Fraction:
        """Give the value at a price: size x price; inverse: size / price."""
        return self.size / price if self.inverse else self.size * price

    def price_of(self, value: Fraction) -> Fraction:
        """Give the price at which the position has a value."""
        return self.size / value if self.inverse else value / self.size

    @property
    def direction(self) -> int:
        """+1 where the position gains with its value, else -1: the side, inverse contracts the opposite."""
        return -self.side if self.inverse else self.side

    @property
    def unrealized(self) -> Fraction:
        """Unrealised profit at the mark."""
        return EXACT.profit(self.direction, self.value, self.entry_value)

    def at(self, price: Fraction) -> Position:
        """Give the same position at another mark."""
        return replace(self, mark_price=price)


@dataclass(frozen=True, slots=True)
class Order:
    """A resting order; `side` is +1 to buy, -1 to sell. Contract facts are those of its symbol."""

    symbol: str
    side: int
    qty: Fraction
    price: Fraction
    leverage: Fraction | None
    inverse: bool
    settle_asset: str
    contract_size: Fraction
    ladder: Ladder

    @property
    def direction(self) -> int:
        """+1 where the position that it opens gains with its value, else -1."""
        return -self.side if self.inverse else self.side

    @property
    def value(self) -> Fraction:
        """Value at the order price."""
        size = self.qty * self.contract_size
        return size / self.price if self.inverse else size * self.price

    def loss_at(self, mark: Fraction) -> Fraction:
        """Give what filling at the order price would lose at the mark; 0 or negative."""
        size = self.qty * self.contract_size
        gain = size * (1 / self.price - 1 / mark) if self.inverse else size * (mark - self.price)
        return min(Fraction(0), self.side * gain)


@dataclass(frozen=True, slots=True)
class Account:
    """A whole account of one venue at one moment.

    `era_uncertain`: the era was chosen by a date at which accounts were being moved to it one by one. `haircut_loss`:
    what resting spot orders would take from a Bybit pool, USD. `vip_level`: Binance; larger debts are left standing.
    """

    venue: str
    era: str
    era_uncertain: bool
    as_of_ms: int | None
    margin_mode: str
    position_mode: str
    taker_fee: Fraction
    collateral: tuple[Collateral, ...]
    positions: tuple[Position, ...]
    orders: tuple[Order, ...]
    haircut_loss: Fraction = Fraction(0)
    vip_level: int = 0

    def balance(self, asset: str) -> Fraction:
        """Give the balance of an asset; 0 where none is held."""
        return sum((c.amount for c in self.collateral if c.asset == asset), start=Fraction(0))

    def index_price(self, asset: str) -> Fraction:
        """Give the USD price of an asset that the account names."""
        return next(c.index_price for c in self.collateral if c.asset == asset)


@dataclass(frozen=True, slots=True)
class Unit:
    """A margin unit: one isolated position, or one cross pool with everything in it.

    `asset` is the asset its figures are in. `orders` are those that the unit must carry.
    """

    kind: str
    asset: str
    positions: tuple[Position, ...]
    orders: tuple[Order, ...] = ()

    def at(self, symbol: str, price: Fraction) -> Unit:
        """Give the same unit with the mark of one symbol moved."""
        moved = tuple(p.at(price) if p.symbol == symbol else p for p in self.positions)
        return replace(self, positions=moved)

    def of(self, symbol: str) -> tuple[Position, ...]:
        """Give the positions of one symbol."""
        return tuple(p for p in self.positions if p.symbol == symbol)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols held, in order, once each."""
        return tuple(dict.fromkeys(p.symbol for p in self.positions))


class Margins(NamedTuple):
    """Initial margin (None where the leverage is not known) and maintenance margin."""

    initial: Fraction | None
    maintenance: Fraction


class State(NamedTuple):
    """Equity and margins of a unit; it is liquidated when equity <= maintenance."""

    equity: Fraction
    initial: Fraction | None
    maintenance: Fraction

    @property
    def headroom(self) -> Fraction:
        """What is left before liquidation."""
        return self.equity - self.maintenance


class Term(NamedTuple):
    """A part of a sum, by name."""

    name: str
    amount: Fraction


def sum_of(terms: Iterable[Term]) -> Fraction:
    """Add up terms."""
    return sum((term.amount for term in terms), start=Fraction(0))


def total(values: Iterable[Fraction | None]) -> Fraction | None:
    """Add up; None where one of the values is not known."""
    known = list(values)
    if any(value is None for value in known):
        return None
    return sum((value for value in known if value is not None), start=Fraction(0))
