"""The replay: every run of a batch through the tape, skipping what cannot matter.

For one run, with the events of a bar in the order of docs/semantics.md, section 3:

1. `begin` opens the position at the entry bar, or refuses it.
2. `at_open` does the events of a bar's open: tier table, funding, arrivals, test, exit, remembered and scripted
   actions, woken rules, test.
3. `advance` skips the bars, block by block, whose marks can reach neither the predicate nor a threshold.
4. `walk` does the path of the first bar where one might.
5. `finish` writes the outcome.

Visiting every bar (`plan.skip = 0`) gives the same bytes: `advance` only leaves out bars in which nothing can happen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.engine import cells as at
from backtest.engine.actions import leverage_allowed
from backtest.engine.arithmetic import INT64_MAX, mul_ceil, mul_div_floor, mul_floor
from backtest.engine.coast import coast, first_not_clear, passes
from backtest.engine.compile import inlined, inner, jit
from backtest.engine.dated import begin_feed
from backtest.engine.exposure import hours_e2
from backtest.engine.ledger import Book, record_fill, transfer
from backtest.engine.liquidation import R_DATA_END, R_LIQUIDATED, R_REFUSED, RUNNING, end_breach, end_run
from backtest.engine.opening import at_open, close_all, first_bar_at, first_remembered
from backtest.engine.path import close_stretch, see
from backtest.engine.plan import EVERY, NONE
from backtest.engine.position import fill_value, refresh, slipped
from backtest.engine.walk import walk

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market

BUFFER_NONE = 100_000_000_000_000_000  # a buffer that was never measured
# What is kept of a run that was not liquidated, in the order of `batch.KEEP`.
KEEP_ACTIONS, KEEP_ALL = 1, 2
# Refusals of an entry, in the order of schema.REFUSALS.
GAP, CAP, SMALL, NO_STEP = range(4)


@inlined
def next_due(tape: Market, plan: Plan, desk: Desk, run: Run, entry: Any, bar: int) -> int:
    """Give the first bar, from this one on, at whose open something is scheduled.

    Beside tier change, funding and the calls of rules on every bar.
    """
    if run.pending and plan.reaction_ms == 0:
        return bar
    due = min(entry.exit_bar, run.feed_due)
    if run.pending:
        due = min(due, first_bar_at(tape, first_remembered(plan, run), bar))
    for baseline in (run.baseline_liq_bar, run.baseline_exit_bar):
        if baseline >= bar:
            due = min(due, baseline)
    if plan.on_funding:
        due = min(due, tape.segments[run.segment + 1].start)
    if run.queue_head < run.queue_tail:
        due = min(due, first_bar_at(tape, desk.tray.queue[run.queue_head % at.QUEUE_ROWS, 0], bar))
    if run.script_at < entry.script_stop:
        due = min(due, run.entry_bar + desk.agenda[run.script_at].bars)
    for wake in range(plan.wake_count):
        if plan.wake_kind[wake] == EVERY:
            due = min(due, first_bar_at(tape, run.wake_due_ms[wake], bar))
    return max(due, bar)


@inner
def advance(tape: Market, plan: Plan, desk: Desk, run: Run, entry: Any) -> None:
    """Carry a run from its entry fill to its end."""
    bars = len(tape.bars)
    bar = due = run.entry_bar
    opened = suspect = False  # a suspect bar was looked at and is not clear: neither its open nor its path is skipped
    while run.reason == RUNNING:
        if not opened and bar == bars:
            end_of_data(tape, plan, desk, run)
            return
        if not suspect and (opened or (bar != due and not plan.every_bar)):
            if not opened and plan.skip and bar == tape.segments[run.segment + 1].start:
                bar = coast(tape, plan, desk, run, bar, due)
                if bar == tape.segments[run.segment + 1].start:
                    continue
            limit = bar + 1 if plan.every_bar else min(tape.segments[run.segment + 1].start, due)
            clear_to = bar
            if plan.skip and bar < limit:
                alone = bar + 1 == limit and passes(tape, run, bar)
                clear_to = limit if alone else first_not_clear(tape, plan, run, bar, limit)
            suspect = clear_to < limit
            if clear_to > bar:
                end_breach(run)
                bar = clear_to
                opened = False
                continue
        if opened:
            walk(tape, plan, desk, run, bar)
            stirred, suspect = True, False
            bar += 1
        else:
            scheduled = bar == due or bar == tape.segments[run.segment + 1].start
            stirred = at_open(tape, plan, desk, run, entry, bar, scheduled)
        opened = not opened
        if stirred:
            due = next_due(tape, plan, desk, run, entry, bar + opened)


@inner
def end_of_data(tape: Market, plan: Plan, desk: Desk, run: Run) -> None:
    """Close a run that the data end before its horizon, at the last trade close."""
    last = tape.bars[len(tape.bars) - 1]
    run.bar = len(tape.bars) - 1
    run.count_bound = len(tape.bars)
    run.time_ms = last.close_ms
    close_stretch(tape, run)
    close_all(tape, plan, desk, run, last.trade_close_e8, last.trade_close_e8, at.C_DATA_END)
    end_run(run, R_DATA_END, run.time_ms)


@inner
def begin(tape: Market, plan: Plan, desk: Desk, run: Run, entry: Any) -> int:
    """Open the position of a run at its entry bar; give the refusal, or NONE."""
    bar = entry.entry_bar
    if bar < 0:
        return GAP
    run.time_ms = run.entry_ms = tape.bars[bar].time_ms
    run.bar = run.entry_bar = run.counted_to = run.count_bound = bar
    run.segment = entry.entry_segment
    run.table = tape.segments[run.segment].table
    run.taker = tape.segments[run.segment].taker_e8
    run.side, run.leverage_e2, run.step = entry.side, entry.leverage_e2, entry.step_e8
    run.capital, run.min_notional = entry.capital_e8, entry.min_notional_e8
    base, mark = tape.bars[bar].trade_open_e8, tape.bars[bar].mark_open_e8
    qty = mul_div_floor(entry.sizing_margin_e8, run.leverage_e2 * 1_000_000, base) // run.step * run.step
    qty = mul_floor(qty, entry.qty_share_e8) // run.step * run.step
    if qty == 0:
        return NO_STEP
    if mul_floor(qty, mark) < run.min_notional:
        return SMALL
    if not leverage_allowed(tape, run.table, qty, mark, run.leverage_e2):
        return CAP
    for wake in range(plan.wake_count):
        run.wake_due_ms[wake] = run.time_ms + plan.wake_value[wake]
    if plan.feed:
        begin_feed(plan, desk, run)
    run.script_at = entry.script_start
    if entry.baseline_liquidation_ms >= 0:
        run.baseline_liq_bar = first_bar_at(tape, entry.baseline_liquidation_ms, bar)
    if entry.baseline_exit_ms >= 0:
        run.baseline_exit_bar = first_bar_at(tape, entry.baseline_exit_ms, bar)
    enter_position(plan, desk.book, run, qty, base, mark, entry.posted_e8)
    return NONE


@inner
def enter_position(plan: Plan, book: Book, run: Run, qty: int, base: int, mark: int, posted: int) -> None:
    """Pay in the capital, post the margin, and buy or sell the entry quantity."""
    transfer(book, run, at.K_DEPOSIT, at.WORLD, at.RESERVE, run.capital, at.C_ENTRY, -1)
    transfer(book, run, at.K_POST, at.RESERVE, at.MARGIN, posted, at.C_ENTRY, -1)
    buying = run.side > 0
    price = slipped(base, plan.slippage_e8, buying)
    value = fill_value(qty, price, buying)
    run.qty = run.entry_qty = qty
    run.cost = run.entry_value = value
    run.slippage = abs(value - fill_value(qty, base, buying))
    record_fill(book, run, qty if buying else -qty, price, value, mark, at.C_ENTRY, -1)
    fee = mul_ceil(value, run.taker)
    transfer(book, run, at.K_FEE, at.MARGIN, at.FEES, fee, at.C_ENTRY, -1)
    run.paid_since_test = fee
    refresh(plan, run)
    see(run, mark, mark)


@inner
def finish(tape: Market, plan: Plan, desk: Desk, run: Run, entry: Any, row: Any) -> None:
    """Send back what is in transit and write the outcome of a run."""
    cause = (at.C_LIQUIDATION, at.C_EXIT, at.C_RULE, at.C_DATA_END)[run.reason]
    transfer(desk.book, run, at.K_RETURN, at.TRANSIT, at.RESERVE, run.balance[at.TRANSIT], cause, -1)
    if run.breached and run.reason != R_LIQUIDATED:
        run.partial = 1
    if not run.paired_done:
        run.paired_high = run.before_path_high if run.on_path else run.sum_high
        run.paired_low = run.before_path_low if run.on_path else run.sum_low
    if entry.baseline_liquidation_ms >= 0:
        row["qty_at_baseline_liquidation_e8"] = max(run.baseline_qty, 0)
    row["exit_ms"] = run.exit_ms
    row["reason"] = run.reason
    row["liquidated"] = 1 if run.breaches > 0 else 0
    row["cause"] = run.first_cause
    row["partial"] = run.partial
    row["forced_qty_e8"] = run.forced_qty
    row["liquidation_count"] = run.breaches
    row["liquidation_ms"] = run.first_liq_ms
    row["liquidation_price_e8"] = run.first_liq_mark
    row["entry_qty_e8"] = run.entry_qty
    row["entry_notional_e8"] = run.entry_value
    row["equity_end_e8"] = run.balance[at.FREE] + run.balance[at.RESERVE]
    row["fees_e8"] = run.balance[at.FEES]
    row["funding_e8"] = run.balance[at.FUNDING]
    row["slippage_e8"] = run.slippage
    row["clearance_fee_e8"] = run.clearance
    row["margin_added_e8"] = run.added
    row["turnover_e8"] = run.turnover
    row["notional_hours_e2"] = hours_e2(run.sum_high, run.sum_low, tape.interval_ms)
    row["notional_hours_paired_e2"] = hours_e2(run.paired_high, run.paired_low, tape.interval_ms)
    row["min_buffer_ppm"] = run.min_buffer
    row["max_margin_ratio_ppm"] = run.max_ratio
    row["largest_deficit_e8"] = run.deficit
    row["actions"] = run.actions
    row["refused"] = run.refused
    row["exit_bar"] = run.bar
    row["last_segment"] = run.segment
    row["bars_visited"] = run.bars_visited


@inner
def refuse(run: Run, entry: Any, row: Any, refusal: int) -> None:
    """Write the outcome of an entry that the venue would not have taken."""
    row["refusal"] = refusal
    row["reason"] = R_REFUSED
    row["equity_end_e8"] = entry.capital_e8
    row["min_buffer_ppm"] = BUFFER_NONE
    row["exit_ms"] = row["cause"] = row["liquidation_ms"] = row["liquidation_price_e8"] = NONE


def blank_runs() -> Any:
    """Give the states a replay works with: the one in use, and the blank one it begins each run from."""
    runs = np.zeros(2, at.RUN_STATE)
    blank = runs[1]
    for name in (
        "reason",
        "stretch_low",
        "stretch_high",
        "baseline_qty",
        "baseline_liq_bar",
        "baseline_exit_bar",
        "first_liq_ms",
        "first_liq_mark",
        "first_cause",
        "entered_bar",
    ):
        blank[name] = NONE
    blank["rule_last_ms"] = NONE
    blank["deficit"] = -INT64_MAX
    blank["feed_due"] = INT64_MAX
    blank["min_buffer"] = BUFFER_NONE
    return runs


@jit
def replay(
    tape: Market, plan: Plan, desk: Desk, runs: Any, entries: Any, outcomes: Any, first: int, last: int, keep: int
) -> int:
    """Replay the runs [first, last); give the first run whose rows did not fit in the book.

    `runs` are the states of `blank_runs`: the one in use and a blank one.
    The cursor is set back over the rows of a run that was not liquidated, as far as `batch.KEEP` says.
    """
    run = runs[0]
    cursor = desk.book.cursor
    for index in range(first, last):
        before = cursor[0], cursor[1], cursor[2]
        runs[0] = runs[1]
        desk.tray.memory[:] = 0.0
        run.index = index
        entry, row = entries[index], outcomes[index]
        row["refusal"] = row["qty_at_baseline_liquidation_e8"] = NONE
        refusal = begin(tape, plan, desk, run, entry)
        if refusal == NONE:
            advance(tape, plan, desk, run, entry)
            finish(tape, plan, desk, run, entry, row)
        else:
            refuse(run, entry, row, refusal)
        if cursor[3]:
            cursor[0], cursor[1], cursor[2] = before
            cursor[3] = 0
            return index
        if keep < KEEP_ALL and run.breaches == 0:
            cursor[0], cursor[1] = before[0], before[1]
            if keep < KEEP_ACTIONS:
                cursor[2] = before[2]
    return last
