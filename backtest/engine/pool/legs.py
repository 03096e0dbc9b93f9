"""Opening and closing legs by choice, and emptying a unit that is flat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.arithmetic import mul_ceil, mul_div_half_even, ratio_ceil
from backtest.engine.compile import inner
from backtest.engine.pool.books import fill, note_slippage, pay_fee, sell_coin, transfer
from backtest.engine.pool.forms import BOUGHT, C_EXPIRY, K_PREMIUM, QUOTE, VENUE, WRITTEN
from backtest.engine.pool.units import is_held, wallet_of
from backtest.engine.pool.values import reserve_of, value_of
from backtest.engine.position import slipped, steps_up

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run


@inner
def refresh(market: PoolMarket, plan: Plan, run: Run, slot: int) -> None:
    """Recompute a leg's closing-fee reserve: cost, leverage or fee rate changed."""
    run.fee_reserve[slot] = reserve_of(market, plan, run, slot, run.cost[slot]) if run.qty[slot] > 0 else 0


@inner
def opening_value(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, qty: int) -> tuple[int, int]:
    """Give price and value of a fill that adds a quantity to a leg."""
    instrument, buying = plan.leg_instrument[slot], run.side[slot] > 0
    price = slipped(desk.bases[instrument], plan.leg_slippage_e8[slot], buying)
    return price, value_of(market, instrument, qty, price, buying)


@inner
def open_leg(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, qty: int, cause: int, rule: int
) -> None:
    """Add a quantity to a leg at its base price made worse by slippage, and pay the fee."""
    instrument, unit = plan.leg_instrument[slot], plan.leg_unit[slot]
    price, value = opening_value(market, plan, desk, run, slot, qty)
    paid = is_paid(plan, slot)
    fill(market, plan, desk, run, slot, qty, 0 if paid else value, price, value, cause, rule)
    if paid:
        move_premium(market, plan, desk, run, unit, -run.side[slot] * value, cause, rule)
    before = value_of(market, instrument, qty, desk.bases[instrument], run.side[slot] > 0)
    note_slippage(market, plan, desk, run, instrument, value, before)
    pay_fee(market, plan, desk, run, slot, wallet_of(unit), plan.unit_asset[unit], value, cause, rule)
    refresh(market, plan, run, slot)


@inner
def is_paid(plan: Plan, slot: int) -> bool:
    """Tell whether the price of a leg changes hands when it is bought or sold."""
    return bool(plan.leg_form[slot] >= WRITTEN)


@inner
def move_premium(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int, received: int, cause: int, rule: int
) -> None:
    """Move the price of a paid asset into a unit's wallet, or out of it where it is negative."""
    run.premium -= received
    move_result(market, plan, desk, run, unit, received, K_PREMIUM, K_PREMIUM, cause, rule)


@inner
def move_result(
    market: PoolMarket,
    plan: Plan,
    desk: PoolDesk,
    run: Run,
    unit: int,
    amount: int,
    gain: int,
    loss: int,
    cause: int,
    rule: int,
) -> None:
    """Move an amount from the market into a unit's wallet, or out of it where it is negative, each under its kind."""
    asset, wallet = plan.unit_asset[unit], wallet_of(unit)
    if amount > 0:
        transfer(market, plan, desk, run, gain, at.MARKET, wallet, asset, amount, cause, rule)
    else:
        transfer(market, plan, desk, run, loss, wallet, at.MARKET, asset, -amount, cause, rule)


@inner
def gain_of(market: PoolMarket, plan: Plan, run: Run, slot: int, share: int, value: int) -> int:
    """Give the realised result of a part: its value against its share of the cost."""
    gains = run.side[slot] > 0
    if market.inverse[plan.leg_instrument[slot]]:
        gains = not gains
    return value - share if gains else share - value


@inner
def take_off(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, qty: int, price: int, cause: int, rule: int
) -> tuple[int, int]:
    """Close a quantity at a price and book the realised result; give it and the value of the fill.

    Of a paid asset, whose cost is 0, the result is the price that changes hands.
    """
    unit = plan.leg_unit[slot]
    value = value_of(market, plan.leg_instrument[slot], qty, price, run.side[slot] < 0)
    share = mul_div_half_even(run.cost[slot], qty, run.qty[slot])
    realised = gain_of(market, plan, run, slot, share, value)
    fill(market, plan, desk, run, slot, -qty, -share, price, value, cause, rule)
    if is_paid(plan, slot):
        move_premium(market, plan, desk, run, unit, realised, cause, rule)
    else:
        move_result(market, plan, desk, run, unit, realised, at.K_PROFIT, at.K_LOSS, cause, rule)
    return realised, value


@inner
def sell_collaterals(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, cause: int, rule: int) -> None:
    """Sell all collateral into the core's wallet."""
    for j in range(plan.collateral_count):
        i = plan.collateral_instrument[j]
        sell_coin(market, plan, desk, run, i, run.balance[i + 1, at.MARGIN], at.MARGIN, at.MARGIN, cause, rule)


@inner
def release(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int, amount: int, cause: int, rule: int
) -> None:
    """Move an amount of a unit's wallet to the free balance; coin is sold."""
    asset, wallet = plan.unit_asset[unit], wallet_of(unit)
    if asset == QUOTE:
        transfer(market, plan, desk, run, at.K_RELEASE, wallet, at.FREE, asset, amount, cause, rule)
    else:
        sell_coin(market, plan, desk, run, asset - 1, amount, wallet, at.FREE, cause, rule)


@inner
def empty(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int, cause: int, rule: int) -> None:
    """Leave nothing in the wallet of a flat unit: insurance covers less than nothing, the rest is released."""
    if unit == 0:
        sell_collaterals(market, plan, desk, run, cause, rule)
    asset, wallet = plan.unit_asset[unit], wallet_of(unit)
    debt = max(0, -run.balance[asset, wallet])
    transfer(market, plan, desk, run, at.K_SHORTFALL, at.INSURANCE, wallet, asset, debt, cause, rule)
    release(market, plan, desk, run, unit, run.balance[asset, wallet], cause, rule)


@inner
def close_leg(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, qty: int, put_back: bool, cause: int, rule: int
) -> None:
    """Close a quantity of a leg by choice: slippage, taker fee, and the closed share of an isolated wallet."""
    instrument, unit = plan.leg_instrument[slot], plan.leg_unit[slot]
    asset, wallet = plan.unit_asset[unit], wallet_of(unit)
    buying = run.side[slot] < 0
    held, before = run.qty[slot], run.balance[asset, wallet]
    price = slipped(desk.bases[instrument], plan.leg_slippage_e8[slot], buying)
    realised, value = take_off(market, plan, desk, run, slot, qty, price, cause, rule)
    unslipped = value_of(market, instrument, qty, desk.bases[instrument], buying)
    note_slippage(market, plan, desk, run, instrument, value, unslipped)
    fee = pay_fee(market, plan, desk, run, slot, wallet, asset, value, cause, rule)
    refresh(market, plan, run, slot)
    if not is_held(plan, run, unit):
        empty(market, plan, desk, run, unit, cause, rule)
    elif (unit > 0 or not plan.cross) and not plan.keep:
        share = mul_div_half_even(abs(before), qty, held)
        freed = (share if before >= 0 else -share) + realised - fee
        if freed > 0 and (asset == QUOTE or not put_back):
            release(market, plan, desk, run, unit, freed, cause, rule)
            if put_back:
                transfer(market, plan, desk, run, at.K_PUT_BACK, at.FREE, wallet, asset, freed, cause, rule)


@inner
def settle_asset(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int) -> None:
    """Settle what is held of an asset that has ended, at its last close: no slippage, no fee."""
    unit, mark = plan.leg_unit[slot], desk.marks[plan.leg_instrument[slot]]
    take_off(market, plan, desk, run, slot, run.qty[slot], mark, C_EXPIRY, -1)
    if not is_held(plan, run, unit):
        empty(market, plan, desk, run, unit, C_EXPIRY, -1)


@inner
def part_up(qty: int, step: int, held: int) -> int:
    """Round a part of a holding up to whole steps, at least one, at most all."""
    return min(max(steps_up(qty, step), step), held)


@inner
def cost_of(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, slot: int, qty: int) -> int:
    """Give what adding a quantity to a leg costs in its asset: margin + taker fee.

    The margin is value / leverage; of a bought paid asset the value, of another asset the quantity x that of a unit.
    """
    instrument = plan.leg_instrument[slot]
    _, value = opening_value(market, plan, desk, run, slot, qty)
    if plan.leg_form[slot] == VENUE:
        margin = ratio_ceil(value, 0, 100, run.leverage_e2[slot])
    elif plan.leg_form[slot] == BOUGHT:
        margin = value
    else:
        margin = mul_ceil(qty, market.segments[run.margins, instrument].initial_e8)
    return margin + mul_ceil(value, run.taker[instrument])


@inner
def close_layers(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, cause: int) -> None:
    """Close what is left when the core is flat."""
    for slot in range(plan.core_count, plan.slot_count):
        if run.qty[slot] > 0:
            close_leg(market, plan, desk, run, slot, run.qty[slot], False, cause, plan.no_rule)
