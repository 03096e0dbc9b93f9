"""The drawing of one position: its numbers are the calculator's own."""

from __future__ import annotations

from fractions import Fraction
from xml.etree import ElementTree

import pytest

from backtest.errors import AccountError, UsageError
from backtest.venues.curve import Curve, liquidation_curve
from backtest.venues.drawing import draw_html, draw_text


def curve(**changes: str) -> Curve:
    given = {
        "venue": "binance",
        "symbol": "BTCUSDT",
        "side": "long",
        "entry_price": "100000",
        "notional": "100000",
        "leverage": "50",
        "as_of": "2026-01-01",
    }
    return liquidation_curve(**(given | changes))  # type: ignore[arg-type]


def test_the_question_of_the_page_is_answered() -> None:
    """50x on 100,000: initial margin 2,000, maintenance 400, liquidation 1.6 % away."""
    figures = curve().result.positions[0]
    assert (figures.initial_margin, figures.maintenance_margin) == ("2000", "400")
    assert figures.liquidation_price == "98393.57429719"


def test_equity_meets_maintenance_at_the_liquidation_price_and_zero_at_bankruptcy() -> None:
    drawn = curve()
    before, after = (
        next(p for p in points if p.equity <= p.maintenance_margin) for points in (drawn.points[::-1], drawn.points)
    )
    assert drawn.liquidation_price is not None
    assert after.mark <= drawn.liquidation_price
    assert before.mark <= drawn.liquidation_price
    assert all((p.equity <= p.maintenance_margin) == (p.mark < drawn.liquidation_price) for p in drawn.points)
    assert all((p.equity <= 0) == (p.mark <= Fraction(98_000)) for p in drawn.points)


def test_buffer_is_one_at_entry() -> None:
    assert curve().result.positions[0].buffer == "1"


@pytest.mark.parametrize("side", ["long", "short"])
def test_break_even_pays_both_fees(side: str) -> None:
    drawn = curve(side=side)
    sign, fee = (1, -1)[side == "short"], Fraction("0.0005")
    profit = sign * (drawn.break_even - drawn.entry_price)
    assert profit == fee * (drawn.break_even + drawn.entry_price)


def test_a_cross_pool_with_the_same_money_has_the_same_price() -> None:
    assert curve(margin_mode="cross").liquidation_price == curve().liquidation_price


def test_more_margin_moves_liquidation_away() -> None:
    near, far = curve().liquidation_price, curve(extra_margin="1000").liquidation_price
    assert near is not None
    assert far is not None
    assert far < near


def towards(drawn: Curve) -> int:
    """-1 where liquidation lies under the entry."""
    return -1 if drawn.result.positions[0].side == "long" else 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"side": "short"},
        {"venue": "bybit", "margin_mode": "cross"},
        {"venue": "bybit", "symbol": "BTCUSD", "side": "short"},
        {"symbol": "BTCUSD_PERP", "leverage": "1", "side": "short"},
    ],
)
def test_drawings_are_complete(changes: dict[str, str]) -> None:
    drawn = curve(**changes)
    assert len(draw_text(drawn).splitlines()) == 28 + (drawn.takeover_price is not None)
    page = draw_html(drawn)
    svg = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    assert len(svg.findall("polyline")) == 3
    shaded = svg.findall("polygon")[0].get("points", "").split()
    inside = [
        p
        for p in drawn.points
        if p.equity > p.maintenance_margin and (p.mark - drawn.entry_price) * towards(drawn) >= 0
    ]
    assert len(shaded) == (2 * len(inside) if drawn.liquidation_price else 0)
    assert "http" not in page


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(UsageError, match="one of them"):
        curve(qty="1")
    with pytest.raises(UsageError, match="not above 0"):
        curve(notional="-1")
    with pytest.raises(AccountError, match="over the tier's maximum of 50x"):
        curve(notional="10000000", leverage="100")


def test_a_small_position_in_a_dear_coin_may_have_the_leverage_of_its_own_tier() -> None:
    """One coin of 60,000 lies over the 50,000 of the first tier, which alone allows 125x; 1,000 does not."""
    drawn = curve(entry_price="60000", leverage="125", notional="1000", as_of="2024-05-30")
    figures = drawn.result.positions[0]
    assert (figures.tier, figures.liquidation_price) == (1, "59759.03614458")  # 60000 (1 - 1/125) / (1 - 0.004)
