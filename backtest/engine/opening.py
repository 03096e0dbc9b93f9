"""The open of a bar: tier table, funding, arrivals, test, exit, remembered and woken rules, test.

The order of docs/semantics.md, section 3, steps 1 to 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine import cells as at
from backtest.engine.actions import call_rule, perform
from backtest.engine.arithmetic import scale_ceil, scale_floor, split_product
from backtest.engine.compile import jit
from backtest.engine.exposure import count_opens, keep_pair, settle_exposure
from backtest.engine.ledger import transfer
from backtest.engine.liquidation import (
    BY_FUNDING,
    BY_PRICE,
    BY_TIER_CHANGE,
    R_CLOSED,
    R_HORIZON,
    RUNNING,
    end_breach,
    end_run,
    liquidate,
    test_after_fill,
)
from backtest.engine.margin import measure
from backtest.engine.path import LIQUIDATION, close_stretch, holds, see
from backtest.engine.plan import EVERY, EVERY_BAR, ON_ARRIVAL, ON_FILL, ON_FUNDING, THRESHOLDS
from backtest.engine.position import reduce_position, refresh_fee_reserve

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Int64Array
    from backtest.engine.plan import Plan
    from backtest.schema import Tape


@jit
def first_bar_at(tape: Tape, time_ms: int, start: int) -> int:
    """Give the first bar at or after a time, from a bar on; the number of bars when there is none."""
    low, high = start, len(tape.time_ms)
    if start < high:
        guess = start + max(0, (time_ms - tape.time_ms[start] + tape.interval_ms - 1) // tape.interval_ms)
        if guess < high:
            if tape.time_ms[guess] == time_ms:
                return guess
            high = guess  # missing bars only make the index smaller
    while low < high:
        middle = (low + high) // 2
        if tape.time_ms[middle] < time_ms:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def pay_funding(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, bar: int) -> bool:
    """Settle the funding of the segment that begins here; tell whether money moved."""
    rate = tape.segment_funding_e8[a[at.SEGMENT]]
    if rate == 0:
        return False
    whole, rest = split_product(a[at.QTY], tape.mark_open_e8[bar])
    if (rate > 0) == (a[at.SIDE] > 0):
        transfer(
            desk.book, a, at.K_FUNDING, at.MARGIN, at.FUNDING, scale_ceil(whole, rest, abs(rate)), at.C_FUNDING, -1
        )
    else:
        transfer(
            desk.book, a, at.K_FUNDING, at.FUNDING, at.MARGIN, scale_floor(whole, rest, abs(rate)), at.C_FUNDING, -1
        )
    return True


@jit
def take_arrivals(tape: Tape, plan: Plan, desk: Desk, a: Int64Array) -> bool:
    """Add the transfers that have arrived by now; tell whether there were any."""
    arrived = False
    while a[at.QUEUE_HEAD] < a[at.QUEUE_TAIL]:
        place = a[at.QUEUE_HEAD] % len(desk.queue)
        if desk.queue[place, 0] > a[at.TIME]:
            break
        if not arrived:
            close_stretch(tape, a)
        arrived = True
        amount = desk.queue[place, 1]
        transfer(desk.book, a, at.K_ADD_MARGIN, at.TRANSIT, at.MARGIN, amount, at.C_ARRIVAL, desk.queue[place, 2])
        a[at.ADDED] += amount
        a[at.QUEUE_HEAD] += 1
    return arrived


@jit
def enter_segment(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, bar: int) -> None:
    """Put a segment's tier table, fee and funding into force at its first bar."""
    count_opens(tape, a, bar)
    close_stretch(tape, a)
    a[at.SEGMENT] += 1
    a[at.TIME] = tape.time_ms[bar]
    a[at.ENTERED_BAR] = bar
    a[at.OLD_MARGIN] = a[at.MARGIN]
    a[at.OLD_TABLE] = a[at.TABLE]
    a[at.OLD_FEE_RESERVE] = a[at.FEE_RESERVE]
    a[at.TABLE] = tape.segment_table[a[at.SEGMENT]]
    a[at.TAKER] = tape.segment_taker_e8[a[at.SEGMENT]]
    refresh_fee_reserve(plan, a)
    a[at.FUNDED] = pay_funding(tape, plan, desk, a, bar)


@jit
def open_cause(tape: Tape, a: Int64Array, bar: int) -> int:
    """Name what turned the predicate true at a bar's open: the price, a tier change or funding."""
    if a[at.ENTERED_BAR] != bar:
        return BY_PRICE
    mark = tape.mark_open_e8[bar]
    for cause, table, reserve in (
        (BY_PRICE, a[at.OLD_TABLE], a[at.OLD_FEE_RESERVE]),
        (BY_TIER_CHANGE, a[at.TABLE], a[at.FEE_RESERVE]),
    ):
        equity, maintenance, _ = measure(
            tape, table, a[at.SIDE], a[at.QTY], a[at.COST], a[at.OLD_MARGIN], a[at.LEVERAGE], reserve, mark
        )
        if equity <= maintenance:
            return cause
    return BY_FUNDING


@jit
def wake_at_open(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, bar: int, wake: int) -> bool:
    """Call a rule at a bar's open, unless it cools down; make the test if it acted. Tell whether it acted."""
    rule = plan.wake_rule[wake]
    last = a[at.LAST_ACTION_OF_RULE + rule]
    if last >= 0 and a[at.TIME] - last < plan.cooldown_ms[rule]:
        return False
    mark = tape.mark_open_e8[bar]
    if not call_rule(tape, plan, desk, a, wake, tape.trade_open_e8[bar], mark):
        return False
    if a[at.QTY] == 0:
        end_run(a, R_CLOSED, a[at.TIME])
    else:
        test_after_fill(tape, plan, desk, a, mark)
    return True


@jit
def call_remembered(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, bar: int) -> None:
    """Call the wakes that held on the path of the bar before, in list order."""
    pending = a[at.PENDING]
    a[at.PENDING] = 0
    for wake in range(len(plan.wake_kind)):
        if (pending >> wake) & 1 and a[at.REASON] == RUNNING:
            wake_at_open(tape, plan, desk, a, bar, wake)


@jit
def play_script(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, bar: int, stop: int) -> None:
    """Do the scripted actions of this bar."""
    mark = tape.mark_open_e8[bar]
    while (
        a[at.REASON] == RUNNING
        and a[at.SCRIPT_AT] < stop
        and desk.script[a[at.SCRIPT_AT]]["bars"] <= bar - a[at.ENTRY_BAR]
    ):
        row = desk.script[a[at.SCRIPT_AT]]
        a[at.SCRIPT_AT] += 1
        wish = (row["verb"], row["amount"], row["target"])
        if perform(tape, plan, desk, a, wish, tape.trade_open_e8[bar], mark, -1):
            if a[at.QTY] == 0:
                end_run(a, R_CLOSED, a[at.TIME])
            else:
                test_after_fill(tape, plan, desk, a, mark)


@jit
def is_woken(plan: Plan, a: Int64Array, wake: int, funded: bool, arrived: bool, filled: bool) -> bool:
    """Tell whether an event wake is woken at this open; move a clock on that is."""
    kind = plan.wake_kind[wake]
    if kind == EVERY:
        if a[at.TIME] < a[at.DUE_OF_WAKE + wake]:
            return False
        period = plan.wake_value[wake]
        a[at.DUE_OF_WAKE + wake] = a[at.ENTRY_TIME] + ((a[at.TIME] - a[at.ENTRY_TIME]) // period + 1) * period
        return True
    if kind == EVERY_BAR:
        return bool(a[at.BAR] > a[at.ENTRY_BAR])
    return (kind == ON_FUNDING and funded) or (kind == ON_ARRIVAL and arrived) or (kind == ON_FILL and filled)


@jit
def close_all(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, base: int, mark: int, cause: int) -> None:
    """Close the whole position at the end of a run."""
    settle_exposure(tape, a)
    reduce_position(plan, desk.book, a, a[at.QTY], base, mark, False, cause, -1)


@jit
def at_open(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, run: Any, bar: int, entered: bool) -> None:
    """Do the events of a bar's open, steps 1 to 7. `entered`: the entry fill has just been made in this bar."""
    mark = tape.mark_open_e8[bar]
    a[at.BAR] = bar
    a[at.TIME] = tape.time_ms[bar]
    a[at.COUNT_BOUND] = bar
    arrived, filled = False, entered
    if not entered:
        if bar == tape.segment_start[a[at.SEGMENT] + 1]:
            enter_segment(tape, plan, desk, a, bar)
        arrived = take_arrivals(tape, plan, desk, a)
        see(a, mark, mark)
        if plan.liquidate and holds(tape, plan, a, LIQUIDATION, mark):
            liquidate(tape, plan, desk, a, mark, open_cause(tape, a, bar))
        else:
            end_breach(a)
        if a[at.REASON] == RUNNING and bar == run["exit_bar"]:
            close_stretch(tape, a)
            close_all(tape, plan, desk, a, tape.trade_open_e8[bar], mark, at.C_EXIT)
            end_run(a, R_HORIZON, a[at.TIME])
        if a[at.REASON] == RUNNING:
            qty = a[at.QTY]
            call_remembered(tape, plan, desk, a, bar)
            play_script(tape, plan, desk, a, bar, run["script_stop"])
            filled = a[at.QTY] != qty
    else:
        play_script(tape, plan, desk, a, bar, run["script_stop"])
    call_woken(tape, plan, desk, a, bar, arrived, filled)
    if a[at.REASON] == RUNNING:
        see(a, mark, mark)
        test_after_fill(tape, plan, desk, a, mark)
    if bar == a[at.BASELINE_LIQ_BAR]:
        a[at.BASELINE_QTY] = a[at.QTY]
    if bar == a[at.BASELINE_EXIT_BAR]:
        keep_pair(tape, a, bar)


@jit
def call_woken(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, bar: int, arrived: bool, filled: bool) -> None:
    """Call the rules woken by arrival, funding, fill or clock at this open, in list order."""
    funded = a[at.ENTERED_BAR] == bar and a[at.FUNDED] == 1 and bar > a[at.ENTRY_BAR]
    for wake in range(len(plan.wake_kind)):
        if a[at.REASON] != RUNNING:
            return
        if plan.wake_kind[wake] >= THRESHOLDS and is_woken(plan, a, wake, funded, arrived, filled):
            wake_at_open(tape, plan, desk, a, bar, wake)
