"""Fills by choice, trades of coin, and what is left when a unit is flat. Section 2 to 4 of the contract."""

from __future__ import annotations

from typing import NamedTuple

from backtest.engine.oracle.numbers import E8, ceil_div, e8, fill_value, half_even, worse_price
from backtest.engine.oracle.pool.books import At, Coin
from backtest.engine.oracle.pool.legs import Closed, Leg
from backtest.engine.oracle.pool.pool import Pool
from backtest.engine.oracle.pool.units import Unit


class Quote(NamedTuple):
    """What a purchase of coin would take: the coin, its value and the fee in quote."""

    amount: int
    value: int
    fee: int

    @property
    def cost(self) -> int:
        return self.value + self.fee


# --- legs ----------------------------------------------------------------------------------------------------------


def opening(at: At, leg: Leg, qty: int) -> tuple[int, int]:
    """Give price and value of a fill that opens or adds."""
    buying = leg.side > 0
    price = worse_price(at.prices[leg.instrument], leg.slippage, buying=buying)
    return price, leg.fill_value(qty, price, buying=buying)


def open_leg(pool: Pool, at: At, slot: int, qty: int) -> int:
    """Open or add, and pay price and fee from the unit's wallet; the value of the fill in quote is returned."""
    leg, unit = pool.legs[slot], pool.unit_of(slot)
    price, value = opening(at, leg, qty)
    _write_fill(pool, at, leg, leg.side * qty, price, at.prices[leg.instrument], value)
    pool.legs[slot] = leg.grown(qty, value)
    pool.books.settle(at, unit.account, -leg.paid_at_opening(value), leg.result_kinds, "market", unit.coin)
    pool.books.transfer(at, "fee", unit.account, "fees", leg.fee(value), unit.coin)
    return unit.coin.in_quote(value, at.marks)


def close_part(pool: Pool, at: At, slot: int, qty: int, price: int, price_before: int) -> Closed:
    """Close a quantity at a price and book the realised result."""
    leg, unit = pool.legs[slot], pool.unit_of(slot)
    closed = leg.closed(qty, price)
    _write_fill(pool, at, leg, -leg.side * qty, price, price_before, closed.value)
    pool.legs[slot] = closed.leg
    pool.books.settle(at, unit.account, closed.realised, leg.result_kinds, "market", unit.coin)
    return closed


def _write_fill(pool: Pool, at: At, leg: Leg, signed: int, price: int, price_before: int, value: int) -> None:
    buying, coin, totals = signed > 0, pool.unit_of(leg.slot).coin, pool.books.totals
    before = leg.fill_value(abs(signed), price_before, buying=buying)
    lost = value - before if buying != leg.inverse else before - value
    pool.books.fill(at, leg.slot, signed, price, value, at.marks[leg.instrument])
    totals.slippage += coin.in_quote(max(0, lost), at.marks)
    totals.turnover += coin.in_quote(value, at.marks)


def close_leg(pool: Pool, at: At, slot: int, qty: int, *, put_back: bool = False) -> None:
    """Close a quantity by choice: slippage, fee, and the share that an isolated unit frees; empty a flat unit."""
    leg, unit = pool.legs[slot], pool.unit_of(slot)
    wallet, base = pool.wallet(unit), at.prices[leg.instrument]
    price = worse_price(base, leg.slippage, buying=leg.side < 0)
    closed = close_part(pool, at, slot, qty, price, base)
    fee = leg.fee(closed.value)
    pool.books.transfer(at, "fee", unit.account, "fees", fee, unit.coin)
    if not pool.open_legs(unit):
        empty(pool, at, unit)
    elif unit.isolated and pool.plan.release == "pro_rata":
        freed = half_even(wallet * qty, leg.qty) + closed.realised - fee
        _release(pool, at, unit, max(freed, 0), put_back=put_back)


def settle_ended(pool: Pool, at: At, slot: int) -> None:
    """Close what is held of an asset that has ended at its last close: no slippage, no fee."""
    leg, unit = pool.legs[slot], pool.unit_of(slot)
    last = at.marks[leg.instrument]
    close_part(pool, at, slot, leg.qty, last, last)
    if not pool.open_legs(unit):
        empty(pool, at, unit)


def _release(pool: Pool, at: At, unit: Unit, amount: int, *, put_back: bool) -> None:
    if unit.coin.instrument is not None:
        if not put_back:
            sell_coin(pool, at, unit.coin, unit.account, amount, "free")
        return
    pool.books.transfer(at, "release", unit.account, "free", amount)
    if put_back:
        pool.books.transfer(at, "put_back", "free", unit.account, amount)


def sell_collaterals(pool: Pool, at: At, unit: Unit) -> None:
    """Turn the coins in the account of unit 0 into quote there, one after the other."""
    for held in pool.collaterals if unit.number == 0 else ():
        sell_coin(pool, at, held.coin, unit.account, pool.books.held(unit.account, held.coin.asset), unit.account)


def empty(pool: Pool, at: At, unit: Unit) -> None:
    """Leave nothing in the account of a flat unit: a debt is insurance's, the rest goes free."""
    sell_collaterals(pool, at, unit)
    pool.books.transfer(at, "shortfall", "insurance", unit.account, max(-pool.wallet(unit), 0), unit.coin)
    left = pool.wallet(unit)
    if unit.coin.instrument is None:
        pool.books.transfer(at, "release", unit.account, "free", left)
    else:
        sell_coin(pool, at, unit.coin, unit.account, left, "free")


# --- coin ----------------------------------------------------------------------------------------------------------


def price_of_coin(pool: Pool, at: At, coin: Coin, amount: int) -> Quote:
    """Say what buying an amount of coin takes."""
    assert coin.instrument is not None
    value = fill_value(amount, _coin_price(pool, at, coin, buying=True), buying=True)
    return Quote(amount, value, ceil_div(value * pool.takers[coin.instrument], E8))


def within_budget(pool: Pool, at: At, coin: Coin, budget: int) -> Quote:
    """Say what a budget in quote buys, fee included; nothing where it is too small."""
    assert coin.instrument is not None
    price = _coin_price(pool, at, coin, buying=True)
    fee = ceil_div(price * pool.takers[coin.instrument], E8)
    amount = (budget - 2) * E8 // (price + fee)
    return price_of_coin(pool, at, coin, amount) if amount > 0 else Quote(0, 0, 0)


def buy_coin(pool: Pool, at: At, coin: Coin, quote: Quote, source: str, account: str) -> None:
    """Buy coin from quote in `source` into an account."""
    assert coin.instrument is not None
    books = pool.books
    books.transfer(at, "convert", source, "market", quote.value)
    books.transfer(at, "fee", source, "fees", quote.fee)
    books.transfer(at, "convert", "market", account, quote.amount, coin)
    at_base = fill_value(quote.amount, at.prices[coin.instrument], buying=True)
    books.totals.slippage += abs(quote.value - at_base)


def sell_coin(pool: Pool, at: At, coin: Coin, account: str, amount: int, into: str) -> None:
    """Sell coin of an account for quote in `into`."""
    assert coin.instrument is not None
    books, taker = pool.books, pool.takers[coin.instrument]
    value = fill_value(amount, _coin_price(pool, at, coin, buying=False), buying=False)
    books.transfer(at, "convert", account, "market", amount, coin)
    books.transfer(at, "convert", "market", into, value)
    books.transfer(at, "fee", into, "fees", ceil_div(value * taker, E8))
    at_base = fill_value(amount, at.prices[coin.instrument], buying=False)
    books.totals.slippage += abs(value - at_base)


def _coin_price(pool: Pool, at: At, coin: Coin, *, buying: bool) -> int:
    assert coin.instrument is not None
    return worse_price(at.prices[coin.instrument], e8(pool.plan.slippage), buying=buying)
