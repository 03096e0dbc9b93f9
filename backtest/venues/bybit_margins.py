"""Bybit: the margins of one position and of one resting order, in each of the three eras.

Sources, Bybit help centre: New Margin Calculation (2025-09-18); Initial Margin (2026-04-30); Maintenance Margin
(2026-04-16); Liquidation Price under Isolated Mode (2026-05-27). Hedge-mode margins, the margins of orders and the
roundings are fitted to recorded account payloads and published examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from backtest.venues.account import Account, Margins, Order, Position, Unit
from backtest.venues.exact import EXACT, exact_formulas, round_up
from backtest.venues.margin import Formulas

MARK_ERA = exact_formulas(fee_rate_of=round_up)
ENTRY_ERA = exact_formulas(share_of=round_up, fee_rate_of=round_up)
ZERO = Fraction(0)


def formulas_of(account: Account) -> Formulas[Fraction, Fraction]:
    """Give the formulas with the venue's roundings: the fee rate at 1e-8 upwards, before the mark era 1 / L too."""
    return MARK_ERA if account.era == "uta_mark" else ENTRY_ERA


# --- a position ------------------------------------------------------------------------------------------------------


def margins(account: Account, unit: Unit, position: Position) -> Margins:
    """Give initial margin = value / leverage + fee reserve, and maintenance = value x rate - deduction + fee reserve.

    Value is at mark or at entry, as the era has it. Hedged in cross mode: the larger leg carries initial margin on its
    whole size and maintenance on the net size; the smaller leg carries its fee reserve only.
    """
    if unit.kind == "classic_cross":
        return _classic_cross_margins(account, unit, position)
    reserve = fee_reserve(account, unit, position)
    if _is_smaller_leg(unit, position):
        return Margins(reserve, reserve)
    assert position.leverage is not None
    at_mark = account.era == "uta_mark" and unit.kind == "cross"
    initial_value = position.value if at_mark else position.entry_value
    maintained = tier_value(account, unit, position)
    return Margins(
        formulas_of(account).initial(initial_value, position.leverage, reserve),
        position.ladder.maintenance(maintained, reserve) if maintained else reserve,
    )


def tier_value(account: Account, unit: Unit, position: Position) -> Fraction:
    """Give the value that chooses the tier and is charged maintenance: at mark or entry; hedged in cross, the net."""
    value = position.value if account.era == "uta_mark" else position.entry_value
    return value * (position.qty - hedged(unit, position)) / position.qty


def fee_reserve(account: Account, unit: Unit, position: Position) -> Fraction:
    """Give the closing fee held back, on the entry value of size + hedged size."""
    return reserve_on(account, charged_value(unit, position), position)


def charged_value(unit: Unit, position: Position) -> Fraction:
    """Give the entry value of size + hedged size, that of the smaller leg, in cross mode only."""
    return position.entry_value * (position.qty + hedged(unit, position)) / position.qty


def reserve_on(account: Account, cost: Fraction, held: Position) -> Fraction:
    """Give the closing fee held back for a value at entry."""
    assert held.leverage is not None
    return formulas_of(account).fee_reserve(cost, held.direction, held.leverage, account.taker_fee)


def hedged(unit: Unit, position: Position) -> Fraction:
    """Give the quantity that an opposite leg in the same pool hedges."""
    opposite = _opposite(unit, position)
    return min(position.qty, opposite.qty) if opposite else ZERO


def _opposite(unit: Unit, position: Position) -> Position | None:
    if unit.kind != "cross":
        return None
    return next((p for p in unit.positions if p.symbol == position.symbol and p.side != position.side), None)


def _is_smaller_leg(unit: Unit, position: Position) -> bool:
    """Say whether the opposite leg carries the margins; of two equal legs the long one does."""
    opposite = _opposite(unit, position)
    return opposite is not None and (position.qty, position.side) < (opposite.qty, opposite.side)


def _classic_cross_margins(account: Account, unit: Unit, position: Position) -> Margins:
    """Give margins of a classic cross position: maintenance at entry, plus the closing fee at its bankruptcy price.

    Bankruptcy price: (side x V - W) / (qty x (side - fee)); inverse size x (side + fee) / (side x V + W), where V is
    the entry value and W the balance left by the other positions. Fitted to recorded payloads.
    """
    others = tuple(p for p in unit.positions if p is not position)
    balance = account.balance(unit.asset) + sum(
        (p.unrealized - p.ladder.maintenance(p.entry_value) for p in others), start=ZERO
    )
    side, fee, value = position.side, account.taker_fee, position.entry_value
    if position.inverse:
        bankrupt_value = (side * value + balance) / (side + fee)
    else:
        bankrupt_value = (side * value - balance) / (side - fee)
    closing = max(ZERO, bankrupt_value) * fee
    initial = EXACT.initial(value, position.leverage, closing) if position.leverage else None
    return Margins(initial, position.ladder.maintenance(value, closing))


# --- the margin of an isolated position ------------------------------------------------------------------------------


def paid(position: Position) -> Fraction:
    """Give the money in an isolated position without the fee reserve: entry value / leverage, and what was added."""
    return _wallet(position) + position.extra_margin


def posted(account: Account, position: Position) -> Fraction:
    """Give what that money counts."""
    return _wallet(position) + _counts_as(account, position, position.extra_margin)


def all_paid(account: Account, position: Position) -> Fraction:
    """Give the money that a position can come to hold: what it has, and what auto-add can still bring."""
    return paid(position) + _auto_added(account, position)


def all_posted(account: Account, position: Position) -> Fraction:
    """Give the isolated margin that stands behind a position at last: posted, and what auto-add can still bring."""
    return posted(account, position) + _counts_as(account, position, _auto_added(account, position))


def _wallet(position: Position) -> Fraction:
    if position.isolated_wallet is not None:
        return position.isolated_wallet
    assert position.leverage is not None
    return EXACT.initial(position.entry_value, position.leverage, ZERO)


def _counts_as(account: Account, position: Position, added: Fraction) -> Fraction:
    """Give what an amount added counts: A / (1 - direction x fee) since the mark era, A itself before.

    Moving the bankruptcy price away also frees part of the fee reserve.
    """
    return added / (1 - position.direction * account.taker_fee) if account.era == "uta_mark" else added


def _auto_added(account: Account, position: Position) -> Fraction:
    """Give what auto-add-margin can bring: the coin's free balance, at most until the position stands at 1x.

    Each position is looked at alone; which of several is served first is not published. Source: Bybit help centre,
    as quoted: near liquidation it takes from the available balance, down to a leverage of 1.
    """
    if not position.auto_add_margin:
        return ZERO
    coin = Unit("isolated", position.settle_asset, account.positions, account.orders)
    held = (order_margins(account, coin, o).initial for o in coin.orders if o.settle_asset == coin.asset)
    free = account.balance(coin.asset) - sum((initial for initial in held if initial is not None), start=ZERO)
    room = position.entry_value - posted(account, position)
    return max(ZERO, min(free, room / _counts_as(account, position, Fraction(1))))


# --- an order --------------------------------------------------------------------------------------------------------


def order_margins(account: Account, unit: Unit, order: Order) -> Margins:
    """Give margins of a resting order: value / leverage + fee reserve; value x rate of the tier it would reach.

    The tier is that of the position on its side plus the orders on its side, and no deduction is made: fitted to the
    published example of the Maintenance Margin article (2026-04-16).
    """
    opening = order.value * _opening_share(account, unit, order)
    rate = order.ladder.row(_position_value(account, unit, order) + _orders_value(account, unit, order)).rate
    leverage = order.leverage or next((p.leverage for p in unit.of(order.symbol)), None)
    formulas = formulas_of(account)
    maintenance = formulas.maintenance(opening, rate, ZERO, ZERO)
    if leverage is None:
        return Margins(None, maintenance)
    reserve = formulas.fee_reserve(opening, order.direction, leverage, account.taker_fee)
    return Margins(formulas.initial(opening, leverage, reserve), maintenance)


def order_tier_marks(account: Account, unit: Unit, order: Order) -> Iterator[Fraction]:
    """Give the marks at which position plus orders reach the next tier."""
    orders = _orders_value(account, unit, order)
    for held in unit.of(order.symbol):
        if held.side == order.side and account.era == "uta_mark":
            yield from (held.price_of(cap - orders) for cap in order.ladder.caps if cap > orders)


def _opening_share(account: Account, unit: Unit, order: Order) -> Fraction:
    """Give the share of an order that opens: in one-way mode, what exceeds the position it would close."""
    if account.position_mode == "hedge":
        return Fraction(1)
    against = sum((p.qty for p in unit.of(order.symbol) if p.side != order.side), start=ZERO)
    return max(ZERO, order.qty - against) / order.qty


def _position_value(account: Account, unit: Unit, order: Order) -> Fraction:
    held = (p for p in unit.of(order.symbol) if p.side == order.side)
    return sum((p.value if account.era == "uta_mark" else p.entry_value for p in held), start=ZERO)


def _orders_value(account: Account, unit: Unit, order: Order) -> Fraction:
    beside = (o for o in unit.orders if o.symbol == order.symbol and o.side == order.side)
    return sum((o.value * _opening_share(account, unit, o) for o in beside), start=ZERO)
