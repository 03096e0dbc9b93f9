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
from backtest.engine.compile import jit
from backtest.engine.exposure import hours_e2
from backtest.engine.ledger import Book, record_fill, transfer
from backtest.engine.liquidation import R_DATA_END, R_LIQUIDATED, R_REFUSED, RUNNING, end_breach, end_run
from backtest.engine.opening import at_open, close_all, enter_segment, first_bar_at
from backtest.engine.path import close_stretch, is_clear, see
from backtest.engine.plan import EVERY, NONE
from backtest.engine.position import fill_value, refresh_fee_reserve, slipped
from backtest.engine.walk import walk

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Int64Array
    from backtest.engine.plan import Plan
    from backtest.schema import Tape

BLOCK = 24
BUFFER_NONE = 100_000_000_000_000_000  # a buffer that was never measured
# Refusals of an entry, in the order of schema.REFUSALS.
GAP, CAP, SMALL, NO_STEP = range(4)


@jit
def skip_segment(tape: Tape, plan: Plan, a: Int64Array) -> bool:
    """Skip the whole segment just entered, if nothing can happen in it; its extremes are noted on the way."""
    low, high = tape.segment_low_e8[a[at.SEGMENT]], tape.segment_high_e8[a[at.SEGMENT]]
    if not is_clear(tape, plan, a, low, high):
        return False
    see(a, low, high)
    return True


@jit
def first_not_clear(tape: Tape, plan: Plan, a: Int64Array, bar: int, limit: int) -> int:
    """Give the first bar in [bar, limit) in which something might happen, else limit; clear bars are seen."""
    if plan.skip and bar == tape.segment_start[a[at.SEGMENT]] and limit == tape.segment_start[a[at.SEGMENT] + 1]:
        if skip_segment(tape, plan, a):
            return limit
    while plan.skip and bar < limit:
        block = bar // BLOCK
        if bar == block * BLOCK and bar + BLOCK <= limit:
            low, high = tape.block_low_e8[block], tape.block_high_e8[block]
            if is_clear(tape, plan, a, low, high):
                see(a, low, high)
                bar += BLOCK
                continue
        if not is_clear(tape, plan, a, tape.mark_low_e8[bar], tape.mark_high_e8[bar]):
            return bar
        see(a, tape.mark_low_e8[bar], tape.mark_high_e8[bar])
        bar += 1
    return bar


@jit
def next_due(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, run: Any, bar: int) -> int:
    """Give the first bar, from this one on, at whose open something is scheduled beside tier change and funding."""
    if a[at.PENDING] or plan.every_bar:
        return bar
    due = run["exit_bar"]
    for baseline in (a[at.BASELINE_LIQ_BAR], a[at.BASELINE_EXIT_BAR]):
        if baseline >= bar:
            due = min(due, baseline)
    if plan.on_funding:
        due = min(due, tape.segment_start[a[at.SEGMENT] + 1])
    if a[at.QUEUE_HEAD] < a[at.QUEUE_TAIL]:
        due = min(due, first_bar_at(tape, desk.queue[a[at.QUEUE_HEAD] % len(desk.queue), 0], bar))
    if a[at.SCRIPT_AT] < run["script_stop"]:
        due = min(due, a[at.ENTRY_BAR] + desk.script[a[at.SCRIPT_AT]]["bars"])
    for wake in range(len(plan.wake_kind)):
        if plan.wake_kind[wake] == EVERY:
            due = min(due, first_bar_at(tape, a[at.DUE_OF_WAKE + wake], bar))
    return max(due, bar)


@jit
def advance(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, run: Any) -> None:
    """Carry an open run, whose entry bar has been opened, to its end."""
    bars = len(tape.time_ms)
    bar = a[at.BAR]
    opened = True
    due = next_due(tape, plan, desk, a, run, bar + 1)
    while a[at.REASON] == RUNNING:
        if not opened:
            if bar == bars:
                a[at.COUNT_BOUND] = bars
                a[at.TIME] = tape.time_ms[bars - 1] + tape.interval_ms
                close_stretch(tape, a)
                close_all(
                    tape, plan, desk, a, tape.trade_close_e8[bars - 1], tape.trade_close_e8[bars - 1], at.C_DATA_END
                )
                end_run(a, R_DATA_END, a[at.TIME])
                return
            if bar == due:
                at_open(tape, plan, desk, a, run, bar, False)
                opened = True
                due = next_due(tape, plan, desk, a, run, bar + 1)
                continue
            if plan.skip and bar == tape.segment_start[a[at.SEGMENT] + 1]:
                enter_segment(tape, plan, desk, a, bar)
        limit = min(tape.segment_start[a[at.SEGMENT] + 1], due)
        clear_to = first_not_clear(tape, plan, a, bar, limit) if opened or plan.skip else bar
        if clear_to > bar:
            end_breach(a)
            bar = clear_to
            opened = False
        elif opened:
            walk(tape, plan, desk, a, bar)
            bar += 1
            opened = False
            due = next_due(tape, plan, desk, a, run, bar)
        else:
            at_open(tape, plan, desk, a, run, bar, False)
            opened = True
            due = next_due(tape, plan, desk, a, run, bar + 1)


@jit
def begin(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, run: Any, index: int) -> int:
    """Open the position of a run at its entry bar; give the refusal, or NONE."""
    a[:] = 0
    for place in (
        at.REASON,
        at.STRETCH_LOW,
        at.STRETCH_HIGH,
        at.BASELINE_QTY,
        at.FIRST_LIQ_TIME,
        at.FIRST_LIQ_MARK,
        at.FIRST_CAUSE,
    ):
        a[place] = -1
    a[at.SEQUENCE] = index
    a[at.DEFICIT] = -INT64_MAX
    a[at.MIN_BUFFER] = BUFFER_NONE
    desk.memory[:] = 0.0
    bar = run["entry_bar"]
    if bar < 0:
        return GAP
    a[at.TIME] = a[at.ENTRY_TIME] = tape.time_ms[bar]
    a[at.BAR] = a[at.ENTRY_BAR] = a[at.COUNTED_TO] = a[at.COUNT_BOUND] = bar
    a[at.ENTERED_BAR] = -1
    a[at.SEGMENT] = run["entry_segment"]
    a[at.TABLE] = tape.segment_table[a[at.SEGMENT]]
    a[at.TAKER] = tape.segment_taker_e8[a[at.SEGMENT]]
    a[at.SIDE], a[at.LEVERAGE], a[at.STEP] = run["side"], run["leverage_e2"], run["step_e8"]
    a[at.CAPITAL], a[at.MIN_NOTIONAL] = run["capital_e8"], run["min_notional_e8"]
    base, mark = tape.trade_open_e8[bar], tape.mark_open_e8[bar]
    qty = mul_div_floor(run["sizing_margin_e8"], a[at.LEVERAGE] * 1_000_000, base) // a[at.STEP] * a[at.STEP]
    qty = mul_floor(qty, run["qty_share_e8"]) // a[at.STEP] * a[at.STEP]
    if qty == 0:
        return NO_STEP
    if mul_floor(qty, mark) < a[at.MIN_NOTIONAL]:
        return SMALL
    if not leverage_allowed(tape, a[at.TABLE], qty, mark, a[at.LEVERAGE]):
        return CAP
    for rule in range(at.RULES_MAX):
        a[at.LAST_ACTION_OF_RULE + rule] = -1
    for wake in range(len(plan.wake_kind)):
        a[at.DUE_OF_WAKE + wake] = a[at.TIME] + plan.wake_value[wake]
    a[at.SCRIPT_AT] = run["script_start"]
    a[at.BASELINE_LIQ_BAR] = a[at.BASELINE_EXIT_BAR] = -1
    if run["baseline_liquidation_ms"] >= 0:
        a[at.BASELINE_LIQ_BAR] = first_bar_at(tape, run["baseline_liquidation_ms"], bar)
    if run["baseline_exit_ms"] >= 0:
        a[at.BASELINE_EXIT_BAR] = first_bar_at(tape, run["baseline_exit_ms"], bar)
    enter_position(plan, desk.book, a, qty, base, mark, run["posted_e8"])
    return NONE


@jit
def enter_position(plan: Plan, book: Book, a: Int64Array, qty: int, base: int, mark: int, posted: int) -> None:
    """Pay in the capital, post the margin, and buy or sell the entry quantity."""
    transfer(book, a, at.K_DEPOSIT, at.WORLD, at.RESERVE, a[at.CAPITAL], at.C_ENTRY, -1)
    transfer(book, a, at.K_POST, at.RESERVE, at.MARGIN, posted, at.C_ENTRY, -1)
    buying = a[at.SIDE] > 0
    price = slipped(base, plan.slippage_e8, buying)
    value = fill_value(qty, price, buying)
    a[at.QTY] = a[at.ENTRY_QTY] = qty
    a[at.COST] = a[at.ENTRY_VALUE] = value
    a[at.SLIPPAGE] = abs(value - fill_value(qty, base, buying))
    record_fill(book, a, qty if buying else -qty, price, value, mark, at.C_ENTRY, -1)
    fee = mul_ceil(value, a[at.TAKER])
    transfer(book, a, at.K_FEE, at.MARGIN, at.FEES, fee, at.C_ENTRY, -1)
    a[at.PAID_SINCE_TEST] = fee
    refresh_fee_reserve(plan, a)


@jit
def finish(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, run: Any, row: Any) -> None:
    """Send back what is in transit and write the outcome of a run."""
    cause = (at.C_LIQUIDATION, at.C_EXIT, at.C_RULE, at.C_DATA_END)[a[at.REASON]]
    transfer(desk.book, a, at.K_RETURN, at.TRANSIT, at.RESERVE, a[at.TRANSIT], cause, -1)
    if a[at.BREACHED] and a[at.REASON] != R_LIQUIDATED:
        a[at.PARTIAL] = 1
    if not a[at.PAIRED_DONE]:
        a[at.PAIRED_HIGH] = a[at.BEFORE_PATH_HIGH] if a[at.ON_PATH] else a[at.SUM_HIGH]
        a[at.PAIRED_LOW] = a[at.BEFORE_PATH_LOW] if a[at.ON_PATH] else a[at.SUM_LOW]
    if run["baseline_liquidation_ms"] >= 0:
        row["qty_at_baseline_liquidation_e8"] = max(a[at.BASELINE_QTY], 0)
    row["exit_ms"] = a[at.EXIT_TIME]
    row["reason"] = a[at.REASON]
    row["liquidated"] = 1 if a[at.BREACHES] > 0 else 0
    row["cause"] = a[at.FIRST_CAUSE]
    row["partial"] = a[at.PARTIAL]
    row["forced_qty_e8"] = a[at.FORCED_QTY]
    row["liquidation_count"] = a[at.BREACHES]
    row["liquidation_ms"] = a[at.FIRST_LIQ_TIME]
    row["liquidation_price_e8"] = a[at.FIRST_LIQ_MARK]
    row["entry_qty_e8"] = a[at.ENTRY_QTY]
    row["entry_notional_e8"] = a[at.ENTRY_VALUE]
    row["equity_end_e8"] = a[at.FREE] + a[at.RESERVE]
    row["fees_e8"] = a[at.FEES]
    row["funding_e8"] = a[at.FUNDING]
    row["slippage_e8"] = a[at.SLIPPAGE]
    row["clearance_fee_e8"] = a[at.CLEARANCE]
    row["margin_added_e8"] = a[at.ADDED]
    row["turnover_e8"] = a[at.TURNOVER]
    row["notional_hours_e2"] = hours_e2(a[at.SUM_HIGH], a[at.SUM_LOW], tape.interval_ms)
    row["notional_hours_paired_e2"] = hours_e2(a[at.PAIRED_HIGH], a[at.PAIRED_LOW], tape.interval_ms)
    row["min_buffer_ppm"] = a[at.MIN_BUFFER]
    row["max_margin_ratio_ppm"] = a[at.MAX_RATIO]
    row["largest_deficit_e8"] = a[at.DEFICIT]
    row["actions"] = a[at.ACTIONS]
    row["refused"] = a[at.REFUSED]
    row["exit_bar"] = a[at.BAR]
    row["last_segment"] = a[at.SEGMENT]
    row["bars_visited"] = a[at.BARS_VISITED]


@jit
def replay_run(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, run: Any, index: int, row: Any) -> None:
    """Replay one run and write its outcome."""
    row["refusal"] = NONE
    row["qty_at_baseline_liquidation_e8"] = NONE
    refusal = begin(tape, plan, desk, a, run, index)
    if refusal != NONE:
        row["refusal"] = refusal
        row["reason"] = R_REFUSED
        row["exit_ms"] = NONE
        row["equity_end_e8"] = run["capital_e8"]
        row["min_buffer_ppm"] = BUFFER_NONE
        row["cause"] = row["liquidation_ms"] = row["liquidation_price_e8"] = NONE
        return
    at_open(tape, plan, desk, a, run, run["entry_bar"], True)
    advance(tape, plan, desk, a, run)
    finish(tape, plan, desk, a, run, row)


@jit
def replay(tape: Tape, plan: Plan, desk: Desk, runs: Any, outcomes: Any, first: int, last: int, keep_all: int) -> int:
    """Replay the runs [first, last); give the first run whose rows did not fit in the book.

    Rows are kept for liquidated runs, or for all with `keep_all`; the cursor is set back over those of the others.
    """
    a = np.zeros(at.STATE_SIZE, np.int64)
    cursor = desk.book.cursor
    for index in range(first, last):
        before = cursor[0], cursor[1], cursor[2]
        row = outcomes[index]
        replay_run(tape, plan, desk, a, runs[index], index, row)
        if cursor[3]:
            cursor[0], cursor[1], cursor[2] = before
            cursor[3] = 0
            return index
        if not keep_all and a[at.BREACHES] == 0:
            cursor[0], cursor[1], cursor[2] = before
    return last
