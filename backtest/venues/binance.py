"""Binance futures, USDⓈ-M and COIN-M: margins, pools and prices by the venue's own formulas.

Sources: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (liquidation price, USDⓈ-M), ceccfcfb4e3a45e3b48b0b1bb1a8ae46
(COIN-M), c983a9268cfa4e70a4916c276bb3b7bc (multi-assets margin ratio), 4868b2f1aa6c4d08af973328462bb0bd (uniMMR),
360038447311 (removable margin), 87fa7ee33b574f7084d42bd2ce2e463b (cost to open), 5d62f8be18d24544b5b6156094c16bf7
(available for order); USDⓈ-M account API documentation. Roundings were recomputed from recorded account payloads.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from backtest.venues.account import Account, Margins, Order, Position, State, Term, Unit, sum_of, total
from backtest.venues.exact import EXACT, cut, half_up
from backtest.venues.solve import linear_root

PORTFOLIO_LIQUIDATION = Fraction("1.05")  # uniMMR at or under which a portfolio account is liquidated
PORTFOLIO_BANDS = (
    (PORTFOLIO_LIQUIDATION, "liquidation"),
    (Fraction("1.2"), "no new risk"),
    (Fraction("1.5"), "warning"),
)
SOURCES = {
    "value": "Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (USDⓈ-M), ceccfcfb4e3a45e3b48b0b1bb1a8ae46 (COIN-M)",
    "fee": "none on Binance",
    "maintenance": "Binance FAQ b3c689c1f50a44cabb3a84e663b81d93: value x rate - maintenance amount",
    "initial": "USDⓈ-M account API documentation: required with the current mark price",
    "equity": "Binance FAQ b3c689c1f50a44cabb3a84e663b81d93; multi-assets: c983a9268cfa4e70a4916c276bb3b7bc; "
    "portfolio: 4868b2f1aa6c4d08af973328462bb0bd",
    "trigger": "Binance FAQ 360033525271 (liquidation protocols): margin ratio 100 %",
    "price": "Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (USDⓈ-M), ceccfcfb4e3a45e3b48b0b1bb1a8ae46 (COIN-M)",
}
NO_RESERVE = Fraction(0)  # no closing fee is held back
SHORT_MARKUP = Fraction("1.0015")  # a short order is costed at the last price plus 0.15 %


def units(account: Account) -> tuple[Unit, ...]:
    """Split an account into its margin units: each isolated position, and one pool per margin asset.

    In multi-assets and portfolio mode there is one pool, in USD.
    """
    isolated = tuple(Unit("isolated", p.settle_asset, (p,)) for p in account.positions if p.margin_mode == "isolated")
    pooled = tuple(p for p in account.positions if p.margin_mode != "isolated")
    alone = {p.symbol for p in account.positions if p.margin_mode == "isolated"}
    orders = tuple(o for o in account.orders if o.symbol not in alone)
    if account.margin_mode in ("multi_assets", "portfolio"):
        return (Unit(account.margin_mode, "USD", pooled, orders),)
    assets = dict.fromkeys([p.settle_asset for p in pooled] + [c.asset for c in account.collateral])
    pools = tuple(
        Unit(
            "cross",
            asset,
            tuple(p for p in pooled if p.settle_asset == asset),
            tuple(o for o in orders if o.settle_asset == asset),
        )
        for asset in assets
    )
    return isolated + tuple(pool for pool in pools if pool.positions or account.margin_mode == "cross")


def all_posted(account: Account, position: Position) -> Fraction:
    """Give the isolated wallet: entry value / leverage unless it is known, plus margin added."""
    held = position.isolated_wallet
    if held is None:
        assert position.leverage is not None
        held = EXACT.initial(position.entry_value, position.leverage, NO_RESERVE)
    return held + position.extra_margin


def margins(account: Account, unit: Unit, position: Position) -> Margins:
    """Give initial margin = value / leverage and maintenance margin = value x rate - deduction, both at the mark."""
    initial = EXACT.initial(position.value, position.leverage, NO_RESERVE) if position.leverage else None
    return Margins(initial, position.ladder.maintenance(position.value))


def tier_value(account: Account, unit: Unit, position: Position) -> Fraction:
    """Give the value that chooses the tier: that at the mark, each leg alone."""
    return position.value


def state(account: Account, unit: Unit) -> State:
    """Give equity and margins of a unit; in USD for multi-assets and portfolio, else in the margin asset."""
    if unit.kind == "isolated":
        position = unit.positions[0]
        initial, maintenance = margins(account, unit, position)
        return State(all_posted(account, position) + position.unrealized, initial, maintenance)
    initial_parts = initial_terms(account, unit)
    return State(
        sum_of(equity_terms(account, unit)),
        None if initial_parts is None else sum_of(initial_parts),
        sum_of(maintenance_terms(account, unit)),
    )


def equity_terms(account: Account, unit: Unit) -> tuple[Term, ...]:
    """Give the parts of a pool's equity.

    Cross: balance + unrealised profit. Multi-assets and portfolio: each asset at min(x price x ratio, x price).
    """
    if unit.asset != "USD":
        profits = (Term(f"profit of {p.name}", p.unrealized) for p in unit.positions)
        return (Term(f"{unit.asset} balance", account.balance(unit.asset)), *profits)
    return tuple(
        Term(f"{c.asset} with its profit, at its ratio", c.counted(asset_equity(account, unit, c.asset)))
        for c in account.collateral
    )


def initial_terms(account: Account, unit: Unit) -> tuple[Term, ...] | None:
    """Give the parts of a pool's initial margin, one for each symbol, its resting orders included.

    None where a leverage is not known, and for portfolio margin, which has no initial margin.
    """
    if unit.kind == "portfolio":
        return None
    terms: list[Term] = []
    for symbol in dict.fromkeys([p.symbol for p in unit.positions] + [o.symbol for o in unit.orders]):
        held = unit.of(symbol)
        orders = tuple(o for o in unit.orders if o.symbol == symbol)
        initial = _initial_with_orders(held, orders, account.position_mode)
        if initial is None:
            return None
        asset = held[0].settle_asset if held else orders[0].settle_asset
        name = f"{symbol} with its orders" if orders else symbol
        terms.append(Term(name, initial * _usd(account, unit, asset)))
    return tuple(terms)


def maintenance_terms(account: Account, unit: Unit) -> tuple[Term, ...]:
    """Give the parts of a pool's maintenance, one for each position."""
    return tuple(
        Term(p.name, margins(account, unit, p).maintenance * _usd(account, unit, p.settle_asset))
        for p in unit.positions
    )


def trigger(account: Account, unit: Unit) -> Fraction:
    """Give what turns to zero or less when the unit is liquidated: equity - maintenance margin (portfolio: x 1.05)."""
    now = state(account, unit)
    return now.equity - now.maintenance * (PORTFOLIO_LIQUIDATION if unit.kind == "portfolio" else 1)


def uni_mmr(account: Account, unit: Unit) -> tuple[Fraction, str] | None:
    """Give equity / maintenance of a portfolio account and the band it lies in; None elsewhere and without maintenance.

    Bands: at or under 1.05 liquidation, 1.2 no new risk, 1.5 warning, else free.
    """
    now = state(account, unit)
    if unit.kind != "portfolio" or not now.maintenance:
        return None
    value = now.equity / now.maintenance
    return value, next((name for limit, name in PORTFOLIO_BANDS if value <= limit), "free")


def bankruptcy_equity(account: Account, unit: Unit, symbol: str) -> Fraction:
    """Give what turns to zero at the bankruptcy price of a symbol: equity less what the other symbols maintain."""
    others = sum(
        (
            margins(account, unit, p).maintenance * _usd(account, unit, p.settle_asset)
            for p in unit.positions
            if p.symbol != symbol
        ),
        start=Fraction(0),
    )
    return state(account, unit).equity - others


def kinks(account: Account, unit: Unit, symbol: str) -> Iterator[Fraction]:
    """Give the marks of a symbol at which the trigger changes slope: its tiers, and where its equity does."""
    for position in unit.of(symbol):
        yield from (position.price_of(cap) for cap in position.ladder.caps)
    yield from equity_kinks(account, unit, symbol)


def equity_kinks(account: Account, unit: Unit, symbol: str) -> Iterator[Fraction]:
    """Give the marks at which a balance valued in USD turns negative, or enters another slice of its ratio."""
    if unit.asset != "USD":
        return
    first = unit.of(symbol)[0]
    asset = first.settle_asset
    bounds = [part.low for c in account.collateral if c.asset == asset for part in c.slices]
    for bound in bounds:
        beyond = partial(_asset_equity_beyond, account, unit, symbol, bound)
        yield from linear_root(beyond, inverse=first.inverse)


def asset_equity(account: Account, unit: Unit, asset: str) -> Fraction:
    """Give balance plus unrealised profit of one asset; it may be negative."""
    profits = (p.unrealized for p in unit.positions if p.settle_asset == asset)
    return account.balance(asset) + sum(profits, start=Fraction(0))


def available(account: Account, unit: Unit) -> Fraction | None:
    """Give max(0, equity - initial margin - initial margin of orders on isolated symbols); None where unknown."""
    now = state(account, unit)
    if now.initial is None or unit.kind == "portfolio":
        return None
    extra = _isolated_orders(account, unit.asset)
    return None if extra is None else max(Fraction(0), now.equity - now.initial - extra)


def max_removable(account: Account, unit: Unit, position: Position) -> Fraction | None:
    """Give the isolated margin that can be taken out: max(0, min(w, w + unrealised profit - initial margin))."""
    initial = margins(account, unit, position).initial
    if unit.kind != "isolated" or initial is None:
        return None
    held = all_posted(account, position)
    return max(Fraction(0), min(held, held + position.unrealized - initial))


def cost_to_open(account: Account, unit: Unit, position: Position) -> Fraction | None:
    """Give the cost of opening the position at its entry price: initial margin + open loss.

    A linear short is taken at max(last x 1.0015, mark, order price); the mark stands for the last price.
    """
    if position.leverage is None:
        return None
    price = position.entry_price
    if position.side < 0 and not position.inverse:
        price = max(position.mark_price * SHORT_MARKUP, price)
    initial = EXACT.initial(position.value_at(price), position.leverage, NO_RESERVE)
    return initial + max(Fraction(0), -position.unrealized)


def displayed(account: Account, unit: Unit, symbol: str) -> Fraction | None:
    """Binance shows the liquidation price itself."""
    return None


def reserve_text(account: Account, unit: Unit, position: Position) -> str:
    """Binance holds no closing fee back."""
    return "0"


def margin_amount(account: Account, value: Fraction) -> Fraction:
    """Cut a margin to 8 decimals, as the API does."""
    return cut(value)


def price(position: Position, value: Fraction, *, alive_above: bool) -> Fraction:
    """Round a price half up to 8 decimals."""
    return half_up(value)


def bankruptcy_price(position: Position, value: Fraction, *, alive_above: bool) -> Fraction:
    """Round a bankruptcy price like a liquidation price."""
    return half_up(value)


def takeover_price(account: Account, unit: Unit, position: Position) -> Fraction | None:
    """Binance closes in the market; nothing is taken over with its margin."""
    return None


def account_unit(account: Account, all_units: tuple[Unit, ...]) -> Unit | None:
    """Give the unit that the account figures describe: the one pool; None where there is none, or several."""
    pools = [unit for unit in all_units if unit.kind != "isolated"]
    used = [pool for pool in pools if pool.positions or pool.orders]
    return used[0] if len(used) == 1 else pools[0] if len(pools) == 1 else None


def backing(account: Account, unit: Unit) -> Fraction:
    """Give what margin ratios are taken over: equity."""
    return state(account, unit).equity


def shown_ratio(unit: Unit, value: Fraction) -> Fraction:
    """Binance prints no ratio to be met; it stays exact."""
    return value


def _usd(account: Account, unit: Unit, asset: str) -> Fraction:
    return account.index_price(asset) if unit.asset == "USD" else Fraction(1)


def _initial_with_orders(held: tuple[Position, ...], orders: tuple[Order, ...], position_mode: str) -> Fraction | None:
    """Give initial margin of one symbol: one-way max(|position + bids|, |position - asks|) / leverage.

    In hedge mode each leg carries its own orders: a buy order opens long, a sell order opens short.
    """
    if position_mode == "hedge":
        legs: tuple[Position | Order, ...] = (*held, *orders)
        return total(EXACT.initial(leg.value, leg.leverage, NO_RESERVE) if leg.leverage else None for leg in legs)
    leverage = held[0].leverage if held else orders[0].leverage
    if leverage is None:
        return None
    bids = sum((o.value for o in orders if o.side > 0), start=Fraction(0))
    asks = sum((o.value for o in orders if o.side < 0), start=Fraction(0))
    longs = sum((p.value for p in held if p.side > 0), start=Fraction(0))
    shorts = sum((p.value for p in held if p.side < 0), start=Fraction(0))
    net = longs - shorts
    return EXACT.initial(max(abs(net + bids), abs(net - asks)), leverage, NO_RESERVE)


def _isolated_orders(account: Account, asset: str) -> Fraction | None:
    """Give the initial margin that resting orders on isolated symbols hold from the free balance of an asset."""
    amounts: list[Fraction | None] = []
    for symbol in dict.fromkeys(p.symbol for p in account.positions if p.margin_mode == "isolated"):
        held = tuple(p for p in account.positions if p.symbol == symbol and p.settle_asset == asset)
        orders = tuple(o for o in account.orders if o.symbol == symbol)
        both = _initial_with_orders(held, orders, account.position_mode) if held else Fraction(0)
        alone = _initial_with_orders(held, (), account.position_mode) if held else Fraction(0)
        amounts.append(None if both is None or alone is None else both - alone)
    return total(amounts)


def _asset_equity_beyond(account: Account, unit: Unit, symbol: str, bound: Fraction, mark: Fraction) -> Fraction:
    """Give how far the equity of a symbol's settlement asset lies over a bound, with the symbol at a mark."""
    return asset_equity(account, unit.at(symbol, mark), unit.of(symbol)[0].settle_asset) - bound
