"""The path of a bar: from the open to the adverse extreme, then to the other one.

Liquidation and threshold wakes are met in the order in which the mark passes them; docs/semantics.md, section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.actions import call_rule
from backtest.engine.arithmetic import wide_add
from backtest.engine.band import is_in_clear_band, renew_clear_band
from backtest.engine.compile import inlined, inner
from backtest.engine.exposure import count_opens
from backtest.engine.liquidation import BY_PRICE, R_CLOSED, RUNNING, end_breach, end_run, fee_cause, liquidate
from backtest.engine.opening import remember
from backtest.engine.path import LIQUIDATION, crossing, holds, is_met, next_border, see
from backtest.engine.plan import THRESHOLDS

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market


@inner
def may_wake(plan: Plan, run: Run, wake: int) -> bool:
    """Tell whether a threshold wake counts in this bar: not called or remembered yet, and not cooling down."""
    if plan.wake_kind[wake] >= THRESHOLDS:
        return False
    if plan.remember:
        return not (run.pending >> wake) & 1
    if (run.called >> wake) & 1:
        return False
    rule = plan.wake_rule[wake]
    last = run.rule_last_ms[rule]
    return bool(last < 0 or run.time_ms - last >= plan.cooldown_ms[rule])


@inlined
def is_clear_way(tape: Market, plan: Plan, run: Run, start: int, end: int) -> bool:
    """Tell whether certainly nothing happens on a way; False says nothing. Without skipping every way is walked."""
    if not plan.skip:
        return False
    if run.balance[at.MARGIN] < run.clear_wallet:
        renew_clear_band(tape, plan, run, start)
    return is_in_clear_band(run, min(start, end), max(start, end))


@inner
def settle(tape: Market, plan: Plan, desk: Desk, run: Run, price: int, base: int, test: bool) -> bool:
    """Do all that happens at one point of the path: liquidation first, then wakes in list order.

    Tells whether the way's own test closed something; after that, `test` is spent. The test after an action is another.
    """
    forced, acted = False, False
    while run.reason == RUNNING:
        if is_clear_way(tape, plan, run, price, price):
            if acted:
                run.paid_since_test = 0
            break
        if (test or acted) and plan.liquidate and holds(tape, plan, run, LIQUIDATION, price):
            liquidate(tape, plan, desk, run, price, fee_cause(tape, run, price) if acted else BY_PRICE)
            if not acted:
                forced, test = True, False
            acted = False
            continue
        if acted:
            run.paid_since_test = 0
            acted = False
        called = False
        for wake in range(plan.wake_count):
            if may_wake(plan, run, wake) and is_met(tape, plan, run, wake, price):
                if plan.remember:
                    remember(plan, run, wake, tape.bars[run.bar].close_ms if plan.next_open else run.time_ms)
                    continue
                run.called |= 1 << wake
                called = True
                acted = call_rule(tape, plan, desk, run, wake, base, price)
                if run.qty == 0:
                    end_run(run, R_CLOSED, run.time_ms)
                break
        if not called:
            break
        see(run, price, price)
    return forced


@inlined
def next_point(tape: Market, plan: Plan, run: Run, price: int, end: int, test: bool) -> int:
    """Give the next point of the path: the nearest crossing, else the end of the piece."""
    border = next_border(tape, run, price, end)
    point = border
    if test and plan.liquidate and holds(tape, plan, run, LIQUIDATION, border):
        point = crossing(tape, plan, run, LIQUIDATION, price, border)
    for wake in range(plan.wake_count):
        if may_wake(plan, run, wake) and is_met(tape, plan, run, wake, border):
            where = crossing(tape, plan, run, wake, price, border)
            if abs(where - price) < abs(point - price):
                point = where
    return point


@inlined
def walk_leg(tape: Market, plan: Plan, desk: Desk, run: Run, start: int, end: int) -> None:
    """Walk from one price to another. After a forced close the next test on the way is at its end."""
    price, forced = start, False
    while price != end and run.reason == RUNNING:
        if is_clear_way(tape, plan, run, price, end):
            see(run, min(price, end), max(price, end))
            break
        point = next_point(tape, plan, run, price, end, not forced)
        see(run, min(price, point), max(price, point))
        price = point
        forced = settle(tape, plan, desk, run, price, price, not forced or price == end) or forced
    if run.reason == RUNNING and not forced:
        end_breach(run)


@inlined
def walk(tape: Market, plan: Plan, desk: Desk, run: Run, bar: int) -> None:
    """Do the path of a bar: the open, the adverse extreme, the other extreme."""
    run.called = 0
    run.bars_visited += 1
    count_opens(tape, run, bar)
    run.before_path_high, run.before_path_low = wide_add(run.sum_high, run.sum_low, run.qty, run.open_sum)
    run.count_bound = bar + 1
    run.on_path = 1
    mark, low, high = tape.bars[bar].mark_open_e8, tape.bars[bar].mark_low_e8, tape.bars[bar].mark_high_e8
    adverse, other = (low, high) if run.side > 0 else (high, low)
    settle(tape, plan, desk, run, mark, tape.bars[bar].trade_open_e8, run.reason == RUNNING)
    for start, end in ((mark, adverse), (adverse, other)):
        walk_leg(tape, plan, desk, run, start, end)
    if run.reason == RUNNING:
        run.on_path = 0
