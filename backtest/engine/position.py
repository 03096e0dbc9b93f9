"""Changes of one position: opening, reducing, increasing, flattening, and the venues' forced closes.

Binance, FAQ 360033525271 and a recorded liquidation (2022-03-08): one IOC order, no commission, a clearance fee,
the remainder returned. Bybit help centre, Liquidation Process (2026-08-07): takeover at the bankruptcy price, nothing
comes back; higher tiers step down first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.arithmetic import E8, mul_ceil, mul_div_ceil, mul_div_floor, mul_div_half_even, split_product
from backtest.engine.compile import jit
from backtest.engine.ledger import Book, record_fill, transfer
from backtest.engine.margin import fee_reserve, measure, tier_at

if TYPE_CHECKING:
    from backtest.engine.ledger import Int64Array
    from backtest.engine.plan import Plan
    from backtest.schema import Tape


@jit
def slipped(price: int, rate: int, buying: bool) -> int:
    """Give a price made worse by a rate: up for a buyer, down for a seller, rounded against us."""
    worse = mul_ceil(price, rate)
    return price + worse if buying else price - worse


@jit
def fill_value(qty: int, price: int, buying: bool) -> int:
    """Give the value of a fill: what a buyer pays is rounded up, what a seller gets down."""
    whole, rest = split_product(qty, price)
    return whole + (1 if buying and rest > 0 else 0)


@jit
def refresh_fee_reserve(plan: Plan, a: Int64Array) -> None:
    """Recompute the closing-fee reserve after cost, leverage or the fee rate changed."""
    if plan.fee_reserve:
        a[at.FEE_RESERVE] = fee_reserve(a[at.COST], a[at.SIDE], a[at.LEVERAGE], a[at.TAKER]) if a[at.QTY] > 0 else 0


@jit
def measure_at(tape: Tape, a: Int64Array, price: int) -> tuple[int, int, int]:
    """Give equity, maintenance and initial margin of the run's position at a mark price."""
    return measure(
        tape, a[at.TABLE], a[at.SIDE], a[at.QTY], a[at.COST], a[at.MARGIN], a[at.LEVERAGE], a[at.FEE_RESERVE], price
    )


@jit
def steps_up(qty: int, step: int) -> int:
    """Round a quantity up to whole steps."""
    return (qty + step - 1) // step * step


@jit
def book_profit(book: Book, a: Int64Array, realised: int, cause: int, rule: int) -> None:
    """Move a realised profit or loss between the market and the margin wallet."""
    if realised > 0:
        transfer(book, a, at.K_PROFIT, at.MARKET, at.MARGIN, realised, cause, rule)
    else:
        transfer(book, a, at.K_LOSS, at.MARGIN, at.MARKET, -realised, cause, rule)


@jit
def take_off(book: Book, a: Int64Array, qty: int, price: int, mark: int, cause: int, rule: int) -> tuple[int, int]:
    """Close a quantity at a price and book the realised result; give it and the value of the fill."""
    buying = a[at.SIDE] < 0
    value = fill_value(qty, price, buying)
    share = mul_div_half_even(a[at.COST], qty, a[at.QTY])
    realised = share - value if buying else value - share
    a[at.QTY] -= qty
    a[at.COST] -= share
    record_fill(book, a, qty if buying else -qty, price, value, mark, cause, rule)
    book_profit(book, a, realised, cause, rule)
    return realised, value


@jit
def flatten(book: Book, a: Int64Array, cause: int, rule: int) -> None:
    """Empty the margin wallet of a flat position: insurance covers less than nothing, the rest is released."""
    if a[at.MARGIN] < 0:
        transfer(book, a, at.K_SHORTFALL, at.INSURANCE, at.MARGIN, -a[at.MARGIN], cause, rule)
    transfer(book, a, at.K_RELEASE, at.MARGIN, at.FREE, a[at.MARGIN], cause, rule)


@jit
def reduce_position(
    plan: Plan, book: Book, a: Int64Array, qty: int, base: int, mark: int, put_back: bool, cause: int, rule: int
) -> None:
    """Close a quantity at a base price made worse by slippage, with taker fee, and release the closed share.

    Isolated: half even(wallet x closed share) + realised - fee moves to the free balance, and back with `put_back`.
    """
    buying = a[at.SIDE] < 0
    wallet, held = a[at.MARGIN], a[at.QTY]
    price = slipped(base, plan.slippage_e8, buying)
    realised, value = take_off(book, a, qty, price, mark, cause, rule)
    a[at.SLIPPAGE] += abs(value - fill_value(qty, base, buying))
    fee = mul_ceil(value, a[at.TAKER])
    transfer(book, a, at.K_FEE, at.MARGIN, at.FEES, fee, cause, rule)
    if a[at.QTY] == 0:
        flatten(book, a, cause, rule)
    elif not plan.cross and not plan.keep:
        share = mul_div_half_even(abs(wallet), qty, held)
        freed = (share if wallet >= 0 else -share) + realised - fee
        if freed > 0:
            transfer(book, a, at.K_RELEASE, at.MARGIN, at.FREE, freed, cause, rule)
            if put_back:
                transfer(book, a, at.K_PUT_BACK, at.FREE, at.MARGIN, freed, cause, rule)
    refresh_fee_reserve(plan, a)


@jit
def bankruptcy_price(a: Int64Array) -> int:
    """Give the price at which the position's equity is 0, rounded so that closing there leaves no debt."""
    if a[at.SIDE] > 0:
        return mul_div_ceil(a[at.COST] - a[at.MARGIN], E8, a[at.QTY]) if a[at.COST] > a[at.MARGIN] else 0
    return mul_div_floor(a[at.COST] + a[at.MARGIN], E8, a[at.QTY]) if a[at.COST] + a[at.MARGIN] > 0 else 0


@jit
def forced_price(plan: Plan, a: Int64Array, mark: int) -> int:
    """Give the fill price of a forced close: the mark made worse, never beyond bankruptcy."""
    price = slipped(mark, plan.liquidation_slippage_e8, a[at.SIDE] < 0)
    limit = bankruptcy_price(a)
    return max(price, limit) if a[at.SIDE] > 0 else min(price, limit)


@jit
def clearance_fee(plan: Plan, wallet: int, value: int) -> int:
    """Give the clearance fee of a forced fill: its rate of the value, at most what the wallet holds."""
    return max(0, min(mul_ceil(value, plan.clearance_e8), wallet))


@jit
def headroom_after(tape: Tape, plan: Plan, a: Int64Array, qty: int, price: int, mark: int) -> int:
    """Give the headroom that a forced close of a part would leave, its fee paid."""
    buying = a[at.SIDE] < 0
    value = fill_value(qty, price, buying)
    share = mul_div_half_even(a[at.COST], qty, a[at.QTY])
    wallet = a[at.MARGIN] + (share - value if buying else value - share)
    wallet -= clearance_fee(plan, wallet, value)
    cost = a[at.COST] - share
    reserve = fee_reserve(cost, a[at.SIDE], a[at.LEVERAGE], a[at.TAKER]) if plan.fee_reserve else 0
    equity, maintenance, _ = measure(
        tape, a[at.TABLE], a[at.SIDE], a[at.QTY] - qty, cost, wallet, a[at.LEVERAGE], reserve, mark
    )
    return equity - maintenance


@jit
def steps_to_tier(tape: Tape, a: Int64Array, tier: int, mark: int) -> int:
    """Give the least quantity in whole steps whose close brings the notional to at most a tier's cap."""
    keep = mul_div_floor(tape.tier_cap_e8[a[at.TABLE], tier], E8, mark)
    return steps_up(a[at.QTY] - keep, a[at.STEP])


@jit
def step_down_qty(tape: Tape, plan: Plan, a: Int64Array, price: int, mark: int) -> int:
    """Give the least quantity in whole steps after whose close the predicate is false; 0 when none does.

    Headroom is concave in the quantity closed (maintenance is convex), so the first tier border at which it is
    positive bounds the answer, and inside that piece it is found by bisection.
    """
    failing = 0
    for tier in range(tier_at(tape, a[at.TABLE], a[at.QTY], mark) - 1, -1, -1):
        passing = steps_to_tier(tape, a, tier, mark)
        if passing >= a[at.QTY]:
            return 0
        if headroom_after(tape, plan, a, passing, price, mark) > 0:
            while passing - failing > a[at.STEP]:
                middle = failing + (passing - failing) // (2 * a[at.STEP]) * a[at.STEP]
                if headroom_after(tape, plan, a, middle, price, mark) > 0:
                    passing = middle
                else:
                    failing = middle
            return passing
        failing = passing
    return 0


@jit
def forced_fill(plan: Plan, book: Book, a: Int64Array, qty: int, price: int, base: int, mark: int) -> None:
    """Close a quantity for the venue: no commission, a clearance fee out of what is left.

    Slippage is what the fill loses against the base price; a fill saved at the bankruptcy price loses nothing.
    """
    buying = a[at.SIDE] < 0
    _, value = take_off(book, a, qty, price, mark, at.C_LIQUIDATION, -1)
    before = fill_value(qty, base, buying)
    a[at.SLIPPAGE] += max(0, value - before if buying else before - value)
    a[at.FORCED_QTY] += qty
    fee = clearance_fee(plan, a[at.MARGIN], value)
    a[at.CLEARANCE] += fee
    transfer(book, a, at.K_CLEARANCE, at.MARGIN, at.INSURANCE, fee, at.C_LIQUIDATION, -1)


@jit
def forced_close(tape: Tape, plan: Plan, book: Book, a: Int64Array, mark: int) -> None:
    """Liquidate at a mark where the predicate holds: step down where that ends the breach, else close all."""
    part = 0
    if tier_at(tape, a[at.TABLE], a[at.QTY], mark) > 0:
        if plan.takeover:
            part = steps_to_tier(tape, a, tier_at(tape, a[at.TABLE], a[at.QTY], mark) - 1, mark)
            part = part if part < a[at.QTY] else 0
        else:
            part = step_down_qty(tape, plan, a, forced_price(plan, a, mark), mark)
    if part > 0:
        forced_fill(plan, book, a, part, forced_price(plan, a, mark), mark, mark)
        refresh_fee_reserve(plan, a)
        equity, maintenance, _ = measure_at(tape, a, mark)
        if equity > maintenance:
            return
    price = bankruptcy_price(a) if plan.takeover else forced_price(plan, a, mark)
    forced_fill(plan, book, a, a[at.QTY], price, price if plan.takeover else mark, mark)
    if plan.takeover:
        transfer(book, a, at.K_TAKEOVER, at.MARGIN, at.INSURANCE, max(0, a[at.MARGIN]), at.C_LIQUIDATION, -1)
    flatten(book, a, at.C_LIQUIDATION, -1)
    refresh_fee_reserve(plan, a)
