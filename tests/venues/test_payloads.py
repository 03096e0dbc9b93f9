"""Raw answers of the venues become accounts."""

from __future__ import annotations

import pytest

from backtest.errors import AccountError
from backtest.venues.payloads import from_binance_position_risk, from_bybit_position_list
from backtest.venues.report import compute

# A recorded isolated position of 2024-10-24; its printed liquidation price is part of the answer.
ENA = {
    "symbol": "ENAUSDT",
    "positionAmt": "65457",
    "entryPrice": "0.4281605481461",
    "markPrice": "0.37870000",
    "unRealizedProfit": "-3237.53856678",
    "liquidationPrice": "0.24836096",
    "leverage": "3",
    "marginType": "isolated",
    "isolatedMargin": "8725.45720255",
    "positionSide": "BOTH",
    "updateTime": 1729728003000,
}


def test_binance_answer_gives_its_own_liquidation_price() -> None:
    account = from_binance_position_risk([ENA, ENA | {"positionAmt": "0.0"}])
    assert account["as_of"] == "2024-10-24"
    assert compute(account).positions[0].liquidation_price == ENA["liquidationPrice"]


def test_a_version_3_answer_has_its_leverage_in_its_margin() -> None:
    """12.314277 / 0.61571385 = 20."""
    row = {
        "symbol": "ADAUSDT",
        "positionSide": "BOTH",
        "positionAmt": "30",
        "entryPrice": "0.385",
        "markPrice": "0.41047590",
        "unRealizedProfit": "0.76427700",
        "isolatedMargin": "0",
        "isolatedWallet": "0",
        "notional": "12.31427700",
        "marginAsset": "USDT",
        "positionInitialMargin": "0.61571385",
        "updateTime": 1720736417660,
    }
    account = from_binance_position_risk([row]) | {"collateral": [{"asset": "USDT", "amount": "10"}]}
    figures = compute(account).positions[0]
    assert account["positions"][0]["leverage"] == "20"
    assert (figures.initial_margin, figures.notional, figures.unrealized_pnl) == ("0.61571385", "12.314277", "0.764277")
    assert from_binance_position_risk([row | {"positionInitialMargin": "0"}])["positions"][0]["leverage"] is None


def test_auto_add_of_an_isolated_linear_position_asks_for_the_balance() -> None:
    row = {"symbol": "BTCUSDT", "side": "Buy", "size": "1", "avgPrice": "40000", "markPrice": "40000", "leverage": "50"}
    flagged = row | {"autoAddMargin": 1, "tradeMode": 1}
    with pytest.raises(AccountError, match="USDT is missing; it is the balance that auto-add-margin takes from"):
        compute(from_bybit_position_list([flagged]))
    for other in (flagged | {"tradeMode": 0}, flagged | {"symbol": "BTCUSD"}, flagged | {"autoAddMargin": 0}):
        assert from_bybit_position_list([other])["positions"][0]["auto_add_margin"] is False


def test_binance_cross_answer_says_that_the_wallet_is_missing() -> None:
    account = from_binance_position_risk([ENA | {"marginType": "cross"}])
    with pytest.raises(AccountError, match="USDT is missing"):
        compute(account)


def test_bybit_answer_keeps_extra_margin() -> None:
    row = {
        "symbol": "BTCUSDT",
        "side": "Buy",
        "size": "1",
        "avgPrice": "40000",
        "markPrice": "40000",
        "leverage": "50",
        "tradeMode": 1,
        "positionIdx": 0,
        "positionBalance": "3821.56",
        "positionIM": "821.56",
        "updatedTime": "1786060800000",
    }
    account = from_bybit_position_list({"result": {"list": [row], "category": "linear"}, "time": 1786060800000})
    figures = compute(account).positions[0]
    assert figures.initial_margin == "821.56"
    assert figures.liquidation_price == "36380.3"  # 36380.25 on the tick above


def test_a_bybit_answer_that_does_not_say_its_mode_takes_it_from_the_caller() -> None:
    row = {
        "symbol": "XYZUSDT",
        "side": "Sell",
        "size": "2",
        "avgPrice": "100",
        "markPrice": "90",
        "leverage": "5",
        "tradeMode": 0,
        "positionBalance": "50",
        "positionIM": "41",
    }
    unsaid, said = from_bybit_position_list([row]), from_bybit_position_list([row], "isolated")
    assert (unsaid["margin_mode"], unsaid["positions"][0]["extra_margin"]) == ("cross", "0")
    assert (said["margin_mode"], said["positions"][0]["extra_margin"]) == ("isolated", "9")
    assert said["positions"][0]["tick_size"] is None  # no packaged contract


def test_what_is_missing_or_no_number_in_an_answer_is_told_at_once() -> None:
    with pytest.raises(AccountError) as caught:
        from_binance_position_risk([ENA, {"positionAmt": "much", "symbol": "BTCUSDT", "markPrice": "1"}])
    assert [str(p) for p in caught.value.problems] == [
        "payload[1].entryPrice: is missing",
        "payload[1].positionAmt: 'much' is not a decimal number",
    ]
    with pytest.raises(AccountError, match=r"payload\[0\].marginType: is 'iso'; known: isolated, cross"):
        from_binance_position_risk([ENA | {"marginType": "iso"}])
    with pytest.raises(AccountError, match=r"payload\[0\].leverage: is missing"):
        from_bybit_position_list([{"size": "1", "symbol": "BTCUSDT", "side": "Buy", "avgPrice": "1", "markPrice": "1"}])


def test_an_empty_position_of_bybit_is_passed_over() -> None:
    empty = {"symbol": "BTCUSDT", "side": "", "size": "0", "avgPrice": "", "markPrice": "1", "leverage": "10"}
    assert from_bybit_position_list([empty])["positions"] == []


@pytest.mark.parametrize("moment", ["1.5", "soon", "9" * 20, -5])
def test_a_time_that_is_none_is_told(moment: object) -> None:
    with pytest.raises(AccountError, match="is no time in milliseconds"):
        from_binance_position_risk([ENA | {"updateTime": moment}])


@pytest.mark.parametrize("raw", [None, {"code": -2015, "msg": "Invalid key"}, [1]])
def test_another_answer_is_refused(raw: object) -> None:
    with pytest.raises(AccountError, match="not a list of positions"):
        from_binance_position_risk(raw)
