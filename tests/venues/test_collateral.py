"""Where margin comes from by itself, and what else counts in a pool: auto-add, haircut loss, loans, auto-exchange."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from backtest.venues.explain import Step, explain
from backtest.venues.report import compute, is_liquidated
from tests.venues.test_modes import account, position, usdt


def isolated(held: dict[str, Any], balance: str, **changes: Any) -> dict[str, Any]:
    return account(
        held | {"auto_add_margin": True},
        venue="bybit",
        margin_mode="isolated",
        collateral=[usdt(balance)],
        **changes,
    )


def steps_of(content: dict[str, Any], word: str) -> list[Step]:
    return [step for step in explain(compute(content)) if word in step.label]


# --- Bybit: margin that is added by itself ---------------------------------------------------------------------------


def test_the_free_balance_moves_liquidation_away_and_the_price_shown_stays() -> None:
    """Dead where 10 P (1 - 0.01) = 10000 - 1000 - 500; shown is the price without the 500."""
    figures = compute(isolated(position(), "500")).positions[0]
    assert figures.liquidation_price == "858.585858585859"
    assert figures.displayed_liquidation_price == "909.09090909"
    assert figures.bankruptcy_price == "850"
    assert figures.equity == "1000"  # nothing has been added yet
    (step,) = steps_of(isolated(position(), "500"), "added by itself")
    assert (step.formula, step.result) == ("free 500 USDT, down to 1x, counts as", "500")


@pytest.mark.parametrize(
    ("side", "liquidation", "bankruptcy"), [("long", None, None), ("short", "1980.19801980198", "2000")]
)
def test_it_adds_until_the_position_stands_at_1x(side: str, liquidation: str | None, bankruptcy: str | None) -> None:
    """10000 in all: a long cannot die, a short dies where 10 P (1 + 0.01) = 20000."""
    figures = compute(isolated(position(side=side), "1000000")).positions[0]
    assert (figures.liquidation_price, figures.bankruptcy_price) == (liquidation, bankruptcy)


def test_resting_orders_hold_some_of_the_balance() -> None:
    """An order of 1000 at 10x holds 100 of the 500: 10 P (1 - 0.01) = 10000 - 1000 - 400."""
    order = {"symbol": "BBBUSDT", "side": "buy", "qty": "1", "price": "1000", "leverage": "10"}
    figures = compute(isolated(position(), "500", orders=[order])).positions[0]
    assert figures.liquidation_price == "868.686868686869"


@pytest.mark.parametrize(
    ("side", "counted"), [("long", Fraction(500) / Fraction("0.999")), ("short", Fraction(500) / Fraction("1.001"))]
)
def test_what_is_added_counts_as_margin_added_by_hand(side: str, counted: Fraction) -> None:
    by_itself = compute(isolated(position(side=side), "500", taker_fee="0.001")).positions[0]
    by_hand = position(side=side, extra_margin="500")
    same = compute(account(by_hand, venue="bybit", margin_mode="isolated", taker_fee="0.001")).positions[0]
    assert by_itself.liquidation_price == same.liquidation_price
    sign = 1 if side == "long" else -1
    assert Fraction(same.bankruptcy_price or "") == pytest.approx(1000 - sign * (1000 + counted) / 10)


def test_at_entry_based_margin_an_amount_counts_as_it_is() -> None:
    """1000 - (1000 - 100 + 500) / 10."""
    assert compute(isolated(position(), "500", era="uta_entry")).positions[0].liquidation_price == "860"


def test_the_predicate_waits_for_the_balance() -> None:
    source = compute(isolated(position(), "500")).source
    assert not is_liquidated(source, 0, Fraction(859))
    assert is_liquidated(source, 0, Fraction(858))


def test_a_takeover_keeps_what_was_added_too() -> None:
    """1000 + 500 of margin, and 10000 x 0.001 x (1 - 1/10) of fee reserve."""
    (step,) = steps_of(isolated(position(), "500", taker_fee="0.001"), "takeover")
    assert step.result == "849.1"


# --- Bybit: the pool -------------------------------------------------------------------------------------------------


def test_haircut_loss_of_spot_orders_lowers_what_stands_behind_the_margins() -> None:
    """Rates over 5000 - 1000; dead where 10 P (1 - 0.01) = 10000 - 5000 + 1000."""
    result = compute(account(position(), venue="bybit", haircut_loss="1000"))
    assert result.account.equity == "5000"
    assert result.account.margin_ratio == "0.025"
    assert result.account.initial_margin_ratio == "0.25"
    assert result.account.available == "3000"
    assert result.positions[0].liquidation_price == "606.060606060606"


def test_the_parts_of_a_pool_are_shown_and_add_up() -> None:
    """Borrowed: 200 - 1000 of profit; 4 % of 800 is maintenance."""
    held = account(
        position(mark_price="900"),
        venue="bybit",
        collateral=[usdt("200"), {"asset": "BTC", "amount": "1", "index_price": "60000", "ratio": "0.95"}],
        orders=[{"symbol": "AAAUSDT", "side": "buy", "qty": "1", "price": "800", "leverage": "10"}],
    )
    result = compute(held)
    equity, maintenance = (steps_of(held, f"pool in USD: {what}")[0] for what in ("equity", "maintenance"))
    assert equity.formula == "200 (USDT at its ratio) + 57000 (BTC at its ratio) - 1000 (profit of AAAUSDT long)"
    assert equity.result == result.account.equity == "56200"
    assert maintenance.formula == "90 (AAAUSDT long) + 8 (order in AAAUSDT) + 32 (borrowed USDT)"
    assert maintenance.result == result.account.maintenance_margin == "130"


# --- Binance: negative balances in multi-assets mode -----------------------------------------------------------------


def shared(*balances: tuple[str, str], held: tuple[dict[str, Any], ...] = (), **changes: Any) -> dict[str, Any]:
    prices = {"USDT": "1", "USDC": "1", "BTC": "60000", "ETH": "3000"}
    collateral = [
        {"asset": asset, "amount": amount, "index_price": prices[asset], "ratio": "1" if "USD" in asset else "0.95"}
        for asset, amount in balances
    ]
    return account(*held, margin_mode="multi_assets", collateral=collateral, **changes)


@pytest.mark.parametrize(
    ("asset", "amount", "vip_level", "due"),
    [
        ("USDT", "-4999.99", 0, False),
        ("USDT", "-5000", 0, True),
        ("USDC", "-5000", 1, True),
        ("USDC", "-5000", 2, False),
        ("USDT", "-10000", 9, True),
        ("BTC", "-0.0999", 0, False),
        ("BTC", "-0.1", 5, True),
        ("ETH", "-100", 0, False),
    ],
)
def test_a_debt_is_exchanged_at_its_limit(asset: str, amount: str, vip_level: int, due: bool) -> None:
    other = "ETH" if asset != "ETH" else "BTC"
    content = shared((asset, amount), (other, "1000"), held=(position(),), vip_level=vip_level)
    if asset != "USDT":
        content["collateral"].append(usdt("1000"))
    (step,) = [s for s in steps_of(content, "auto-exchange") if "paid" not in s.label]
    assert step.result == ("due" if due else "not due")


def test_the_paying_asset_loses_its_haircut() -> None:
    """6000 / (60000 x 0.975) of BTC; of ETH none is published, so the account must state one."""
    content = shared(("USDT", "-6000"), ("BTC", "1"), ("ETH", "10"), held=(position(),))
    (paid,) = steps_of(content, "paid from")
    assert (paid.label[-14:], paid.formula) == ("from BTC alone", "6000 × 1 / (60000 × (1 - 0.025))")
    assert paid.result == "0.1025641"
    content["collateral"][2]["exchange_haircut"] = "0.04"
    assert steps_of(content, "paid from ETH")[0].result == "2.08333333"


def test_liquidation_exchanges_every_debt() -> None:
    content = shared(("USDT", "-100"), ("BTC", "0.01"), held=(position(mark_price="900"),))
    assert is_liquidated(compute(content).source, 0, Fraction(900))
    assert steps_of(content, "auto-exchange")[0].result == "due"


@pytest.mark.parametrize(("held", "due"), [("0.07053", "due"), ("0.08", "not due")])
def test_without_positions_loans_of_99_5_per_cent_are_exchanged(held: str, due: str) -> None:
    """4000 over 0.07053 x 60000 x 0.95 = 4020.21."""
    content = shared(("USDT", "-4000.2"), ("BTC", held))
    content["positions"] = []
    assert steps_of(content, "auto-exchange")[0].result == due


def test_ratios_that_rise_with_the_quantity_may_end_the_buffer_twice() -> None:
    """Alive again below the first end, where the balance has left the slice that counts in full: the nearest counts.

    At P the balance is 20 P - 9591: 100 + 20 P - 10591 + 1000 = 0.2 x 20 P - 950.
    """
    rising = [["0", "1000", "0.1"], ["1000", "", "1"]]
    content = account(
        position(qty="20", entry_price="840", mark_price="711", leverage="5"),
        margin_mode="multi_assets",
        collateral=[usdt("7209", ratio=rising), {"asset": "BTC", "amount": "1", "index_price": "1000"}],
        tiers={"AAAUSDT": [{"cap": "5000", "rate": "0.01"}, {"cap": "100000", "rate": "0.2"}]},
    )
    assert compute(content).positions[0].liquidation_price == "533.8125"
