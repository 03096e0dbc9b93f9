"""Exact products of integers at 1e-8, each with one rounding that its name says.

All arguments are non-negative int64. A product of two numbers at 1e-8 needs up to 126 bits; splitting each factor at
1e8 keeps every partial product inside 63 bits, so no wide integer is needed and the remainder is exact:
a b = (a1 1e8 + a0)(b1 1e8 + b0), and only a0 b0 has a part below 1e-8.
"""

from __future__ import annotations

from backtest.engine.compile import jit

E8 = 100_000_000
E16 = E8 * E8
E18 = 1_000_000_000_000_000_000
INT64_MAX = 9_223_372_036_854_775_807


@jit
def split_product(a: int, b: int) -> tuple[int, int]:
    """Give floor(a b / 1e8) and the remainder."""
    a1 = a // E8
    a0 = a - a1 * E8
    b1 = b // E8
    b0 = b - b1 * E8
    low = a0 * b0
    carry = low // E8
    return a1 * b + a0 * b1 + carry, low - carry * E8


@jit
def mul_floor(a: int, b: int) -> int:
    """Give floor(a b / 1e8)."""
    return split_product(a, b)[0]


@jit
def mul_ceil(a: int, b: int) -> int:
    """Give ceil(a b / 1e8)."""
    whole, rest = split_product(a, b)
    return whole + (1 if rest > 0 else 0)


@jit
def scale_ceil(whole: int, rest: int, rate: int) -> int:
    """Give ceil((whole 1e8 + rest) rate / 1e16): a split product times a rate, one rounding."""
    product, tail = split_product(whole, rate)
    return product + (tail * E8 + rest * rate + E16 - 1) // E16


@jit
def scale_floor(whole: int, rest: int, rate: int) -> int:
    """Give floor((whole 1e8 + rest) rate / 1e16)."""
    product, tail = split_product(whole, rate)
    return product + (tail * E8 + rest * rate) // E16


@jit
def rated(a: int, b: int, rate: int, up: bool) -> int:
    """Give floor(a b rate / 1e16), or its ceil.

    Under 1e18 a guess in floats is off by less than 800, so that what it leaves fits in 63 bits: where the products
    wrap around, their difference is right all the same.
    """
    about = float(a) * float(b) * (float(rate) * 1e-16)
    if about < 1e18:
        guess = int(about)
        rest = int(a) * int(b) * int(rate) - guess * E16
        return guess + (rest + (E16 - 1 if up else 0)) // E16
    whole, rest = split_product(a, b)
    return scale_ceil(whole, rest, rate) if up else scale_floor(whole, rest, rate)


@jit
def ratio_ceil(whole: int, rest: int, numerator: int, denominator: int) -> int:
    """Give ceil((whole + rest / 1e8) numerator / denominator), for a numerator and denominator under 1e6."""
    quotient = whole // denominator
    left = whole - quotient * denominator
    return quotient * numerator + ((left * E8 + rest) * numerator + denominator * E8 - 1) // (denominator * E8)


@jit
def mul_div(a: int, b: int, c: int) -> tuple[int, int]:
    """Give floor(a b / c) and the remainder, for a quotient that fits in 63 bits.

    Where a partial product would not fit, binary long division that never leaves int64.
    """
    quotient = (a // c) * b
    part = a % c
    if b == 0 or part <= INT64_MAX // b:
        product = part * b
        return quotient + product // c, product % c
    rest = 0
    steps = 0
    for bit in range(62, -1, -1):
        steps += steps
        if rest >= c - rest:
            rest -= c - rest
            steps += 1
        else:
            rest += rest
        if (b >> bit) & 1:
            if rest >= c - part:
                rest -= c - part
                steps += 1
            else:
                rest += part
    return quotient + steps, rest


@jit
def mul_div_floor(a: int, b: int, c: int) -> int:
    """Give floor(a b / c)."""
    return mul_div(a, b, c)[0]


@jit
def mul_div_ceil(a: int, b: int, c: int) -> int:
    """Give ceil(a b / c)."""
    quotient, rest = mul_div(a, b, c)
    return quotient + (1 if rest > 0 else 0)


@jit
def mul_div_half_even(a: int, b: int, c: int) -> int:
    """Give a b / c rounded to the nearest integer, ties to even."""
    quotient, rest = mul_div(a, b, c)
    up = rest > c - rest or (rest == c - rest and quotient % 2 == 1)
    return quotient + (1 if up else 0)


@jit
def wide_add(high: int, low: int, a: int, b: int) -> tuple[int, int]:
    """Add a b to a two-word sum in base 1e18; the sum must stay under 9e36."""
    a1 = a // 1_000_000_000
    a0 = a - a1 * 1_000_000_000
    b1 = b // 1_000_000_000
    b0 = b - b1 * 1_000_000_000
    high += a1 * b1
    for cross in (a1 * b0, a0 * b1):
        upper = cross // 1_000_000_000
        high += upper
        low += (cross - upper * 1_000_000_000) * 1_000_000_000
        if low >= E18:
            high += 1
            low -= E18
    low += a0 * b0
    if low >= E18:
        high += 1
        low -= E18
    return high, low


@jit
def to_fixed(value: float) -> int:
    """Round a float wish to 1e-8, half even on its exact binary value; the caller has checked |value| < 9e10.

    `value * 1e8` in floats would round twice. The whole part is split off first, which is exact; the product of the
    part under 1 with 1e8 is exact to 53 bits, and its error is found with a split of 1e8 into 2^8 and 390625.
    """
    sign = 1
    if value < 0.0:
        sign = -1
        value = -value
    whole = int(value)
    scaled = (value - float(whole)) * 256.0  # exact: a power of two
    steps = int(scaled)
    part = (scaled - float(steps)) * 4096.0  # exact; in [0, 4096)
    fine = int(part)
    tail = part - float(fine)  # exact, in [0, 1), in units of 2^-20
    # value's part under 1 is (steps + (fine + tail) / 4096) / 256; times 1e8 = 390625 (steps + (fine + tail) / 4096)
    units = (steps * 4096 + fine) * 390_625
    base = units // 4096
    left = units - base * 4096  # in 1/4096 units of 1e-8
    # what remains is (left + tail 390625) / 4096 units; tail 390625 is split the same way, 20 bits at a time
    tail_scaled = tail * 1_048_576.0
    tail_whole = int(tail_scaled)
    tail_rest = tail_scaled - float(tail_whole)
    fraction = left * 1_048_576 + tail_whole * 390_625  # in units of 2^-32
    base += fraction // 4_294_967_296
    fraction -= (fraction // 4_294_967_296) * 4_294_967_296
    over = tail_rest * 390_625.0  # under 2^-32 units times 390625; only whether it is 0 or carries matters
    carry = int(over)
    fraction += carry
    base += fraction // 4_294_967_296
    fraction -= (fraction // 4_294_967_296) * 4_294_967_296
    inexact = over > float(carry)
    half = 2_147_483_648
    up = fraction > half or (fraction == half and (inexact or base % 2 == 1))
    return sign * (whole * E8 + base + (1 if up else 0))
