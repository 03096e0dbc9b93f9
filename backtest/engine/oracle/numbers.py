"""Exact numbers: decimals become integers at 1e-8 once; every division says how it rounds."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

from backtest.errors import DataError

E8 = 10**8
E16 = 10**16

_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation, Overflow])
_SCALE = Decimal(E8)


def e8(value: Decimal) -> int:
    """Turn a decimal with at most 8 digits after the point into units of 1e-8.

    >>> e8(Decimal("0.001"))
    100000
    """
    try:
        return int(_EXACT.to_integral_exact(_EXACT.multiply(value, _SCALE)))
    except (Inexact, InvalidOperation):
        raise DataError.at("oracle input", f"{value} is not a number with at most 8 decimals") from None


def float_e8(value: float) -> int:
    """Round a finite float to 1e-8, half even on its exact binary value.

    >>> float_e8(0.25)
    25000000
    """
    numerator, denominator = value.as_integer_ratio()
    return half_even(numerator * E8, denominator)


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide, rounding toward plus infinity; the denominator is positive.

    >>> ceil_div(-7, 2)
    -3
    """
    return -(-numerator // denominator)


def half_even(numerator: int, denominator: int) -> int:
    """Divide, rounding to the nearest, ties to even; the denominator is positive.

    >>> [half_even(n, 2) for n in (1, 3, -1, -3)]
    [0, 2, 0, -2]
    """
    quotient, rest = divmod(numerator, denominator)
    tie = 2 * rest - denominator
    return quotient + (tie > 0 or (tie == 0 and quotient % 2 == 1))


def worse_price(price: int, slippage: int, *, buying: bool) -> int:
    """Make a price worse by a fraction: a buyer pays more (rounded up), a seller gets less (rounded down)."""
    if buying:
        return ceil_div(price * (E8 + slippage), E8)
    return price * (E8 - slippage) // E8


def fill_value(qty: int, price: int, *, buying: bool) -> int:
    """Give the quote value of a fill: what is paid is rounded up, what is received down."""
    return ceil_div(qty * price, E8) if buying else qty * price // E8
