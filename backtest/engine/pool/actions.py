"""Call a rule on a pool run and do what it asks, or record why the venue would refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.engine import cells as at
from backtest.engine.actions import (
    AMOUNT_MAX,
    BELOW_STEP,
    DONE,
    FROM_RESERVE,
    INSUFFICIENT_FREE,
    INVALID_AMOUNT,
    LEVERAGE_CAP,
    NOT_REMOVABLE,
    NOT_SUPPORTED,
    V_CLOSE,
    V_HOLD,
    V_INCREASE,
    V_MOVE_MARGIN,
    V_REDUCE,
    V_SET_LEVERAGE,
    V_TRADE,
)
from backtest.engine.arithmetic import E8, mul_ceil, mul_floor, to_fixed
from backtest.engine.compile import inner
from backtest.engine.dated import tell
from backtest.engine.ledger import record_action
from backtest.engine.pool.books import buy_coin, coin_for, price_of_coin, transfer
from backtest.engine.pool.forms import QUOTE
from backtest.engine.pool.layers import do_trade, leave_reserve
from backtest.engine.pool.legs import close_leg, cost_of, open_leg, part_up, refresh
from backtest.engine.pool.state import fill_state
from backtest.engine.pool.units import close_stretch, figures, is_held, wallet_of
from backtest.engine.pool.values import allows, notional_of

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run

# --- the core --------------------------------------------------------------------------------------------------------


@inner
def do_reduce(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, share: int, put_back: bool, rule: int
) -> int:
    """Close a share of every core leg."""
    if share <= 0:
        return INVALID_AMOUNT
    for slot in range(plan.core_count):
        held = run.qty[slot]
        if held == 0:
            continue
        qty = part_up(mul_ceil(held, share), entry.leg_step_e8[slot], held) if share < E8 else held
        instrument = plan.leg_instrument[slot]
        rest = notional_of(market, instrument, held - qty, desk.marks[instrument])
        if rest < entry.leg_min_notional_e8[slot]:
            qty = held
        close_leg(market, plan, desk, run, slot, qty, put_back, at.C_RULE, rule)
    return DONE


@inner
def increment(run: Run, entry: Any, slot: int, share: int) -> int:
    """Give a share of a core leg in whole steps."""
    step = entry.leg_step_e8[slot]
    return mul_floor(run.qty[slot], share) // step * step


@inner
def do_increase(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, share: int, rule: int) -> int:
    """Add a share of every core leg, its initial margin and fee taken from the free balance."""
    if share <= 0:
        return INVALID_AMOUNT
    if plan.unit_asset[0] != QUOTE:
        return NOT_SUPPORTED
    cost, capped = 0, False
    for slot in range(plan.core_count):
        qty = increment(run, entry, slot, share)
        if qty == 0:
            return BELOW_STEP
        cost += cost_of(market, plan, desk, run, slot, qty)
        instrument, held = plan.leg_instrument[slot], run.qty[slot] + qty
        capped = capped or not allows(market, run, instrument, held, desk.marks[instrument], run.leverage_e2[slot])
    if cost > run.balance[QUOTE, at.FREE]:
        return INSUFFICIENT_FREE
    if capped:
        return LEVERAGE_CAP
    for slot in range(plan.core_count):
        qty = increment(run, entry, slot, share)
        cost = cost_of(market, plan, desk, run, slot, qty)
        wallet = wallet_of(plan.leg_unit[slot])
        transfer(market, plan, desk, run, at.K_ADD_MARGIN, at.FREE, wallet, QUOTE, cost, at.C_RULE, rule)
        open_leg(market, plan, desk, run, slot, qty, at.C_RULE, rule)
    return DONE


@inner
def do_set_leverage(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, leverage: int) -> int:
    """Set another leverage of all core legs, if tiers allow it and the equity of each unit covers initial margin."""
    leverage_e2 = leverage // 1_000_000
    if leverage_e2 < 100:
        return INVALID_AMOUNT
    for slot in range(plan.core_count):
        instrument = plan.leg_instrument[slot]
        if run.qty[slot] > 0 and not allows(
            market, run, instrument, run.qty[slot], desk.marks[instrument], leverage_e2
        ):
            return LEVERAGE_CAP
    before, covered = run.leverage_e2[0], True
    lay_leverage(market, plan, run, leverage_e2)
    for unit in range(plan.core_count):
        equity, _, initial = figures(market, plan, run, unit, desk.marks, False)
        covered = covered and (initial <= equity or not is_held(plan, run, unit))
    lay_leverage(market, plan, run, before)
    if not covered:
        return LEVERAGE_CAP
    close_stretch(market, plan, run)
    lay_leverage(market, plan, run, leverage_e2)
    return DONE


@inner
def lay_leverage(market: PoolMarket, plan: Plan, run: Run, leverage_e2: int) -> None:
    """Put a leverage on all core legs."""
    for slot in range(plan.core_count):
        run.leverage_e2[slot] = leverage_e2
        refresh(market, plan, run, slot)


# --- margin ----------------------------------------------------------------------------------------------------------


@inner
def bring(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, amount: int, source: int, cause: int, rule: int
) -> None:
    """Add an amount in quote to unit 0's wallet; into coin it is a budget, and what an arrival leaves goes free.

    All of it where unit 0 is flat.
    """
    asset = plan.unit_asset[0]
    if not is_held(plan, run, 0):
        transfer(market, plan, desk, run, at.K_RELEASE, source, at.FREE, QUOTE, amount, cause, rule)
        return
    if asset == QUOTE:
        run.added += amount
        transfer(market, plan, desk, run, at.K_ADD_MARGIN, source, at.MARGIN, QUOTE, amount, cause, rule)
        return
    coin = coin_for(plan, desk, run, asset - 1, amount)
    spent = price_of_coin(plan, desk, run, asset - 1, coin) if coin > 0 else 0
    run.added += spent
    buy_coin(market, plan, desk, run, asset - 1, coin, source, at.MARGIN, cause, rule)
    if source == at.TRANSIT:
        transfer(market, plan, desk, run, at.K_RELEASE, at.TRANSIT, at.FREE, QUOTE, amount - spent, cause, rule)


@inner
def do_add_margin(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, amount: int, source: int, rule: int) -> int:
    """Add margin from the reserve (after its latency) or from the free balance."""
    if source != FROM_RESERVE:
        if amount > run.balance[QUOTE, at.FREE]:
            return INSUFFICIENT_FREE
        bring(market, plan, desk, run, amount, at.FREE, at.C_RULE, rule)
        return DONE
    status = leave_reserve(plan, run, amount)
    if status != DONE:
        return status
    if plan.latency_ms == 0:
        bring(market, plan, desk, run, amount, at.RESERVE, at.C_RULE, rule)
        return DONE
    transfer(market, plan, desk, run, at.K_SEND, at.RESERVE, at.TRANSIT, QUOTE, amount, at.C_RULE, rule)
    place = run.queue_tail % len(desk.queue)
    desk.queue[place, 0] = run.latency_from_ms + plan.latency_ms
    desk.queue[place, 1] = amount
    desk.queue[place, 2] = rule
    run.queue_tail += 1
    return DONE


@inner
def do_remove_margin(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, amount: int, source: int, rule: int
) -> int:
    """Take margin back: at most what leaves the initial margin covered."""
    if plan.unit_asset[0] != QUOTE:
        return NOT_SUPPORTED
    equity, _, initial = figures(market, plan, run, 0, desk.marks, False)
    if amount > min(run.balance[QUOTE, at.MARGIN], equity - initial):
        return NOT_REMOVABLE
    target = at.RESERVE if source == FROM_RESERVE else at.FREE
    transfer(market, plan, desk, run, at.K_REMOVE_MARGIN, at.MARGIN, target, QUOTE, amount, at.C_RULE, rule)
    return DONE


# --- a wish ----------------------------------------------------------------------------------------------------------


@inner
def do_action(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, wish: tuple[int, float, int], rule: int
) -> int:
    """Do one verb; give DONE or the reason of the refusal."""
    verb, amount, target = wish
    if not np.isfinite(amount) or abs(amount) >= AMOUNT_MAX:
        return INVALID_AMOUNT
    fixed = to_fixed(amount)
    if verb == V_CLOSE:
        return do_reduce(market, plan, desk, run, entry, E8, target == 1, rule)
    if verb == V_REDUCE:
        return do_reduce(market, plan, desk, run, entry, fixed, target == 1, rule)
    if verb == V_INCREASE:
        return do_increase(market, plan, desk, run, entry, fixed, rule)
    if verb == V_SET_LEVERAGE:
        return do_set_leverage(market, plan, desk, run, fixed)
    if verb == V_TRADE:
        return do_trade(market, plan, desk, run, entry, fixed, target, rule)
    if fixed == 0:
        return INVALID_AMOUNT
    if not is_held(plan, run, 0):
        return NOT_SUPPORTED
    if verb == V_MOVE_MARGIN and fixed > 0:
        return do_add_margin(market, plan, desk, run, fixed, target, rule)
    if verb == V_MOVE_MARGIN:
        return do_remove_margin(market, plan, desk, run, -fixed, target, rule)
    return NOT_SUPPORTED


@inner
def perform(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, wish: tuple[int, float, int], rule: int
) -> bool:
    """Do an action and record it; a refused one leaves everything as it was."""
    verb, amount, target = wish
    mark = desk.marks[plan.leg_instrument[0]]
    status = do_action(market, plan, desk, run, entry, wish, rule)
    record_action(desk.book, run, verb, amount, target, mark, status, rule)
    return status == DONE


@inner
def call_rule(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, wake: int) -> bool:
    """Call the rule of a wake and do what it asks; tell whether it acted."""
    rule = plan.wake_rule[wake]
    s = desk.state[0]
    fill_state(market, plan, desk, run, s, rule, plan.wake_index[wake])
    if plan.feed:
        tell(plan, desk, run, s, rule)
    for k in range(desk.memory.shape[1]):
        s.memory[k] = desk.memory[rule, k]
    wish = desk.rules[rule](s, desk.params[rule])
    for k in range(desk.memory.shape[1]):
        desk.memory[rule, k] = s.memory[k]
    if wish[0] == V_HOLD or not perform(market, plan, desk, run, entry, wish, rule):
        return False
    run.rule_actions[rule] += 1
    run.rule_last_ms[rule] = run.time_ms
    return True
