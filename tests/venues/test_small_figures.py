"""Figures worked out by hand for parts of a formula that a wrong program could leave out unseen."""

from __future__ import annotations

from fractions import Fraction

import pytest

from backtest.venues.account_json import read_account
from backtest.venues.report import compute, is_liquidated
from tests.venues.test_modes import account, position, usdt


def test_no_more_than_the_wallet_can_be_taken_out() -> None:
    """2000 + 2000 of profit - 1200 of initial margin is 2800, but the wallet holds 2000."""
    held = position(mark_price="1200", isolated_wallet="2000")
    assert compute(account(held, margin_mode="isolated")).positions[0].max_removable_margin == "2000"


def test_a_short_costs_by_a_mark_over_its_price() -> None:
    """1100 x 1.0015 = 1101.65: initial margin 1101.65, and 1000 of loss from 1000 to 1100."""
    held = position(side="short", mark_price="1100")
    assert compute(account(held, margin_mode="isolated")).positions[0].cost_to_open == "2101.65"


@pytest.mark.parametrize(("balance", "dead"), [("105", True), ("105.00000001", False)])
def test_a_portfolio_account_is_liquidated_at_1_05_times_its_maintenance(balance: str, dead: bool) -> None:
    held = read_account(account(position(), margin_mode="portfolio", collateral=[usdt(balance)]))
    assert is_liquidated(held, 0, Fraction(1000)) == dead


def test_orders_beside_an_isolated_position_hold_free_balance_and_no_margin_of_the_pool() -> None:
    """5000 - 1000 of the pool - 500 of the order."""
    order = {"symbol": "BBBUSDT", "side": "buy", "qty": "5", "price": "1000", "leverage": "10"}
    result = compute(account(position(), position("BBBUSDT", margin_mode="isolated"), orders=[order]))
    assert (result.account.initial_margin, result.account.available) == ("1000", "3500")


def test_a_coefficient_multiplies_the_deduction() -> None:
    """80,000 x 2 % - 1.5 x 500, over a cap of 1.5 x 50,000."""
    figures = compute(account(position(qty="80", notional_coef="1.5"), margin_mode="isolated")).positions[0]
    assert (figures.tier, figures.maintenance_margin) == (2, "850")


@pytest.mark.parametrize(("symbol", "notional"), [("BTCUSD_PERP", "5"), ("ETHUSD_PERP", "0.5")])
def test_a_coin_contract_is_100_dollars_of_bitcoin_and_10_of_others(symbol: str, notional: str) -> None:
    held = position(symbol, qty="100", entry_price="2000", mark_price="2000")
    result = compute(account(held, margin_mode="isolated", tiers={symbol: [{"rate": "0.01"}]}))
    assert result.positions[0].notional == notional


def test_a_balance_that_falls_into_a_slice_that_counts_more_dies_there() -> None:
    """Under 1000 all of 3000 + 10 (P - 1000) counts: 10 P - 7000 = 0.1 P."""
    slices = [["0", "1000", "1"], ["1000", "", "0.5"]]
    held = account(position(), margin_mode="multi_assets", collateral=[usdt("3000", ratio=slices)])
    result = compute(held)
    assert result.account.equity == "2000"
    assert result.positions[0].liquidation_price == "707.07070707"


def test_bybit_adds_money_until_it_counts_as_the_entry_value() -> None:
    """A short at 1x dies at 20000 / (10 x 1.01), whatever share of the money the fee takes."""
    held = position(side="short", auto_add_margin=True)
    full = account(
        held, venue="bybit", margin_mode="isolated", era="uta_mark", taker_fee="0.001", collateral=[usdt("50000")]
    )
    figures = compute(full).positions[0]
    assert figures.bankruptcy_price == "2000"
    assert Fraction(figures.liquidation_price or "") == pytest.approx(Fraction(20000) / Fraction("10.1"))


def test_bybit_classic_cross_leaves_a_position_what_the_others_do_not_need() -> None:
    """5000 - 1000 - 100 of the other is 3900; bankrupt at (10000 - 3900) / 0.999, of which the fee is 0.001."""
    legs = position(), position("BBBUSDT", mark_price="900")
    held = account(*legs, venue="bybit", era="classic", taker_fee="0.001")
    assert compute(held).positions[0].maintenance_margin == "106.10610611"


def test_bybit_haircut_loss_brings_bankruptcy_nearer() -> None:
    """5000 - 100 + 10 (P - 1000) = 0."""
    held = account(position(), venue="bybit", haircut_loss="100")
    assert compute(held).positions[0].bankruptcy_price == "510"


def test_bybit_of_two_equal_legs_the_long_one_carries_the_margin() -> None:
    legs = position(), position(side="short")
    figures = compute(account(*legs, venue="bybit", position_mode="hedge")).positions
    assert [p.initial_margin for p in figures] == ["1000", "0"]


def test_bybit_shows_no_estimate_for_inverse_contracts() -> None:
    held = position("BTCUSD", qty="1000")
    coin = [{"asset": "BTC", "amount": "1", "index_price": "1000"}]
    result = compute(account(held, venue="bybit", tiers={"BTCUSD": [{"rate": "0.01"}]}, collateral=coin))
    assert result.positions[0].displayed_liquidation_price is None
    assert result.positions[0].liquidation_price is not None


def test_bybit_a_short_dies_where_its_sell_order_comes_into_another_tier() -> None:
    """At 1062.5 both reach 50,000: 3040 - 2500 - 425 - 75 = 40 is left, and the order then takes 75 more."""
    order = {"symbol": "AAAUSDT", "side": "sell", "qty": "5", "price": "1500", "leverage": "10"}
    held = account(position(side="short", qty="40"), venue="bybit", orders=[order], collateral=[usdt("3040")])
    assert compute(held).positions[0].liquidation_price == "1062.5"
