"""The oracle against small worlds computed by hand, and against the laws of the ledger.

Unless a test says otherwise: entry at 100, margin 100, leverage 10, so quantity 10 and cost 1000; no slippage; taker
0.0005, so the entry fee is 0.5 and the wallet 99.5; one tier of 1 %; liquidation slippage 0.1 %, clearance 0.5 %.
A long is liquidated where 99.5 + 10 p - 1000 <= 0.1 p, which is p <= 90.959595...
"""

from __future__ import annotations

import ast
import math
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.engine import oracle
from backtest.engine.oracle import (
    Bar,
    Market,
    Plan,
    Result,
    RuleUse,
    ScriptedAction,
    TierRow,
    Wake,
    load_tiers,
    replay,
)
from backtest.engine.oracle.numbers import half_even
from backtest.engine.oracle.path import bisect
from backtest.engine.oracle.position import Position, exact_rows
from backtest.errors import CoverageError, DataError, RuleError

D = Decimal
HOUR = 3_600_000
HOLD, REDUCE, INCREASE, CLOSE, MOVE, LEVERAGE, TRADE = range(7)
ONE_TIER = (TierRow(None, D("0.01"), D(0), D(20)),)
# 1 % to 1000, 2 % to 2000 (deduction 10), then 4 % (deduction 50)
THREE_TIERS = (
    TierRow(D(1000), D("0.01"), D(0), D(20)),
    TierRow(D(2000), D("0.02"), D(10), D(20)),
    TierRow(D(9000), D("0.04"), D(50), D(5)),
)


def bar(hour: int, mark: str, trade: str | None = None) -> Bar:
    """Make a bar from "open high low", with the trade price at both ends equal to the mark open unless given."""
    opened, high, low = (D(text) for text in mark.split())
    trade_open, trade_close = (D(t) for t in trade.split()) if trade else (opened, opened)
    return Bar(hour * HOUR, trade_open, trade_close, opened, high, low)


def flat(hour: int, price: str = "100") -> Bar:
    return bar(hour, f"{price} {price} {price}")


def market(*bars: Bar, funding: dict[int, str] | None = None, tiers=((0, ONE_TIER),), taker="0.0005") -> Market:
    rates = {hour * HOUR: D(rate) for hour, rate in (funding or {}).items()}
    return Market(HOUR, bars, rates, tiers, ((0, D(taker)),))


def plan(**changes) -> Plan:
    values = {
        "entry_ms": 0,
        "horizon_ms": 1000 * HOUR,
        "stop_ms": 2000 * HOUR,
        "side": 1,
        "leverage": D(10),
        "capital": D(200),
        "sizing_margin": D(100),
        "qty_share": D(1),
        "posted_margin": D(100),
        "step": D("0.1"),
        "min_notional": D(5),
        "slippage": D(0),
        "liq_slippage": D("0.001"),
        "clearance_rate": D("0.005"),
        "margin_mode": "isolated",
        "procedure": "ioc",
        "fee_reserve": False,
    }
    return Plan(**{**values, **changes})


def rule(answer, *wakes: Wake, cooldown_ms: int = 0, name: str = "r") -> RuleUse:
    """Make a rule from a fixed answer, or from a function of the state."""
    function = (lambda state, params: answer(state)) if callable(answer) else (lambda state, params: answer)
    return RuleUse(name, function, SimpleNamespace(), wakes, cooldown_ms)


def below(buffer: str) -> Wake:
    return Wake("buffer_below", D(buffer))


def rows(result: Result, kinds: str = "") -> list[tuple[str, str]]:
    """Give (kind, amount) of the transfers, of all or of some kinds."""
    wanted = kinds.split()
    return [
        (t.kind, str(D(t.amount_e8).scaleb(-8).normalize())) for t in result.transfers if not wanted or t.kind in wanted
    ]


def e8(text: str) -> int:
    return int(D(text) * 10**8)


# --- entry and exit ------------------------------------------------------------------------------------------------


def test_a_long_held_to_the_horizon_books_every_step():
    world = market(flat(0), flat(1), flat(2, "104"), flat(3, "110"))
    result = replay(world, plan(horizon_ms=2 * HOUR))
    # exit at 104: value 1040, fee 0.52, profit 40; wallet 99.5 + 40 - 0.52
    assert rows(result) == [
        ("deposit", "2E+2"),
        ("post", "1E+2"),
        ("fee", "0.5"),
        ("profit", "4E+1"),
        ("fee", "0.52"),
        ("release", "138.98"),
    ]
    assert [(f.qty_e8, f.price_e8, f.cost_e8, f.cause) for f in result.fills] == [
        (e8("10"), e8("100"), e8("1000"), "entry"),
        (-e8("10"), e8("104"), e8("1040"), "exit"),
    ]
    outcome = result.outcome
    assert outcome["exit_reason"] == "horizon"
    assert outcome["exit_ms"] == 2 * HOUR
    assert outcome["equity_end_e8"] == e8("238.98")
    assert outcome["fees_e8"] == e8("1.02")
    assert outcome["turnover_e8"] == e8("2040")
    # two bars of one hour at 10 x 100, in hundredths
    assert outcome["notional_hours_e2"] == outcome["notional_hours_paired_e2"] == 200_000
    # IM 100, MM 10: at 100 equity is 99.5, buffer 89.5 / 90, ratio 10 / 99.5; at 104 they are better
    assert outcome["min_buffer_ppm"] == 994_444
    assert outcome["max_margin_ratio_ppm"] == 100_503


def test_a_short_gains_when_the_price_falls_and_slippage_is_against_it():
    world = market(flat(0), flat(1, "95"))
    result = replay(world, plan(side=-1, horizon_ms=HOUR, slippage=D("0.0001")))
    # sells 10 at 99.99 = 999.9, fee 0.49995; buys at 95.0095 = 950.095, fee 0.4750475
    assert [f.price_e8 for f in result.fills] == [e8("99.99"), e8("95.0095")]
    assert [f.qty_e8 for f in result.fills] == [-e8("10"), e8("10")]
    assert rows(result, "fee profit") == [("fee", "0.49995"), ("profit", "49.805"), ("fee", "0.4750475")]
    assert result.outcome["slippage_e8"] == e8("0.1") + e8("0.095")


def test_quantity_is_cut_to_the_step_and_then_to_the_share():
    world = market(flat(0, "99"), flat(1, "99"))
    # 1000 / 99 = 10.101 -> 10.1; x 0.75 = 7.575 -> 7.5
    assert replay(world, plan(horizon_ms=HOUR)).outcome["entry_qty_e8"] == e8("10.1")
    assert replay(world, plan(horizon_ms=HOUR, qty_share=D("0.75"))).outcome["entry_qty_e8"] == e8("7.5")


def test_data_end_closes_at_the_last_trade_close_one_interval_later():
    world = market(flat(0), bar(1, "100 101 99", "100 101"), flat(2))
    result = replay(world, plan(stop_ms=2 * HOUR, slippage=D("0.001")))
    # bought at 100.1, sold at 101 x 0.999
    assert result.outcome["exit_reason"] == "data_end"
    assert result.outcome["exit_ms"] == 2 * HOUR
    assert result.fills[-1][:4] == (2 * HOUR, -e8("10"), e8("100.899"), e8("1008.99"))
    assert result.fills[-1].cause == result.transfers[-1].cause == "data_end"


@pytest.mark.parametrize(
    ("changes", "tiers", "refusal"),
    [
        ({"entry_ms": 5 * HOUR}, ONE_TIER, "gap"),
        ({"entry_ms": HOUR // 2}, ONE_TIER, "gap"),
        ({"stop_ms": 0}, ONE_TIER, "gap"),
        ({"step": D(11)}, ONE_TIER, "below_step"),
        ({"min_notional": D(1001)}, ONE_TIER, "below_min_notional"),
        ({"leverage": D("20.01")}, ONE_TIER, "leverage_cap"),
        ({"leverage": D(20), "sizing_margin": D(500)}, THREE_TIERS, "leverage_cap"),
        ({}, (TierRow(D(999), D("0.01"), D(0), None),), "leverage_cap"),
    ],
)
def test_a_refused_entry_writes_nothing(changes, tiers, refusal):
    result = replay(market(flat(0), flat(1), tiers=((0, tiers),)), plan(**changes))
    assert (result.outcome["exit_reason"], result.outcome["refusal"]) == ("refused", refusal)
    assert result.transfers == result.fills == result.actions == []
    assert result.outcome["equity_end_e8"] == e8("200")


def test_an_unknown_leverage_maximum_allows_any():
    world = market(flat(0), flat(1), tiers=((0, (TierRow(None, D("0.001"), D(0), None),)),))
    assert replay(world, plan(leverage=D(125), horizon_ms=HOUR)).outcome["exit_reason"] == "horizon"


# --- liquidation ---------------------------------------------------------------------------------------------------


def test_a_long_is_closed_at_the_first_mark_where_equity_meets_maintenance():
    result = replay(market(flat(0), bar(1, "100 101 90")), plan())
    # p = 90.95959596: equity 9.0959596 = maintenance ceil(9.095959596); one tick higher equity is greater.
    # fill floor(p x 0.999) = 90.86863636, value 908.6863636, loss 91.3136364, wallet 8.1863636,
    # clearance ceil(4.543431818), the rest 3.64293178 goes free
    assert rows(result)[3:] == [("loss", "91.3136364"), ("clearance", "4.54343182"), ("release", "3.64293178")]
    fill = result.fills[-1]
    assert (fill.price_e8, fill.mark_e8, fill.cause) == (e8("90.86863636"), e8("90.95959596"), "liquidation")
    outcome = result.outcome
    assert outcome["exit_reason"] == "liquidated"
    assert (outcome["liquidated"], outcome["partial"], outcome["cause"]) == (True, False, "price")
    assert (outcome["liquidation_ms"], outcome["liquidation_price_e8"]) == (HOUR, e8("90.95959596"))
    assert (outcome["liquidation_count"], outcome["liquidated_share_e8"]) == (1, 10**8)
    assert outcome["min_buffer_ppm"] == 0
    assert outcome["max_margin_ratio_ppm"] == 1_000_000
    assert outcome["equity_end_e8"] == e8("103.64293178")


def test_one_tick_above_the_liquidation_price_nothing_happens():
    assert replay(market(flat(0), bar(1, "100 101 90.95959597")), plan()).outcome["liquidated"] is False
    assert replay(market(flat(0), bar(1, "100 101 90.95959596")), plan()).outcome["liquidated"] is True


def test_a_short_is_closed_on_the_way_up():
    result = replay(market(flat(0), bar(1, "100 120 99")), plan(side=-1))
    # 99.5 + 1000 - 10 p <= 0.1 p: p >= 108.861386138..; at ...13 equity 10.8861387 > 10.88613862, at ...14 equity
    # 10.8861386 <= 10.88613862
    assert result.outcome["liquidation_price_e8"] == e8("108.86138614")
    # buys at ceil(p x 1.001) = 108.97024753; value 1089.7024753
    assert rows(result)[3] == ("loss", "89.7024753")


def test_a_gap_through_the_bankruptcy_price_fills_there_and_leaves_no_debt():
    result = replay(market(flat(0), flat(1, "80")), plan())
    # bankruptcy (1000 - 99.5) / 10 = 90.05: nothing is left for a clearance fee
    assert result.fills[-1].price_e8 == e8("90.05")
    assert rows(result)[3:] == [("loss", "99.5")]
    assert result.outcome["cause"] == "price"
    assert result.outcome["equity_end_e8"] == e8("100")
    assert result.outcome["max_margin_ratio_ppm"] == 10**15


def test_a_clearance_fee_takes_at_most_what_is_left():
    result = replay(market(flat(0), flat(1, "90.2")), plan())
    # fill floor(90.2 x 0.999) = 90.1098, value 901.098, loss 98.902, left 0.598; 0.5 % would be 4.505
    assert rows(result)[3:] == [("loss", "98.902"), ("clearance", "0.598")]


def test_a_short_that_gaps_over_its_bankruptcy_price_fills_there():
    result = replay(market(flat(0), flat(1, "120")), plan(side=-1))
    assert result.fills[-1].price_e8 == e8("109.95")  # (1000 + 99.5) / 10
    assert rows(result)[3:] == [("loss", "99.5")]


@pytest.mark.parametrize(("trade", "cause"), [("89", "price"), ("89.05", "fee")])
def test_after_an_action_only_the_fees_since_the_last_test_can_be_the_cause(trade, cause):
    # 5 are sold at the trade open T, mark 92: equity 99.5 + 5 T - 500 + 460 - 500 less the fee, maintenance 4.6.
    # Without the fee it holds at T <= 89.02
    world = market(flat(0), bar(1, "92 92 92", f"{trade} {trade}"), flat(2))
    result = replay(world, plan(release="keep", script=(ScriptedAction(1, REDUCE, 0.5, 0),)))
    assert (result.outcome["cause"], result.outcome["exit_reason"]) == (cause, "liquidated")


def test_funding_is_paid_before_the_test_and_is_the_cause_if_it_decides():
    world = market(flat(0), flat(1, "92"), flat(2, "92"), funding={0: "0.01", 2: "0.012"})
    result = replay(world, plan())
    # 10 x 92 x 0.012 = 11.04; equity 99.5 + 920 - 1000 = 19.5 > 9.2 before, 8.46 after
    assert rows(result)[3] == ("funding", "11.04")
    assert result.outcome["cause"] == "funding"
    assert result.outcome["funding_e8"] == e8("11.04")


def test_a_short_receives_positive_funding_and_rounds_it_down():
    world = market(flat(0), flat(1, "100.00000001"), flat(2), funding={1: "0.00010003"})
    result = replay(world, plan(side=-1, horizon_ms=2 * HOUR))
    # 10 x 100.00000001 x 0.00010003 = 0.10003000001..., down
    assert rows(result, "funding") == [("funding", "0.10003")]
    assert result.outcome["funding_e8"] == -e8("0.10003")


def test_a_funding_too_small_to_receive_makes_no_transfer():
    world = market(flat(0, "0.00001"), flat(1, "0.00001"), funding={1: "0.00000001"})
    short = plan(side=-1, step=D(1), sizing_margin=D("0.00001"), min_notional=D(0), horizon_ms=HOUR)
    assert rows(replay(world, short), "funding") == []


def test_a_new_tier_table_can_be_the_cause():
    stricter = (TierRow(None, D("0.05"), D(0), D(20)),)
    world = market(flat(0), flat(1, "94"), flat(2, "94"), tiers=((0, ONE_TIER), (2 * HOUR, stricter)))
    result = replay(world, plan())
    # equity 39.5 > 9.4 under the old, <= 47 under the new
    assert (result.outcome["cause"], result.outcome["liquidation_ms"]) == ("tier_change", 2 * HOUR)


def test_an_entry_fee_can_be_the_cause():
    tight = (TierRow(None, D("0.0999"), D(0), D(20)),)
    result = replay(market(flat(0), flat(1), tiers=((0, tight),)), plan())
    # equity 99.5 <= maintenance 99.9 < 100
    assert (result.outcome["cause"], result.outcome["exit_ms"]) == ("fee", 0)


# --- tiers and step-down -------------------------------------------------------------------------------------------


def two_tier_plan(**changes) -> Plan:
    """Give quantity 15 at 100 with a margin of 150, no clearance and no liquidation slippage: fee 0.75."""
    values = {"sizing_margin": D(150), "posted_margin": D(150), "liq_slippage": D(0), "clearance_rate": D(0)}
    return plan(**{**values, **changes})


def test_the_tier_of_the_notional_at_the_mark_decides():
    # 1500 is tier 2: maintenance 0.02 x 15 p - 10. 149.25 + 15 p - 1500 <= 0.3 p - 10 at p <= 91.207482993...
    result = replay(market(flat(0), bar(1, "100 100 91"), tiers=((0, THREE_TIERS),)), two_tier_plan())
    assert result.outcome["liquidation_price_e8"] == e8("91.20748299")


def test_a_step_down_closes_the_least_steps_and_releases_nothing():
    result = replay(market(flat(0), bar(1, "100 100 91.2"), flat(2, "92"), tiers=((0, THREE_TIERS),)), two_tier_plan())
    # At p = 91.20748299 equity is 17.36224485 and maintenance 17.362244897. Without costs one step of 0.1 leaves
    # equity and lowers maintenance, so one step is enough: 14.9 left. Sold value 9.120748299 down, cost share 10.
    fills = result.fills
    assert [f.qty_e8 for f in fills[:2]] == [e8("15"), -e8("0.1")]
    assert fills[1].mark_e8 == fills[1].price_e8 == e8("91.20748299")
    assert rows(result, "loss release clearance")[0] == ("loss", "0.87925171")
    # At the low 91.2 it is true again: equity 17.3618... less 14.9 x 0.00748299 = 17.25074845 against 17.176: no
    assert result.outcome["liquidation_count"] == 1
    assert (result.outcome["liquidated"], result.outcome["partial"]) == (True, True)
    assert result.outcome["liquidated_share_e8"] == 666_667  # 0.1 / 15, half even
    assert result.outcome["exit_reason"] == "data_end"


def test_within_a_leg_a_second_forced_close_is_made_at_its_end_and_counts_as_one_breach():
    result = replay(market(flat(0), bar(1, "100 100 91"), flat(2, "95"), tiers=((0, THREE_TIERS),)), two_tier_plan())
    forced = [f for f in result.fills if f.cause == "liquidation"]
    assert [f.mark_e8 for f in forced] == [e8("91.20748299"), e8("91")]
    assert result.outcome["liquidation_count"] == 1
    rest = 15 * 10**8 - sum(-f.qty_e8 for f in forced)
    assert rest % e8("0.1") == 0
    # rest q after the second close: equity E at 91 is unchanged by a close without costs up to rounding, and the
    # least steps make 0.02 x 91 q - 10 < E while one step less does not
    equity = D("149.25") - D("0.87925171") + D("14.9") * 91 - D(1490)
    quantity = D(rest).scaleb(-8)
    assert quantity * D("1.82") - 10 < equity <= (quantity + D("0.1")) * D("1.82") - 10


def test_a_step_down_that_cannot_help_closes_all():
    # A clearance fee of 2 % costs more than the 2 % of maintenance that a close frees
    result = replay(
        market(flat(0), bar(1, "100 100 91"), tiers=((0, THREE_TIERS),)), two_tier_plan(clearance_rate=D("0.02"))
    )
    assert result.outcome["exit_reason"] == "liquidated"
    assert len(result.fills) == 2


def test_a_step_down_may_leave_one_step_where_no_rest_fits_the_lower_tier():
    # steps of 7.5, 683 at the mark, are over the cap of 600: one of the two is closed
    tiers = (TierRow(D(600), D("0.01"), D(0), D(20)), TierRow(D(9000), D("0.02"), D(6), D(20)))
    world = market(flat(0), bar(1, "100 100 91"), flat(2, "95"), tiers=((0, tiers),))
    assert replay(world, two_tier_plan(step=D("7.5"))).fills[1].qty_e8 == -e8("7.5")


def test_a_leg_is_one_event_whatever_a_rule_does_on_it():
    # forced at 91.20748299; below it a rule brings 2 to the wallet, and the test after that is false; forced again at
    # the low: one leg, one event, one breach
    rules = (rule((MOVE, 2.0, 0), Wake("headroom_below", D(-1))),)
    world = market(flat(0), bar(1, "100 100 90.9"), flat(2, "95"), tiers=((0, THREE_TIERS),))
    result = replay(world, two_tier_plan(rules=rules))
    rule_mark = result.actions[0].mark_e8
    forced = [f.mark_e8 for f in result.fills if f.cause == "liquidation"]
    assert forced == [e8("91.20748299"), e8("90.9")]
    assert forced[0] > rule_mark > forced[1]
    assert result.outcome["liquidation_count"] == 1


def test_two_breaches_are_counted_when_the_predicate_was_false_between():
    bars = (flat(0), bar(1, "100 100 91.2"), flat(2, "92"), bar(3, "92 92 90.8"), flat(4, "95"))
    result = replay(market(*bars, tiers=((0, THREE_TIERS),)), two_tier_plan())
    assert result.outcome["liquidation_count"] == 2
    assert result.outcome["liquidation_ms"] == HOUR


# --- Bybit ---------------------------------------------------------------------------------------------------------


def test_the_closing_fee_reserve_counts_in_both_margins():
    world = market(flat(0), flat(1))
    seen = []
    probe = rule(lambda s: seen.append(s) or (0, 0.0, 0), Wake("on_fill"))
    replay(world, plan(fee_reserve=True, rules=(probe,), horizon_ms=HOUR))
    replay(world, plan(fee_reserve=True, side=-1, rules=(probe,), horizon_ms=HOUR))
    # 1000 x (1 -/+ 0.1) x 0.0005
    assert [(s.initial_margin, s.maintenance_margin) for s in seen] == [(100.45, 10.45), (100.55, 10.55)]


def test_a_takeover_fills_at_the_bankruptcy_price_and_nothing_comes_back():
    result = replay(market(flat(0), bar(1, "100 100 90")), plan(procedure="takeover", clearance_rate=D(0)))
    assert result.fills[-1].price_e8 == e8("90.05")
    assert result.fills[-1].mark_e8 == e8("90.95959596")
    assert rows(result)[3:] == [("loss", "99.5")]
    assert result.outcome["slippage_e8"] == 0


def test_what_a_takeover_leaves_goes_to_insurance():
    # quantity 3 of a margin of 100 at 33.3: bankruptcy (99.9 - 99.95005) / 3 is not on the grid
    world = market(flat(0, "33.3"), flat(1, "0.00000001"))
    result = replay(world, plan(procedure="takeover", leverage=D(1), posted_margin=D("99.9"), sizing_margin=D("99.9")))
    # wallet 99.9 - 0.04995 = 99.85005; (99.9 - 99.85005) / 3 = 0.01665 exactly, value 0.04995, loss 99.85005
    assert result.fills[-1].price_e8 == e8("0.01665")
    assert rows(result)[3:] == [("loss", "99.85005")]
    odd = replay(world, plan(procedure="takeover", leverage=D(1), posted_margin=D("99.89999999"), sizing_margin=D(100)))
    # (99.9 - 99.85004999) / 3 = 0.01665000333.. up to 0.01665001: value 0.04995003, loss 99.85004997, 2e-8 left
    assert rows(odd)[3:] == [("loss", "99.85004997"), ("takeover", "2E-8")]


def test_bybit_steps_to_the_lower_tier_before_a_takeover():
    world = market(flat(0), bar(1, "100 100 91.2"), flat(2, "95"), tiers=((0, THREE_TIERS),))
    result = replay(world, two_tier_plan(procedure="takeover"))
    # at 91.20748299 a notional of 1000 is 10.964012...: 10.9 stay, 4.1 are closed
    assert result.fills[1].qty_e8 == -e8("4.1")
    assert result.outcome["partial"] is True


# --- rules ---------------------------------------------------------------------------------------------------------


def test_a_deleverage_releases_the_closed_share_and_puts_it_back():
    world = market(flat(0), bar(1, "100 100 96"), flat(2))
    answer = (REDUCE, 0.25, 1)
    result = replay(world, plan(rules=(rule(answer, below("0.7")),), horizon_ms=2 * HOUR))
    # (99.5 + 10 p - 1000 - 0.1 p) / (0.9 p) <= 0.7 at 9.9 p - 900.5 <= 0.63 p: p <= 97.141316073
    mark = D("97.14131607")
    assert result.actions[0][:6] == (HOUR, 1, 0, "reduce", 0.25, e8(str(mark)))
    # d = ceil(10 x 0.25 / 0.1) steps = 2.5: value 242.853290175 -> 242.85329017, share 250, loss 7.14670983,
    # fee ceil(0.121426645) = 0.12142665; release 24.875 - 7.14670983 - 0.12142665
    assert rows(result)[3:7] == [
        ("loss", "7.14670983"),
        ("fee", "0.12142665"),
        ("release", "17.60686352"),
        ("put_back", "17.60686352"),
    ]
    assert result.outcome["margin_added_e8"] == 0
    assert result.outcome["actions"] == 1


def test_without_put_back_the_money_stays_free_and_keep_releases_nothing():
    world = market(flat(0), bar(1, "100 100 96"), flat(2))
    rules = (rule((REDUCE, 0.25, 0), below("0.7")),)
    assert [k for k, _ in rows(replay(world, plan(rules=rules, horizon_ms=2 * HOUR)))].count("put_back") == 0
    kept = replay(world, plan(rules=rules, release="keep", horizon_ms=2 * HOUR))
    pooled = replay(world, plan(rules=rules, margin_mode="cross", horizon_ms=2 * HOUR))
    for result in (kept, pooled):
        assert [t.cause for t in result.transfers if t.kind == "release"] == ["exit"]
    assert kept.transfers == pooled.transfers


def test_next_open_acts_at_the_next_trade_open_without_a_second_look():
    world = market(flat(0), bar(1, "100 100 96"), bar(2, "100 100 100", "99 100"), flat(3))
    rules = (rule((REDUCE, 0.25, 0), below("0.7")),)
    result = replay(world, plan(rules=rules, reaction="next_open", horizon_ms=3 * HOUR))
    assert [(a.time_ms, a.mark_e8) for a in result.actions] == [(2 * HOUR, e8("100"))]
    assert result.fills[1].price_e8 == e8("99")


def test_next_open_comes_too_late_for_a_liquidation_in_the_same_bar():
    world = market(flat(0), bar(1, "100 100 90"), flat(2))
    rules = (rule((REDUCE, 0.5, 1), below("0.7")),)
    assert replay(world, plan(rules=rules, reaction="next_open")).outcome["liquidated"] is True
    assert replay(world, plan(rules=rules)).outcome["actions"] == 1


def test_an_action_waiting_at_the_exit_is_dropped():
    world = market(flat(0), bar(1, "100 100 96"), flat(2))
    result = replay(
        world, plan(rules=(rule((CLOSE, 0.0, 0), below("0.7")),), reaction="next_open", horizon_ms=2 * HOUR)
    )
    assert result.outcome["exit_reason"] == "horizon"
    assert result.actions == []


def test_a_wake_that_holds_at_the_open_fills_at_the_trade_open():
    world = market(flat(0), bar(1, "96 96 96", "97 97"), flat(2))
    result = replay(world, plan(rules=(rule((REDUCE, 0.25, 0), below("0.7")),), horizon_ms=2 * HOUR))
    assert (result.fills[1].price_e8, result.fills[1].mark_e8) == (e8("97"), e8("96"))


def test_a_wake_calls_once_a_bar_and_again_in_the_next():
    world = market(flat(0), bar(1, "96 96 95"), bar(2, "96 96 95"), flat(3))
    rules = (rule((MOVE, 1.0, 0), below("0.7")),)
    assert [a.time_ms for a in replay(world, plan(rules=rules)).actions] == [HOUR, 2 * HOUR]


def test_a_cooldown_passes_wakes_over():
    world = market(flat(0), *(bar(h, "96 96 95") for h in range(1, 6)))
    rules = (rule((MOVE, 1.0, 0), below("0.7"), cooldown_ms=2 * HOUR),)
    assert [a.time_ms for a in replay(world, plan(rules=rules)).actions] == [HOUR, 3 * HOUR, 5 * HOUR]


def test_rules_at_one_point_are_called_in_list_order_on_what_the_one_before_left():
    seen = []
    first = rule((MOVE, 20.0, 0), below("0.7"), name="a")
    second = rule(lambda s: seen.append(s.wallet) or (HOLD, 0.0, 0), Wake("headroom_below", D(60)), name="b")
    world = market(flat(0), bar(1, "96 96 95"), flat(2))
    replay(world, plan(rules=(first, second)))
    # the added 20 lift headroom from 49.9 to 69.9: the second wakes only at (119.5 + 9.9 p - 1000 <= 60)
    assert seen == [119.5]


def test_liquidation_comes_before_a_wake_at_the_same_mark():
    calls = []
    watcher = rule(lambda s: calls.append(s) or (MOVE, 100.0, 0), Wake("margin_ratio_above", D(1)))
    result = replay(market(flat(0), bar(1, "100 100 90")), plan(rules=(watcher,)))
    assert result.outcome["liquidated"] is True
    assert calls == []


def test_a_top_up_saves_and_a_larger_one_than_the_reserve_is_refused_whole():
    world = market(flat(0), bar(1, "100 100 90"), flat(2))
    saved = replay(world, plan(rules=(rule((MOVE, 50.0, 0), below("0.25")),), horizon_ms=2 * HOUR))
    assert saved.outcome["liquidated"] is False
    assert saved.outcome["margin_added_e8"] == e8("50")
    refused = replay(world, plan(rules=(rule((MOVE, 100.1, 0), below("0.25")),), horizon_ms=2 * HOUR))
    assert refused.outcome["liquidated"] is True
    assert [a.status for a in refused.actions] == ["insufficient_reserve"]
    assert (refused.outcome["actions"], refused.outcome["refused"]) == (0, 1)


def test_margin_with_latency_arrives_at_the_first_open_that_is_late_enough():
    world = market(flat(0), bar(1, "100 100 96"), flat(2, "96"), flat(3, "99"), flat(4, "99"))
    seen = []
    rules = (
        rule((MOVE, 10.0, 0), below("0.7"), cooldown_ms=90 * HOUR),
        rule(lambda s: seen.append((s.wallet, s.transit, s.reserve)) or (HOLD, 0.0, 0), Wake("on_arrival")),
    )
    intrabar = replay(world, plan(rules=rules, latency_ms=HOUR, horizon_ms=4 * HOUR))
    assert [(t.time_ms, t.kind, t.cause) for t in intrabar.transfers if t.kind in ("send", "add_margin")] == [
        (HOUR, "send", "rule"),
        (2 * HOUR, "add_margin", "arrival"),
    ]
    assert seen == [(109.5, 0.0, 90.0)]
    late = replay(world, plan(rules=rules, latency_ms=2 * HOUR, reaction="next_open", horizon_ms=4 * HOUR))
    assert [t.time_ms for t in late.transfers if t.kind in ("send", "add_margin")] == [2 * HOUR, 4 * HOUR]


def test_what_is_in_transit_at_the_end_goes_back():
    world = market(flat(0), bar(1, "100 100 90"))
    result = replay(world, plan(rules=(rule((MOVE, 60.0, 0), below("0.25")),), latency_ms=5 * HOUR))
    assert rows(result)[-2:] == [("release", "3.64293178"), ("return", "6E+1")]
    assert result.outcome["equity_end_e8"] == e8("103.64293178")
    assert result.outcome["margin_added_e8"] == 0


def test_a_daily_cap_refuses_what_would_pass_it():
    world = market(*(flat(h) for h in range(22, 27)))
    rules = (rule((MOVE, 10.0, 0), Wake("every_bar")),)
    day = plan(entry_ms=22 * HOUR, rules=rules, daily_cap=D(15), horizon_ms=4 * HOUR)
    # hour 23 brings 10; hours 24 and 25, the next day, 20
    assert [a.status for a in replay(world, day).actions] == ["done", "done", "daily_cap"]
    exact = plan(entry_ms=22 * HOUR, rules=rules, daily_cap=D(20), horizon_ms=4 * HOUR)
    assert [a.status for a in replay(world, exact).actions] == ["done", "done", "done"]


def test_margin_can_be_removed_down_to_initial_margin():
    world = market(flat(0), flat(1, "102"), flat(2, "102"))
    # wallet 99.5, unrealised 20, IM 102: min(99.5, 17.5)
    for amount, status in ((-17.5, "done"), (-17.50000001, "not_removable")):
        result = replay(world, plan(rules=(rule((MOVE, amount, 1), Wake("every_bar")),), horizon_ms=2 * HOUR))
        assert [a.status for a in result.actions] == [status]
    assert rows(replay(world, plan(rules=(rule((MOVE, -17.5, 1), Wake("every_bar")),), horizon_ms=2 * HOUR)))[3] == (
        "remove_margin",
        "17.5",
    )


def test_no_more_than_the_wallet_can_be_removed():
    world = market(flat(0), flat(1, "150"), flat(2, "150"))
    # wallet 99.5; equity 599.5 less IM 150 would be 449.5
    for amount, status in ((-99.5, "done"), (-99.50000001, "not_removable")):
        result = replay(world, plan(rules=(rule((MOVE, amount, 1), Wake("every_bar")),), horizon_ms=2 * HOUR))
        assert [a.status for a in result.actions] == [status]


def test_an_increase_takes_its_margin_from_the_free_balance():
    world = market(flat(0), flat(1), flat(2), flat(3))
    script = (
        ScriptedAction(1, INCREASE, 0.1, 0),
        ScriptedAction(1, REDUCE, 0.5, 0),
        ScriptedAction(2, INCREASE, 0.2, 0),
    )
    result = replay(world, plan(script=script, horizon_ms=3 * HOUR))
    # 5 are sold at cost: fee 0.25, release 49.75 - 0.25 = 49.5; then 1 is bought: margin 10 + fee 0.05
    assert [a.status for a in result.actions] == ["insufficient_free", "done", "done"]
    assert rows(result)[3:7] == [("fee", "0.25"), ("release", "49.5"), ("add_margin", "10.05"), ("fee", "0.05")]
    assert result.outcome["margin_added_e8"] == 0


def test_the_margin_of_an_increase_is_rounded_up():
    script = (ScriptedAction(1, REDUCE, 0.5, 0), ScriptedAction(1, INCREASE, 0.2, 0))
    result = replay(market(flat(0), flat(1), flat(2)), plan(leverage=D(7), script=script, horizon_ms=2 * HOUR))
    # quantity 7, of which 3.5 are sold; 0.7 are bought for 70: 70 / 7 and a fee of 0.035
    assert rows(result, "add_margin") == [("add_margin", "10.035")]
    # 1.05 is cut to 1.0: 100 / 7 = 14.285714285.. and a fee of 0.05
    script = (ScriptedAction(1, REDUCE, 0.5, 0), ScriptedAction(1, INCREASE, 0.3, 0))
    result = replay(market(flat(0), flat(1), flat(2)), plan(leverage=D(7), script=script, horizon_ms=2 * HOUR))
    assert rows(result, "add_margin") == [("add_margin", "14.33571429")]


def test_refusals_of_an_increase():
    world = market(flat(0), flat(1), flat(2), tiers=((0, THREE_TIERS),))
    script = (ScriptedAction(0, MOVE, -0.0, 0), ScriptedAction(1, INCREASE, 0.009, 0), ScriptedAction(1, TRADE, 1.0, 0))
    result = replay(world, plan(script=script, horizon_ms=2 * HOUR))
    assert [a.status for a in result.actions] == ["invalid_amount", "below_step", "not_supported"]
    # at 15x: 40 bought hold 4000, tier 3, which allows 5x
    world = market(flat(0), flat(1), flat(2), tiers=((0, THREE_TIERS),))
    script = (ScriptedAction(1, REDUCE, 0.5, 0), ScriptedAction(1, INCREASE, 2.0, 0))
    rich = plan(leverage=D(15), posted_margin=D(2000), capital=D(2000), script=script, horizon_ms=2 * HOUR)
    assert [a.status for a in replay(world, rich).actions] == ["done", "leverage_cap"]


@pytest.mark.parametrize("share", [0.0, -0.5, math.nan, math.inf])
def test_a_share_that_is_no_share_is_refused(share):
    result = replay(market(flat(0), flat(1)), plan(script=(ScriptedAction(0, REDUCE, share, 0),)))
    assert [a.status for a in result.actions] == ["invalid_amount"]
    assert len(result.fills) == 2


def test_a_rest_under_the_minimum_notional_is_closed_too():
    script = (ScriptedAction(1, REDUCE, 0.995, 1),)
    result = replay(market(flat(0), flat(1), flat(2)), plan(script=script, min_notional=D("10.01")))
    assert (result.outcome["exit_reason"], result.outcome["exit_ms"]) == ("closed", HOUR)
    assert result.fills[-1].qty_e8 == -e8("10")
    kept = replay(market(flat(0), flat(1), flat(2)), plan(script=script, min_notional=D(10)))
    assert kept.fills[1].qty_e8 == -e8("10")  # 0.995 x 10 = 9.95 is put on the step upward


def test_a_rule_closes_all_on_the_path():
    result = replay(market(flat(0), bar(1, "100 100 90")), plan(rules=(rule((CLOSE, 0.0, 0), below("0.25")),)))
    assert (result.outcome["exit_reason"], result.outcome["liquidated"]) == ("closed", False)
    assert result.transfers[-1].kind == "release"


def test_leverage_can_be_set_within_the_tier_and_the_equity():
    world = market(flat(0), flat(1, "101"), flat(2))
    # at 5x initial margin would be 202 against an equity of 109.5
    for leverage, status in ((20.0, "done"), (20.5, "leverage_cap"), (5.0, "leverage_cap"), (0.0, "invalid_amount")):
        result = replay(world, plan(script=(ScriptedAction(1, LEVERAGE, leverage, 0),), horizon_ms=2 * HOUR))
        assert [a.status for a in result.actions] == [status]


def test_every_wakes_at_the_first_open_after_each_multiple():
    world = market(*(flat(h) for h in (0, 1, 2, 5, 6, 7)))
    seen = []
    watcher = rule(lambda s: seen.append(s.hours_since_entry) or (HOLD, 0.0, 0), Wake("every", D(2)))
    replay(world, plan(rules=(watcher,)))
    assert seen == [2.0, 5.0, 6.0]


def test_fills_and_funding_wake_in_their_bar():
    world = market(*(flat(h) for h in range(4)), funding={0: "0.0001", 2: "0.0001"})
    seen = []

    def note(state):
        seen.append((state.hours_since_entry, state.wake))
        return (HOLD, 0.0, 0)

    script = (ScriptedAction(1, REDUCE, 0.1, 0),)
    replay(world, plan(rules=(rule(note, Wake("on_funding"), Wake("on_fill")),), script=script, horizon_ms=3 * HOUR))
    assert seen == [(0.0, 1), (1.0, 1), (2.0, 0)]


def test_memory_belongs_to_a_rule_and_persists():
    def count(state):
        state.memory[0] += 1
        return (MOVE, state.memory[0], 0)

    result = replay(market(*(flat(h) for h in range(4))), plan(rules=(rule(count, Wake("every_bar")),)))
    assert [a.amount for a in result.actions] == [1.0, 2.0, 3.0]


# --- outcome figures -----------------------------------------------------------------------------------------------


def test_baseline_times_pair_the_exposure():
    world = market(*(flat(h) for h in range(5)))
    script = (ScriptedAction(2, REDUCE, 0.5, 0),)
    result = replay(
        world,
        plan(script=script, horizon_ms=4 * HOUR, baseline_liquidation_ms=2 * HOUR, baseline_exit_ms=3 * HOUR),
    )
    assert result.outcome["qty_at_baseline_liquidation_e8"] == e8("5")
    assert result.outcome["notional_hours_e2"] == 100 * (1000 + 1000 + 500 + 500)
    assert result.outcome["notional_hours_paired_e2"] == 100 * (1000 + 1000 + 500)
    gone = replay(world, plan(horizon_ms=HOUR, baseline_liquidation_ms=2 * HOUR))
    assert gone.outcome["qty_at_baseline_liquidation_e8"] == 0


def test_the_largest_deficit_is_the_margin_that_was_missing():
    bars = (flat(0), bar(1, "100 101 88"), bar(2, "89 89 86"), flat(3))
    probe = replay(market(*bars), plan(liquidation=False))
    # at 86: maintenance 8.6, equity 99.5 + 860 - 1000 = -40.5
    assert probe.outcome["largest_deficit_e8"] == e8("49.1")
    enough = D("149.10000001")
    assert replay(market(*bars), plan(posted_margin=enough)).outcome["liquidated"] is False
    assert replay(market(*bars), plan(posted_margin=enough - D("1e-8"))).outcome["liquidated"] is True


# --- independence and inputs --------------------------------------------------------------------------------


def test_the_oracle_imports_nothing_of_the_package_but_schema_and_errors():
    files = list(Path(oracle.__file__).parent.glob("*.py"))
    imported = {
        node.module
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("backtest")
    }
    others = {name for name in imported if not name.startswith("backtest.engine.oracle")}
    assert len(files) > 5
    assert others == {"backtest.schema", "backtest.errors"}


def test_tier_tables_are_read_with_their_first_days():
    tables = load_tiers("binance", "BTCUSDT")
    assert [first for first, _ in tables] == sorted(first for first, _ in tables)
    assert tables[0][1][0] == TierRow(D(50000), D("0.004"), D(0), D(125))
    with pytest.raises(CoverageError, match="BTCUSDT"):
        load_tiers("binance", "BTCUSDTT")
    with pytest.raises(CoverageError, match="binance"):
        load_tiers("binanse", "BTCUSDT")


def test_a_number_with_more_than_eight_decimals_is_an_error():
    with pytest.raises(DataError, match="8 decimals"):
        replay(market(flat(0, "100.000000001"), flat(1)), plan())


# --- laws ----------------------------------------------------------------------------------------------------------


@st.composite
def worlds(draw) -> tuple[Market, Plan]:
    """Draw a market of up to 40 jumpy bars, some missing, and a run on it with rules of every verb."""
    ticks = st.integers(-600, 600)
    price, bars = 10_000, []
    for hour in range(draw(st.integers(2, 40))):
        opened = max(price + draw(ticks) // 4, 500)
        up, down, close = abs(draw(ticks)), abs(draw(ticks)), draw(ticks)
        high, low = opened + up, max(opened - down, 400)
        price = min(max(opened + close, low), high)
        trade = opened + draw(st.integers(-20, 20))
        if hour == 0 or draw(st.integers(0, 9)):
            cents = [D(x).scaleb(-2) for x in (trade, price, opened, high, low)]
            bars.append(Bar(hour * HOUR, *cents))
    funding = {8 * k: draw(st.sampled_from(("0.0001", "-0.0003", "0.01", "-0.0075"))) for k in range(5)}
    tables = ((0, THREE_TIERS), (draw(st.integers(1, 40)) * HOUR, ONE_TIER))
    wakes = st.sampled_from(
        [
            below("0.5"),
            below("0.25"),
            Wake("margin_ratio_above", D("0.8")),
            Wake("headroom_below", D(20)),
            Wake("every", D(3)),
        ]
        + [Wake(kind) for kind in ("every_bar", "on_fill", "on_funding", "on_arrival")]
    )
    answers = st.sampled_from(
        (
            (REDUCE, 0.25, 1),
            (REDUCE, 0.3, 0),
            (INCREASE, 0.2, 0),
            (CLOSE, 0.0, 0),
            (HOLD, 0.0, 0),
            (MOVE, 15.0, 0),
            (MOVE, 5.0, 1),
            (MOVE, -4.0, 0),
            (LEVERAGE, 12.5, 0),
        )
    )
    count = draw(st.integers(0, 3))
    rules = tuple(
        rule(draw(answers), draw(wakes), draw(wakes), cooldown_ms=draw(st.sampled_from((0, 2)))) for _ in range(count)
    )
    return market(*bars, funding=funding, tiers=tables), plan(
        side=draw(st.sampled_from((1, -1))),
        leverage=D(draw(st.sampled_from((3, 5, 10, 20)))),
        sizing_margin=D(draw(st.sampled_from((50, 100)))),
        horizon_ms=draw(st.integers(1, 45)) * HOUR,
        slippage=D(draw(st.sampled_from(("0", "0.0002")))),
        margin_mode=draw(st.sampled_from(("isolated", "cross"))),
        procedure=draw(st.sampled_from(("ioc", "takeover"))),
        fee_reserve=draw(st.booleans()),
        reaction=draw(st.sampled_from(("intrabar", "next_open"))),
        latency_ms=draw(st.sampled_from((0, 3 * HOUR // 2))),
        rules=rules,
    )


@settings(max_examples=80, deadline=None)
@given(worlds())
def test_the_books_are_the_run(world):
    """Balances and position rebuild from the rows; flat means empty; no account ends below zero."""
    result = replay(*world)
    balances = dict.fromkeys({t.debit for t in result.transfers} | {t.credit for t in result.transfers}, 0)
    for transfer in result.transfers:
        assert transfer.amount_e8 > 0
        balances[transfer.debit] -= transfer.amount_e8
        balances[transfer.credit] += transfer.amount_e8
    if result.outcome["exit_reason"] == "refused":
        assert balances == {}
        return
    assert sum(balances.values()) == 0
    assert balances["margin"] == balances.get("transit", 0) == 0
    assert min(balances.get("free", 0), balances["reserve"]) >= 0
    assert balances.get("free", 0) + balances["reserve"] == result.outcome["equity_end_e8"]
    assert sum(fill.qty_e8 for fill in result.fills) == 0
    # what went to and came from the market is the fills' values
    assert balances.get("market", 0) == -sum(f.cost_e8 * (-1 if f.qty_e8 > 0 else 1) for f in result.fills)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_a_rule_that_does_nothing_changes_nothing(world):
    tape, run = world
    nothing = rule((HOLD, 0.0, 0), below("0.9"), Wake("every_bar"), Wake("margin_ratio_above", D("0.1")))
    bare = replay(tape, Plan(**{**vars(run), "rules": ()}))
    watched = replay(tape, Plan(**{**vars(run), "rules": (nothing, nothing)}))
    assert watched == bare


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(1, 40))
def test_no_row_depends_on_what_comes_later(world, hour):
    tape, run = world
    later = tuple(b if b.time_ms < hour * HOUR else Bar(b.time_ms, *(p * 2 for p in b[1:6])) for b in tape.bars)
    whole, changed = replay(tape, run), replay(Market(**{**vars(tape), "bars": later}), run)
    for table in ("transfers", "fills", "actions"):
        assert [r for r in getattr(whole, table) if r.time_ms < hour * HOUR] == [
            r for r in getattr(changed, table) if r.time_ms < hour * HOUR
        ]


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_a_hold_is_liquidated_in_the_first_bar_whose_open_or_extreme_meets_the_predicate_and_in_none_before(world):
    tape, run = world
    run = Plan(**{**vars(run), "rules": (), "fee_reserve": False})
    result = replay(tape, run)
    if result.outcome["exit_reason"] == "refused":
        return
    qty, cost = D(result.fills[0].qty_e8).scaleb(-8), D(result.fills[0].cost_e8).scaleb(-8)
    paid = {
        t.time_ms: D(-t.amount_e8 if t.debit == "margin" else t.amount_e8).scaleb(-8)
        for t in result.transfers
        if t.kind == "funding"
    }
    wallet = 100 - D(result.transfers[2].amount_e8).scaleb(-8)

    def dead(mark: Decimal, table: tuple[TierRow, ...]) -> bool:
        notional = abs(qty) * mark
        row = next((r for r in table if r.cap is None or notional <= r.cap), table[-1])
        equity = wallet + qty * mark - run.side * cost
        return equity <= notional * row.rate - row.deduction

    first = None
    for b in tape.bars:
        if b.time_ms > min(result.outcome["exit_ms"], result.outcome["liquidation_ms"] or math.inf):
            break
        wallet += paid.get(b.time_ms, 0)
        table = [t for start, t in tape.tiers if start <= b.time_ms][-1]
        marks = [b.mark_open] if result.outcome["exit_ms"] == b.time_ms and not result.outcome["liquidated"] else b[3:6]
        if any(dead(mark, table) for mark in marks):
            first = b.time_ms
            break
    # prices here have two decimals and quantities one, so the exact predicate and the rounded one agree
    assert result.outcome["liquidation_ms"] == first


def test_halves_go_to_the_even_neighbour():
    assert [half_even(n, 4) for n in (2, 6, 10, 3, -2, -6, -3)] == [0, 2, 2, 1, 0, -2, -1]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from((1, -1)), st.integers(10**4, 3 * 10**9), st.integers(-300, 300), st.integers(0, 10**6))
def test_the_crossing_is_the_first_grid_price_where_the_predicate_holds(side, qty, offset, dust):
    cost = qty * 100 + dust % qty
    wallet = cost // 10 + dust
    position = Position(side, qty, cost, 10 * 10**8, exact_rows(ONE_TIER), 50_000, False)
    around = (cost - side * wallet) * 10**10 // (qty * (100 - side)) + offset  # where equity is about maintenance
    start, end = around + side * 600, around - side * 600

    def holds(mark: int) -> bool:
        return position.liquidated(wallet, mark)

    walked = [mark for mark in range(start, end - side, -side) if holds(mark)]
    if walked and not holds(start) and holds(end):
        assert bisect(holds, qty, start, end) == walked[0]


@pytest.mark.parametrize("answer", [(7, 1.0, 0), (-1, 1.0, 0), (MOVE, 1.0, 2), (MOVE, 1.0, -1)])
def test_a_verb_or_target_that_does_not_exist_is_an_error(answer):
    with pytest.raises(RuleError, match="careless"):
        replay(market(flat(0), flat(1)), plan(rules=(rule(answer, Wake("every_bar"), name="careless"),)))


def test_a_thirty_day_run_is_quick_enough_to_compare_thousands():
    import time

    bars = tuple(bar(h, f"{100 + h % 7} {101 + h % 7} {99 + h % 5}") for h in range(721))
    run = plan(leverage=D(3), rules=(rule((REDUCE, 0.1, 1), below("0.1")),), horizon_ms=720 * HOUR)
    tape = market(*bars, funding=dict.fromkeys(range(0, 720, 8), "0.0001"), tiers=((0, THREE_TIERS),))
    started = time.process_time()
    assert replay(tape, run).outcome["exit_reason"] == "horizon"
    assert time.process_time() - started < 0.5
