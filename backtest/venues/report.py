"""Compute an account: every figure by name, as decimal text.

compute(account) -> Result            an account in its JSON form (a dict); AccountError where it cannot be computed
compute_many(accounts) -> list[dict]  the same for a list; an error stands in place of a result
is_liquidated(account, index, mark)   the predicate of one position's margin unit at another mark
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from backtest.errors import BacktestError
from backtest.venues.account import Account, Position, Unit
from backtest.venues.account_json import read_account
from backtest.venues.exact import AMOUNT_DECIMALS, EXACT, cut, text
from backtest.venues.formulas import FORMULAS, Rounding
from backtest.venues.solve import Boundary, nearest_boundary


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """Figures of the pool: in the margin asset on Binance, in USD where the pool is; null in isolated mode."""

    equity: str | None = None
    initial_margin: str | None = None
    initial_margin_ratio: str | None = None
    maintenance_margin: str | None = None
    margin_ratio: str | None = None
    available: str | None = None
    uni_mmr: str | None = None


@dataclass(frozen=True, slots=True)
class PositionFigures:
    """Figures of one position; equity, ratio and buffer are those of its margin unit. `tier` is counted from 1."""

    symbol: str
    side: str
    notional: str
    unrealized_pnl: str
    equity: str | None
    initial_margin: str | None
    maintenance_margin: str
    margin_ratio: str | None
    buffer: str | None
    liquidation_price: str | None
    displayed_liquidation_price: str | None
    bankruptcy_price: str | None
    tier: int
    max_notional: str | None
    max_removable_margin: str | None
    cost_to_open: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """All figures of an account, and the account they were computed from."""

    account: AccountFigures
    positions: tuple[PositionFigures, ...]
    source: Account

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {"account": asdict(self.account), "positions": [asdict(position) for position in self.positions]}


def compute(content: object) -> Result:
    """Compute one account from its JSON form.

    Raises AccountError with every problem of the account.
    """
    account = read_account(content)
    formulas = FORMULAS[account.venue]
    units = formulas.units(account)
    return Result(
        _account_figures(account, formulas.account_unit(account, units)),
        tuple(_position_figures(account, unit_of(account, position), position) for position in account.positions),
        account,
    )


def compute_many(contents: Iterable[object]) -> list[dict[str, Any]]:
    """Compute a list of accounts in order; one that cannot be computed gives its error in its place."""
    return [_result_or_error(content) for content in contents]


def _result_or_error(content: object) -> dict[str, Any]:
    try:
        return compute(content).to_dict()
    except BacktestError as error:
        return {"error": {"code": type(error).__name__, "message": str(error)}}


def unit_of(account: Account, position: Position) -> Unit:
    """Give the margin unit that holds a position."""
    units = FORMULAS[account.venue].units(account)
    return next(unit for unit in units if any(held is position for held in unit.positions))


def is_liquidated(account: Account, index: int, mark: Fraction) -> bool:
    """Say whether the margin unit of a position is liquidated with its symbol at a mark, other marks as they are.

    True when equity <= maintenance margin (Binance portfolio margin: equity <= 1.05 x maintenance).
    """
    position = account.positions[index]
    unit = unit_of(account, position).at(position.symbol, mark)
    return FORMULAS[account.venue].trigger(account, unit) <= 0


def liquidation_boundary(account: Account, unit: Unit, symbol: str) -> Boundary | None:
    """Give the exact price at which a unit's trigger turns, other marks as they are; None where there is none."""
    formulas = FORMULAS[account.venue]
    first = unit.of(symbol)[0]
    return nearest_boundary(
        lambda mark: formulas.trigger(account, unit.at(symbol, mark)),
        formulas.kinks(account, unit, symbol),
        first.mark_price,
        inverse=first.inverse,
        concave=_is_concave(account, unit),
    )


def bankruptcy_boundary(account: Account, unit: Unit, symbol: str) -> Boundary | None:
    """Give the exact price at which nothing is left of a unit; None where there is none."""
    formulas = FORMULAS[account.venue]
    first = unit.of(symbol)[0]
    if unit.kind == "isolated":
        value = EXACT.bankruptcy_value(first.direction, first.entry_value, formulas.all_posted(account, first))
        return Boundary(first.price_of(value), first.side > 0, first.direction * first.size) if value > 0 else None
    return nearest_boundary(
        lambda mark: formulas.bankruptcy_equity(account, unit.at(symbol, mark), symbol),
        formulas.equity_kinks(account, unit, symbol),
        first.mark_price,
        inverse=first.inverse,
        concave=_is_concave(account, unit),
    )


def ratio_of(account: Account, unit: Unit, margin: Fraction | None) -> Fraction | None:
    """Give a margin over what backs it; None where nothing does."""
    formulas = FORMULAS[account.venue]
    backing = formulas.backing(account, unit)
    return None if margin is None or backing <= 0 else formulas.shown_ratio(unit, margin / backing)


def buffer_of(account: Account, unit: Unit) -> Fraction | None:
    """Give (what backs the margins - maintenance) / (initial - maintenance); None where initial is not the larger."""
    formulas = FORMULAS[account.venue]
    now = formulas.state(account, unit)
    if now.initial is None or now.initial <= now.maintenance:
        return None
    return (formulas.backing(account, unit) - now.maintenance) / (now.initial - now.maintenance)


def _is_concave(account: Account, unit: Unit) -> bool:
    """Say whether headroom is concave in a mark: orders may jump, and a ratio that rises bends it upwards."""
    return not unit.orders and all(
        first.ratio >= second.ratio for held in account.collateral for first, second in pairwise(held.slices)
    )


def _account_figures(account: Account, unit: Unit | None) -> AccountFigures:
    if unit is None:
        return AccountFigures()
    formulas = FORMULAS[account.venue]
    now, uni = formulas.state(account, unit), formulas.uni_mmr(account, unit)
    return AccountFigures(
        equity=_amount(now.equity),
        initial_margin=_amount(now.initial),
        initial_margin_ratio=_ratio(ratio_of(account, unit, now.initial)),
        maintenance_margin=_amount(now.maintenance),
        margin_ratio=_ratio(ratio_of(account, unit, now.maintenance)),
        available=_amount(formulas.available(account, unit)),
        uni_mmr=None if uni is None else _ratio(uni[0]),
    )


def _position_figures(account: Account, unit: Unit, position: Position) -> PositionFigures:
    formulas = FORMULAS[account.venue]
    own = formulas.margins(account, unit, position)
    now = formulas.state(account, unit)
    portfolio = unit.kind == "portfolio"  # account figures only
    liquidation = None if portfolio else liquidation_boundary(account, unit, position.symbol)
    bankruptcy = None if portfolio else bankruptcy_boundary(account, unit, position.symbol)
    tier = position.ladder.index(formulas.tier_value(account, unit, position)) + 1
    largest = position.ladder.max_notional(position.leverage) if position.leverage else None
    return PositionFigures(
        symbol=position.symbol,
        side="long" if position.side > 0 else "short",
        notional=text(cut(position.value), AMOUNT_DECIMALS),
        unrealized_pnl=text(cut(position.unrealized), AMOUNT_DECIMALS),
        equity=None if portfolio else _amount(now.equity),
        initial_margin=None if portfolio or own.initial is None else _margin(account, own.initial),
        maintenance_margin=_margin(account, own.maintenance),
        margin_ratio=None if portfolio else _ratio(ratio_of(account, unit, now.maintenance)),
        buffer=None if portfolio else _ratio(buffer_of(account, unit)),
        liquidation_price=_price(formulas.price, position, liquidation),
        displayed_liquidation_price=_amount(formulas.displayed(account, unit, position.symbol)),
        bankruptcy_price=_price(formulas.bankruptcy_price, position, bankruptcy),
        tier=tier,
        max_notional=None if largest is None else text(largest),
        max_removable_margin=_amount(formulas.max_removable(account, unit, position)),
        cost_to_open=None if portfolio else _amount(formulas.cost_to_open(account, unit, position)),
    )


def _amount(value: Fraction | None) -> str | None:
    return None if value is None else text(cut(value), AMOUNT_DECIMALS)


def _margin(account: Account, value: Fraction) -> str:
    return text(FORMULAS[account.venue].margin_amount(account, value), AMOUNT_DECIMALS)


def _ratio(value: Fraction | None) -> str | None:
    return None if value is None else text(value, AMOUNT_DECIMALS)


def _price(rounding: Rounding, position: Position, boundary: Boundary | None) -> str | None:
    if boundary is None:
        return None
    price = rounding(position, boundary.price, alive_above=boundary.alive_above)
    return text(price) if price > 0 else None
