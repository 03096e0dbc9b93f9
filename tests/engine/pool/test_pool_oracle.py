"""The oracle of several legs against what is known without it: closed formulas, and the oracle of one position."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import pytest
import worlds as single
from pool_harness import run_kernel
from pool_scenario import FUNCTIONS
from pool_worlds import draw_world
from scenario import rule_use

from backtest.engine import oracle
from backtest.engine.oracle import pool as twin
from backtest.engine.oracle.model import THRESHOLD_WAKES

D = Decimal
HOUR_MS = 3_600_000
EQUITY, RATE = D("0.03"), D("0.01")  # of the notional


def falling_market() -> twin.PoolMarket:
    """Give 100, and then a fall to 80."""
    bars = (
        twin.PoolBar(0, *(D(100),) * 6),
        twin.PoolBar(HOUR_MS, D(100), D(80), D(100), D(100), D(80), D(80)),
    )
    tiers = ((0, (oracle.TierRow(None, RATE, D(0), D(100)),)),)
    return twin.PoolMarket(HOUR_MS, (twin.Instrument("A", False, bars, {}, tiers, ((0, D(0)),)),))


def long_with(rules: tuple[oracle.RuleUse, ...]) -> twin.PoolPlan:
    """Give a long of 1 from 100 with an equity of 3 % and an opposite leg that rules may open."""
    return twin.PoolPlan(
        entry_ms=0,
        horizon_ms=5 * HOUR_MS,
        stop_ms=9 * HOUR_MS,
        side=1,
        leverage=D(100),
        capital=D(10),
        sizing_margin=D(1),
        qty_share=D(1),
        posted_margin=EQUITY * 100,
        step=D(1),
        min_notional=D(0),
        slippage=D(0),
        liq_slippage=D(0),
        clearance_rate=D(0),
        margin_mode="cross",
        procedure="ioc",
        fee_reserve=False,
        rules=rules,
        core=(twin.CoreLeg(0, D("0.01"), D(0)),),
        layers=(twin.LayerSpec("opposite", None, D(100), D(0), D(0)),),
    )


@pytest.mark.parametrize(
    ("share", "hedged", "delevered"),
    [
        ("0", "2.0202", "2.0202"),
        ("0.25", "2.3729", "3.0303"),
        ("0.5", "3.0928", "5.0505"),
        ("0.75", "5.3763", "11.1111"),
    ],
)
def test_a_hedge_in_the_same_contract_is_not_deleveraging(share: str, hedged: str, delevered: str) -> None:
    """The fall in per cent to liquidation: both legs of a hedge need margin, what is closed needs none.

    hedged: (e - m (1 + h)) / (1 - h - m (1 + h)); closed: (e - m (1 - h)) / ((1 - h) (1 - m)).
    """
    h, market = D(share), falling_market()
    expected = {
        "hedge": (EQUITY - RATE * (1 + h)) / (1 - h - RATE * (1 + h)),
        "deleverage": (EQUITY - RATE * (1 - h)) / ((1 - h) * (1 - RATE)),
    }
    for use, printed in (("hedge", hedged), ("deleverage", delevered)):
        row = {"use": use, "wakes": "on_fill", "parameters": f"share={share},target=0,put_back=0", "cooldown": "99h"}
        plan = long_with((rule_use(row, FUNCTIONS),) if h else ())
        for engine in (twin.replay, run_kernel):
            price = D(str(engine(market, plan).outcome["liquidation_price_e8"])) / 10**8
            fall = (100 - price) / 100
            assert 0 <= fall - expected[use] <= D(20) / 2**20 / 100 + D("1e-8")  # one place of the way from 100 to 80
            assert f"{expected[use] * 100:.4f}" == printed


def test_a_whole_hedge_dies_of_its_margin_on_the_way_up() -> None:
    """Hedged whole, equity stands still and both maintenances grow: dead at e / (2 m) - 1 = + 50 %."""
    row = {"use": "hedge", "wakes": "on_fill", "parameters": "share=1,target=0", "cooldown": "99h"}
    market, plan = falling_market(), long_with((rule_use(row, FUNCTIONS),))
    bars = (market.instruments[0].bars[0], twin.PoolBar(HOUR_MS, *map(D, (100, 180, 100, 180, 100, 180))))
    rising = replace(market, instruments=(replace(market.instruments[0], bars=bars),))
    for engine in (twin.replay, run_kernel):
        outcome = engine(rising, plan).outcome
        assert outcome["cause"] == "hedge_margin"
        assert 0 <= D(str(outcome["liquidation_price_e8"])) / 10**8 - 150 <= D(80) / 2**20
        assert engine(market, plan).outcome["liquidated"] is False


def as_pool(market: oracle.Market, plan: oracle.Plan) -> tuple[twin.PoolMarket, twin.PoolPlan]:
    """Give a run of one position as a run with one leg."""
    bars = tuple(twin.PoolBar(*bar[:6], bar.mark_open, bar.length_ms) for bar in market.bars)
    instrument = twin.Instrument("A", False, bars, market.funding, market.tiers, market.taker)
    leg = twin.CoreLeg(0, plan.step, plan.min_notional)
    return twin.PoolMarket(market.interval_ms, (instrument,)), twin.PoolPlan(
        **{field.name: getattr(plan, field.name) for field in fields(plan)}, core=(leg,)
    )


def test_one_leg_is_one_position_until_it_is_liquidated() -> None:
    """Beside the path, the two contracts are one: the same rows up to the first liquidation."""
    alike = 0
    for seed in range(600):
        world = single.draw_world(seed)
        if world.plan.signals:
            continue  # a run with several legs is not told of signals and events
        rules = tuple(
            replace(use, wakes=tuple(wake for wake in use.wakes if wake.kind not in THRESHOLD_WAKES))
            for use in world.plan.rules
        )
        plan = replace(world.plan, rules=rules, liquidation=True)
        one, pool = oracle.replay(world.market, plan), twin.replay(*as_pool(world.market, plan))
        first = one.outcome["liquidation_ms"]
        assert pool.outcome["liquidation_ms"] == first

        def before(rows: list, first: object = first) -> list:
            return [row for row in rows if first is None or row.time_ms < first]

        assert [(*t[:4], *t[5:]) for t in before(pool.transfers)] == [tuple(t) for t in before(one.transfers)]
        assert [(f[0], *f[2:]) for f in before(pool.fills)] == [tuple(f) for f in before(one.fills)]
        assert before(pool.actions) == before(one.actions)
        if first is None:
            same = one.outcome.keys() & pool.outcome.keys() - {"min_buffer_ppm", "max_margin_ratio_ppm"}
            assert {k: one.outcome[k] for k in same} == {k: pool.outcome[k] for k in same}
            alike += one.outcome["exit_reason"] != "refused"
    assert alike > 100


def test_generated_pools_meet_what_they_are_made_for() -> None:
    """Endings, causes, refusals, assets and units each occur in the generated worlds."""
    worlds = [draw_world(seed) for seed in range(800)]
    results = [twin.replay(world.market, world.plan) for world in worlds]
    outcomes = [result.outcome for result in results]
    assert {outcome["exit_reason"] for outcome in outcomes} == {
        "liquidated",
        "horizon",
        "closed",
        "data_end",
        "refused",
    }
    assert {outcome["cause"] for outcome in outcomes} >= {"price", "funding", "fee", "tier_change", "hedge_margin"}
    kinds = {wake.kind for world in worlds for use in world.plan.rules for wake in use.wakes}
    assert kinds >= {"buffer_below", "headroom_below", "on_fill", "signal", "before_event", "after_event"}
    assert sum(bool(outcome["liquidated"]) for outcome in outcomes) >= 0.3 * len(outcomes)
    assert sum(int(str(outcome["layer_liquidations"])) for outcome in outcomes) > 10
    assert sum(bool(outcome["partial"]) for outcome in outcomes) > 10
    statuses = {(a.verb, a.status) for result in results for a in result.actions}
    reasons = (
        "done",
        "below_step",
        "below_min_notional",
        "leverage_cap",
        "insufficient_margin",
        "insufficient_reserve",
    )
    assert statuses >= {("trade", reason) for reason in reasons} | {("trade", "daily_cap"), ("trade", "not_supported")}
    assert {t.kind for result in results for t in result.transfers if t.asset} >= {"convert", "fee", "profit", "loss"}
    assert {t.debit for result in results for t in result.transfers} >= {"margin", "margin.1", "margin.2", "margin.3"}
