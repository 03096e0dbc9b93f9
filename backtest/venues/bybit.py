"""Bybit derivatives, linear and inverse: margins, the cross pool and prices, in each of the three eras.

Eras: `classic` (old derivatives account), `uta_entry` (unified account, margin at entry price) and `uta_mark` (since
2025-09-02: maintenance at mark; initial margin at mark in cross, at entry in isolated mode).

Sources, Bybit help centre: New Margin Calculation (2025-09-18); Initial Margin (2026-04-30); Maintenance Margin
(2026-04-16); Trading Rules: Liquidation Process, Unified Trading Account (2026-08-07); Liquidation Price under Isolated
Mode (2026-05-27) and (USDT Contract, 2024-09-10); Bankruptcy Price; Collateral Value Ratios (2025-09-18); Trading Terms
and Formulas (2026-03-13). The displayed cross price is fitted to recorded account payloads and is not published.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from backtest.venues.account import Account, Position, State, Term, Unit, sum_of
from backtest.venues.bybit_margins import (
    all_paid,
    charged_value,
    fee_reserve,
    formulas_of,
    hedged,
    order_margins,
    order_tier_marks,
    paid,
    posted,
    reserve_on,
)

# Formulas of this venue that are kept there.
from backtest.venues.bybit_margins import all_posted as all_posted
from backtest.venues.bybit_margins import margins as margins
from backtest.venues.bybit_margins import tier_value as tier_value
from backtest.venues.exact import EXACT, cut, round_up, text, to_tick
from backtest.venues.solve import linear_root, nearest_boundary

BORROW_MAINTENANCE = Fraction("0.04")  # of a borrowed settle coin; bybit-exchange/docs spot-margin-uta position-tiers
BORROW_INITIAL = Fraction("0.2")  # the same sample, tier 1
RATE_DECIMALS = 4
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


def state(account: Account, unit: Unit) -> State:
    """Give equity and margins of a unit; a cross pool in USD, others in the settlement coin.

    The equity of an isolated position is its money, fee reserve included as in its margins, and unrealised profit. The
    pool's equity is the margin balance: collateral at its ratios + unrealised profit.
    """
    if unit.kind != "isolated":
        return _pool_state(account, unit)
    position = unit.positions[0]
    initial, maintenance = margins(account, unit, position)
    held = paid(position) + fee_reserve(account, unit, position)
    return State(held + position.unrealized, initial, maintenance)


def trigger(account: Account, unit: Unit) -> Fraction:
    """Give what turns to zero or less when the unit is liquidated: equity - maintenance.

    Cross: with order loss and haircut loss. Isolated: with what auto-add-margin can still bring.
    """
    headroom = _headroom(account, unit)
    if unit.kind == "isolated":
        position = unit.positions[0]
        headroom += all_posted(account, position) - posted(account, position)
    return headroom


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
    return now.headroom + _order_effects(account, unit) + held * rate


def kinks(account: Account, unit: Unit, symbol: str) -> Iterator[Fraction]:
    """Give the marks at which the trigger changes slope: tiers, and where equity does."""
    if account.era == "uta_mark":
        for leg in unit.of(symbol):
            net = leg.qty - hedged(unit, leg)
            if net:
                yield from (leg.price_of(cap * leg.qty / net) for cap in leg.ladder.caps)
    yield from equity_kinks(account, unit, symbol)


def equity_kinks(account: Account, unit: Unit, symbol: str) -> Iterator[Fraction]:
    """Give the marks at which orders start to lose or change tier, and at which the settle coin is borrowed."""
    for order in unit.orders:
        if order.symbol == symbol:
            yield order.price
            yield from order_tier_marks(account, unit, order)
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


def _order_effects(account: Account, unit: Unit) -> Fraction:
    """Give what orders take from a pool's equity in its rates: order loss of contracts, haircut loss of spot orders."""
    return order_loss(account, unit) - (account.haircut_loss if unit.kind == "cross" else 0)


def available(account: Account, unit: Unit) -> Fraction | None:
    """Give margin balance - haircut loss - total initial margin."""
    now = state(account, unit)
    return None if now.initial is None or unit.kind != "cross" else now.equity - account.haircut_loss - now.initial


def max_removable(account: Account, unit: Unit, position: Position) -> Fraction | None:
    """Not published by Bybit."""
    return None


def cost_to_open(account: Account, unit: Unit, position: Position) -> Fraction | None:
    """Give initial margin + fee to open + fee to close at the entry price (Order Cost, USDT Contract, 2022-07-25)."""
    if position.leverage is None:
        return None
    value = position.entry_value
    reserve = reserve_on(account, value, position)
    return formulas_of(account).initial(value, position.leverage, reserve) + value * account.taker_fee


def uni_mmr(account: Account, unit: Unit) -> tuple[Fraction, str] | None:
    """Bybit's portfolio margin cannot be computed from public data."""
    return None


def displayed(account: Account, unit: Unit, symbol: str) -> Fraction | None:
    """Give the liquidation price that Bybit shows, where it is not the trigger.

    Cross: an estimate with maintenance frozen at the mark, mark - side x (margin balance - total maintenance, USD) /
    (net size x (1 + k)), k = 4 % once the settle coin is borrowed. Fitted to recorded linear payloads; None for inverse
    contracts and fully hedged legs. Isolated with auto-add-margin: the price with the margin that is posted now.
    """
    legs = unit.of(symbol)
    if unit.kind == "isolated" and legs[0].auto_add_margin:
        return _price_as_posted(account, unit, legs[0])
    net = sum((p.side * p.size for p in legs), start=Fraction(0))
    if unit.kind != "cross" or legs[0].inverse or not net:
        return None
    borrowed = coin_equity(account, unit, legs[0].settle_asset) < 0
    estimate = legs[0].mark_price - state(account, unit).headroom / (
        net * (1 + (BORROW_MAINTENANCE if borrowed else 0))
    )
    return estimate if estimate > 0 else None


def _price_as_posted(account: Account, unit: Unit, position: Position) -> Fraction | None:
    found = nearest_boundary(
        lambda mark: _headroom(account, unit.at(position.symbol, mark)),
        kinks(account, unit, position.symbol),
        position.mark_price,
        inverse=position.inverse,
        concave=True,
    )
    return None if found is None else price(position, found.price, alive_above=found.alive_above)


def _headroom(account: Account, unit: Unit) -> Fraction:
    return backing(account, unit) - state(account, unit).maintenance


def reserve_text(account: Account, unit: Unit, position: Position) -> str:
    """Write the closing-fee reserve with its numbers."""
    twice = " with the hedged part twice" if hedged(unit, position) else ""
    charged, rate = charged_value(unit, position), reserve_on(account, Fraction(1), position)
    return f"{text(charged, 8)} entry value{twice} × {text(rate)} fee"


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
    held = all_paid(account, position) + fee_reserve(account, unit, position)
    value = EXACT.bankruptcy_value(position.direction, position.entry_value, held)
    return position.price_of(value) if value > 0 else None


def account_unit(account: Account, all_units: tuple[Unit, ...]) -> Unit | None:
    """Give the cross pool; account figures do not apply in isolated mode or to classic accounts."""
    return next((unit for unit in all_units if unit.kind == "cross"), None)


def backing(account: Account, unit: Unit) -> Fraction:
    """Give what margin ratios are taken over.

    Cross: equity + order loss - haircut loss. Isolated: equity + the part of the fee reserve that added margin frees.
    """
    equity = state(account, unit).equity
    if unit.kind == "isolated":
        position = unit.positions[0]
        return equity + posted(account, position) - paid(position)
    return equity + _order_effects(account, unit)


def shown_ratio(unit: Unit, value: Fraction) -> Fraction:
    """Cut the rates of a cross pool to 4 decimals."""
    return cut(value, RATE_DECIMALS) if unit.kind == "cross" else value


def equity_terms(account: Account, unit: Unit) -> tuple[Term, ...]:
    """Give the parts of a pool's equity: each balance as far as it counts, and unrealised profit."""
    if unit.kind == "classic_cross":
        balances = [Term(f"{unit.asset} balance", account.balance(unit.asset))]
    else:
        balances = [Term(f"{c.asset} at its ratio", c.counted(c.amount)) for c in account.collateral]
    return (*balances, *(Term(f"profit of {p.name}", p.unrealized * _usd(account, unit, p)) for p in unit.positions))


def initial_terms(account: Account, unit: Unit) -> tuple[Term, ...] | None:
    """Give the parts of a pool's initial margin: positions, resting orders, and what is borrowed.

    None where a leverage is not known.
    """
    parts = [(p.name, margins(account, unit, p).initial, _usd(account, unit, p)) for p in unit.positions]
    parts += [
        (f"order in {o.symbol}", order_margins(account, unit, o).initial, account.index_price(o.settle_asset))
        for o in unit.orders
    ]
    known = tuple(Term(name, amount * usd) for name, amount, usd in parts if amount is not None)
    if len(known) < len(parts):
        return None
    return (*known, *(Term(f"borrowed {asset}", usd * BORROW_INITIAL) for asset, usd in _borrowed(account, unit)))


def maintenance_terms(account: Account, unit: Unit) -> tuple[Term, ...]:
    """Give the parts of a pool's maintenance: positions, resting orders, and what is borrowed."""
    held = [Term(p.name, margins(account, unit, p).maintenance * _usd(account, unit, p)) for p in unit.positions]
    orders = [
        Term(f"order in {o.symbol}", order_margins(account, unit, o).maintenance * account.index_price(o.settle_asset))
        for o in unit.orders
    ]
    borrowed = [Term(f"borrowed {asset}", usd * BORROW_MAINTENANCE) for asset, usd in _borrowed(account, unit)]
    return (*held, *orders, *borrowed)


def _usd(account: Account, unit: Unit, position: Position) -> Fraction:
    return account.index_price(position.settle_asset) if unit.asset == "USD" else Fraction(1)


def _borrowed(account: Account, unit: Unit) -> Iterator[tuple[str, Fraction]]:
    """Give each coin whose equity is negative, with its value in USD."""
    if unit.kind != "cross":
        return
    for collateral in account.collateral:
        equity = coin_equity(account, unit, collateral.asset)
        if equity < 0:
            yield collateral.asset, -equity * collateral.index_price


def _pool_state(account: Account, unit: Unit) -> State:
    initial = initial_terms(account, unit)
    return State(
        sum_of(equity_terms(account, unit)),
        None if initial is None else sum_of(initial),
        sum_of(maintenance_terms(account, unit)),
    )
