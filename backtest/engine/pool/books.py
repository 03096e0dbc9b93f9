"""The ledger of a pool run: transfers in an asset, fills of a leg, coin bought and sold, and notional-hours.

Whatever changes the state closes the stretch of constant state first; whatever changes a quantity multiplies the
exposure out first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.arithmetic import E8, INT64_MAX, mul_ceil, mul_div_floor, mul_floor, wide_add
from backtest.engine.compile import inner
from backtest.engine.pool.forms import K_CONVERT, QUOTE
from backtest.engine.pool.units import close_stretch
from backtest.engine.pool.values import in_quote
from backtest.engine.position import slipped

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run


@inner
def transfer(
    market: PoolMarket,
    plan: Plan,
    desk: PoolDesk,
    run: Run,
    kind: int,
    debit: int,
    credit: int,
    asset: int,
    amount: int,
    cause: int,
    rule: int,
) -> None:
    """Move a positive amount of an asset between two accounts; an amount of 0 is no transfer."""
    if amount == 0:
        return
    close_stretch(market, plan, run)
    run.balance[asset, debit] -= amount
    run.balance[asset, credit] += amount
    book = desk.book
    if not book.record:
        return
    row = book.cursor[0]
    if row >= len(book.transfers):
        book.cursor[3] = 1
        return
    entry = book.transfers[row]
    entry["time_ms"] = run.time_ms
    entry["amount_e8"] = amount
    entry["run"] = run.index
    entry["rule"] = rule
    entry["kind"] = kind
    entry["debit"] = debit
    entry["credit"] = credit
    entry["cause"] = cause
    entry["asset"] = asset
    book.cursor[0] = row + 1


@inner
def fill(
    market: PoolMarket,
    plan: Plan,
    desk: PoolDesk,
    run: Run,
    slot: int,
    qty: int,
    cost: int,
    price: int,
    value: int,
    cause: int,
    rule: int,
) -> None:
    """Change a leg by a quantity and a cost, both negative when it is reduced, and write the fill."""
    close_stretch(market, plan, run)
    settle_exposure(market, plan, run)
    instrument = plan.leg_instrument[slot]
    run.qty[slot] += qty
    run.cost[slot] += cost
    run.turnover += in_quote(market, instrument, value, desk.marks[instrument])
    run.rule_fills += cause == at.C_RULE
    book = desk.book
    if not book.record:
        return
    row = book.cursor[1]
    if row >= len(book.fills):
        book.cursor[3] = 1
        return
    entry = book.fills[row]
    entry["time_ms"] = run.time_ms
    entry["qty_e8"] = qty * run.side[slot]
    entry["price_e8"] = price
    entry["cost_e8"] = value
    entry["mark_e8"] = desk.marks[instrument]
    entry["run"] = run.index
    entry["rule"] = rule
    entry["cause"] = cause
    entry["slot"] = slot
    book.cursor[1] = row + 1


@inner
def note_slippage(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, instrument: int, value: int, before: int
) -> None:
    """Add what a fill lost against the price before slippage."""
    run.slippage += in_quote(market, instrument, abs(value - before), desk.marks[instrument])


@inner
def pay_fee(
    market: PoolMarket,
    plan: Plan,
    desk: PoolDesk,
    run: Run,
    slot: int,
    wallet: int,
    asset: int,
    value: int,
    cause: int,
    rule: int,
) -> int:
    """Charge the taker fee of a fill's value to a wallet; give it."""
    instrument = plan.leg_instrument[slot]
    fee = mul_ceil(value, run.taker[instrument])
    transfer(market, plan, desk, run, at.K_FEE, wallet, at.FEES, asset, fee, cause, rule)
    run.fees += in_quote(market, instrument, fee, desk.marks[instrument])
    run.paid_since_test[plan.leg_unit[slot]] += fee
    return fee


# --- coin ------------------------------------------------------------------------------------------------------------


@inner
def coin_for(plan: Plan, desk: PoolDesk, run: Run, instrument: int, budget: int) -> int:
    """Give how much coin a budget in quote buys, slippage and fee included."""
    price = slipped(desk.bases[instrument], plan.slippage_e8, True)
    if budget <= 2:
        return 0
    return mul_div_floor(budget - 2, E8, price + mul_ceil(price, run.taker[instrument]))


@inner
def price_of_coin(plan: Plan, desk: PoolDesk, run: Run, instrument: int, coin: int) -> int:
    """Give what an amount of coin costs in quote, slippage and fee included."""
    value = mul_ceil(coin, slipped(desk.bases[instrument], plan.slippage_e8, True))
    return value + mul_ceil(value, run.taker[instrument])


@inner
def buy_coin(
    market: PoolMarket,
    plan: Plan,
    desk: PoolDesk,
    run: Run,
    instrument: int,
    coin: int,
    source: int,
    wallet: int,
    cause: int,
    rule: int,
) -> None:
    """Buy coin with quote of an account into a wallet."""
    if coin <= 0:
        return
    base = desk.bases[instrument]
    value = mul_ceil(coin, slipped(base, plan.slippage_e8, True))
    fee = mul_ceil(value, run.taker[instrument])
    transfer(market, plan, desk, run, K_CONVERT, source, at.MARKET, QUOTE, value, cause, rule)
    transfer(market, plan, desk, run, at.K_FEE, source, at.FEES, QUOTE, fee, cause, rule)
    transfer(market, plan, desk, run, K_CONVERT, at.MARKET, wallet, instrument + 1, coin, cause, rule)
    run.fees += fee
    run.slippage += abs(value - mul_ceil(coin, base))


@inner
def sell_coin(
    market: PoolMarket,
    plan: Plan,
    desk: PoolDesk,
    run: Run,
    instrument: int,
    coin: int,
    wallet: int,
    target: int,
    cause: int,
    rule: int,
) -> None:
    """Sell coin of a wallet for quote into an account."""
    if coin <= 0:
        return
    base = desk.bases[instrument]
    value = mul_floor(coin, slipped(base, plan.slippage_e8, False))
    fee = mul_ceil(value, run.taker[instrument])
    transfer(market, plan, desk, run, K_CONVERT, wallet, at.MARKET, instrument + 1, coin, cause, rule)
    transfer(market, plan, desk, run, K_CONVERT, at.MARKET, target, QUOTE, value, cause, rule)
    transfer(market, plan, desk, run, at.K_FEE, target, at.FEES, QUOTE, fee, cause, rule)
    run.fees += fee
    run.slippage += abs(value - mul_floor(coin, base))


# --- notional-hours --------------------------------------------------------------------------------------------------


@inner
def count_opens(market: PoolMarket, plan: Plan, run: Run, to: int) -> None:
    """Add the mark opens of the bars not yet counted and before `to`, all of the present segment."""
    first = run.counted_to
    if to <= first:
        return
    for slot in range(plan.core_count):
        i = plan.leg_instrument[slot]
        before = market.bars[first - 1, i].open_sum_e8 if first > market.starts[run.segment] else 0
        opens = market.bars[to - 1, i].open_sum_e8 - before
        if run.open_sum[slot] > INT64_MAX - opens:  # both do not fit into 63 bits
            run.sum_high, run.sum_low = wide_add(run.sum_high, run.sum_low, run.qty[slot], run.open_sum[slot])
            run.open_sum[slot] = 0
        run.open_sum[slot] += opens
    run.counted_to = to


@inner
def settle_exposure(market: PoolMarket, plan: Plan, run: Run) -> None:
    """Multiply the opens counted so far with the quantities held over them."""
    count_opens(market, plan, run, run.count_bound)
    for slot in range(plan.core_count):
        run.sum_high, run.sum_low = wide_add(run.sum_high, run.sum_low, run.qty[slot], run.open_sum[slot])
        run.open_sum[slot] = 0


@inner
def keep_pair(market: PoolMarket, plan: Plan, run: Run, bar: int) -> None:
    """Keep the sum over the bars before this one: what the run and its baseline had in common."""
    if not run.paired_done:
        bound = run.count_bound
        run.count_bound = bar
        settle_exposure(market, plan, run)
        run.count_bound = bound
        run.paired_high = run.sum_high
        run.paired_low = run.sum_low
        run.paired_done = 1
