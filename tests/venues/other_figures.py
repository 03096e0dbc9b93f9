"""Numbers of the venues that no account figure shows: parts of a margin, fees, caps, results of the insurance fund."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

from backtest.units import E8, time_ms, to_e8
from backtest.venues.exact import EXACT
from backtest.venues.explain import explain
from backtest.venues.funding import funding_terms
from backtest.venues.report import compute
from tests.venues.cases import account_named

Account = dict[str, Any]


class Other(NamedTuple):
    """A number of a venue, how near we must come, how we get it, and where it is from."""

    case: str
    figure: str
    value: str
    tolerance: str
    ours: Callable[[], Fraction]
    source: str


def alone(symbol: str, qty: str, price: str, leverage: str, **changes: Any) -> Account:
    """An isolated long on Bybit at one price."""
    held = {"symbol": symbol, "side": "long", "qty": qty, "entry_price": price, "mark_price": price}
    return {"venue": "bybit", "margin_mode": "isolated", "positions": [held | {"leverage": leverage}]} | changes


def order_maintenance() -> Fraction:
    result = compute(account_named("A06"))
    return Fraction(result.account.maintenance_margin or "") - Fraction(result.positions[0].maintenance_margin)


def maintenance_without_reserve() -> Fraction:
    result = compute(account_named("A05"))
    reserve = next(s.result for s in explain(result) if s.label.endswith("closing-fee reserve"))
    return Fraction(result.positions[0].maintenance_margin) - Fraction(reserve)


def row_at(case: str, value: int) -> tuple[Fraction, Fraction]:
    row = compute(account_named(case)).source.positions[0].ladder.row(Fraction(value))
    return row.rate, row.deduction


def fund_result(exit_price: int) -> Fraction:
    """The fund takes the position over at the bankruptcy price, 80,000 (1 - 1/5), and closes it in the market."""
    taken_at = compute(alone("BTCUSDT", "1", "80000", "5")).positions[0].bankruptcy_price
    return EXACT.profit(1, Fraction(exit_price), Fraction(taken_at or ""))


def fee_to_open(rate: str) -> Fraction:
    """What opening an inverse position costs beyond its initial margin."""
    figures = compute(alone("BTCUSD", "10000", "8000", "10", taker_fee=rate)).positions[0]
    return Fraction(figures.cost_to_open or "") - Fraction(figures.initial_margin or "")


def closing_fee_at_bankruptcy() -> Fraction:
    result = compute(account_named("B33"))
    value = result.source.positions[0].value_at(Fraction(result.positions[0].bankruptcy_price or ""))
    return value * result.source.taker_fee


def funding_cap() -> Fraction:
    return Fraction(funding_terms("bybit", "BTCUSDT", time_ms("2026-01-01"), to_e8("0.005"), 10_000).cap_e8, E8)


FAQ = "Binance FAQ b3c689c1f50a44cabb3a84e663b81d93"
MAINTENANCE = "Bybit help centre: Maintenance Margin (USDT Perpetual and Expiry Contracts) (updated 2026-04-16)"
FUND = "Bybit help centre: Insurance Fund (updated 2026-03-24)"
FEES = "Bybit help centre: Perpetual & Futures Contract: Fees Explained (copy of 2024-10-16)"
CUM = "usdm-faq-cum-level3"
OTHERS = (
    Other(CUM, "maintenance amount", "1300", "1e-9", lambda: row_at(CUM, 500_000)[1], FAQ),
    Other(CUM, "rate at 264,000", "0.01", "0", lambda: row_at(CUM, 264_000)[0], FAQ),
    Other("A05", "maintenance without the closing fee", "11000", "0.005", maintenance_without_reserve, MAINTENANCE),
    Other("A06", "maintenance of the order", "5250", "0.005", order_maintenance, MAINTENANCE),
    Other("A07", "deduction", "30", "0.0005", lambda: row_at("A07", 3_500)[1], MAINTENANCE),
    Other("A16", "fund's result, closed at 64,980", "980", "0.005", lambda: fund_result(64_980), FUND),
    Other("A16", "fund's result, closed at 63,950", "-50", "0.005", lambda: fund_result(63_950), FUND),
    Other("A17", "taker fee, BTC", "0.0006875", "1e-9", lambda: fee_to_open("0.00055"), FEES),
    Other("A17", "maker fee, BTC", "0.00025", "1e-9", lambda: fee_to_open("0.0002"), FEES),
    Other("A18", "funding cap", "0.00375", "1e-9", funding_cap, "Bybit help centre: Introduction to Funding Rate"),
    Other("B33", "closing fee", "0.015921", "1e-8", closing_fee_at_bankruptcy, "Bybit API docs sample (add margin)"),
)
