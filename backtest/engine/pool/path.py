"""The path of a bar: all marks move together, in 2^20 steps, to the adverse extremes and then to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine import cells as at
from backtest.engine.arithmetic import wide_add
from backtest.engine.compile import inner
from backtest.engine.liquidation import BY_PRICE, R_CLOSED, RUNNING
from backtest.engine.opening import remember
from backtest.engine.plan import THRESHOLDS
from backtest.engine.pool.actions import call_rule
from backtest.engine.pool.books import count_opens
from backtest.engine.pool.forced import cause_after_action, end_breach, end_run, liquidate, price_cause
from backtest.engine.pool.units import figures, is_core_held, is_held, is_liquidated, see, wakes

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run

STEPS = 1 << 20


@inner
def lay(desk: PoolDesk, step: int, into: Any) -> None:
    """Write the marks at a step of the present way."""
    for i in range(len(into)):
        start, end = desk.starts[i], desk.ends[i]
        moved = share_of_way(abs(end - start), step)
        into[i] = start + moved if end > start else start - moved


@inner
def share_of_way(way: int, step: int) -> int:
    """Give floor(way step / 2^20) without leaving 63 bits."""
    whole = way // STEPS
    return whole * step + (way - whole * STEPS) * step // STEPS


@inner
def own_unit(plan: Plan, run: Run, instrument: int) -> int:
    """Give the unit whose headroom says which extreme of an instrument is adverse; -1 where nothing hangs on it."""
    for j in range(plan.collateral_count):
        if plan.collateral_instrument[j] == instrument and is_held(plan, run, 0):
            return 0
    first = -1
    for slot in range(plan.slot_count):
        if run.qty[slot] > 0 and plan.leg_instrument[slot] == instrument:
            if plan.leg_unit[slot] == 0:
                return 0
            if first < 0:
                first = plan.leg_unit[slot]
    return first


@inner
def choose_extremes(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, bar: int) -> None:
    """Lay out the two ways of a bar: the adverse extremes, and the others."""
    for i in range(plan.instrument_count):
        desk.trial[i] = market.bars[bar, i].mark_open_e8
    for i in range(plan.instrument_count):
        low, high = market.bars[bar, i].mark_low_e8, market.bars[bar, i].mark_high_e8
        adverse = low
        unit = own_unit(plan, run, i)
        if unit >= 0:
            desk.trial[i] = low
            equity, maintenance, _ = figures(market, plan, run, unit, desk.trial, False)
            desk.trial[i] = high
            other_equity, other_maintenance, _ = figures(market, plan, run, unit, desk.trial, False)
            if other_equity - other_maintenance < equity - maintenance:
                adverse = high
        desk.trial[i] = market.bars[bar, i].mark_open_e8
        desk.ends[i] = adverse
        desk.others[i] = low + high - adverse


@inner
def may_wake(plan: Plan, run: Run, wake: int) -> bool:
    """Tell whether a threshold wake may be called now: not yet in this bar, and its rule does not cool down."""
    if plan.wake_kind[wake] >= THRESHOLDS or ((run.called | run.pending) >> wake) & 1:
        return False
    rule = plan.wake_rule[wake]
    last = run.rule_last_ms[rule]
    return bool(plan.remember or last < 0 or run.time_ms - last >= plan.cooldown_ms[rule])


@inner
def force_due(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, acted: bool, at_end: bool) -> bool:
    """Force the units whose predicate holds and is tested here; tell whether there was one."""
    found = False
    for unit in range(plan.slot_count):
        bit = 1 << unit
        if run.reason != RUNNING or not (acted or not run.forced & bit or (at_end and not run.spent & bit)):
            continue
        if not is_liquidated(market, plan, run, unit, desk.marks):
            if acted:
                run.paid_since_test[unit] = 0
            continue
        cause = BY_PRICE
        if unit < plan.core_count and acted:
            cause = cause_after_action(market, plan, desk, run, unit)
        elif unit < plan.core_count:
            cause = price_cause(market, plan, desk, run, unit)
        liquidate(market, plan, desk, run, entry, unit, cause)
        run.forced |= bit
        if at_end:
            run.spent |= bit
        found = True
    return found


@inner
def settle(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, at_end: bool) -> None:
    """Do all that happens at one point of the path: predicates first, then wakes in list order."""
    acted = False
    while run.reason == RUNNING:
        forced = force_due(market, plan, desk, run, entry, acted, at_end)
        acted = False
        if forced:
            continue
        called = False
        for wake in range(plan.wake_count):
            if may_wake(plan, run, wake) and wakes(market, plan, run, wake, desk.marks):
                if plan.remember:
                    remember(plan, run, wake, market.closes_ms[run.bar] if plan.next_open else run.time_ms)
                    continue
                run.called |= 1 << wake
                called = True
                acted = call_rule(market, plan, desk, run, entry, wake)
                if not is_core_held(plan, run):
                    end_run(market, plan, desk, run, R_CLOSED, at.C_EXIT)
                break
        if not called:
            break
        if run.reason == RUNNING:
            see(plan, run, desk.marks, desk.marks)


@inner
def first_step(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, condition: int, step: int) -> int:
    """Give the least step after one at which bisection finds a condition to hold that holds at the way's end.

    A condition is a wake, or -1 - unit for a predicate.
    """
    low, high = step, STEPS
    while high - low > 1:
        middle = (low + high) // 2
        lay(desk, middle, desk.trial)
        if condition >= 0:
            found = wakes(market, plan, run, condition, desk.trial)
        else:
            found = is_liquidated(market, plan, run, -1 - condition, desk.trial)
        if found:
            high = middle
        else:
            low = middle
    return high


@inner
def next_step(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, step: int) -> int:
    """Give the step of the next point at which something happens; past the last step when nothing does."""
    point = STEPS + 1
    for unit in range(plan.slot_count):
        if is_liquidated(market, plan, run, unit, desk.ends):
            if run.forced & (1 << unit):
                point = min(point, STEPS)
            else:
                point = min(point, first_step(market, plan, desk, run, -1 - unit, step))
    for wake in range(plan.wake_count):
        if may_wake(plan, run, wake) and wakes(market, plan, run, wake, desk.ends):
            point = min(point, first_step(market, plan, desk, run, wake, step))
    return point


@inner
def walk_way(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any) -> None:
    """Walk from the starts to the ends."""
    step = 0
    while step < STEPS and run.reason == RUNNING:
        step = next_step(market, plan, desk, run, step)
        if step > STEPS:
            lay(desk, STEPS, desk.marks)
            see(plan, run, desk.marks, desk.marks)
            break
        lay(desk, step, desk.marks)
        lay(desk, step, desk.bases)
        see(plan, run, desk.marks, desk.marks)
        settle(market, plan, desk, run, entry, step == STEPS)
    for unit in range(plan.slot_count):
        if run.reason == RUNNING and not run.forced & (1 << unit):
            end_breach(plan, run, unit)


@inner
def walk(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, bar: int) -> None:
    """Do the path of a bar; the marks are at its opens."""
    run.called = 0
    run.bars_visited += 1
    count_opens(market, plan, run, bar)
    run.before_path_high, run.before_path_low = run.sum_high, run.sum_low
    for slot in range(plan.core_count):
        run.before_path_high, run.before_path_low = wide_add(
            run.before_path_high, run.before_path_low, run.qty[slot], run.open_sum[slot]
        )
    run.count_bound = bar + 1
    run.on_path = 1
    choose_extremes(market, plan, desk, run, bar)
    run.forced = run.spent = 0
    settle(market, plan, desk, run, entry, False)
    for i in range(plan.instrument_count):
        desk.starts[i] = market.bars[bar, i].mark_open_e8
        if plan.sync:
            desk.ends[i] = market.bars[bar, i].mark_close_e8
    if run.reason == RUNNING:
        walk_way(market, plan, desk, run, entry)
    if run.reason == RUNNING and not plan.sync:
        for i in range(plan.instrument_count):
            desk.starts[i] = desk.ends[i]
            desk.ends[i] = desk.others[i]
        run.forced = run.spent = 0
        walk_way(market, plan, desk, run, entry)
    if run.reason == RUNNING:
        run.on_path = 0
