"""Exact numbers of the account calculator: fractions in, the venue's own rounding out."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import ceil, floor
from operator import mul

from backtest.venues.margin import Arithmetic, Formulas, margin_formulas

AMOUNT_DECIMALS = 8
LONGEST_EXPONENT = 30
LONGEST_TEXT = 100

Function = Callable[[Fraction], Fraction]


def to_fraction(value: object) -> Fraction:
    """Read decimal text (or a whole number) exactly; a float is refused, because it is not what was written.

    >>> to_fraction("0.00055")
    Fraction(11, 20000)
    """
    if isinstance(value, float):
        raise ValueError(f'is the float {value!r}; write the decimal string "{value!r}"')
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'is {value!r}; write a decimal string such as "0.1"')
    if len(str(value)) > LONGEST_TEXT:
        raise ValueError(f'"{str(value)[:12]}..." is not a number in range')
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not number.is_finite() or abs(number.adjusted()) > LONGEST_EXPONENT:
        raise ValueError(f"{value!r} is not a number in range")
    return Fraction(number)


def cut(value: Fraction, decimals: int = AMOUNT_DECIMALS) -> Fraction:
    """Drop further decimals, towards zero.

    >>> cut(Fraction("-0.79"), 1)
    Fraction(-7, 10)
    """
    scale = 10**decimals
    return Fraction(int(value * scale), scale)


def half_up(value: Fraction, decimals: int = AMOUNT_DECIMALS) -> Fraction:
    """Round to decimals, ties away from zero for positive values."""
    scale = 10**decimals
    return Fraction(floor(value * scale + Fraction(1, 2)), scale)


def round_up(value: Fraction, decimals: int = AMOUNT_DECIMALS) -> Fraction:
    """Round to decimals, towards more."""
    scale = 10**decimals
    return Fraction(ceil(value * scale), scale)


def _same(value: Fraction) -> Fraction:
    return value


def exact_formulas(share_of: Function = _same, fee_rate_of: Function = _same) -> Formulas[Fraction, Fraction]:
    """Give the margin formulas in exact fractions; a venue may round 1 / leverage, and the rate of the fee reserve."""
    return margin_formulas(
        Arithmetic(
            one=Fraction(1),
            product=mul,
            down=_same,
            up=_same,
            times_up=mul,
            share_up=lambda value, numerator, denominator: value * share_of(Fraction(numerator, denominator)),
            charge_up=lambda amount, fee, numerator, denominator: amount * fee_rate_of(fee * numerator / denominator),
        ),
        lambda function: function,
    )


EXACT = exact_formulas()


def to_tick(price: Fraction, tick: Fraction, *, up: bool) -> Fraction:
    """Put a price on the tick above or below it.

    >>> to_tick(Fraction("5739.08"), Fraction("0.5"), up=True)
    Fraction(11479, 2)
    """
    return (ceil(price / tick) if up else floor(price / tick)) * tick


def text(value: Fraction, decimals: int = 12) -> str:
    """Write a number as plain decimal text without trailing zeros; more decimals are rounded half up.

    >>> text(Fraction(-1, 4))
    '-0.25'
    """
    rounded = half_up(abs(value), decimals)
    whole, rest = divmod(rounded.numerator * 10**decimals // rounded.denominator, 10**decimals)
    digits = f"{rest:0{decimals}d}".rstrip("0")
    sign = "-" if value < 0 and rounded else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
