"""Skipping: pass segments, blocks and bars in which neither the predicate nor a threshold can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.arithmetic import INT64_MAX
from backtest.engine.band import is_in_clear_band, is_in_known_band, renew_clear_band, renew_known_band
from backtest.engine.compile import inlined, inner
from backtest.engine.exposure import add_opens
from backtest.engine.glance import is_clear_at_a_glance, note_extremes
from backtest.engine.liquidation import end_breach
from backtest.engine.opening import enter_segment
from backtest.engine.path import see
from backtest.engine.plan import NONE
from backtest.schema import BLOCK_BARS

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market


@inlined
def is_clear(tape: Market, plan: Plan, run: Run, low: int, high: int) -> bool:
    """Tell whether certainly nothing happens between two marks."""
    return is_in_clear_band(run, low, high) or is_clear_at_a_glance(tape, plan, run, low, high)


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
        bar = stop
        if bar == due:
            return bar
    return bar


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
