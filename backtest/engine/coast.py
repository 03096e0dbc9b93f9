"""Skipping: pass segments, blocks and bars in which neither the predicate nor a threshold can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.arithmetic import INT64_MAX
from backtest.engine.band import (
    draw_clear_band,
    is_in_clear_band,
    is_in_known_band,
    renew_clear_band,
    renew_known_band,
)
from backtest.engine.compile import inlined, inner
from backtest.engine.exposure import add_opens
from backtest.engine.glance import is_clear_at_a_glance, note_extremes
from backtest.engine.liquidation import end_breach
from backtest.engine.opening import enter_segment, funding_of, pay_funding
from backtest.engine.path import see
from backtest.engine.plan import NONE
from backtest.schema import BLOCK_BARS

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market


@inlined
def is_clear(tape: Market, plan: Plan, run: Run, low: int, high: int) -> bool:
    """Tell whether certainly nothing happens between two marks.

    Outside a band that lasts, the one of the present wallet reaches further; outside the tier it was drawn in, a glance
    says more.
    """
    if is_in_clear_band(run, low, high):
        return True
    if run.clear_wallet != run.balance[at.MARGIN]:
        draw_clear_band(tape, plan, run, low, run.balance[at.MARGIN])
        if is_in_clear_band(run, low, high):
            return True
    if run.drawn_low <= low and high <= run.drawn_high:
        return False
    return is_clear_at_a_glance(tape, plan, run, low, high)


@inlined
def pass_segment(tape: Market, plan: Plan, run: Run) -> bool:
    """Pass the whole segment just entered, if nothing can happen in it, and note its extremes: it is one stretch."""
    segment = tape.segments[run.segment]
    low, high = segment.low_e8, segment.high_e8
    if not is_in_clear_band(run, low, high):
        renew_clear_band(tape, plan, run, low)
        if not is_clear(tape, plan, run, low, high):
            return False
    if not is_in_known_band(run, low, high):
        renew_known_band(tape, run, low)
        if not is_in_known_band(run, low, high):
            note_extremes(tape, run, low, high)
    add_opens(run, segment.open_sum_e8)
    return True


@inlined
def coast(tape: Market, plan: Plan, desk: Desk, run: Run, bar: int, due: int) -> int:
    """Enter segment after segment from one that begins at `bar`, settling funding, while each can be passed whole.

    Gives the bar reached: the start of a segment that was entered and cannot be passed, or of one not entered in which
    something is due.
    """
    last = len(tape.segments) - 1
    while run.segment + 1 < last:
        stop = tape.segments[run.segment + 2].start
        enter_segment(tape, plan, desk, run, bar)
        if stop > due or not pass_segment(tape, plan, run):
            return bar
        run.counted_to = stop
        end_breach(run)
        bar = glide(tape, desk, run, due)
        if bar == due:
            return bar
    return bar


@inlined
def glide(tape: Market, desk: Desk, run: Run, due: int) -> int:
    """Pass the segments after one just passed that lie in both bands whole: all that happens in them is funding."""
    low, high = max(run.clear_low, run.known_low), min(run.clear_high, run.known_high)
    least_wallet = max(run.clear_wallet, run.known_wallet)
    while run.segment + 2 < len(tape.segments):
        segment, stop = tape.segments[run.segment + 1], tape.segments[run.segment + 2].start
        if stop > due or segment.low_e8 < low or segment.high_e8 > high:
            break
        if segment.table != run.table or segment.taker_e8 != run.taker:
            break
        amount = funding_of(tape, run, run.segment + 1)
        if run.balance[at.MARGIN] - amount < least_wallet:
            break
        run.time_ms = segment.time_ms
        pay_funding(desk, run, amount)
        add_opens(run, segment.open_sum_e8)
        run.counted_to = stop
        run.segment += 1
    return run.counted_to


@inlined
def passes(tape: Market, run: Run, bar: int) -> bool:
    """Pass one bar if it lies in the clear band; it is seen."""
    low, high = tape.bars[bar].mark_low_e8, tape.bars[bar].mark_high_e8
    if not is_in_clear_band(run, low, high):
        return False
    see(run, low, high)
    return True


@inner
def first_not_clear(tape: Market, plan: Plan, run: Run, bar: int, limit: int) -> int:
    """Give the first bar in [bar, limit) in which something might happen, else limit; clear bars are seen."""
    if run.balance[at.MARGIN] < run.clear_wallet:
        renew_clear_band(tape, plan, run, tape.bars[bar].mark_open_e8)
    lowest, highest = INT64_MAX, NONE
    clear = True
    while clear and bar < limit:
        block = bar // BLOCK_BARS
        stop = min((block + 1) * BLOCK_BARS, limit)
        if stop - bar == BLOCK_BARS:
            low, high = tape.blocks[block].low_e8, tape.blocks[block].high_e8
            if is_clear(tape, plan, run, low, high):
                lowest, highest = min(lowest, low), max(highest, high)
                bar = stop
                continue
        while bar < stop:
            low, high = tape.bars[bar].mark_low_e8, tape.bars[bar].mark_high_e8
            if not is_clear(tape, plan, run, low, high):
                clear = False
                break
            lowest, highest = min(lowest, low), max(highest, high)
            bar += 1
    if highest >= 0:
        see(run, lowest, highest)
    return bar
