"""Layers: the hedges that `trade` opens, enlarges and closes, and how they are paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine import cells as at
from backtest.engine.actions import (
    BELOW_MIN_NOTIONAL,
    BELOW_STEP,
    DAILY_CAP,
    DAY_MS,
    DONE,
    INSUFFICIENT_RESERVE,
    INVALID_AMOUNT,
    LEVERAGE_CAP,
    NOT_SUPPORTED,
)
from backtest.engine.arithmetic import E8, mul_ceil, mul_div_ceil, mul_div_floor, mul_floor
from backtest.engine.compile import inner
from backtest.engine.pool.books import buy_coin, price_of_coin, transfer
from backtest.engine.pool.forms import BOUGHT, BY_CAPITAL, BY_NOTIONAL, OPPOSITE, QUOTE, VENUE
from backtest.engine.pool.legs import close_leg, cost_of, open_leg, part_up
from backtest.engine.pool.units import figures, wallet_of
from backtest.engine.pool.values import allows, notional_of, qty_max

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run

INSUFFICIENT_MARGIN, NOT_LISTED = 11, 12  # in the order of schema.ACTION_STATUS
QTY_END = 9 * 10**18  # at 1e-8: quantities stay under it


@inner
def leave_reserve(plan: Plan, run: Run, amount: int) -> int:
    """Count an amount towards the daily cap; give DONE or why the reserve does not send it."""
    if amount > run.balance[QUOTE, at.RESERVE]:
        return INSUFFICIENT_RESERVE
    day = run.time_ms // DAY_MS
    sent = run.day_sent if day == run.day else 0
    if plan.daily_cap_e8 >= 0 and sent + amount > plan.daily_cap_e8:
        return DAILY_CAP
    run.day = day
    run.day_sent = sent + amount
    return DONE


@inner
def core_notional(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run) -> int:
    """Give the notional of the core legs at the marks, in quote."""
    total = 0
    for slot in range(plan.core_count):
        instrument = plan.leg_instrument[slot]
        total += notional_of(market, instrument, run.qty[slot], desk.marks[instrument])
    return total


@inner
def unit_share(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int) -> tuple[int, int]:
    """Give what a share of 1 of a valued asset is: an amount over a price, at 1e-8; a quantity over a price of 1."""
    mark = desk.marks[plan.leg_instrument[slot]]
    if plan.leg_size_by[slot] == BY_CAPITAL:
        return run.capital, mark
    if plan.leg_size_by[slot] == BY_NOTIONAL:
        return core_notional(market, plan, desk, run), mark
    first = plan.leg_instrument[0]
    return run.qty[0], desk.marks[first] if market.inverse[first] else E8


@inner
def asset_quantity(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, share: int, up: bool) -> int:
    """Give the quantity of a valued asset that is a share; QTY_END where it is that or more, or the price is 0."""
    amount, price = unit_share(market, plan, desk, run, slot)
    if mul_div_floor(amount, share, QTY_END) >= price:
        return QTY_END
    return mul_div_ceil(amount, share, price) if up else mul_div_floor(amount, share, price)


@inner
def wanted(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, share: int, up: bool) -> int:
    """Give the quantity of a layer leg that is a share of the core."""
    if plan.leg_form[slot] != VENUE:
        return asset_quantity(market, plan, desk, run, slot, share, up)
    if plan.leg_target[slot] == OPPOSITE:
        core = run.qty[slot - plan.core_count]
        return mul_ceil(core, share) if up else mul_floor(core, share)
    notional = core_notional(market, plan, desk, run)
    instrument = plan.leg_instrument[slot]
    if market.inverse[instrument]:
        return mul_ceil(notional, share) if up else mul_floor(notional, share)
    mark = desk.marks[instrument]
    return mul_div_ceil(notional, share, mark) if up else mul_div_floor(notional, share, mark)


@inner
def is_layer(plan: Plan, slot: int, target: int) -> bool:
    """Tell whether a slot is a leg of a target that the plan has."""
    return bool(plan.leg_instrument[slot] >= 0 and plan.leg_target[slot] == target)


@inner
def do_trade(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, share: int, target: int, rule: int
) -> int:
    """Add to the layer of a target, or reduce it, by a share of the core."""
    if share == 0:
        return INVALID_AMOUNT
    present = False
    for slot in range(plan.core_count, plan.slot_count):
        present = present or is_layer(plan, slot, target)
    if not present:
        return NOT_SUPPORTED
    if share < 0:
        return shrink_layer(market, plan, desk, run, entry, -share, target, rule)
    return grow_layer(market, plan, desk, run, entry, share, target, rule)


@inner
def shrink_layer(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, share: int, target: int, rule: int
) -> int:
    """Close a share of the core from the layer of a target."""
    status = BELOW_STEP
    for slot in range(plan.core_count, plan.slot_count):
        held = run.qty[slot]
        if held > 0 and plan.leg_target[slot] == target:
            instrument = plan.leg_instrument[slot]
            wish = min(wanted(market, plan, desk, run, slot, share, True), held)
            qty = part_up(wish, entry.leg_step_e8[slot], held)
            rest = notional_of(market, instrument, held - qty, desk.marks[instrument])
            if rest < entry.leg_min_notional_e8[slot]:
                qty = held
            close_leg(market, plan, desk, run, slot, qty, False, at.C_RULE, rule)
            status = DONE
    return status


@inner
def grown(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, slot: int, share: int) -> int:
    """Give the quantity that a layer leg grows by, in whole steps."""
    step = entry.leg_step_e8[slot]
    return wanted(market, plan, desk, run, slot, share, False) // step * step


@inner
def growth_refusal(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, share: int, target: int
) -> int:
    """Give why the venue would not take a larger layer, reason by reason over its legs, or DONE."""
    empty, small, capped = False, False, False
    for slot in range(plan.core_count, plan.slot_count):
        if is_layer(plan, slot, target):
            if plan.leg_form[slot] != VENUE:
                return asset_refusal(market, plan, desk, run, entry, slot, share)
            qty = grown(market, plan, desk, run, entry, slot, share)
            instrument = plan.leg_instrument[slot]
            mark, held = desk.marks[instrument], run.qty[slot] + qty
            empty = empty or qty == 0
            small = small or notional_of(market, instrument, held, mark) < entry.leg_min_notional_e8[slot]
            capped = capped or not allows(market, run, instrument, held, mark, run.leverage_e2[slot])
    if empty:
        return BELOW_STEP
    if small:
        return BELOW_MIN_NOTIONAL
    return LEVERAGE_CAP if capped else DONE


@inner
def asset_refusal(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, slot: int, share: int) -> int:
    """Give why no more of a valued asset can be had, or DONE."""
    most = qty_max(market, plan, run, slot)
    if most == 0 or unit_share(market, plan, desk, run, slot)[1] == 0:
        return NOT_LISTED
    qty = grown(market, plan, desk, run, entry, slot, share)
    if qty > most - run.qty[slot]:
        return INVALID_AMOUNT
    return BELOW_STEP if qty == 0 else DONE


@inner
def grow_layer(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, share: int, target: int, rule: int
) -> int:
    """Open or enlarge the layer of a target: refused whole, or done leg by leg."""
    status = growth_refusal(market, plan, desk, run, entry, share, target)
    if status != DONE:
        return status
    status = fund_layer(market, plan, desk, run, entry, share, target, rule)
    if status != DONE:
        return status
    for slot in range(plan.core_count, plan.slot_count):
        if is_layer(plan, slot, target):
            qty = grown(market, plan, desk, run, entry, slot, share)
            open_leg(market, plan, desk, run, slot, qty, at.C_RULE, rule)
    return DONE


@inner
def fund_layer(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, share: int, target: int, rule: int
) -> int:
    """Pay what growing a layer costs into its units, all or nothing; in unit 0 there must be room for it.

    A paid asset is bought with money that is posted for it, there too.
    """
    pooled, posted, shared = 0, 0, False
    for slot in range(plan.core_count, plan.slot_count):
        if not is_layer(plan, slot, target):
            continue
        cost = cost_of(market, plan, desk, run, slot, grown(market, plan, desk, run, entry, slot, share))
        if is_pooled(plan, slot):
            pooled += cost
            shared = True
        elif plan.unit_asset[plan.leg_unit[slot]] != QUOTE:
            return fund_in_coin(market, plan, desk, run, plan.leg_unit[slot], cost, rule)
        else:
            posted += cost
    if shared:
        equity, _, initial = figures(market, plan, run, 0, desk.marks, False)
        if pooled > equity - initial:
            return INSUFFICIENT_MARGIN
    status = fetch(plan, run, max(0, posted - run.balance[QUOTE, at.FREE]))
    if status == DONE:
        post_costs(market, plan, desk, run, entry, share, target, rule)
    return status


@inner
def is_pooled(plan: Plan, slot: int) -> bool:
    """Tell whether a leg stands on the equity that unit 0 has, not on money that is posted for it."""
    return bool(plan.leg_unit[slot] == 0 and plan.leg_form[slot] != BOUGHT)


@inner
def post_costs(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, share: int, target: int, rule: int
) -> None:
    """Post the cost of each leg to its unit: from the free balance as far as it goes, the rest from the reserve."""
    for slot in range(plan.core_count, plan.slot_count):
        if is_layer(plan, slot, target) and not is_pooled(plan, slot):
            cost = cost_of(market, plan, desk, run, slot, grown(market, plan, desk, run, entry, slot, share))
            wallet, rest = wallet_of(plan.leg_unit[slot]), max(0, cost - run.balance[QUOTE, at.FREE])
            transfer(market, plan, desk, run, at.K_POST, at.FREE, wallet, QUOTE, cost - rest, at.C_RULE, rule)
            transfer(market, plan, desk, run, at.K_POST, at.RESERVE, wallet, QUOTE, rest, at.C_RULE, rule)


@inner
def fund_in_coin(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int, cost: int, rule: int) -> int:
    """Buy the coin that a layer costs into its wallet: from the free balance if that holds it all, else the reserve."""
    asset = plan.unit_asset[unit]
    price = price_of_coin(plan, desk, run, asset - 1, cost)
    source = at.FREE if run.balance[QUOTE, at.FREE] >= price else at.RESERVE
    status = DONE if source == at.FREE else fetch(plan, run, price)
    if status == DONE:
        buy_coin(market, plan, desk, run, asset - 1, cost, source, wallet_of(unit), at.C_RULE, rule)
    return status


@inner
def fetch(plan: Plan, run: Run, amount: int) -> int:
    """Take an amount from a reserve at once; one that needs time gives nothing."""
    if amount == 0:
        return DONE
    return INSUFFICIENT_RESERVE if plan.latency_ms > 0 else leave_reserve(plan, run, amount)
