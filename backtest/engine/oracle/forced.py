"""Forced closes: step-down and full close on Binance, step and takeover on Bybit.

Sources: Binance, Futures Liquidation Protocols; Bybit, Liquidation Process (UTA), 2026-08-07.
"""

from __future__ import annotations

from backtest.engine.oracle.account import Account, Moment
from backtest.engine.oracle.model import Plan
from backtest.engine.oracle.numbers import E8, ceil_div, e8, worse_price


def force_close(account: Account, plan: Plan, at: Moment) -> None:
    """Close what the venue closes when the predicate holds at the mark of `at`."""
    if plan.procedure == "takeover":
        _step_then_take_over(account, plan, at)
    else:
        _close_at_market(account, plan, at, least_step_down(account, plan, at.mark) or account.position.qty)


def forced_price(account: Account, plan: Plan, mark: int) -> int:
    """Give the fill price: the mark made worse by liquidation slippage, never beyond the bankruptcy price."""
    position = account.position
    price = worse_price(mark, e8(plan.liq_slippage), buying=position.side < 0)
    bankruptcy = position.bankruptcy_price(account.wallet)
    return max(price, bankruptcy) if position.side > 0 else min(price, bankruptcy)


def clearance_fee(plan: Plan, value: int, wallet: int) -> int:
    """Give the clearance fee of a forced fill: at most what the wallet holds after it."""
    return min(ceil_div(value * e8(plan.clearance_rate), E8), max(wallet, 0))


def steps_to_notional(account: Account, plan: Plan, cap: int, mark: int) -> int:
    """Give the least number of quantity steps whose close brings qty x mark to at most `cap`."""
    most_kept = cap * E8 // mark
    return ceil_div(account.position.qty - most_kept, e8(plan.step))


def least_step_down(account: Account, plan: Plan, mark: int) -> int | None:
    """Give the least quantity, short of all, after whose close the predicate is false; None where none is.

    Sought tier by tier from the current one down: a piece ends where the rest reaches the next lower tier, and the
    first piece whose end is safe is bisected. A piece ends at the latest with one step left.
    """
    position, step = account.position, e8(plan.step)
    price = forced_price(account, plan, mark)

    def still_liquidated(steps: int) -> bool:
        rest, value, realised = position.reduced(steps * step, price)
        wallet = account.wallet + realised
        return rest.liquidated(wallet - clearance_fee(plan, value, wallet), mark)

    unsafe = 0
    for tier in range(position.tier(mark), 0, -1):
        floor = position.rows[tier - 1].cap
        assert floor is not None, "only the last row may have no cap"
        end = min(steps_to_notional(account, plan, floor, mark), position.qty // step - 1)
        if end <= unsafe:
            return None
        if still_liquidated(end):
            unsafe = end
            continue
        while end - unsafe > 1:
            middle = (unsafe + end) // 2
            if still_liquidated(middle):
                unsafe = middle
            else:
                end = middle
        return end * step
    return None


def _close_at_market(account: Account, plan: Plan, at: Moment, qty: int) -> None:
    price = forced_price(account, plan, at.mark)
    value, _ = account.close_part(at, qty, price, at.mark)
    fee = clearance_fee(plan, value, account.wallet)
    account.transfer(at, "clearance", "margin", "insurance", fee)
    account.clearance += fee
    if account.position.qty == 0:
        account.empty(at)


def _step_then_take_over(account: Account, plan: Plan, at: Moment) -> None:
    tier = account.position.tier(at.mark)
    if tier > 0:
        floor = account.position.rows[tier - 1].cap
        assert floor is not None, "only the last row may have no cap"
        qty = steps_to_notional(account, plan, floor, at.mark) * e8(plan.step)
        if qty < account.position.qty:
            _close_at_market(account, plan, at, qty)
            if not account.liquidated(at.mark):
                return
    price = account.position.bankruptcy_price(account.wallet)
    account.close_part(at, account.position.qty, price, price)
    account.transfer(at, "takeover", "margin", "insurance", account.wallet)
