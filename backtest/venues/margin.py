"""The margin formulas, written once; how to multiply and round is passed in.

The replay takes them with integers at 1e-8, a direction for each rounding, and compiles them; and once more with floats
for the glance that tells it what to skip. The account calculator takes them with exact fractions and the roundings of
the venue. So all decide by the same terms:

value        = size x price; inverse contracts: size / price, in coin
profit       = direction x (value - cost)
maintenance  = value x rate - deduction + fee reserve, rate and deduction of the tier of the value
initial      = value / leverage + fee reserve
fee reserve  = cost x fee x (1 - direction / leverage)
bankruptcy   : the value at which wallet + profit = 0

`direction` is +1 where the position gains with its value (a linear long, an inverse short), else -1. A position is
liquidated when equity = wallet + profit is at or under maintenance.

Sources: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (maintenance, tier by value in (floor, cap]) and
ceccfcfb4e3a45e3b48b0b1bb1a8ae46 (COIN-M); Bybit help centre, Maintenance Margin (2026-04-16), Initial Margin
(2026-04-30), New Margin Calculation (2025-09-18: the fee to close at the bankruptcy price is part of both margins).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

Number = TypeVar("Number", int, float, Fraction)
Product = TypeVar("Product")
Function = TypeVar("Function", bound=Callable[..., Any])


class Arithmetic(NamedTuple, Generic[Number, Product]):
    """How to multiply and round. A Product is not yet rounded; equity terms are rounded down, margin terms up.

    `one` is the 1 of a leverage.
    """

    one: Number
    product: Callable[[Number, Number], Product]
    down: Callable[[Product], Number]
    up: Callable[[Product], Number]
    times_up: Callable[[Product, Number], Number]  # product x rate
    share_up: Callable[[Product, Number, Number], Number]  # product x numerator / denominator
    charge_up: Callable[[Number, Number, Number, Number], Number]  # amount x fee x numerator / denominator


class Formulas(NamedTuple, Generic[Number, Product]):
    """The formulas in one arithmetic."""

    tier: Callable[[Sequence[Number], int, Product], int]
    profit: Callable[[int, Product, Number], Number]
    maintenance: Callable[[Product, Number, Number, Number], Number]
    initial: Callable[[Product, Number, Number], Number]
    fee_reserve: Callable[[Number, int, Number, Number], Number]
    bankruptcy_value: Callable[[int, Number, Number], Number]
    buffer_at_most: Callable[[Number, Number, Number, Number], bool]
    ratio_at_least: Callable[[Number, Number, Number], bool]


class Compiler(Protocol):
    """Makes a function callable where it is needed: compiled, or as it is."""

    def __call__(self, function: Function, /) -> Function: ...


def margin_formulas(arithmetic: Arithmetic[Number, Product], compiled: Compiler) -> Formulas[Number, Product]:
    """Give the formulas in an arithmetic.

    >>> from backtest.venues.exact import EXACT
    >>> EXACT.maintenance(Fraction(100_000), Fraction("0.005"), Fraction(50), Fraction(0))
    Fraction(450, 1)
    """
    one, product, down, up, times_up, share_up, charge_up = arithmetic

    @compiled
    def tier(caps: Sequence[Number], count: int, value: Product) -> int:
        """Give the row of a value, from 0: the first whose cap is not passed, else the last."""
        least = up(value)
        for k in range(count - 1):
            if least <= caps[k]:
                return k
        return count - 1

    @compiled
    def profit(direction: int, value: Product, cost: Number) -> Number:
        """Give direction x (value - cost)."""
        return down(value) - cost if direction > 0 else cost - up(value)

    @compiled
    def maintenance(value: Product, rate: Number, deduction: Number, reserve: Number) -> Number:
        """Give value x rate - deduction + fee reserve."""
        return times_up(value, rate) - deduction + reserve

    @compiled
    def initial(value: Product, leverage: Number, reserve: Number) -> Number:
        """Give value / leverage + fee reserve."""
        return share_up(value, one, leverage) + reserve

    @compiled
    def fee_reserve(cost: Number, direction: int, leverage: Number, fee: Number) -> Number:
        """Give cost x fee x (1 - direction / leverage): the fee to close at the bankruptcy price."""
        return charge_up(cost, fee, leverage - direction * one, leverage)

    @compiled
    def bankruptcy_value(direction: int, cost: Number, wallet: Number) -> Number:
        """Give the value at which wallet + profit = 0; nothing, or less, where there is none."""
        return cost - direction * wallet

    @compiled
    def buffer_at_most(equity: Number, maintenance: Number, initial: Number, limit: Number) -> bool:
        """Tell whether (equity - maintenance) / (initial - maintenance) <= limit; never when the buffer is null."""
        room = initial - maintenance
        return room > 0 and equity - maintenance <= down(product(room, limit))

    @compiled
    def ratio_at_least(equity: Number, maintenance: Number, limit: Number) -> bool:
        """Tell whether maintenance / equity >= limit; true when equity is not positive."""
        return equity <= 0 or maintenance >= up(product(equity, limit))

    return Formulas(tier, profit, maintenance, initial, fee_reserve, bankruptcy_value, buffer_at_most, ratio_at_least)
