"""Skipping: pass segments, blocks and bars in which neither the predicate nor a threshold can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine.compile import inner
from backtest.engine.glance import glance, is_clear, is_clear_between, note_if_worse, slack
from backtest.engine.liquidation import end_breach
from backtest.engine.opening import enter_segment
from backtest.engine.path import see
from backtest.schema import BLOCK_BARS

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market


@inner
def pass_segment(tape: Market, plan: Plan, run: Run) -> bool:
    """Pass the whole segment just entered, if nothing can happen in it, and note its extremes: it is one stretch."""
    segment = tape.segments[run.segment]
    at_low = glance(tape, run, segment.low_e8)
    at_high = glance(tape, run, segment.high_e8)
    off = slack(run, at_high[3])
    if not is_clear_between(plan, at_low, at_high, off):
        return False
    note_if_worse(tape, run, segment.low_e8, at_low, off)
    note_if_worse(tape, run, segment.high_e8, at_high, off)
    run.open_sum += segment.open_sum_e8
    return True


@inner
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
    while plan.skip and bar < limit:
        block = bar // BLOCK_BARS
        if bar == block * BLOCK_BARS and bar + BLOCK_BARS <= limit:
            low, high = tape.blocks[block].low_e8, tape.blocks[block].high_e8
            if is_clear(tape, plan, run, low, high):
                see(run, low, high)
                bar += BLOCK_BARS
                continue
        if not is_clear(tape, plan, run, tape.bars[bar].mark_low_e8, tape.bars[bar].mark_high_e8):
            return bar
        see(run, tape.bars[bar].mark_low_e8, tape.bars[bar].mark_high_e8)
        bar += 1
    return bar
