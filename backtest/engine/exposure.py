"""Notional-hours: the sum of quantity x mark open over the bars that begin with the run open, exact until the end.

Sums of mark opens count each as often as its bar is intervals long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine.arithmetic import E18, INT64_MAX, wide_add
from backtest.engine.compile import inlined, inner

if TYPE_CHECKING:
    from backtest.engine.ledger import Run
    from backtest.engine.market import Market

HOUR_MS = 3_600_000


@inlined
def add_opens(run: Run, opens: int) -> None:
    """Add a sum of mark opens; what was counted before is multiplied first where both do not fit into 63 bits."""
    if run.open_sum > INT64_MAX - opens:
        run.sum_high, run.sum_low = wide_add(run.sum_high, run.sum_low, run.qty, run.open_sum)
        run.open_sum = 0
    run.open_sum += opens


@inlined
def count_opens(tape: Market, run: Run, to: int) -> None:
    """Add the mark opens of the bars not yet counted and before `to`, all of the present segment."""
    first = run.counted_to
    if to > first:
        before = tape.bars[first - 1].open_sum_e8 if first > tape.segments[run.segment].start else 0
        add_opens(run, tape.bars[to - 1].open_sum_e8 - before)
        run.counted_to = to


@inner
def settle_exposure(tape: Market, run: Run) -> None:
    """Multiply the opens counted so far with the quantity held over them, before the quantity changes."""
    count_opens(tape, run, run.count_bound)
    run.sum_high, run.sum_low = wide_add(run.sum_high, run.sum_low, run.qty, run.open_sum)
    run.open_sum = 0


@inner
def keep_pair(tape: Market, run: Run, bar: int) -> None:
    """Keep the sum over the bars before this one: what the run and its baseline had in common."""
    if not run.paired_done:
        bound = run.count_bound
        run.count_bound = bar
        settle_exposure(tape, run)
        run.count_bound = bound
        run.paired_high = run.sum_high
        run.paired_low = run.sum_low
        run.paired_done = 1


@inner
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
