"""Skipping: pass the segments, blocks and bars of a pool run in which no predicate and no threshold can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine.compile import inner
from backtest.engine.opening import first_remembered
from backtest.engine.plan import EVERY
from backtest.engine.pool.books import count_opens
from backtest.engine.pool.forced import end_breach
from backtest.engine.pool.opening import enter_segment, first_bar_at, lay_opens
from backtest.engine.pool.units import is_clear, see
from backtest.schema import BLOCK_BARS

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run


@inner
def next_due(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, bar: int) -> int:
    """Give the first bar, from this one on, at whose open something is scheduled beside the events of a segment."""
    if plan.every_bar or (run.pending and plan.reaction_ms == 0):
        return bar
    due = min(entry.exit_bar, run.feed_due)
    if run.pending:
        due = min(due, first_bar_at(market, first_remembered(plan, run), bar))
    for baseline in (run.baseline_liq_bar, run.baseline_exit_bar):
        if baseline >= bar:
            due = min(due, baseline)
    if plan.on_funding:
        due = min(due, market.starts[run.segment + 1])
    if run.queue_head < run.queue_tail:
        due = min(due, first_bar_at(market, desk.queue[run.queue_head % len(desk.queue), 0], bar))
    if run.script_at < entry.script_stop:
        due = min(due, run.entry_bar + desk.agenda[run.script_at].bars)
    for wake in range(plan.wake_count):
        if plan.wake_kind[wake] == EVERY:
            due = min(due, first_bar_at(market, run.wake_due_ms[wake], bar))
    return max(due, bar)


@inner
def end_breaches(plan: Plan, run: Run) -> None:
    """End every breach: the bars passed were clear, so that every test in them was false."""
    for unit in range(plan.slot_count):
        end_breach(plan, run, unit)


@inner
def pass_segments(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, bar: int, due: int) -> int:
    """Enter segment after segment from one that begins at `bar`, while each can be passed whole; give the bar reached.

    That is the start of a segment that was entered and cannot be passed, or of one in which something is due.
    """
    last = len(market.starts) - 1
    while run.segment + 1 < last:
        stop = market.starts[run.segment + 2]
        if stop > due:
            return bar
        lay_opens(market, plan, desk, bar)
        enter_segment(market, plan, desk, run, bar)
        low, high = market.segments[run.segment]["low_e8"], market.segments[run.segment]["high_e8"]
        if not is_clear(market, plan, run, low, high):
            return bar
        see(plan, run, low, high)
        count_opens(market, plan, run, stop)
        end_breaches(plan, run)
        bar = stop
        if bar == due:
            return bar
    return bar


@inner
def skip_clear(market: PoolMarket, plan: Plan, run: Run, bar: int, limit: int) -> int:
    """Give the first bar in [bar, limit) in which something might happen, else limit; what is passed is seen."""
    while bar < limit:
        block = bar // BLOCK_BARS
        stop = min((block + 1) * BLOCK_BARS, limit)
        if stop - bar == BLOCK_BARS:
            low, high = market.blocks[block]["low_e8"], market.blocks[block]["high_e8"]
            if is_clear(market, plan, run, low, high):
                see(plan, run, low, high)
                bar = stop
                continue
        while bar < stop:
            low, high = market.bars[bar]["mark_low_e8"], market.bars[bar]["mark_high_e8"]
            if not is_clear(market, plan, run, low, high):
                return bar
            see(plan, run, low, high)
            bar += 1
    return bar
