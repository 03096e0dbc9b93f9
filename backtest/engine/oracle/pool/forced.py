"""Forced closes of a unit: its legs by maintenance, step-downs, and takeover on Bybit. Section 6 of the contract.

Sources: Binance, Futures Liquidation Protocols; Bybit, Liquidation Process (UTA), 2026-08-07.
"""

from __future__ import annotations

from backtest.engine.oracle.numbers import E8, ceil_div, e8, worse_price
from backtest.engine.oracle.pool.assets import AssetLeg
from backtest.engine.oracle.pool.books import At
from backtest.engine.oracle.pool.legs import Closed, Leg
from backtest.engine.oracle.pool.pool import Pool
from backtest.engine.oracle.pool.trading import close_part, empty, sell_collaterals
from backtest.engine.oracle.pool.units import Unit


def force_close(pool: Pool, at: At, unit: Unit) -> None:
    """Close what the venue closes when the predicate of a unit holds at the marks of `at`."""
    legs = sorted(pool.open_legs(unit), key=lambda leg: _turn(leg, at))
    for leg in legs:
        if pool.plan.procedure == "takeover":
            if not _step_to_lower_tier(pool, at, unit, leg):
                _take_over(pool, at, unit, [pool.legs[other.slot] for other in legs])
            return
        qty = least_step_down(pool, at, unit, leg) or leg.qty
        _close_at_market(pool, at, unit, leg, qty)
        if not pool.liquidated(unit, at.marks):
            break
    if not pool.open_legs(unit):
        empty(pool, at, unit)


def _turn(leg: Leg, at: At) -> tuple[bool, int, int]:
    """Order the legs: the largest maintenance first, the lower slot of two alike; assets that need none last."""
    maintenance = leg.maintenance(at.marks[leg.instrument])
    return isinstance(leg, AssetLeg) and maintenance == 0, -maintenance, leg.slot


def _forced_price(pool: Pool, at: At, leg: Leg) -> int:
    return max(0, worse_price(at.marks[leg.instrument], e8(pool.plan.liq_slippage), buying=leg.side < 0))


def _after(pool: Pool, at: At, unit: Unit, closed: Closed) -> tuple[int, int]:
    """Give a unit's headroom after a forced close, fee paid, and the clearance fee: at most the equity that is left."""
    legs = {**pool.legs, closed.leg.slot: closed.leg}
    left = pool.figures_with(unit, at.marks, legs.values(), pool.wallet(unit) + closed.realised)
    fee = min(ceil_div(closed.value * e8(pool.plan.clearance_rate), E8), max(0, left.equity))
    return left.headroom - fee, fee


def least_step_down(pool: Pool, at: At, unit: Unit, leg: Leg) -> int | None:
    """Give the least quantity of a leg, short of all, after whose close the unit's predicate is false; or None.

    Sought tier by tier from the current one down: a piece ends where the rest reaches the next lower tier, at the
    latest with one step left; the first piece whose end is safe is bisected.
    """
    mark, price = at.marks[leg.instrument], _forced_price(pool, at, leg)

    def still_liquidated(steps: int) -> bool:
        headroom, _ = _after(pool, at, unit, leg.closed(steps * leg.step, price))
        return headroom <= 0

    unsafe = 0
    for tier in range(leg.tier(mark), 0, -1):
        floor = leg.rows[tier - 1].cap
        assert floor is not None, "only the last row may have no cap"
        end = min(leg.steps_to_cap(floor, mark), leg.qty // leg.step - 1)
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
        return end * leg.step
    return None


def _close_at_market(pool: Pool, at: At, unit: Unit, leg: Leg, qty: int) -> None:
    price = _forced_price(pool, at, leg)
    _, fee = _after(pool, at, unit, leg.closed(qty, price))
    close_part(pool, at, leg.slot, qty, price, at.marks[leg.instrument])
    pool.books.transfer(at, "clearance", unit.account, "insurance", fee, unit.coin)
    pool.books.totals.clearance += unit.coin.in_quote(fee, at.marks)


def _step_to_lower_tier(pool: Pool, at: At, unit: Unit, leg: Leg) -> bool:
    """Bring a leg down one tier; say whether that helped."""
    mark = at.marks[leg.instrument]
    tier = leg.tier(mark)
    if tier == 0:
        return False
    floor = leg.rows[tier - 1].cap
    assert floor is not None, "only the last row may have no cap"
    qty = leg.steps_to_cap(floor, mark) * leg.step
    if qty >= leg.qty:
        return False
    _close_at_market(pool, at, unit, leg, qty)
    return not pool.liquidated(unit, at.marks)


def _take_over(pool: Pool, at: At, unit: Unit, legs: list[Leg]) -> None:
    """Close all at the marks; what is left is insurance's."""
    for leg in legs:
        mark = at.marks[leg.instrument]
        close_part(pool, at, leg.slot, leg.qty, mark, mark)
    sell_collaterals(pool, at, unit)
    wallet = pool.wallet(unit)
    pool.books.settle(at, unit.account, -wallet, ("shortfall", "takeover"), "insurance", unit.coin)
