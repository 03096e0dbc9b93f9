"""Every kind of bad account gets one clear line, and all of them at once."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.errors import AccountError
from backtest.venues.report import compute, compute_many
from tests.venues.accounts import accounts

POSITION = {
    "symbol": "BTCUSDT",
    "side": "long",
    "qty": "1",
    "entry_price": "40000",
    "mark_price": "40000",
    "leverage": "50",
}
USDT = {"asset": "USDT", "amount": "1000", "index_price": "1"}


def account(position: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    base = {
        "venue": "binance",
        "as_of": "2026-01-01",
        "margin_mode": "isolated",
        "positions": [POSITION | (position or {})],
    }
    return base | changes


BAD = {
    "negative quantity": (account({"qty": "-1"}), "positions[0].qty: -1 is not above 0"),
    "zero price": (account({"mark_price": "0"}), "positions[0].mark_price: 0 is not above 0"),
    "float": (account({"qty": 0.1}), 'positions[0].qty: is the float 0.1; write the decimal string "0.1"'),
    "not a number": (account({"entry_price": "4O"}), "positions[0].entry_price: '4O' is not a decimal number"),
    "infinite": (account({"entry_price": "Infinity"}), "positions[0].entry_price: 'Infinity' is not a number in range"),
    "boolean": (account({"qty": True}), "positions[0].qty: is True"),
    "missing": (account({"entry_price": None}), "positions[0].entry_price: is missing"),
    "leverage missing": (account({"leverage": None}), "positions[0].leverage: is missing"),
    "decimals without end": (
        account({"entry_price_decimals": "1000000000"}),
        "positions[0].entry_price_decimals: 1000000000 is above 30",
    ),
    "part of a decimal": (
        account({"entry_price_decimals": "1.5"}),
        "positions[0].entry_price_decimals: 1.5 decimals cannot hold the entry price",
    ),
    "digits without end": (
        account({"qty": "9" * 5000}),
        'positions[0].qty: "999999999999..." is not a number in range',
    ),
    "leverage under one": (account({"leverage": "0.5"}), "positions[0].leverage: 0.5 is below 1"),
    "leverage over the tier": (account({"leverage": "151"}), "151x is over the tier's maximum of 150x"),
    "leverage over a higher tier": (
        account({"qty": "1000"}),
        "50x is over the tier's maximum of 25x at a value of 40000000 USDT",
    ),
    "unknown symbol": (account({"symbol": "BTCUSTD"}), 'unknown symbol "BTCUSTD"; did you mean "BTCUSDT"?'),
    "unknown key": (account({"quantity": "1"}), "positions[0].quantity: unknown key"),
    "unknown key of the account": (account(margin_mod="x"), 'did you mean "margin_mode"?'),
    "unknown side": (account({"side": "log"}), 'did you mean "long"?'),
    "unknown venue": (account(venue="binanse"), 'did you mean "binance"?'),
    "unknown mode": (account(margin_mode="isolatd"), 'did you mean "isolated"?'),
    "fee in per cent": (account(taker_fee="0.55"), "account.taker_fee: 0.55 is above 0.1"),
    "bad date": (account(as_of="yesterday"), "account.as_of"),
    "collateral missing": (account(margin_mode="cross"), "collateral: USDT is missing"),
    "price of collateral missing": (
        account(
            venue="bybit", margin_mode="cross", collateral=[USDT, {"asset": "BTC", "amount": "1"}], positions=[POSITION]
        ),
        "collateral[1].index_price: is missing",
    ),
    "collateral twice": (account(collateral=[USDT, USDT]), "collateral: USDT twice"),
    "slices with a hole": (
        account(collateral=[USDT | {"ratio": [["0", "10", "1"], ["11", "", "0.9"]]}]),
        "does not begin where",
    ),
    "two positions one-way": (account(positions=[POSITION, POSITION]), "BTCUSDT twice in one-way mode"),
    "two longs hedged": (account(position_mode="hedge", positions=[POSITION, POSITION]), "BTCUSDT long twice"),
    "wallet in cross": (
        account({"extra_margin": "5"}, margin_mode="cross", collateral=[USDT]),
        "has no wallet of its own",
    ),
    "isolated beside multi-assets": (
        account({"margin_mode": "isolated"}, margin_mode="multi_assets", collateral=[USDT]),
        "multi_assets has no isolated positions",
    ),
    "coin contract in multi-assets": (
        account(
            {"symbol": "BTCUSD_PERP"},
            margin_mode="multi_assets",
            collateral=[{"asset": "BTC", "amount": "1", "index_price": "40000"}],
        ),
        "multi-assets mode is for USDⓈ-M contracts only",
    ),
    "one symbol in two modes": (
        account(
            position_mode="hedge",
            collateral=[USDT],
            positions=[POSITION, POSITION | {"side": "short", "margin_mode": "cross"}],
        ),
        "BTCUSDT is both isolated and cross",
    ),
    "era on Binance": (account(era="uta_mark"), "account.era: only Bybit has eras"),
    "multi-assets on Bybit": (account(venue="bybit", margin_mode="multi_assets"), "Bybit has no multi_assets mode"),
    "portfolio on Bybit": (account(venue="bybit", margin_mode="portfolio"), "cannot be computed from public data"),
    "two modes on Bybit": (
        account({"margin_mode": "cross"}, venue="bybit", collateral=[USDT]),
        "the margin mode of a unified account holds for all positions",
    ),
    "inverse hedge on Bybit": (
        account({"symbol": "BTCUSD"}, venue="bybit", position_mode="hedge"),
        "inverse contracts have no hedge mode",
    ),
    "two leverages hedged on Bybit": (
        account(
            venue="bybit",
            margin_mode="cross",
            position_mode="hedge",
            collateral=[USDT],
            positions=[POSITION, POSITION | {"side": "short", "leverage": "10"}],
        ),
        "BTCUSDT has two leverages",
    ),
    "auto-add on Binance": (account({"auto_add_margin": True}), "only Bybit adds margin by itself"),
    "auto-add in cross": (
        account({"auto_add_margin": True}, venue="bybit", margin_mode="cross", collateral=[USDT]),
        "positions[0].auto_add_margin: margin is added to isolated positions only",
    ),
    "auto-add to inverse": (
        account({"symbol": "BTCUSD", "auto_add_margin": True}, venue="bybit", collateral=[USDT]),
        "margin is added to USDT and USDC perpetuals only",
    ),
    "auto-add from an unknown balance": (
        account({"auto_add_margin": True}, venue="bybit"),
        "collateral: USDT is missing; it is the balance that auto-add-margin takes from",
    ),
    "auto-add beside an order without leverage": (
        account(
            {"auto_add_margin": True},
            venue="bybit",
            collateral=[USDT],
            orders=[{"symbol": "ETHUSDT", "side": "buy", "qty": "1", "price": "10"}],
        ),
        "orders[0].leverage: is missing",
    ),
    "a flag in words": (account({"auto_add_margin": "yes"}, venue="bybit"), "is 'yes'; write true or false"),
    "haircut loss on Binance": (account(haircut_loss="5"), "account.haircut_loss: only Bybit counts one"),
    "haircut loss in isolated mode": (account(venue="bybit", haircut_loss="5"), "only the cross pool of a unified"),
    "negative haircut loss": (
        account(venue="bybit", margin_mode="cross", collateral=[USDT], haircut_loss="-5"),
        "account.haircut_loss: -5 is below 0",
    ),
    "level outside multi-assets": (account(vip_level=3), "account.vip_level: matters in multi-assets mode only"),
    "level out of range": (
        account(vip_level=10, margin_mode="multi_assets", collateral=[USDT]),
        "account.vip_level: is 10; write a number from 0 to 9",
    ),
    "haircut outside multi-assets": (
        account(collateral=[USDT | {"exchange_haircut": "0.1"}]),
        "collateral[0].exchange_haircut: nothing is exchanged outside multi-assets mode",
    ),
    "broken ladder": (
        account(tiers={"BTCUSDT": [{"cap": "10", "rate": "0.1"}, {"cap": "5", "rate": "0.2"}]}),
        "account.tiers.BTCUSDT tier 2: its cap is not above its floor",
    ),
    "ladder of another symbol": (
        account(tiers={"BTCUSTD": [{"rate": "0.1"}]}),
        'account.tiers.BTCUSTD: nothing is held in it; did you mean "BTCUSDT"?',
    ),
    "ladder with a negative deduction": (
        account(tiers={"BTCUSDT": [{"rate": "0.1", "deduction": "-5"}]}),
        "account.tiers.BTCUSDT tier 1.deduction: -5 is below 0",
    ),
    "ladders in a list": (account(tiers=[]), "account.tiers: is not an object of symbols"),
    "a ratio over one": (
        account(margin_mode="cross", collateral=[USDT | {"ratio": "2"}]),
        "collateral[0].ratio: 2 is above 1",
    ),
    "a balance that is none": (
        account(margin_mode="cross", collateral=[USDT | {"amount": "nan"}]),
        "collateral[0].amount: 'nan' is not a number in range",
    ),
    "float in a ladder": (account(tiers={"BTCUSDT": [{"cap": "10", "rate": 0.1}]}), "is the float 0.1"),
    "not an object": ([], "account: is not a JSON object"),
}


@pytest.mark.parametrize(("content", "line"), list(BAD.values()), ids=list(BAD))
def test_a_bad_account_gets_one_clear_line(content: Any, line: str) -> None:
    with pytest.raises(AccountError) as caught:
        compute(content)
    assert line in str(caught.value)
    assert len(caught.value.problems) == 1, str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    bad = {"qty": "-1", "entry_price": 1.5, "symbl": "X", "leverage": "0"}
    content = account(bad, margin_mode="cross", position_mode="hegde")
    with pytest.raises(AccountError) as caught:
        compute(content)
    assert len(caught.value.problems) == 6


def test_a_list_answers_in_order_with_errors_in_place() -> None:
    good, bad = account(), account({"qty": "-1"})
    first, second, third = compute_many([good, bad, good])
    assert first == third == compute(good).to_dict()
    assert second == {"error": {"code": "AccountError", "message": "positions[0].qty: -1 is not above 0"}}


JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "-3",
    "0",
    "1e400",
    "NaN",
    [],
    {},
    [1],
    [["0", None, "1"]],
    {"a": 1},
]


@settings(max_examples=150, deadline=None)
@given(accounts(), st.randoms(use_true_random=False))
def test_whatever_is_put_in_place_of_a_value_is_computed_or_told(content: dict[str, Any], random: Random) -> None:
    holder: Any = content
    while True:
        key = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], dict | list) or not holder[key] or random.random() < 0.2:
            break
        holder = holder[key]
    holder[key] = random.choice(JUNK)
    with suppress(AccountError):
        compute(content)
