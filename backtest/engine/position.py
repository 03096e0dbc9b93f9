"""Changes of one position: opening, reducing, increasing, flattening, and the venues' forced closes.

Binance, FAQ 360033525271 and a recorded liquidation (2022-03-08): one IOC order, no commission, a clearance fee,
the remainder returned. Bybit help centre, Liquidation Process (2026-08-07): takeover at the bankruptcy price, nothing
comes back; higher tiers step down first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.arithmetic import (
    E8,
    INT64_MAX,
    mul_ceil,
    mul_div_ceil,
    mul_div_floor,
    mul_div_half_even,
    split_product,
)
from backtest.engine.compile import inner
from backtest.engine.ledger import Book, record_fill, transfer
from backtest.engine.margin import bankruptcy_value, fee_reserve, measure, tier_at

if TYPE_CHECKING:
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market


@inner
def slipped(price: int, rate: int, buying: bool) -> int:
    """Give a price made worse by a rate: up for a buyer, down for a seller, rounded against us."""
    worse = mul_ceil(price, rate)
    return price + worse if buying else price - worse


@inner
def fill_value(qty: int, price: int, buying: bool) -> int:
    """Give the value of a fill: what a buyer pays is rounded up, what a seller gets down."""
    whole, rest = split_product(qty, price)
    return whole + (1 if buying and rest > 0 else 0)


@inner
def refresh(plan: Plan, run: Run) -> None:
    """Recompute the closing-fee reserve, and forget the bands: quantity, cost, leverage, fee rate or table changed."""
    run.clear_wallet = run.known_wallet = INT64_MAX
    if plan.fee_reserve:
        run.fee_reserve = fee_reserve(run.cost, run.side, run.leverage_e2, run.taker) if run.qty > 0 else 0


@inner
def measure_at(tape: Market, run: Run, price: int) -> tuple[int, int, int]:
    """Give equity, maintenance and initial margin of the run's position at a mark price."""
    return measure(
        tape, run.table, run.side, run.qty, run.cost, run.balance[at.MARGIN], run.leverage_e2, run.fee_reserve, price
    )


@inner
def steps_up(qty: int, step: int) -> int:
    """Round a quantity up to whole steps."""
    return (qty + step - 1) // step * step


@inner
def book_profit(book: Book, run: Run, realised: int, cause: int, rule: int) -> None:
    """Move a realised profit or loss between the market and the margin wallet."""
    if realised > 0:
        transfer(book, run, at.K_PROFIT, at.MARKET, at.MARGIN, realised, cause, rule)
    else:
        transfer(book, run, at.K_LOSS, at.MARGIN, at.MARKET, -realised, cause, rule)


@inner
def take_off(book: Book, run: Run, qty: int, price: int, mark: int, cause: int, rule: int) -> tuple[int, int]:
    """Close a quantity at a price and book the realised result; give it and the value of the fill."""
    buying = run.side < 0
    value = fill_value(qty, price, buying)
    share = mul_div_half_even(run.cost, qty, run.qty)
    realised = share - value if buying else value - share
    run.qty -= qty
    run.cost -= share
    record_fill(book, run, qty if buying else -qty, price, value, mark, cause, rule)
    book_profit(book, run, realised, cause, rule)
    return realised, value


@inner
def flatten(book: Book, run: Run, cause: int, rule: int) -> None:
    """Empty the margin wallet of a flat position: insurance covers less than nothing, the rest is released."""
    if run.balance[at.MARGIN] < 0:
        transfer(book, run, at.K_SHORTFALL, at.INSURANCE, at.MARGIN, -run.balance[at.MARGIN], cause, rule)
    transfer(book, run, at.K_RELEASE, at.MARGIN, at.FREE, run.balance[at.MARGIN], cause, rule)


@inner
def reduce_position(
    plan: Plan, book: Book, run: Run, qty: int, base: int, mark: int, put_back: bool, cause: int, rule: int
) -> None:
    """Close a quantity at a base price made worse by slippage, with taker fee, and release the closed share.

    Isolated: half even(wallet x closed share) + realised - fee moves to the free balance, and back with `put_back`.
    """
    buying = run.side < 0
    wallet, held = run.balance[at.MARGIN], run.qty
    price = slipped(base, plan.slippage_e8, buying)
    realised, value = take_off(book, run, qty, price, mark, cause, rule)
    run.slippage += abs(value - fill_value(qty, base, buying))
    fee = mul_ceil(value, run.taker)
    transfer(book, run, at.K_FEE, at.MARGIN, at.FEES, fee, cause, rule)
    if run.qty == 0:
        flatten(book, run, cause, rule)
    elif not plan.cross and not plan.keep:
        share = mul_div_half_even(abs(wallet), qty, held)
        freed = (share if wallet >= 0 else -share) + realised - fee
        if freed > 0:
            transfer(book, run, at.K_RELEASE, at.MARGIN, at.FREE, freed, cause, rule)
            if put_back:
                transfer(book, run, at.K_PUT_BACK, at.FREE, at.MARGIN, freed, cause, rule)
    refresh(plan, run)


@inner
def bankruptcy_price(run: Run) -> int:
    """Give the price at which the position's equity is 0, rounded so that closing there leaves no debt."""
    value = bankruptcy_value(run.side, run.cost, run.balance[at.MARGIN])
    if value <= 0:
        return 0
    return mul_div_ceil(value, E8, run.qty) if run.side > 0 else mul_div_floor(value, E8, run.qty)


@inner
def forced_price(plan: Plan, run: Run, mark: int) -> int:
    """Give the fill price of a forced close: the mark made worse, never beyond bankruptcy."""
    price = slipped(mark, plan.liquidation_slippage_e8, run.side < 0)
    limit = bankruptcy_price(run)
    return max(price, limit) if run.side > 0 else min(price, limit)


@inner
def clearance_fee(plan: Plan, wallet: int, value: int) -> int:
    """Give the clearance fee of a forced fill: its rate of the value, at most what the wallet holds."""
    return max(0, min(mul_ceil(value, plan.clearance_e8), wallet))


@inner
def headroom_after(tape: Market, plan: Plan, run: Run, qty: int, price: int, mark: int) -> int:
    """Give the headroom that a forced close of a part would leave, its fee paid."""
    buying = run.side < 0
    value = fill_value(qty, price, buying)
    share = mul_div_half_even(run.cost, qty, run.qty)
    wallet = run.balance[at.MARGIN] + (share - value if buying else value - share)
    wallet -= clearance_fee(plan, wallet, value)
    cost = run.cost - share
    reserve = fee_reserve(cost, run.side, run.leverage_e2, run.taker) if plan.fee_reserve else 0
    equity, maintenance, _ = measure(
        tape, run.table, run.side, run.qty - qty, cost, wallet, run.leverage_e2, reserve, mark
    )
    return equity - maintenance


@inner
def steps_to_tier(tape: Market, run: Run, tier: int, mark: int) -> int:
    """Give the least quantity in whole steps whose close brings the notional to at most a tier's cap."""
    keep = mul_div_floor(tape.tiers[run.table, tier].cap_e8, E8, mark)
    return steps_up(run.qty - keep, run.step)


@inner
def step_down_qty(tape: Market, plan: Plan, run: Run, price: int, mark: int) -> int:
    """Give the least quantity in whole steps after whose close the predicate is false; 0 when none does.

    Headroom is concave in the quantity closed (maintenance is convex), so the first tier border at which it is
    positive bounds the answer, and inside that piece it is found by bisection.
    """
    failing = 0
    for tier in range(tier_at(tape, run.table, run.qty, mark) - 1, -1, -1):
        passing = min(steps_to_tier(tape, run, tier, mark), run.qty - run.step)
        if passing <= failing:
            return 0
        if headroom_after(tape, plan, run, passing, price, mark) > 0:
            while passing - failing > run.step:
                middle = failing + (passing - failing) // (2 * run.step) * run.step
                if headroom_after(tape, plan, run, middle, price, mark) > 0:
                    passing = middle
                else:
                    failing = middle
            return passing
        failing = passing
    return 0


@inner
def forced_fill(plan: Plan, book: Book, run: Run, qty: int, mark: int) -> None:
    """Close a quantity for the venue near the mark: no commission, a clearance fee out of what is left.

    Slippage is what the fill loses against the mark; a fill saved at the bankruptcy price loses nothing.
    """
    buying = run.side < 0
    _, value = take_off(book, run, qty, forced_price(plan, run, mark), mark, at.C_LIQUIDATION, -1)
    before = fill_value(qty, mark, buying)
    run.slippage += max(0, value - before if buying else before - value)
    run.forced_qty += qty
    fee = clearance_fee(plan, run.balance[at.MARGIN], value)
    run.clearance += fee
    transfer(book, run, at.K_CLEARANCE, at.MARGIN, at.INSURANCE, fee, at.C_LIQUIDATION, -1)


@inner
def take_over(book: Book, run: Run, mark: int) -> None:
    """Hand the whole position over at the bankruptcy price: no slippage, no fee, and nothing comes back."""
    run.forced_qty += run.qty
    take_off(book, run, run.qty, bankruptcy_price(run), mark, at.C_LIQUIDATION, -1)
    left = max(0, run.balance[at.MARGIN])
    transfer(book, run, at.K_TAKEOVER, at.MARGIN, at.INSURANCE, left, at.C_LIQUIDATION, -1)


@inner
def forced_close(tape: Market, plan: Plan, book: Book, run: Run, mark: int) -> None:
    """Liquidate at a mark where the predicate holds: step down where that ends the breach, else close all."""
    part = 0
    if tier_at(tape, run.table, run.qty, mark) > 0:
        if plan.takeover:
            part = steps_to_tier(tape, run, tier_at(tape, run.table, run.qty, mark) - 1, mark)
            part = part if part < run.qty else 0
        else:
            part = step_down_qty(tape, plan, run, forced_price(plan, run, mark), mark)
    if part > 0:
        forced_fill(plan, book, run, part, mark)
        refresh(plan, run)
        equity, maintenance, _ = measure_at(tape, run, mark)
        if equity > maintenance:
            return
    if plan.takeover:
        take_over(book, run, mark)
    else:
        forced_fill(plan, book, run, run.qty, mark)
    flatten(book, run, at.C_LIQUIDATION, -1)
    refresh(plan, run)
