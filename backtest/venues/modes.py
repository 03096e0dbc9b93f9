"""What a venue does not allow together in one account, and what a mode needs to be computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from backtest.errors import Problem
from backtest.venues.account import Account, Position
from backtest.venues.exact import text

NOT_ON_BYBIT = {
    "multi_assets": ("Bybit has no multi_assets mode", "its cross mode shares all collateral"),
    "portfolio": (
        "Bybit portfolio margin cannot be computed from public data",
        "its stress scenarios are not published; use isolated or cross",
    ),
}


def mode_problems(account: Account) -> list[Problem]:
    """Give one problem for each rule of the venue that the account breaks."""
    if account.venue == "bybit" and account.margin_mode not in ("isolated", "cross"):
        return [Problem("account.margin_mode", *NOT_ON_BYBIT[account.margin_mode])]
    checks = [_positions_beside, _leverage, _wallets, _collateral]
    checks += [_binance_modes, _no_bybit_keys] if account.venue == "binance" else [_bybit_modes, _auto_add]
    if account.margin_mode != "multi_assets":
        checks.append(_no_exchange)
    return [problem for check in checks for problem in check(account)]


def _places(account: Account) -> Iterator[tuple[str, Position]]:
    for number, position in enumerate(account.positions):
        yield f"positions[{number}]", position


def _positions_beside(account: Account) -> Iterator[Problem]:
    """One-way mode has one position a symbol, hedge mode one a side; an asset has one balance."""
    if account.position_mode == "one_way":
        for symbol, count in Counter(p.symbol for p in account.positions).items():
            if count > 1:
                yield Problem("positions", f"{symbol} twice in one-way mode", 'set position_mode to "hedge"')
    else:
        for (symbol, side), count in Counter((p.symbol, p.side) for p in account.positions).items():
            if count > 1:
                yield Problem("positions", f"{symbol} {'long' if side > 0 else 'short'} twice", "join them")
    for asset, count in Counter(c.asset for c in account.collateral).items():
        if count > 1:
            yield Problem("collateral", f"{asset} twice", "join them")


def _leverage(account: Account) -> Iterator[Problem]:
    for where, position in _places(account):
        if position.leverage is None:
            known = position.margin_mode != "isolated" or position.isolated_wallet is not None
            if not known or (account.venue == "bybit" and account.era != "classic"):
                yield Problem(f"{where}.leverage", "is missing")
            continue
        # A venue checks an order, and a change of leverage; a position may then grow into a tier that allows less.
        value = min(position.value, position.entry_value)
        allowed = position.ladder.row(value).max_leverage  # above the last cap: of the last tier
        if allowed is not None and position.leverage > allowed:
            yield Problem(
                f"{where}.leverage",
                f"{text(position.leverage)}x is over the tier's maximum of {text(allowed)}x "
                f"at a value of {text(value, 2)} {position.settle_asset}",
                "lower the leverage or the quantity",
            )


def _wallets(account: Account) -> Iterator[Problem]:
    for where, position in _places(account):
        if position.margin_mode == "isolated":
            continue
        if position.isolated_wallet is not None or position.extra_margin:
            yield Problem(where, "a position that is not isolated has no wallet of its own", "put it into collateral")


def _collateral(account: Account) -> Iterator[Problem]:
    """A pool needs the balance of its margin asset; a pool in USD needs prices too."""
    held = {c.asset: c for c in account.collateral}
    pooled = {p.settle_asset: None for p in account.positions if p.margin_mode != "isolated"}
    for asset in pooled:
        if asset not in held:
            yield Problem("collateral", f"{asset} is missing", f'add {{"asset": "{asset}", "amount": ...}}')
    in_usd = account.margin_mode in ("multi_assets", "portfolio") or (
        account.venue == "bybit" and account.era != "classic" and account.margin_mode == "cross"
    )
    if not in_usd:
        return
    for number, collateral in enumerate(account.collateral):
        if not collateral.index_price:
            yield Problem(f"collateral[{number}].index_price", "is missing", "the pool is valued in USD")
    for asset in {o.settle_asset: None for o in account.orders}:
        if asset not in held and asset not in pooled:
            yield Problem("collateral", f"{asset} is missing", "an order settles in it")


def _binance_modes(account: Account) -> Iterator[Problem]:
    shared = account.margin_mode in ("multi_assets", "portfolio")
    for where, position in _places(account):
        if shared and position.margin_mode != account.margin_mode:
            yield Problem(f"{where}.margin_mode", f"{account.margin_mode} has no {position.margin_mode} positions")
        if not shared and position.margin_mode in ("multi_assets", "portfolio"):
            yield Problem(f"{where}.margin_mode", f"{position.margin_mode} is a mode of the whole account")
        if account.margin_mode == "multi_assets" and position.inverse:
            yield Problem(f"{where}.symbol", "multi-assets mode is for USDⓈ-M contracts only")
    modes: dict[str, set[str]] = {}
    for position in account.positions:
        modes.setdefault(position.symbol, set()).add(position.margin_mode)
    for symbol, several in modes.items():
        if len(several) > 1:
            yield Problem("positions", f"{symbol} is both isolated and cross", "both legs share one margin mode")


def _bybit_modes(account: Account) -> Iterator[Problem]:
    unified = account.era != "classic"
    for where, position in _places(account):
        if unified and position.margin_mode != account.margin_mode:
            yield Problem(f"{where}.margin_mode", "the margin mode of a unified account holds for all positions")
        if unified and account.position_mode == "hedge" and position.inverse:
            yield Problem(f"{where}.symbol", "inverse contracts have no hedge mode in a unified account")
    if account.haircut_loss and (account.margin_mode != "cross" or not unified):
        yield Problem("account.haircut_loss", "only the cross pool of a unified account has one", "leave it out")
    if account.margin_mode == "cross" and account.position_mode == "hedge":
        for symbol in dict.fromkeys(p.symbol for p in account.positions):
            if len({p.leverage for p in account.positions if p.symbol == symbol}) > 1:
                yield Problem("positions", f"{symbol} has two leverages", "in cross mode both legs have the same")


def _auto_add(account: Account) -> Iterator[Problem]:
    """Bybit adds margin by itself to isolated USDT and USDC perpetuals, out of a balance that must be known."""
    for where, position in _places(account):
        if not position.auto_add_margin:
            continue
        place = f"{where}.auto_add_margin"
        if position.margin_mode != "isolated":
            yield Problem(place, "margin is added to isolated positions only", "leave it out")
        elif position.inverse:
            yield Problem(place, "margin is added to USDT and USDC perpetuals only", "leave it out")
        elif position.settle_asset not in {c.asset for c in account.collateral}:
            asset = position.settle_asset
            yield Problem("collateral", f"{asset} is missing", "it is the balance that auto-add-margin takes from")
        for number, order in enumerate(account.orders):
            if order.settle_asset == position.settle_asset and order.leverage is None:
                yield Problem(f"orders[{number}].leverage", "is missing", "the order holds some of the free balance")


def _no_bybit_keys(account: Account) -> Iterator[Problem]:
    for where, position in _places(account):
        if position.auto_add_margin:
            yield Problem(f"{where}.auto_add_margin", "only Bybit adds margin by itself", "leave it out")
    if account.haircut_loss:
        yield Problem("account.haircut_loss", "only Bybit counts one", "leave it out")


def _no_exchange(account: Account) -> Iterator[Problem]:
    """Negative balances are exchanged in Binance's multi-assets mode only."""
    if account.vip_level:
        yield Problem("account.vip_level", "matters in multi-assets mode only", "leave it out")
    for number, collateral in enumerate(account.collateral):
        if collateral.exchange_haircut is not None:
            place = f"collateral[{number}].exchange_haircut"
            yield Problem(place, "nothing is exchanged outside multi-assets mode", "leave it out")
