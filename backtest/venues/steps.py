"""One step of an arithmetic that is shown, and how its numbers are written."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from backtest.venues.exact import text

DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One step of arithmetic: what it is, the formula with its numbers, the result, and where the formula is from."""

    label: str
    formula: str
    result: str
    source: str


def shown(value: Fraction) -> str:
    """Write a number of a step, to 8 decimals."""
    return text(value, DECIMALS)
