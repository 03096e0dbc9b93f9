"""The path of a bar: from the open to the adverse extreme, then to the other one.

Liquidation and threshold wakes are met in the order in which the mark passes them; docs/semantics.md, section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.actions import call_rule
from backtest.engine.arithmetic import wide_add
from backtest.engine.compile import jit
from backtest.engine.exposure import count_opens
from backtest.engine.liquidation import BY_PRICE, R_CLOSED, RUNNING, end_breach, end_run, fee_cause, liquidate
from backtest.engine.path import LIQUIDATION, crossing, holds, next_border, see
from backtest.engine.plan import THRESHOLDS

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Int64Array
    from backtest.engine.plan import Plan
    from backtest.schema import Tape


@jit
def may_wake(plan: Plan, a: Int64Array, wake: int) -> bool:
    """Tell whether a threshold wake can be called in this bar: not called yet, and not cooling down."""
    if plan.wake_kind[wake] >= THRESHOLDS or (a[at.CALLED] >> wake) & 1:
        return False
    rule = plan.wake_rule[wake]
    last = a[at.LAST_ACTION_OF_RULE + rule]
    return bool(last < 0 or a[at.TIME] - last >= plan.cooldown_ms[rule])


@jit
def remember(tape: Tape, plan: Plan, a: Int64Array, price: int) -> None:
    """Remember for the next open the threshold wakes that hold at a point of the path."""
    for wake in range(len(plan.wake_kind)):
        if plan.wake_kind[wake] < THRESHOLDS and not (a[at.PENDING] >> wake) & 1 and holds(tape, plan, a, wake, price):
            a[at.PENDING] |= 1 << wake


@jit
def settle(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, price: int, base: int, test: bool) -> bool:
    """Do all that happens at one point of the path: liquidation first, then wakes in list order.

    Tells whether there was a forced close; after one, `test` is spent.
    """
    forced, acted = False, False
    while a[at.REASON] == RUNNING:
        if plan.next_open:
            remember(tape, plan, a, price)
        if test and plan.liquidate and holds(tape, plan, a, LIQUIDATION, price):
            liquidate(tape, plan, desk, a, price, fee_cause(tape, a, price) if acted else BY_PRICE)
            forced, test = True, False
            continue
        if acted:
            a[at.PAID_SINCE_TEST] = 0
        called = False
        for wake in range(len(plan.wake_kind)):
            if not plan.next_open and may_wake(plan, a, wake) and holds(tape, plan, a, wake, price):
                a[at.CALLED] |= 1 << wake
                called = True
                acted = call_rule(tape, plan, desk, a, wake, base, price)
                if a[at.QTY] == 0:
                    end_run(a, R_CLOSED, a[at.TIME])
                break
        if not called:
            break
        see(a, price, price)
    return forced


@jit
def next_point(tape: Tape, plan: Plan, a: Int64Array, price: int, end: int, test: bool) -> int:
    """Give the next point of the path: the nearest crossing, else the end of the piece."""
    border = next_border(tape, a, price, end)
    point = border
    if test and plan.liquidate and holds(tape, plan, a, LIQUIDATION, border):
        point = crossing(tape, plan, a, LIQUIDATION, price, border)
    if not plan.next_open:
        for wake in range(len(plan.wake_kind)):
            if may_wake(plan, a, wake) and holds(tape, plan, a, wake, border):
                where = crossing(tape, plan, a, wake, price, border)
                if abs(where - price) < abs(point - price):
                    point = where
    return point


@jit
def walk_leg(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, start: int, end: int) -> None:
    """Walk from one price to another. After a forced close the next test on the way is at its end."""
    price, forced = start, False
    while price != end and a[at.REASON] == RUNNING:
        point = next_point(tape, plan, a, price, end, not forced)
        see(a, min(price, point), max(price, point))
        price = point
        forced = settle(tape, plan, desk, a, price, price, not forced or price == end) or forced
    if a[at.REASON] == RUNNING and not forced:
        end_breach(a)


@jit
def walk(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, bar: int) -> None:
    """Do the path of a bar: the open, the adverse extreme, the other extreme."""
    a[at.CALLED] = 0
    a[at.BARS_VISITED] += 1
    count_opens(tape, a, bar)
    a[at.BEFORE_PATH_HIGH], a[at.BEFORE_PATH_LOW] = wide_add(a[at.SUM_HIGH], a[at.SUM_LOW], a[at.QTY], a[at.OPEN_SUM])
    a[at.COUNT_BOUND] = bar + 1
    a[at.ON_PATH] = 1
    mark, low, high = tape.mark_open_e8[bar], tape.mark_low_e8[bar], tape.mark_high_e8[bar]
    adverse, other = (low, high) if a[at.SIDE] > 0 else (high, low)
    settle(tape, plan, desk, a, mark, tape.trade_open_e8[bar], True)
    walk_leg(tape, plan, desk, a, mark, adverse)
    walk_leg(tape, plan, desk, a, adverse, other)
    if a[at.REASON] == RUNNING:
        a[at.ON_PATH] = 0
