"""How equity, initial and maintenance margin move with the mark, and where the buffer ends."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from backtest.errors import Problem, UsageError, did_you_mean
from backtest.venues.account import Position, Unit
from backtest.venues.exact import cut, text, to_fraction
from backtest.venues.formulas import FORMULAS
from backtest.venues.report import Result, buffer_of, compute, unit_of

POINTS = 61
LEAST_QTY = "0.00000001"
MODES = ("isolated", "cross", "multi_assets")
BEYOND = Fraction(1, 4)  # share of the way from entry to bankruptcy that is drawn beyond each end


@dataclass(frozen=True, slots=True)
class Point:
    """Equity and margins of the position's unit at one mark; `buffer` None where IM <= MM."""

    mark: Fraction
    equity: Fraction
    initial_margin: Fraction
    maintenance_margin: Fraction
    buffer: Fraction | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One position over a range of marks; amounts are in `asset`.

    `buffer_share`: the way from entry to liquidation as a share of the way to bankruptcy. `move`: the same way as a
    share of the entry price. `takeover_price`: the fill of a takeover, closing fee inside. Prices are exact; None where
    none exists.
    """

    result: Result
    asset: str
    points: tuple[Point, ...]
    entry_price: Fraction
    break_even: Fraction
    liquidation_price: Fraction | None
    bankruptcy_price: Fraction | None
    takeover_price: Fraction | None
    buffer_share: Fraction | None
    move: Fraction | None

    @property
    def title(self) -> str:
        """Name the position and its moment."""
        position = self.result.source.positions[0]
        side = "long" if position.side > 0 else "short"
        venue, mode = self.result.source.venue, position.margin_mode
        leverage = text(position.leverage) if position.leverage else "?"
        return f"{position.symbol} {side} {text(position.qty)} at {leverage}x, {mode}, {venue}"

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form, decimal text throughout."""
        return {
            **self.result.to_dict(),
            "entry_price": text(self.entry_price),
            "break_even": text(self.break_even),
            "takeover_price": _text_or_none(self.takeover_price),
            "buffer_share": _text_or_none(self.buffer_share),
            "move": _text_or_none(self.move),
            "curve": [
                {
                    "mark": text(point.mark),
                    "equity": text(point.equity, 8),
                    "initial_margin": text(point.initial_margin, 8),
                    "maintenance_margin": text(point.maintenance_margin, 8),
                    "buffer": _text_or_none(point.buffer),
                }
                for point in self.points
            ],
        }


def liquidation_curve(
    *,
    venue: str,
    symbol: str,
    side: str,
    entry_price: str,
    leverage: str,
    notional: str | None = None,
    qty: str | None = None,
    margin_mode: str = "isolated",
    extra_margin: str = "0",
    as_of: str | None = None,
) -> Curve:
    """Draw up one position from entry beyond its bankruptcy price.

    `notional` is the value at entry, in quote (USD for inverse contracts); `qty` is in base units or contracts. In
    cross mode the pool holds entry value / leverage + `extra_margin`, and nothing else. The mark stands at the entry.

    Raises UsageError where neither or both of `notional` and `qty` are given, AccountError where the account is wrong.

    >>> curve = liquidation_curve(venue="binance", symbol="BTCUSDT", side="long", entry_price="100000", leverage="50",
    ...                           notional="100000", as_of="2026-01-01")
    >>> text(curve.liquidation_price, 2)
    '98393.57'
    """
    if margin_mode not in MODES:
        raise UsageError.at("--margin-mode", f'cannot draw "{margin_mode}"', did_you_mean(margin_mode, MODES))
    if (notional is None) == (qty is None):
        raise UsageError.at("--notional, --qty", "give one of them, not both or none")
    position: dict[str, Any] = {
        "symbol": symbol,
        "side": side,
        "qty": qty if qty is not None else LEAST_QTY,
        "entry_price": entry_price,
        "mark_price": entry_price,
        "leverage": leverage,
    }
    account: dict[str, Any] = {"venue": venue, "as_of": as_of, "margin_mode": "isolated", "positions": [position]}
    if notional is not None:  # the contract is looked up with a quantity that every tier allows
        position["qty"] = _qty_of(compute(account).source.positions[0], notional)
    if margin_mode == "isolated":
        position["extra_margin"] = extra_margin
        return _curve(compute(account))
    # The isolated form says what is posted; a cross pool then holds the same.
    posted = compute(account).source.positions[0]
    balance = posted.entry_value / Fraction(leverage) + _amount_of(extra_margin)
    account["margin_mode"] = margin_mode
    account["collateral"] = [{"asset": posted.settle_asset, "amount": text(cut(balance)), "index_price": "1"}]
    return _curve(compute(account))


def _qty_of(one: Position, notional: str) -> str:
    """Give the quantity whose value at entry is the notional, cut to 8 decimals; inverse: whole contracts."""
    value = _amount_of(notional, "--notional")
    if value <= 0:
        raise UsageError.at("--notional", f"{notional} is not above 0")
    qty = cut(value / one.contract_size, 0) if one.inverse else cut(value / one.entry_price)
    if not qty:
        raise UsageError.at("--notional", f"{notional} is less than the smallest position", "give more")
    return text(qty)


def _amount_of(value: str, where: str = "--extra-margin") -> Fraction:
    try:
        return to_fraction(value)
    except ValueError as error:
        raise UsageError(Problem(where, str(error))) from None


def _curve(result: Result) -> Curve:
    account = result.source
    position = account.positions[0]
    unit = unit_of(account, position)
    figures = result.positions[0]
    liquidation, bankruptcy = _fraction(figures.liquidation_price), _fraction(figures.bankruptcy_price)
    entry, fee = position.entry_price, account.taker_fee
    end = bankruptcy if bankruptcy is not None else entry * Fraction(2 if position.side < 0 else 0)
    way = entry - end
    first = max(end - way * BEYOND, entry / 1000) if position.side > 0 else entry + way * BEYOND
    last = entry + way * BEYOND if position.side > 0 else end - way * BEYOND
    marks = [first + (last - first) * step / (POINTS - 1) for step in range(POINTS)]
    towards = liquidation is not None and bankruptcy is not None and entry != bankruptcy
    return Curve(
        result=result,
        asset=unit.asset,
        points=tuple(_point(result, unit, position.symbol, mark) for mark in marks),
        entry_price=entry,
        break_even=entry * (1 + position.side * fee) / (1 - position.side * fee),
        liquidation_price=liquidation,
        bankruptcy_price=bankruptcy,
        takeover_price=FORMULAS[account.venue].takeover_price(account, unit, position),
        buffer_share=(entry - liquidation) / (entry - bankruptcy) if towards and liquidation and bankruptcy else None,
        move=None if liquidation is None else abs(entry - liquidation) / entry,
    )


def _point(result: Result, unit: Unit, symbol: str, mark: Fraction) -> Point:
    account = result.source
    moved = unit.at(symbol, mark)
    now = FORMULAS[account.venue].state(account, moved)
    assert now.initial is not None
    return Point(mark, now.equity, now.initial, now.maintenance, buffer_of(account, moved))


def _fraction(value: str | None) -> Fraction | None:
    return None if value is None else Fraction(value)


def _text_or_none(value: Fraction | None) -> str | None:
    return None if value is None else text(value, 8)
