"""Laws that hold for every account, on generated ones."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from backtest.venues.account import Account, Position
from backtest.venues.account_json import read_account
from backtest.venues.formulas import FORMULAS
from backtest.venues.ladder import Ladder
from backtest.venues.report import compute, is_liquidated, liquidation_boundary, unit_of
from backtest.venues.solve import nearest_boundary
from backtest.venues.symbols import load_table
from backtest.venues.tiers import read_tiers, tier_tables
from tests.venues.accounts import KINDS, accounts, ladders, make_account

FAST = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FAST, max_examples=2_000)
ALONE = ("binance isolated", "binance coin", "bybit isolated", "bybit auto", "bybit inverse", "bybit classic")
ONE_TICK = Fraction(1, 10**8)


def check_predicate_flips(content: dict[str, Any]) -> None:
    account = read_account(content)
    for index, position in enumerate(account.positions):
        found = liquidation_boundary(account, unit_of(account, position), position.symbol)
        if found is None:
            marks = [position.mark_price * factor for factor in (Fraction(1, 10**9), 1, 10**9)]
            assert len({is_liquidated(account, index, mark) for mark in marks}) == 1
            continue
        printed = FORMULAS[account.venue].price(position, found.price, alive_above=found.alive_above)
        tick = position.tick_size or ONE_TICK
        if printed <= tick:
            continue
        assert is_liquidated(account, index, printed - tick) == found.alive_above
        assert is_liquidated(account, index, printed + tick) != found.alive_above
        assert is_liquidated(account, index, found.price)


@MANY
@given(accounts())
def test_the_predicate_flips_within_one_tick_of_the_liquidation_price(content: dict[str, Any]) -> None:
    check_predicate_flips(content)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(10))
def test_the_predicate_flips_on_a_hundred_thousand_accounts(batch: int) -> None:
    for seed in range(batch * 10_000, (batch + 1) * 10_000):
        check_predicate_flips(make_account(Random(seed), KINDS))


@FAST
@given(accounts(tuple(kind for kind in KINDS if kind != "bybit cross")))
def test_the_search_by_halves_finds_what_visiting_every_tier_finds(content: dict[str, Any]) -> None:
    account = read_account(content)
    formulas = FORMULAS[account.venue]
    for position in account.positions:
        unit = unit_of(account, position)
        found = [
            nearest_boundary(
                lambda mark, unit=unit, symbol=position.symbol: formulas.trigger(account, unit.at(symbol, mark)),
                formulas.kinks(account, unit, position.symbol),
                position.mark_price,
                inverse=position.inverse,
                concave=concave,
            )
            for concave in (True, False)
        ]
        assert found[0] == found[1]


@FAST
@given(accounts(("binance isolated", "binance cross", "binance hedge")))
def test_binance_price_is_the_published_formula_at_its_own_bracket(content: dict[str, Any]) -> None:
    account = read_account(content)
    position = account.positions[0]
    unit = unit_of(account, position)
    found = liquidation_boundary(account, unit, position.symbol)
    assume(found is not None)
    assert found is not None
    others = [p for p in unit.positions if p.symbol != position.symbol]
    if unit.kind == "isolated":
        assert position.leverage is not None
        wallet = position.entry_value / position.leverage + position.extra_margin
    else:
        wallet = account.balance("USDT") + sum(p.unrealized - p.ladder.maintenance(p.value) for p in others)
    over, under = wallet, Fraction(0)
    for leg in unit.of(position.symbol):
        row = leg.ladder.row(leg.value_at(found.price))
        over += row.deduction - leg.side * leg.qty * leg.entry_price
        under += leg.qty * row.rate - leg.side * leg.qty
    assert found.price * under == over


@FAST
@given(accounts(("bybit isolated",)))
def test_bybit_isolated_price_is_the_published_formula(content: dict[str, Any]) -> None:
    account = read_account(content)
    position = account.positions[0]
    found = liquidation_boundary(account, unit_of(account, position), position.symbol)
    assume(found is not None)
    assert found is not None
    assert position.leverage is not None
    side, qty, value = position.side, position.qty, position.entry_value
    mark_era = account.era == "uta_mark"
    row = position.ladder.row(qty * found.price if mark_era else value)
    if mark_era:
        added = position.extra_margin / (1 - side * account.taker_fee)
        top = value - side * (value / position.leverage + added + row.deduction)
        assert found.price == top / (qty * (1 - side * row.rate))
    else:
        gap = value / position.leverage - (value * row.rate - row.deduction) + position.extra_margin
        assert found.price == position.entry_price - side * gap / qty


@FAST
@given(accounts(("binance coin",)))
def test_coin_margined_price_is_the_published_formula_at_its_own_bracket(content: dict[str, Any]) -> None:
    """Q S (rate + side) / (W + deduction + side Q S / E)."""
    account = read_account(content)
    position = account.positions[0]
    unit = unit_of(account, position)
    found = liquidation_boundary(account, unit, position.symbol)
    assume(found is not None)
    assert found is not None
    assert position.leverage is not None
    alone = position.entry_value / position.leverage + position.extra_margin
    wallet = alone if unit.kind == "isolated" else account.balance("BTC")
    row = position.ladder.row(position.value_at(found.price))
    under = wallet + row.deduction + position.side * position.size / position.entry_price
    assert found.price * under == position.size * (row.rate + position.side)


@FAST
@given(accounts(("bybit inverse",)))
def test_bybit_inverse_isolated_price_is_the_published_formula(content: dict[str, Any]) -> None:
    account = read_account(content | {"margin_mode": "isolated"})
    position = account.positions[0]
    found = liquidation_boundary(account, unit_of(account, position), position.symbol)
    assume(found is not None)
    assert found is not None
    assert position.leverage is not None
    side, value = position.side, position.entry_value
    margin = value / position.leverage
    if account.era == "uta_mark":
        row = position.ladder.row(position.value_at(found.price))
        added = position.extra_margin / (1 + side * account.taker_fee)
        assert found.price * (value + side * (margin + added + row.deduction)) == position.size * (1 + side * row.rate)
    else:
        gap = margin + position.extra_margin - position.ladder.maintenance(value)
        assert found.price * (value + side * gap) == position.size


@FAST
@given(accounts(("bybit cross", "bybit hedge")))
def test_bybit_shows_the_estimate_with_maintenance_frozen(content: dict[str, Any]) -> None:
    """mark - (margin balance - maintenance) / (net size, 4 % more where the coin is borrowed)."""
    result = compute(content)
    first = result.source.positions[0]
    legs = [p for p in result.source.positions if p.symbol == first.symbol]
    net = sum(p.side * p.qty for p in legs)
    assume(net)
    borrowed = result.source.balance("USDT") + sum(p.unrealized for p in result.source.positions) < 0
    now = FORMULAS["bybit"].state(result.source, unit_of(result.source, first))
    shown = first.mark_price - now.headroom / (net * (Fraction(104, 100) if borrowed else 1))
    ours = result.positions[0].displayed_liquidation_price
    assert (ours is None) == (shown <= 0)
    if ours is not None:
        assert 0 <= shown - Fraction(ours) < ONE_TICK


@FAST
@given(accounts(ALONE), st.integers(1, 10**6))
def test_adding_margin_never_brings_liquidation_nearer(content: dict[str, Any], amount: int) -> None:
    more = {**content, "positions": [dict(content["positions"][0])]}
    if content["margin_mode"] == "isolated":
        before = Fraction(content["positions"][0].get("extra_margin") or "0")
        more["positions"][0]["extra_margin"] = str(int(before) + amount)
    else:
        held = content["collateral"][0]
        more["collateral"] = [held | {"amount": str(float(held["amount"]) + amount)}]
    side = 1 if content["positions"][0]["side"] == "long" else -1
    old, new = (compute(c).positions[0].liquidation_price for c in (content, more))
    if new is not None and old is not None:
        assert side * Fraction(new) <= side * Fraction(old)
    if old is None and new is not None:
        # Dead at every price before: only a long with more margin than its value, or an account already gone, has none.
        assert is_liquidated(read_account(content), 0, Fraction(new))


@FAST
@given(accounts(ALONE))
def test_bankruptcy_lies_beyond_liquidation(content: dict[str, Any]) -> None:
    position = compute(content).positions[0]
    assume(position.liquidation_price is not None and position.bankruptcy_price is not None)
    side = 1 if position.side == "long" else -1
    assert side * Fraction(position.bankruptcy_price or 0) <= side * Fraction(position.liquidation_price or 0)


@FAST
@given(accounts(("binance cross", "bybit cross")))
def test_side_enters_account_figures_only_through_the_sign_of_profit(content: dict[str, Any]) -> None:
    content = {**content, "orders": [], "taker_fee": "0", "era": None}
    mirrored = {**content, "positions": []}
    for position in content["positions"]:
        reflected = 2 * Fraction(position["mark_price"]) - Fraction(position["entry_price"])
        assume(reflected > 0)
        mirrored["positions"].append(
            position
            | {"side": "short" if position["side"] == "long" else "long", "entry_price": f"{float(reflected):.2f}"}
        )
    assert compute(content).account == compute(mirrored).account


@FAST
@given(accounts(("binance hedge",)))
def test_binance_hedge_legs_are_both_charged_and_share_one_cross_price(content: dict[str, Any]) -> None:
    account = read_account(content)
    first, second = compute(content).positions
    for figures, leg in zip((first, second), account.positions, strict=True):
        assert Fraction(figures.maintenance_margin) <= leg.ladder.maintenance(leg.value)
        assert leg.ladder.maintenance(leg.value) - Fraction(figures.maintenance_margin) < ONE_TICK
    if account.margin_mode == "cross":
        assert first.liquidation_price == second.liquidation_price


@FAST
@given(accounts(("bybit hedge",)))
def test_bybit_hedge_charges_the_larger_leg_the_net_and_the_hedged_fee_twice(content: dict[str, Any]) -> None:
    account = read_account(content)
    unit = unit_of(account, account.positions[0])
    small, large = sorted(account.positions, key=lambda p: (p.qty, p.side))
    margins = FORMULAS["bybit"].margins
    smaller, larger = margins(account, unit, small), margins(account, unit, large)
    assert smaller.initial == smaller.maintenance
    mark = large.mark_price if account.era == "uta_mark" else large.entry_price
    net_value = (large.qty - small.qty) * mark
    base = large.ladder.maintenance(net_value) if net_value else 0
    assert larger.maintenance - base == closing_fee(account, large, large.qty + small.qty)
    assert smaller.maintenance == closing_fee(account, small, 2 * small.qty)


def closing_fee(account: Account, leg: Position, size: Fraction) -> Fraction:
    assert leg.leverage is not None
    rate = account.taker_fee * (1 - leg.side / leg.leverage)
    rounded = Fraction(-(-rate.numerator * 10**8 // rate.denominator), 10**8)
    return size * leg.entry_price * rounded


@FAST
@given(ladders(), st.integers(1, 2_000_000), st.integers(1, 2_000_000))
def test_maintenance_is_continuous_and_convex(rows: list[dict[str, str]], one: int, two: int) -> None:
    check_convex(Ladder.of(read_tiers(rows, "ladder"), ""), Fraction(one), Fraction(two))


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_every_packaged_ladder_is_continuous_and_convex(venue: str) -> None:
    for symbol in load_table(venue, "tiers")["symbols"]:
        for table in tier_tables(venue, symbol):
            ladder = Ladder.of(table.tiers, table.source)
            for low, high in zip(ladder.caps, ladder.caps[1:], strict=False):
                check_convex(ladder, low, high)


def check_convex(ladder: Ladder, one: Fraction, two: Fraction) -> None:
    middle = (one + two) / 2
    assert 2 * ladder.maintenance(middle) <= ladder.maintenance(one) + ladder.maintenance(two)
    for cap, row, after in zip(ladder.caps, ladder.rows, ladder.rows[1:], strict=False):
        assert cap * row.rate - row.deduction == cap * after.rate - after.deduction
