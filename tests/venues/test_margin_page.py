"""Every figure of docs/margin.md is what the calculator gives."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from backtest.errors import AccountError
from backtest.units import time_ms
from backtest.venues.curve import Curve, liquidation_curve
from backtest.venues.drawing import draw_text
from backtest.venues.exact import text
from backtest.venues.explain import explain
from backtest.venues.ladder import Ladder
from backtest.venues.tiers import as_of, tier_tables

PAGE = (Path(__file__).parents[2] / "docs" / "margin.md").read_text(encoding="utf-8")
DAY = "2026-06-01"


def curve(venue: str = "binance", leverage: str = "50", notional: str = "100000", **changes: str) -> Curve:
    side, margin_mode = changes.get("side", "long"), changes.get("margin_mode", "isolated")
    return liquidation_curve(
        venue=venue,
        symbol="BTCUSDT",
        side=side,
        entry_price="100000",
        leverage=leverage,
        notional=notional,
        margin_mode=margin_mode,
        extra_margin=changes.get("extra_margin", "0"),
        as_of=changes.get("as_of", DAY),
    )


def amount(value: str | Fraction | None) -> str:
    """Write an amount with thousands separators and up to 2 decimals."""
    if value is None:
        return "none"
    whole, _, part = text(Fraction(value), 2).partition(".")
    return f"{int(whole):,}" + (f".{part}" if part else "")


def percent(share: Fraction | None, decimals: int = 2) -> str:
    return "none" if share is None else f"{text(share * 100, decimals)} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def one_position() -> str:
    binance, bybit = curve(), curve("bybit")
    figures = [drawn.result.positions[0] for drawn in (binance, bybit)]
    rows = [
        ["initial margin", *(amount(f.initial_margin) for f in figures)],
        ["maintenance margin", *(amount(f.maintenance_margin) for f in figures)],
        ["liquidation price", *(amount(f.liquidation_price) for f in figures)],
        ["bankruptcy price", *(amount(f.bankruptcy_price) for f in figures)],
        ["price moves until liquidation", *(percent(drawn.move) for drawn in (binance, bybit))],
        ["share of the way to bankruptcy", *(percent(drawn.buffer_share, 1) for drawn in (binance, bybit))],
    ]
    return table(["long 1 BTC, 50×, entry 100,000", "Binance", "Bybit"], rows)


def by_leverage() -> str:
    rows = []
    for leverage in ("5", "10", "20", "50", "100"):
        drawn = [curve(venue, leverage, side=side) for venue in ("binance", "bybit") for side in ("long", "short")]
        rows.append([f"{leverage}×", *(percent(each.move) for each in drawn)])
    return table(["leverage", "Binance long", "Binance short", "Bybit long", "Bybit short"], rows)


def by_size() -> str:
    dates = ("2022-03-01", "2023-04-01", "2024-06-01", DAY)
    rows = []
    for value in (100_000, 1_000_000, 10_000_000, 100_000_000):
        rates = []
        for venue, day in [*(("binance", day) for day in dates), ("bybit", DAY)]:
            tiers = as_of(tier_tables(venue, "BTCUSDT"), time_ms(day))
            rates.append(percent(Ladder.of(tiers.tiers, tiers.source).maintenance(Fraction(value)) / value, 3))
        rows.append([amount(Fraction(value)), *rates])
    return table(["position value, USDT", *(f"Binance {day}" for day in dates), f"Bybit {DAY}"], rows)


def by_margin_added() -> str:
    rows = []
    for added in ("0", "500", "1000", "2000"):
        drawn = [curve(venue, extra_margin=added) for venue in ("binance", "bybit")]
        rows.append([amount(added), *(amount(each.liquidation_price) for each in drawn)])
    return table(["margin added, USDT", "Binance liquidation", "Bybit liquidation"], rows)


@pytest.mark.parametrize("make", [one_position, by_leverage, by_size, by_margin_added])
def test_the_table_on_the_page_is_the_computed_one(make) -> None:  # type: ignore[no-untyped-def]
    assert make() in PAGE, f"\n{make()}"


def test_the_drawing_on_the_page_is_the_computed_one() -> None:
    assert draw_text(curve()) in PAGE, draw_text(curve())


def test_a_clearance_fee_may_leave_nothing() -> None:
    (step,) = (s for s in explain(curve().result) if "left if all" in s.label)
    assert step.result == "0"
    assert "maintenance is 393.57 USDT at the liquidation price and the fee 491.97" in PAGE.replace("\n", " ")
    equity, fee = step.formula.split(" clearance")[0].split(" - ")
    value, rate = fee.split(" × ")
    assert (amount(Fraction(equity)), amount(Fraction(value) * Fraction(rate))) == ("393.57", "491.97")
    (larger,) = (s for s in explain(curve(leverage="25", notional="5000000").result) if "left if all" in s.label)
    assert Fraction(larger.result) > 0


def test_a_takeover_takes_the_closing_fee_too() -> None:
    drawn = curve("bybit")
    assert drawn.bankruptcy_price is not None
    assert drawn.takeover_price is not None
    assert drawn.bankruptcy_price - drawn.takeover_price == Fraction("53.9")
    assert "takeover fill, closing fee inside: 97946.1" in draw_text(drawn)
    assert f"closed at {amount(drawn.takeover_price)} and not at {amount(drawn.bankruptcy_price)}" in PAGE.replace(
        "\n", " "
    )
    assert curve().takeover_price is None


def test_the_claims_are_corrected_with_computed_figures() -> None:
    now, before = curve(), curve(as_of="2022-03-01")
    assert now.result.positions[0].maintenance_margin == "400"
    assert before.result.positions[0].maintenance_margin == "450"
    assert "maintenance is **400** USDT (450 in 2022)" in PAGE
    ladder = as_of(tier_tables("binance", "BTCUSDT"), time_ms(DAY)).tiers
    assert f"{len(ladder)} brackets, from {percent(Fraction(ladder[0].rate_e8, 10**8))}" in PAGE
    assert f"to {percent(Fraction(ladder[-1].rate_e8, 10**8))}" in PAGE
    with pytest.raises(AccountError, match="over the tier's maximum of 50x"):
        curve(leverage="75", notional="10000000")
