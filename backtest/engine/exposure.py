"""Notional-hours: the sum of quantity x mark open over the bars that begin with the run open, exact until the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.arithmetic import E18, wide_add
from backtest.engine.compile import jit

if TYPE_CHECKING:
    from backtest.engine.ledger import Int64Array
    from backtest.schema import Tape

HOUR_MS = 3_600_000


@jit
def count_opens(tape: Tape, a: Int64Array, to: int) -> None:
    """Add the mark opens of the bars not yet counted and before `to`, all of the present segment."""
    first = a[at.COUNTED_TO]
    if to > first:
        before = tape.open_sum_e8[first - 1] if first > tape.segment_start[a[at.SEGMENT]] else 0
        a[at.OPEN_SUM] += tape.open_sum_e8[to - 1] - before
        a[at.COUNTED_TO] = to


@jit
def settle_exposure(tape: Tape, a: Int64Array) -> None:
    """Multiply the opens counted so far with the quantity held over them, before the quantity changes."""
    count_opens(tape, a, a[at.COUNT_BOUND])
    a[at.SUM_HIGH], a[at.SUM_LOW] = wide_add(a[at.SUM_HIGH], a[at.SUM_LOW], a[at.QTY], a[at.OPEN_SUM])
    a[at.OPEN_SUM] = 0


@jit
def keep_pair(tape: Tape, a: Int64Array, bar: int) -> None:
    """Keep the sum over the bars before this one: what the run and its baseline had in common."""
    if not a[at.PAIRED_DONE]:
        bound = a[at.COUNT_BOUND]
        a[at.COUNT_BOUND] = bar
        settle_exposure(tape, a)
        a[at.COUNT_BOUND] = bound
        a[at.PAIRED_HIGH] = a[at.SUM_HIGH]
        a[at.PAIRED_LOW] = a[at.SUM_LOW]
        a[at.PAIRED_DONE] = 1


@jit
def hours_e2(high: int, low: int, interval_ms: int) -> int:
    """Turn a sum of quantity x price (1e-16, two words in base 1e18) into notional-hours at 1e-2, half even.

    sum x interval / hour / 1e14: the division by 1e14 is split off exactly, so that nothing leaves 63 bits.
    """
    base = 100_000_000_000_000
    # greatest common divisor of the interval and an hour, so that both factors are small
    x, y = interval_ms, HOUR_MS
    while y:
        x, y = y, x % y
    factor, divisor = interval_ms // x, HOUR_MS // x
    whole = high * (E18 // base) + low // base
    rest = low % base
    quotient = whole // divisor
    left = whole % divisor
    # value = (quotient + (left base + rest) / (divisor base)) factor
    scale = divisor * base
    part = (left * base + rest) * factor
    total = quotient * factor + part // scale
    tail = part % scale
    if tail * 2 > scale or (tail * 2 == scale and total % 2 == 1):
        total += 1
    return total
