"""A tier table as exact fractions: maintenance of a value, and what leverage allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from backtest.units import E8
from backtest.venues.exact import EXACT
from backtest.venues.tiers import Tier


class Row(NamedTuple):
    """One tier: it holds for values up to and including `cap`; None: no upper bound."""

    cap: Fraction | None
    rate: Fraction
    deduction: Fraction
    max_leverage: Fraction | None


@dataclass(frozen=True)
class Ladder:
    """The tiers of one symbol, in the unit of its margin: quote for linear contracts, coin for inverse ones."""

    rows: tuple[Row, ...]
    source: str

    @classmethod
    def of(cls, tiers: Sequence[Tier], source: str, notional_coef: Fraction = Fraction(1)) -> Ladder:
        """Scale a table to fractions; `notional_coef` multiplies caps and deductions (Binance, some users)."""
        return cls(
            tuple(
                Row(
                    None if tier.cap_e8 is None else Fraction(tier.cap_e8, E8) * notional_coef,
                    Fraction(tier.rate_e8, E8),
                    Fraction(tier.deduction_e8, E8) * notional_coef,
                    None if tier.max_leverage_e2 is None else Fraction(tier.max_leverage_e2, 100),
                )
                for tier in tiers
            ),
            source,
        )

    @cached_property
    def caps(self) -> tuple[Fraction, ...]:
        """The finite caps, in order."""
        return tuple(row.cap for row in self.rows if row.cap is not None)

    def index(self, value: Fraction) -> int:
        """Give the tier of a value, from 0: the first whose cap is not less; above the last cap, the last."""
        return EXACT.tier(self.caps, len(self.rows), value)

    def row(self, value: Fraction) -> Row:
        """Give the row of a value."""
        return self.rows[self.index(value)]

    def maintenance(self, value: Fraction, reserve: Fraction = Fraction(0)) -> Fraction:
        """Give maintenance margin of a value, with its fee reserve."""
        row = self.row(value)
        return EXACT.maintenance(value, row.rate, row.deduction, reserve)

    def max_notional(self, leverage: Fraction) -> Fraction | None:
        """Give the largest position value that a leverage allows; None where nothing limits it."""
        known = [row for row in self.rows if row.max_leverage is not None]
        allowed = [row for row in known if row.max_leverage is not None and row.max_leverage >= leverage]
        if not known:
            return None
        return allowed[-1].cap if allowed else Fraction(0)
