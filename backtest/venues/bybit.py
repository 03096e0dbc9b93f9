"""Bybit derivatives, linear and inverse: margins, the cross pool and prices, in each of the three eras.

Eras: `classic` (old derivatives account), `uta_entry` (unified account, margin at entry price) and `uta_mark` (since
2025-09-02: maintenance at mark; initial margin at mark in cross, at entry in isolated mode).

Sources, Bybit help centre: New Margin Calculation (2025-09-18); Initial Margin (2026-04-30); Maintenance Margin
(2026-04-16); Trading Rules: Liquidation Process, Unified Trading Account (2026-08-07); Liquidation Price under Isolated
Mode (2026-05-27) and (USDT Contract, 2024-09-10); Bankruptcy Price; Collateral Value Ratios (2025-09-18); Trading Terms
and Formulas (2026-03-13). Hedge-mode margins, roundings and the displayed cross price are fitted to recorded account
payloads and are not published.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from backtest.venues.account import Account, Margins, Order, Position, State, Unit, total
from backtest.venues.exact import EXACT, cut, exact_formulas, round_up, text, to_tick
from backtest.venues.margin import Formulas
from backtest.venues.solve import linear_root

BORROW_MAINTENANCE = Fraction("0.04")  # of a borrowed settle coin; bybit-exchange/docs spot-margin-uta position-tiers
BORROW_INITIAL = Fraction("0.2")  # the same sample, tier 1
RATE_DECIMALS = 4
MARK_ERA = exact_formulas(fee_rate_of=round_up)
ENTRY_ERA = exact_formulas(share_of=round_up, fee_rate_of=round_up)
SOURCES = {
    "value": "Bybit help centre, Mark Price (2026-09-04)",
    "fee": "Bybit help centre, New Margin Calculation (2025-09-18): taker fee at the bankruptcy price",
    "maintenance": "Bybit help centre, Maintenance Margin (2026-04-16)",
    "initial": "Bybit help centre, Initial Margin (2026-04-30)",
    "equity": "Bybit help centre, Trading Terms and Formulas in Unified Trading Account (2026-03-13)",
    "trigger": "Bybit help centre, Trading Rules: Liquidation Process (2026-08-07)",
    "fill": "Bybit help centre, Trading Rules: Liquidation Process (2026-08-07), Insurance Fund (2026-03-24)",
    "price": "Bybit help centre, Liquidation Price under Isolated Mode (2026-05-27), Bankruptcy Price",
}


def units(account: Account) -> tuple[Unit, ...]:
    """Split an account into its margin units: each isolated position; one pool in USD, or per coin in classic cross."""
    isolated = tuple(Unit("isolated", p.settle_asset, (p,)) for p in account.positions if p.margin_mode == "isolated")
    pooled = tuple(p for p in account.positions if p.margin_mode == "cross")
    if account.era == "classic":
        coins = dict.fromkeys(p.settle_asset for p in pooled)
        return isolated + tuple(
            Unit("classic_cross", coin, tuple(p for p in pooled if p.settle_asset == coin)) for coin in coins
        )
    if account.margin_mode == "cross":
        return (Unit("cross", "USD", pooled, account.orders),)
    return isolated


def fee_reserve(account: Account, unit: Unit, position: Position) -> Fraction:
    """Give the closing fee held back, on the entry value of size + hedged size.

    Hedged size is that of the smaller leg, in cross mode only.
    """
    cost = position.entry_value * (position.qty + _hedged(unit, position)) / position.qty
    return _reserve_on(account, cost, position)


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
        _formulas(account).initial(initial_value, position.leverage, reserve),
        position.ladder.maintenance(maintained, reserve) if maintained else reserve,
    )


def tier_value(account: Account, unit: Unit, position: Position) -> Fraction:
    """Give the value that chooses the tier and is charged maintenance: at mark or entry; hedged in cross, the net."""
    value = position.value if account.era == "uta_mark" else position.entry_value
    return value * (position.qty - _hedged(unit, position)) / position.qty


def posted(account: Account, position: Position) -> Fraction:
    """Give the isolated margin without the fee reserve: entry value / leverage, plus margin added.

    Since the mark era an amount A added counts A / (1 - side x fee), inverse A / (1 + side x fee): moving the
    bankruptcy price away also frees part of the fee reserve.
    """
    held = position.isolated_wallet
    if held is None:
        assert position.leverage is not None
        held = EXACT.initial(position.entry_value, position.leverage, Fraction(0))
    if account.era != "uta_mark":
        return held + position.extra_margin
    sign = -1 if position.inverse else 1
    return held + position.extra_margin / (1 - sign * position.side * account.taker_fee)


def state(account: Account, unit: Unit) -> State:
    """Give equity and margins of a unit; a cross pool in USD, others in the settlement coin.

    The equity of an isolated position includes its fee reserve, as its margins do. The pool's equity is the margin
    balance: collateral at its ratios + unrealised profit.
    """
    if unit.kind == "cross":
        return _pool_state(account, unit)
    each = [margins(account, unit, p) for p in unit.positions]
    profit = sum((p.unrealized for p in unit.positions), start=Fraction(0))
    initial = total(m.initial for m in each)
    maintenance = sum((m.maintenance for m in each), start=Fraction(0))
    if unit.kind == "classic_cross":
        return State(account.balance(unit.asset) + profit, initial, maintenance)
    position = unit.positions[0]
    return State(posted(account, position) + fee_reserve(account, unit, position) + profit, initial, maintenance)


def trigger(account: Account, unit: Unit) -> Fraction:
    """Give what turns to zero or less when the unit is liquidated: equity (cross: + order loss) - maintenance."""
    return state(account, unit).headroom + order_loss(account, unit)


def bankruptcy_equity(account: Account, unit: Unit, symbol: str) -> Fraction:
    """Give what turns to zero at the bankruptcy price of a symbol.

    Cross: equity less what everything else maintains; classic cross also keeps the closing fee at the bankruptcy price.
    """
    now = state(account, unit)
    own = (p for p in unit.positions if p.symbol == symbol)
    if unit.kind == "classic_cross":
        upheld = (p.ladder.maintenance(p.entry_value) for p in own)
        return now.headroom + sum(upheld, start=Fraction(0))
    rate = account.index_price(unit.of(symbol)[0].settle_asset)
    held = sum((margins(account, unit, p).maintenance for p in own), start=Fraction(0))
    return now.headroom + order_loss(account, unit) + held * rate


def kinks(account: Account, unit: Unit, symbol: str) -> Iterator[Fraction]:
    """Give the marks at which the trigger changes slope: tiers, and where equity does."""
    if account.era == "uta_mark":
        for leg in unit.of(symbol):
            net = leg.qty - _hedged(unit, leg)
            if net:
                yield from (leg.price_of(cap * leg.qty / net) for cap in leg.ladder.caps)
    yield from equity_kinks(account, unit, symbol)


def equity_kinks(account: Account, unit: Unit, symbol: str) -> Iterator[Fraction]:
    """Give the marks at which orders start to lose or change tier, and at which the settle coin is borrowed."""
    for order in unit.orders:
        if order.symbol == symbol:
            yield order.price
            yield from _order_tier_marks(account, unit, order)
    if unit.kind == "cross":
        first = unit.of(symbol)[0]
        yield from linear_root(
            lambda mark: coin_equity(account, unit.at(symbol, mark), first.settle_asset), inverse=first.inverse
        )


def coin_equity(account: Account, unit: Unit, asset: str) -> Fraction:
    """Give balance plus unrealised profit of a coin; what is under zero is borrowed."""
    profits = (p.unrealized for p in unit.positions if p.settle_asset == asset)
    return account.balance(asset) + sum(profits, start=Fraction(0))


def order_loss(account: Account, unit: Unit) -> Fraction:
    """Give the loss in USD that resting orders would start with: the sum of min(0, side x (mark - price) x size)."""
    marks = {p.symbol: p.mark_price for p in unit.positions}
    return sum(
        (o.loss_at(marks[o.symbol]) * account.index_price(o.settle_asset) for o in unit.orders if o.symbol in marks),
        start=Fraction(0),
    )


def available(account: Account, unit: Unit) -> Fraction | None:
    """Give margin balance - total initial margin."""
    now = state(account, unit)
    return None if now.initial is None or unit.kind != "cross" else now.equity - now.initial


def max_removable(account: Account, unit: Unit, position: Position) -> Fraction | None:
    """Not published by Bybit."""
    return None


def cost_to_open(account: Account, unit: Unit, position: Position) -> Fraction | None:
    """Give initial margin + fee to open + fee to close at the entry price (Order Cost, USDT Contract, 2022-07-25)."""
    if position.leverage is None:
        return None
    value = position.entry_value
    reserve = _reserve_on(account, value, position)
    return _formulas(account).initial(value, position.leverage, reserve) + value * account.taker_fee


def displayed(account: Account, unit: Unit, symbol: str) -> Fraction | None:
    """Give the liquidation price that Bybit shows in cross mode: an estimate with maintenance frozen at the mark.

    mark - side x (margin balance - total maintenance, USD) / (net size x (1 + k)), k = 4 % once the settle coin is
    borrowed. Fitted to recorded linear payloads; None for inverse contracts, fully hedged legs and other modes.
    """
    legs = unit.of(symbol)
    net = sum((p.side * p.size for p in legs), start=Fraction(0))
    if unit.kind != "cross" or legs[0].inverse or not net:
        return None
    borrowed = coin_equity(account, unit, legs[0].settle_asset) < 0
    estimate = legs[0].mark_price - state(account, unit).headroom / (
        net * (1 + (BORROW_MAINTENANCE if borrowed else 0))
    )
    return estimate if estimate > 0 else None


def reserve_text(account: Account, position: Position) -> str:
    """Write the closing-fee reserve with its numbers."""
    rate = _reserve_on(account, Fraction(1), position)
    return f"{text(position.entry_value, 8)} entry value × {text(rate)} fee"


def margin_amount(account: Account, value: Fraction) -> Fraction:
    """Round a margin to 8 decimals: cut since the mark era, upwards before."""
    return cut(value) if account.era == "uta_mark" else round_up(value)


def price(position: Position, value: Fraction, *, alive_above: bool) -> Fraction:
    """Put a price on the tick, towards the side on which the account is alive: up for a long, down for a short."""
    return to_tick(value, position.tick_size, up=alive_above) if position.tick_size else value


def bankruptcy_price(position: Position, value: Fraction, *, alive_above: bool) -> Fraction:
    """Put a bankruptcy price on the tick in isolated mode; that of a cross position is published unrounded."""
    return price(position, value, alive_above=alive_above) if position.margin_mode == "isolated" else value


def takeover_price(account: Account, unit: Unit, position: Position) -> Fraction | None:
    """Give the price at which a takeover costs the trader all of an isolated position's margin, fee reserve included.

    The venue takes over at the bankruptcy price and keeps the closing fee; one fill at this price does both.
    """
    if unit.kind != "isolated":
        return None
    held = posted(account, position) + fee_reserve(account, unit, position)
    value = EXACT.bankruptcy_value(position.direction, position.entry_value, held)
    return position.price_of(value) if value > 0 else None


def account_unit(account: Account, all_units: tuple[Unit, ...]) -> Unit | None:
    """Give the cross pool; account figures do not apply in isolated mode or to classic accounts."""
    return next((unit for unit in all_units if unit.kind == "cross"), None)


def ratios(account: Account, unit: Unit) -> tuple[Fraction | None, Fraction | None]:
    """Give initial and maintenance margin over equity + order loss; the rates of a cross pool are cut to 4 decimals."""
    now = state(account, unit)
    base = now.equity + order_loss(account, unit)
    if base <= 0:
        return None, None
    initial, maintenance = None if now.initial is None else now.initial / base, now.maintenance / base
    if unit.kind != "cross":
        return initial, maintenance
    return None if initial is None else cut(initial, RATE_DECIMALS), cut(maintenance, RATE_DECIMALS)


def _formulas(account: Account) -> Formulas[Fraction, Fraction]:
    """Give the formulas with the venue's roundings: the fee rate at 1e-8 upwards, before the mark era 1 / L too."""
    return MARK_ERA if account.era == "uta_mark" else ENTRY_ERA


def _reserve_on(account: Account, cost: Fraction, held: Position) -> Fraction:
    assert held.leverage is not None
    return _formulas(account).fee_reserve(cost, held.direction, held.leverage, account.taker_fee)


def _opposite(unit: Unit, position: Position) -> Position | None:
    if unit.kind != "cross":
        return None
    return next((p for p in unit.positions if p.symbol == position.symbol and p.side != position.side), None)


def _hedged(unit: Unit, position: Position) -> Fraction:
    opposite = _opposite(unit, position)
    return min(position.qty, opposite.qty) if opposite else Fraction(0)


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
        (p.unrealized - p.ladder.maintenance(p.entry_value) for p in others), start=Fraction(0)
    )
    side, fee, value = position.side, account.taker_fee, position.entry_value
    if position.inverse:
        bankrupt_value = (side * value + balance) / (side + fee)
    else:
        bankrupt_value = (side * value - balance) / (side - fee)
    closing = max(Fraction(0), bankrupt_value) * fee
    initial = EXACT.initial(value, position.leverage, closing) if position.leverage else None
    return Margins(initial, position.ladder.maintenance(value, closing))


def _pool_state(account: Account, unit: Unit) -> State:
    each = [(margins(account, unit, p), account.index_price(p.settle_asset)) for p in unit.positions]
    profit = (p.unrealized * account.index_price(p.settle_asset) for p in unit.positions)
    borrowed = sum(
        (-min(Fraction(0), coin_equity(account, unit, c.asset)) * c.index_price for c in account.collateral),
        start=Fraction(0),
    )
    order_margins = [_order_margins(account, unit, o) for o in unit.orders]
    initial = total(
        [*(m.initial * usd for m, usd in each if m.initial is not None), *(o.initial for o in order_margins)]
    )
    maintenance = sum((m.maintenance * usd for m, usd in each), start=Fraction(0))
    return State(
        sum((c.counted(c.amount) for c in account.collateral), start=Fraction(0)) + sum(profit, start=Fraction(0)),
        None if initial is None else initial + borrowed * BORROW_INITIAL,
        maintenance + sum((o.maintenance for o in order_margins), start=Fraction(0)) + borrowed * BORROW_MAINTENANCE,
    )


def _opening_share(account: Account, unit: Unit, order: Order) -> Fraction:
    """Give the share of an order that opens: in one-way mode, what exceeds the position it would close."""
    if account.position_mode == "hedge":
        return Fraction(1)
    against = sum((p.qty for p in unit.of(order.symbol) if p.side != order.side), start=Fraction(0))
    return max(Fraction(0), order.qty - against) / order.qty


def _order_margins(account: Account, unit: Unit, order: Order) -> Margins:
    """Give margins of a resting order in USD: value / leverage + fee reserve; value x rate of the tier it would reach.

    The tier is that of the position on its side plus the orders on its side, and no deduction is made: fitted to the
    published example of the Maintenance Margin article (2026-04-16).
    """
    usd = account.index_price(order.settle_asset)
    opening = order.value * _opening_share(account, unit, order)
    rate = order.ladder.row(_position_value(account, unit, order) + _orders_value(account, unit, order)).rate
    leverage = order.leverage or next((p.leverage for p in unit.of(order.symbol)), None)
    formulas = _formulas(account)
    maintenance = formulas.maintenance(opening, rate, Fraction(0), Fraction(0)) * usd
    if leverage is None:
        return Margins(None, maintenance)
    reserve = formulas.fee_reserve(opening, order.direction, leverage, account.taker_fee)
    return Margins(formulas.initial(opening, leverage, reserve) * usd, maintenance)


def _position_value(account: Account, unit: Unit, order: Order) -> Fraction:
    held = (p for p in unit.of(order.symbol) if p.side == order.side)
    values = (p.value if account.era == "uta_mark" else p.entry_value for p in held)
    return sum(values, start=Fraction(0))


def _orders_value(account: Account, unit: Unit, order: Order) -> Fraction:
    beside = (o for o in unit.orders if o.symbol == order.symbol and o.side == order.side)
    return sum((o.value * _opening_share(account, unit, o) for o in beside), start=Fraction(0))


def _order_tier_marks(account: Account, unit: Unit, order: Order) -> Iterator[Fraction]:
    """Give the marks at which position plus orders reach the next tier."""
    orders = _orders_value(account, unit, order)
    for held in unit.of(order.symbol):
        if held.side == order.side and account.era == "uta_mark":
            yield from (held.price_of(cap - orders) for cap in order.ladder.caps if cap > orders)
