"""Modes of an account, with figures worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from backtest.errors import AccountError
from backtest.venues.exact import text
from backtest.venues.explain import explain
from backtest.venues.report import compute

LADDER = [
    {"cap": "50000", "rate": "0.01", "max_leverage": "50"},
    {"cap": "1000000", "rate": "0.02", "max_leverage": "20"},
]
TIERS = {"AAAUSDT": LADDER, "BBBUSDT": LADDER, "AAAUSDC": LADDER}


def position(symbol: str = "AAAUSDT", side: str = "long", qty: str = "10", **changes: Any) -> dict[str, Any]:
    base = {"symbol": symbol, "side": side, "qty": qty, "entry_price": "1000", "mark_price": "1000", "leverage": "10"}
    return base | changes


def account(*positions: dict[str, Any], venue: str = "binance", **changes: Any) -> dict[str, Any]:
    base = {"venue": venue, "margin_mode": "cross", "taker_fee": "0", "tiers": TIERS, "positions": list(positions)}
    return base | {"collateral": [usdt("5000")]} | changes


def usdt(amount: str, index_price: str = "1", ratio: Any = "1") -> dict[str, Any]:
    return {"asset": "USDT", "amount": amount, "index_price": index_price, "ratio": ratio}


# --- Binance ---------------------------------------------------------------------------------------------------------


def test_cross_pools_share_profit_and_freeze_the_other_symbol() -> None:
    """Equity 5000 - 1000 = 4000; maintenance 100 + 90; the first dies where 10 P (1 - 0.01) = 10000 - 4000 + 90."""
    result = compute(account(position(), position("BBBUSDT", mark_price="900")))
    assert result.account.equity == "4000"
    assert result.account.maintenance_margin == "190"
    assert result.account.initial_margin == "1900"
    assert result.account.available == "2100"
    assert result.positions[0].liquidation_price == "615.15151515"
    assert result.positions[0].bankruptcy_price == "609"


def test_an_isolated_position_stands_outside_the_pool() -> None:
    beside = position("BBBUSDT", margin_mode="isolated", mark_price="950")
    alone, both = compute(account(position())), compute(account(position(), beside))
    assert both.account == alone.account
    assert both.positions[0] == alone.positions[0]
    assert both.positions[1].equity == "500"
    assert both.positions[1].liquidation_price == "909.09090909"


def test_pools_of_two_assets_are_apart() -> None:
    usdc = {"asset": "USDC", "amount": "2000"}
    result = compute(account(position(), position("AAAUSDC"), collateral=[usdt("5000"), usdc]))
    assert result.account.equity is None
    assert [p.equity for p in result.positions] == ["5000", "2000"]


def test_another_balance_does_not_hide_the_pool() -> None:
    bnb = {"asset": "BNB", "amount": "3"}
    assert compute(account(position(), collateral=[usdt("5000"), bnb])).account.equity == "5000"


def test_a_hedged_pair_in_cross_dies_on_the_way_up() -> None:
    """Equity is constant 1000; both legs maintain 2 % of 10 P less 500 each above 50,000: 1000 = 0.4 P - 1000."""
    legs = (position(), position(side="short"))
    result = compute(account(*legs, position_mode="hedge", collateral=[usdt("1000")]))
    assert [p.liquidation_price for p in result.positions] == ["5000", "5000"]
    assert result.account.maintenance_margin == "200"


def test_orders_count_on_the_larger_side_one_way_and_on_both_hedged() -> None:
    orders = [
        {"symbol": "AAAUSDT", "side": "buy", "qty": "5", "price": "900", "leverage": "10"},
        {"symbol": "AAAUSDT", "side": "sell", "qty": "30", "price": "1100", "leverage": "10"},
    ]
    one_way = compute(account(position(), orders=orders))
    assert one_way.account.initial_margin == "2300"  # |10000 - 33000| / 10
    assert one_way.account.maintenance_margin == "100"
    hedged = compute(account(position(), orders=orders, position_mode="hedge"))
    assert hedged.account.initial_margin == "4750"  # (10000 + 4500 + 33000) / 10


def test_multi_assets_count_a_negative_balance_in_full_and_others_at_their_ratio() -> None:
    btc = {"asset": "BTC", "amount": "1", "index_price": "20000", "ratio": "0.95"}
    collateral = [usdt("-2000", "0.999", "0.9999"), btc]
    result = compute(account(position(mark_price="1100"), margin_mode="multi_assets", collateral=collateral))
    assert result.account.equity == "18001"  # 19000 + (-2000 + 1000) 0.999
    assert result.account.maintenance_margin == "109.89"
    better = compute(account(position(mark_price="1300"), margin_mode="multi_assets", collateral=collateral))
    assert better.account.equity == "19998.9001"  # 19000 + (-2000 + 3000) 0.999 0.9999


def test_portfolio_margin_gives_account_figures_only() -> None:
    result = compute(account(position(), margin_mode="portfolio"))
    assert result.account.uni_mmr == "50"
    assert result.account.initial_margin is None
    assert result.positions[0].liquidation_price is None


def test_notional_coef_multiplies_caps_and_deductions() -> None:
    plain, wide = (
        compute(account(position(qty="60", notional_coef=coef), margin_mode="isolated")).positions[0]
        for coef in ("1", "1.5")
    )
    assert (plain.tier, plain.maintenance_margin, plain.max_notional) == (2, "700", "1000000")
    assert (wide.tier, wide.maintenance_margin, wide.max_notional) == (1, "600", "1500000")


def test_the_entry_price_is_cut_before_anything_else() -> None:
    six = position(entry_price="1000.12345678", entry_price_decimals="6")
    assert compute(account(six, margin_mode="isolated")).positions[0].unrealized_pnl == "-1.23456"


def test_removable_margin_and_cost_to_open() -> None:
    gain = position(mark_price="1100", isolated_wallet="2000")
    figures = compute(account(gain, margin_mode="isolated")).positions[0]
    assert figures.max_removable_margin == "1900"  # 2000 + 1000 - 1100
    assert figures.cost_to_open == "1000"
    loss = compute(account(position(mark_price="950"), margin_mode="isolated")).positions[0]
    assert loss.max_removable_margin == "0"
    assert loss.cost_to_open == "1500"
    short = compute(account(position(side="short"), margin_mode="isolated")).positions[0]
    assert short.cost_to_open == "1001.5"


def test_coin_margined_prices_follow_one_over_price() -> None:
    """1000 contracts of 100 USD at 50,000 with 1 BTC: P = 100000 (1 + 0.01) / (1 + 2)."""
    coin = position("BTCUSD_PERP", qty="1000", entry_price="50000", mark_price="50000")
    result = compute(
        account(coin, tiers={"BTCUSD_PERP": [{"rate": "0.01"}]}, collateral=[{"asset": "BTC", "amount": "1"}])
    )
    assert result.positions[0].liquidation_price == "33666.66666667"
    assert result.positions[0].bankruptcy_price == "33333.33333333"
    assert result.positions[0].notional == "2"


# --- Bybit -----------------------------------------------------------------------------------------------------------


def test_bybit_values_collateral_slice_by_slice_and_usdt_at_its_price() -> None:
    btc = {"asset": "BTC", "amount": "15", "index_price": "1000", "ratio": [["0", "10", "0.98"], ["10", "", "0.9"]]}
    result = compute(account(position(mark_price="1010"), venue="bybit", collateral=[usdt("100", "1.001"), btc]))
    assert result.account.equity == "14500.2"  # (100 + 100) 1.001 + 9800 + 4500
    assert result.account.maintenance_margin == "101.101"
    assert result.account.margin_ratio == "0.0069"


def test_bybit_borrows_the_settle_coin_when_losses_exceed_it() -> None:
    """Coin equity 100 - 1000 = -900: 4 % of it is maintained, 20 % is initial margin."""
    btc = {"asset": "BTC", "amount": "10", "index_price": "1000"}
    result = compute(account(position(mark_price="900"), venue="bybit", collateral=[usdt("100"), btc]))
    assert result.account.equity == "9100"
    assert result.account.maintenance_margin == "126"
    assert result.account.initial_margin == "1080"
    # Displayed: 900 - (9100 - 126) / (10 x 1.04)
    assert result.positions[0].displayed_liquidation_price == "37.11538461"


def test_bybit_order_loss_lowers_what_the_rates_are_taken_of() -> None:
    orders = [{"symbol": "AAAUSDT", "side": "buy", "qty": "5", "price": "1100", "leverage": "10"}]
    result = compute(account(position(), venue="bybit", orders=orders))
    assert result.account.equity == "5000"
    assert result.account.maintenance_margin == "155"  # 100 + 5500 x 1 %
    assert result.account.initial_margin == "1550"
    assert result.account.margin_ratio == "0.0344"  # 155 / 4500
    assert result.account.initial_margin_ratio == "0.3444"
    assert result.account.available == "3450"


def test_a_bybit_order_that_only_reduces_needs_no_margin() -> None:
    orders = [{"symbol": "AAAUSDT", "side": "sell", "qty": "10", "price": "1100", "leverage": "10"}]
    assert compute(account(position(), venue="bybit", orders=orders)).account.maintenance_margin == "100"


def test_bybit_order_margin_jumps_with_its_tier_and_the_price_is_found_there() -> None:
    """49,000 of orders beside 1,000 of position: any rise of the mark lifts the order to 2 %, 980 of margin."""
    orders = [{"symbol": "AAAUSDT", "side": "buy", "qty": "49", "price": "1000", "leverage": "10"}]
    result = compute(account(position(qty="1"), venue="bybit", orders=orders, collateral=[usdt("600")]))
    assert result.account.maintenance_margin == "500"
    assert result.positions[0].liquidation_price == "1000"


@pytest.mark.parametrize(
    ("as_of", "initial", "maintenance"), [("2025-09-01", "1000", "100"), ("2025-11-08", "1100", "110")]
)
def test_bybit_eras_take_margin_at_entry_then_at_mark(as_of: str, initial: str, maintenance: str) -> None:
    figures = compute(account(position(mark_price="1100"), venue="bybit", as_of=as_of)).positions[0]
    assert (figures.initial_margin, figures.maintenance_margin) == (initial, maintenance)


def test_bybit_isolated_keeps_initial_margin_at_entry_in_every_era() -> None:
    figures = compute(account(position(mark_price="1050"), venue="bybit", margin_mode="isolated")).positions[0]
    assert (figures.initial_margin, figures.maintenance_margin) == ("1000", "105")


def test_bybit_before_the_mark_era_rounds_margins_upwards() -> None:
    third = position(qty="1", entry_price="1", mark_price="1", leverage="3")
    old = compute(account(third, venue="bybit", margin_mode="isolated", era="uta_entry")).positions[0]
    new = compute(account(third, venue="bybit", margin_mode="isolated", era="uta_mark")).positions[0]
    assert (old.initial_margin, new.initial_margin) == ("0.33333334", "0.33333333")


def test_bybit_margin_added_frees_some_of_the_fee_reserve() -> None:
    """The money is 1000 + 9 of fee reserve + 999; it counts 999 / 0.999 = 1000 of the last."""
    held = position(extra_margin="999")
    result = compute(account(held, venue="bybit", margin_mode="isolated", taker_fee="0.001"))
    assert result.positions[0].equity == "2008"
    (step,) = (s for s in explain(result) if "behind the margins" in s.label)
    assert (step.formula, step.result) == ("2008 (equity) + 1 (fee reserve that added margin frees)", "2009")
    assert result.positions[0].margin_ratio == text(Fraction(109, 2009), 8)


def test_bybit_prices_go_to_the_tick_towards_safety() -> None:
    longs = compute(account(position(tick_size="0.5"), venue="bybit", margin_mode="isolated")).positions[0]
    shorts = compute(account(position(side="short", tick_size="0.5"), venue="bybit", margin_mode="isolated")).positions[
        0
    ]
    assert (longs.liquidation_price, shorts.liquidation_price) == ("909.5", "1089")  # 909.09, 1089.1


@pytest.mark.parametrize(("side", "qty"), [("long", "10"), ("long", "100"), ("short", "49")])
def test_bybit_first_closes_what_exceeds_the_tier_below(side: str, qty: str) -> None:
    """At its own liquidation price: 10 in tier 1, all; 100 x (1 - 50000 / value); a short may get there on the way."""
    held = account(position(qty=qty, side=side), venue="bybit", margin_mode="isolated")
    result = compute(held)
    (step,) = (s for s in explain(result) if "first step" in s.label)
    price = Fraction(result.positions[0].liquidation_price or "")
    expected = Fraction(qty) * max(Fraction(0), 1 - 50_000 / (Fraction(qty) * price)) or Fraction(qty)
    assert step.result == text(expected, 8)


def test_bybit_shows_the_era_before_while_the_change_over_is_uncertain() -> None:
    held = account(position(), venue="bybit", margin_mode="isolated", as_of="2025-10-02", collateral=[])
    steps = explain(compute(held))
    assert steps[0].label == "AAAUSDT: era"
    assert steps[0].result == "910"
    assert compute(held).positions[0].liquidation_price == "909.090909090909"


def test_binance_hedge_legs_each_have_their_leverage() -> None:
    """1000 / 10 + 500 / 5 + an order of 200 / 5."""
    legs = (position(qty="1"), position(side="short", qty="0.5", leverage="5"))
    order = {"symbol": "AAAUSDT", "side": "sell", "qty": "0.2", "price": "1000", "leverage": "5"}
    assert compute(account(*legs, position_mode="hedge", orders=[order])).account.initial_margin == "240"


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_above_the_last_cap_the_last_tier_holds(venue: str) -> None:
    """1.2 million over a last cap of 1 million: 24000 - 500."""
    figures = compute(account(position(qty="1200"), venue=venue)).positions[0]
    assert (figures.tier, figures.maintenance_margin, figures.max_notional) == (2, "23500", "1000000")


def test_what_orders_lose_lowers_what_the_ratio_is_taken_over() -> None:
    """A buy at 1100 starts with a loss of 100: 111 / 4900, and the buffer over the same."""
    order = {"symbol": "AAAUSDT", "side": "buy", "qty": "1", "price": "1100", "leverage": "10"}
    held = account(position(), venue="bybit", orders=[order])
    result = compute(held)
    assert result.account.equity == "5000"
    assert (result.account.maintenance_margin, result.account.initial_margin) == ("111", "1110")
    assert result.account.margin_ratio == "0.0226"
    assert result.positions[0].buffer == text(Fraction(4900 - 111, 1110 - 111), 8)
    formulas = [step.formula for step in explain(result)]
    assert "5000 (equity) - 100 (orders)" in formulas
    assert "111 / 4900, cut to 4 decimals" in formulas


@pytest.mark.parametrize(
    ("balance", "value", "band"),
    [("105", "1.05", "liquidation"), ("120", "1.2", "no new risk"), ("150", "1.5", "warning"), ("151", "1.51", "free")],
)
def test_portfolio_margin_has_bands(balance: str, value: str, band: str) -> None:
    """Maintenance is 100."""
    held = account(position(), margin_mode="portfolio", collateral=[usdt(balance)])
    result = compute(held)
    assert result.account.uni_mmr == value
    assert f"{balance} / 100: {band}" in [step.formula for step in explain(result)]


def test_isolated_accounts_have_no_account_figures() -> None:
    for venue in ("binance", "bybit"):
        form = compute(account(position(), venue=venue, margin_mode="isolated")).to_dict()
        assert set(form["account"].values()) == {None}


def test_every_result_is_decimal_text() -> None:
    form = compute(account(position())).to_dict()
    figures = {**form["account"], **form["positions"][0]}
    assert type(figures.pop("tier")) is int
    assert all(value is None or isinstance(value, str) for value in figures.values())


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_every_step_of_an_explanation_has_a_source(venue: str) -> None:
    steps = explain(compute(account(position(), venue=venue)))
    assert all(step.label and step.formula and step.result and step.source for step in steps)
    assert {step.label.split(": ")[1] for step in steps} >= {"value", "tier", "liquidation price", "equity"}


@pytest.mark.parametrize(("entry", "mark", "tier"), [("1000", "1100", 2), ("1100", "1000", 1)])
def test_a_position_keeps_its_leverage_when_the_mark_carries_it_over_a_cap(entry: str, mark: str, tier: int) -> None:
    """49 coins at 1000 are in tier 1, which allows 50x; at 1100 in tier 2, which allows 20x."""
    held = position(qty="49", entry_price=entry, mark_price=mark, leverage="50")
    for venue in ("binance", "bybit"):
        assert compute(account(held, venue=venue, margin_mode="isolated")).positions[0].tier == tier


def test_leverage_over_a_tier_that_both_entry_and_mark_lie_in_is_refused() -> None:
    with pytest.raises(AccountError, match="50x is over the tier's maximum of 20x at a value of 60000 USDT"):
        compute(account(position(qty="60", mark_price="1100", leverage="50")))
