"""Forced closes of a unit, the breaches they belong to, and the end of a run.

Largest maintenance first: the venues publish no order. Sources of the procedures: engine/position.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine import cells as at
from backtest.engine.arithmetic import E8, mul_ceil, mul_div_floor, mul_div_half_even
from backtest.engine.compile import inner
from backtest.engine.liquidation import BY_FEE, BY_HEDGE_MARGIN, BY_PRICE, R_LIQUIDATED, RUNNING
from backtest.engine.pool.books import note_slippage, transfer
from backtest.engine.pool.legs import close_layers, empty, gain_of, refresh, sell_collaterals, take_off
from backtest.engine.pool.units import figures, is_core_held, is_held, is_liquidated, see, wallet_of
from backtest.engine.pool.values import figures_of, in_quote, leg_figures, notional_of, reserve_of, tier_of, value_of
from backtest.engine.position import slipped, steps_up

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run


@inner
def largest(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int) -> int:
    """Give the slot of a unit's leg with the largest maintenance margin."""
    chosen, most = -1, 0
    for slot in range(unit, plan.slot_count):
        if run.qty[slot] > 0 and plan.leg_unit[slot] == unit:
            _, maintenance, _ = leg_figures(market, plan, run, slot, desk.marks[plan.leg_instrument[slot]])
            if chosen < 0 or maintenance > most:
                chosen, most = slot, maintenance
    return chosen


@inner
def forced_price(plan: Plan, run: Run, slot: int, mark: int) -> int:
    """Give the price of a forced fill: the mark made worse by the liquidation slippage."""
    return max(0, slipped(mark, plan.liquidation_slippage_e8, run.side[slot] < 0))


@inner
def clearance_of(plan: Plan, value: int, equity: int) -> int:
    """Give the clearance fee of a forced fill: its rate of the value, at most what is left."""
    return max(0, min(mul_ceil(value, plan.clearance_e8), equity))


@inner
def headroom_after(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, qty: int, others: int
) -> tuple[int, int]:
    """Give the headroom that a forced close of a part of a leg would leave, its fee paid.

    `others` is the equity of the unit without this leg's profit; the maintenance of the other legs is the caller's.
    """
    instrument = plan.leg_instrument[slot]
    mark = desk.marks[instrument]
    value = value_of(market, instrument, qty, forced_price(plan, run, slot, mark), run.side[slot] < 0)
    share = mul_div_half_even(run.cost[slot], qty, run.qty[slot])
    rest, cost = run.qty[slot] - qty, run.cost[slot] - share
    terms = (run.leverage_e2[slot], reserve_of(market, plan, run, slot, cost))
    profit, maintenance, _ = figures_of(market, run, instrument, run.side[slot], rest, cost, terms, mark)
    equity = others + gain_of(market, plan, run, slot, share, value) + profit
    return equity - clearance_of(plan, value, equity) - maintenance, equity


@inner
def steps_to_tier(market: PoolMarket, run: Run, plan: Plan, slot: int, step: int, tier: int, mark: int) -> int:
    """Give the least quantity in whole steps whose close brings a leg to at most a tier's cap."""
    instrument = plan.leg_instrument[slot]
    cap = market.tiers[run.table[instrument], tier].cap_e8
    keep = mul_div_floor(cap, mark, E8) if market.inverse[instrument] else mul_div_floor(cap, E8, mark)
    return steps_up(run.qty[slot] - keep, step)


@inner
def step_down(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, step: int) -> int:
    """Give the least quantity of a leg in whole steps after whose close its unit is safe; 0 when none does.

    Tier by tier of the leg, as engine/position.py does for one position.
    """
    instrument, unit = plan.leg_instrument[slot], plan.leg_unit[slot]
    mark = desk.marks[instrument]
    profit, own, _ = leg_figures(market, plan, run, slot, mark)
    equity, maintenance, _ = figures(market, plan, run, unit, desk.marks, False)
    others, needed = equity - profit, maintenance - own
    failing = 0
    for tier in range(tier_of(market, run, instrument, run.qty[slot], mark) - 1, -1, -1):
        passing = min(steps_to_tier(market, run, plan, slot, step, tier, mark), run.qty[slot] - step)
        if passing <= failing:
            return 0
        if headroom_after(market, plan, desk, run, slot, passing, others)[0] > needed:
            while passing - failing > step:
                middle = failing + (passing - failing) // (2 * step) * step
                if headroom_after(market, plan, desk, run, slot, middle, others)[0] > needed:
                    passing = middle
                else:
                    failing = middle
            return passing
        failing = passing
    return 0


@inner
def note_forced(market: PoolMarket, plan: Plan, run: Run, slot: int, qty: int) -> None:
    """Add what was forced out of the core."""
    if slot < plan.core_count:
        several = plan.core_count > 1
        run.forced_qty += notional_of(market, plan.leg_instrument[slot], qty, run.entry_mark[slot]) if several else qty


@inner
def forced_fill(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, qty: int) -> None:
    """Close a quantity of a leg for the venue near the mark: no commission, a clearance fee out of what is left."""
    instrument, unit = plan.leg_instrument[slot], plan.leg_unit[slot]
    mark, buying = desk.marks[instrument], run.side[slot] < 0
    note_forced(market, plan, run, slot, qty)
    price = forced_price(plan, run, slot, mark)
    _, value = take_off(market, plan, desk, run, slot, qty, price, at.C_LIQUIDATION, -1)
    note_slippage(market, plan, desk, run, instrument, value, value_of(market, instrument, qty, mark, buying))
    refresh(market, plan, run, slot)
    equity, _, _ = figures(market, plan, run, unit, desk.marks, False)
    fee = clearance_of(plan, value, equity)
    run.clearance += in_quote(market, instrument, fee, mark)
    asset = plan.unit_asset[unit]
    transfer(market, plan, desk, run, at.K_CLEARANCE, wallet_of(unit), at.INSURANCE, asset, fee, at.C_LIQUIDATION, -1)


@inner
def take_over(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int, first: int) -> None:
    """Hand all legs of a unit over at their marks, one of them first; what is left goes to insurance."""
    slot = first
    while is_held(plan, run, unit):
        note_forced(market, plan, run, slot, run.qty[slot])
        mark = desk.marks[plan.leg_instrument[slot]]
        take_off(market, plan, desk, run, slot, run.qty[slot], mark, at.C_LIQUIDATION, -1)
        refresh(market, plan, run, slot)
        slot = largest(market, plan, desk, run, unit)
    if unit == 0:
        sell_collaterals(market, plan, desk, run, at.C_LIQUIDATION, -1)
    asset, wallet = plan.unit_asset[unit], wallet_of(unit)
    left = max(0, run.balance[asset, wallet])
    transfer(market, plan, desk, run, at.K_TAKEOVER, wallet, at.INSURANCE, asset, left, at.C_LIQUIDATION, -1)


@inner
def forced_close(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, unit: int) -> None:
    """Close legs of a unit for the venue, the largest maintenance first, until its predicate is false."""
    while is_liquidated(market, plan, run, unit, desk.marks):
        slot = largest(market, plan, desk, run, unit)
        instrument, step = plan.leg_instrument[slot], entry.leg_step_e8[slot]
        mark = desk.marks[instrument]
        tier = tier_of(market, run, instrument, run.qty[slot], mark)
        if plan.takeover:
            part = steps_to_tier(market, run, plan, slot, step, tier - 1, mark) if tier > 0 else 0
            if 0 < part < run.qty[slot]:
                forced_fill(market, plan, desk, run, slot, part)
                if not is_liquidated(market, plan, run, unit, desk.marks):
                    return
            take_over(market, plan, desk, run, unit, slot)
        else:
            part = step_down(market, plan, desk, run, slot, step) if tier > 0 else 0
            forced_fill(market, plan, desk, run, slot, part if part > 0 else run.qty[slot])
    if not is_held(plan, run, unit):
        empty(market, plan, desk, run, unit, at.C_LIQUIDATION, -1)


# --- breaches and ends -----------------------------------------------------------------------------------------------


@inner
def end_run(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, reason: int, cause: int) -> None:
    """End a run whose core is flat: close its layers where it ended."""
    close_layers(market, plan, desk, run, cause)
    run.reason = reason
    run.exit_ms = run.time_ms


@inner
def is_breach_left(plan: Plan, run: Run, unit: int) -> bool:
    """Tell whether forced closes left quantity of what a breach is of: the core legs in its unit, or its layer."""
    for slot in range(unit, plan.core_count if unit < plan.core_count else plan.slot_count):
        if run.qty[slot] > 0 and plan.leg_unit[slot] == unit:
            return True
    return False


@inner
def end_breach(plan: Plan, run: Run, unit: int) -> None:
    """A test was false: a breach of the unit that was open ends here, with quantity left."""
    if (run.breached >> unit) & 1:
        run.breached -= 1 << unit
        if unit < plan.core_count:
            run.partial = 1
    run.paid_since_test[unit] = 0


@inner
def price_cause(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int) -> int:
    """Name the cause of a breach by price: the price, or layers without which the core would stand."""
    equity, maintenance, _ = figures(market, plan, run, unit, desk.marks, True)
    return BY_PRICE if equity <= maintenance else BY_HEDGE_MARGIN


@inner
def cause_after_action(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int) -> int:
    """Name the cause of a breach after fills: the fees just paid, unless it would hold without them."""
    paid = run.paid_since_test[unit]
    equity, maintenance, _ = figures(market, plan, run, unit, desk.marks, False)
    if equity + paid > maintenance:
        return BY_FEE
    equity, maintenance, _ = figures(market, plan, run, unit, desk.marks, True)
    return BY_PRICE if equity + paid <= maintenance else BY_HEDGE_MARGIN


@inner
def liquidate(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, unit: int, cause: int) -> None:
    """Force a unit whose predicate holds, and count the breach it belongs to."""
    see(plan, run, desk.marks, desk.marks)
    if not (run.breached >> unit) & 1:
        run.breached += 1 << unit
        if unit >= plan.core_count:
            run.layer_liquidations += 1
        else:
            run.breaches += 1
            if run.breaches == 1:
                run.first_liq_ms = run.time_ms
                run.first_liq_mark = desk.marks[plan.leg_instrument[0]]
                run.first_cause = cause
    forced_close(market, plan, desk, run, entry, unit)
    run.paid_since_test[unit] = 0
    if not is_breach_left(plan, run, unit):
        run.breached -= 1 << unit
        if unit < plan.core_count and is_core_held(plan, run):
            run.partial = 1
    if not is_core_held(plan, run):
        end_run(market, plan, desk, run, R_LIQUIDATED, at.C_EXIT)
    else:
        see(plan, run, desk.marks, desk.marks)


@inner
def test_after_action(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any) -> None:
    """Make the liquidation test of every unit after fills."""
    if run.reason != RUNNING:
        return
    see(plan, run, desk.marks, desk.marks)
    for unit in range(plan.slot_count):
        if run.reason == RUNNING and is_held(plan, run, unit):
            if is_liquidated(market, plan, run, unit, desk.marks):
                core = unit < plan.core_count
                cause = cause_after_action(market, plan, desk, run, unit) if core else BY_PRICE
                liquidate(market, plan, desk, run, entry, unit, cause)
            else:
                end_breach(plan, run, unit)
