"""The laws of time and of rules with several legs: no future, nothing that was not asked for, the same each time."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random
from types import SimpleNamespace

import numpy as np
from harness import to_outside, to_terms
from outside_worlds import altered
from pool_harness import direct_calls, replay_market, run_kernel, to_form, to_market, to_rules, to_run
from pool_laws import COUNT, FIRST, held, lived, rows_before, same, worlds
from pool_worlds import POOL_RULES, World, draw_world, shared_times
from worlds import decimal

from backtest.engine import oracle
from backtest.engine.oracle import pool as twin
from backtest.engine.pool.batch import pool_plan, replay_pool_batch
from backtest.units import to_e8


def corrupted(world: World, time_ms: int) -> World:
    """Give the world with every value of every instrument and asset at or after a time changed."""
    r, instruments = Random(world.seed), []
    for instrument in world.market.instruments:
        bars = []
        for bar in instrument.bars:
            if bar.time_ms >= time_ms:
                near = max(to_e8(bar.mark_open), 1_000)
                low, trade, opened, close, end, high = sorted(r.randint(near // 2, near * 2) for _ in range(6))
                bar = twin.PoolBar(bar.time_ms, *map(decimal, (trade, close, opened, high, low, end)), bar.length_ms)
            bars.append(bar)
        funding = {
            t: rate if t < time_ms else decimal(r.randint(-(10**6), 10**6)) for t, rate in instrument.funding.items()
        }
        tiers = [
            (t, rows if t < time_ms or t == instrument.tiers[0][0] else (rows[-1]._replace(rate=Decimal("0.3")),))
            for t, rows in instrument.tiers
        ]
        instruments.append(replace(instrument, bars=tuple(bars), funding=funding, tiers=tuple(tiers)))
    assets = tuple(corrupted_asset(r, asset, time_ms) for asset in world.market.assets)
    return replace(world, market=replace(world.market, instruments=tuple(instruments), assets=assets))


def corrupted_asset(r: Random, asset: twin.Asset, time_ms: int) -> twin.Asset:
    """Give the asset with every mark and margin at or after a time changed.

    But for its dearest row: the limit of the arithmetic to its quantity, which is known ahead, is to stay.
    """
    bars, dearest = [], max(asset.bars, key=lambda bar: max(bar[1:]))
    for bar in asset.bars:
        if bar.time_ms >= time_ms and bar != dearest:
            near = max(to_e8(bar.open), 1_000)
            low, opened, close, high = sorted(r.randint(0, near * 2) for _ in range(4))
            maintenance, initial = sorted(r.randint(0, near) for _ in range(2))
            bar = twin.AssetBar(bar.time_ms, *map(decimal, (opened, high, low, close, initial, maintenance)))
        bars.append(bar)
    return replace(asset, bars=tuple(bars))


def test_no_future() -> None:
    """Corrupting every value of the market, of signals and of calendars from a time on changes nothing before it."""
    for world, whole in lived()[: COUNT // 2]:
        rules, times = to_rules(world.plan.rules), shared_times(world.market)
        for time_ms in {times[len(times) // 3], times[len(times) * 2 // 3], times[-1]}:
            market = to_market(corrupted(world, time_ms).market, world.plan)
            assert market is not None
            other = replay_market(market, altered(world.plan, time_ms, world.seed), rules)
            assert rows_before(other, time_ms) == rows_before(whole, time_ms)


def test_a_market_cut_at_any_bar_gives_the_same_up_to_it() -> None:
    """What was written does not depend on how much of the market there is."""
    for world, whole in lived()[: COUNT // 2]:
        times = [t for t in shared_times(world.market) if t > world.plan.entry_ms]
        for stop in times[:: max(1, len(times) // 5)]:
            cut = run_kernel(world.market, replace(world.plan, stop_ms=min(stop, world.plan.stop_ms)))
            assert rows_before(cut, stop) == rows_before(whole, stop)


def test_a_rule_that_holds_changes_nothing() -> None:
    """The null rule, woken in every way, leaves every row and figure as without it."""
    thresholds = {"buffer_below": "0.5", "margin_ratio_above": "0.1", "headroom_below": "9", "liq_bps_below": "300"}
    wakes = tuple(oracle.Wake(kind, Decimal(value)) for kind, value in thresholds.items())
    wakes += tuple(oracle.Wake(kind) for kind in ("every_bar", "on_fill", "on_funding", "on_arrival"))
    function = POOL_RULES["patient_top_up"].function
    null = oracle.RuleUse("patient_top_up", function, SimpleNamespace(calls=1e9, amount=1.0), wakes)
    for world in worlds(COUNT // 2):
        bare = held(world)
        watched = replace(bare.plan, rules=(null, null))
        for reaction in ("intrabar", "next_open"):
            a = run_kernel(bare.market, replace(bare.plan, reaction=reaction))
            assert same(a, run_kernel(bare.market, replace(watched, reaction=reaction)))


def test_skipping_changes_nothing() -> None:
    """Passing over segments and blocks gives the bytes of visiting every bar, over hundreds of bars."""
    skipped = 0
    for world in worlds(COUNT // 2, FIRST + 10**6, bars=150):
        market = to_market(world.market, world.plan)
        assert market is not None
        rules = to_rules(world.plan.rules)
        fast, slow = (replay_market(market, world.plan, rules, skip=skip) for skip in (True, False))
        assert same(fast, slow)
        skipped += int(str(slow.outcome["bars_visited"])) - int(str(fast.outcome["bars_visited"]))
    assert skipped > COUNT


def hedged(world: World) -> World:
    """Give one leg in isolated margin that is hedged whole at once, by a layer with little margin of its own."""
    use = oracle.RuleUse(
        "hedge", POOL_RULES["hedge"].function, SimpleNamespace(target=0.0, share=1.0), (oracle.Wake("on_fill"),), 10**12
    )
    plan = replace(
        held(world).plan, core=world.plan.core[:1], isolated=(), collaterals=(), margin_mode="isolated", latency_ms=0
    )
    layer = twin.LayerSpec("opposite", None, Decimal(50), Decimal(0), Decimal(0))
    posted = plan.posted_margin * 3
    plan = replace(plan, rules=(use,), layers=(layer,), daily_cap=None, posted_margin=posted, capital=posted * 9)
    first = world.market.instruments[0]
    free = tuple((t, tuple(row._replace(max_leverage=None) for row in rows)) for t, rows in first.tiers)
    market = replace(world.market, instruments=(replace(first, tiers=free),), assets=())
    return replace(world, plan=replace(plan, assets=()), market=market)


def test_skipping_changes_nothing_where_only_a_layer_may_die() -> None:
    died = 0
    for world in worlds(COUNT, FIRST + 10**6, bars=60):
        world = hedged(world)
        fast, slow = (run_kernel(world.market, world.plan, skip=skip) for skip in (True, False))
        assert same(fast, slow)
        died += int(str(slow.outcome["layer_liquidations"]))
    assert died > 0.1 * COUNT


def test_purity() -> None:
    """The same call gives the same bytes, after others too, with rows recorded or not."""
    for world, first in lived()[: COUNT // 4]:
        between = draw_world(world.seed + 999)
        run_kernel(between.market, between.plan)
        assert same(first, run_kernel(world.market, world.plan))
        market = to_market(world.market, world.plan)
        assert market is not None
        silent = replay_market(market, world.plan, to_rules(world.plan.rules), record=False)
        assert silent.outcome == first.outcome
        assert not silent.transfers


def test_runs_of_one_batch_know_nothing_of_each_other() -> None:
    """Many entries in one call, in any order, give the outcomes that each gives alone."""
    for world in worlds(COUNT // 6):
        market = to_market(world.market, world.plan)
        assert market is not None
        rules = to_rules(world.plan.rules).fed(market.times_ms, to_outside(world.plan))
        bare = replace(world.plan, script=())
        times = shared_times(world.market)
        plans = [
            replace(bare, side=side, leverage=Decimal(leverage), entry_ms=time_ms)
            for side in (1, -1)
            for leverage in (2, 10, 20)
            for time_ms in times[:: max(1, len(times) // 3)]
            if time_ms < bare.stop_ms
        ]
        entries = np.concatenate([to_run(market, plan) for plan in plans])
        mixed = np.array(Random(world.seed).sample(range(len(entries)), len(entries)))
        next_open = world.plan.reaction == "next_open"
        kernel_plan = pool_plan(to_terms(bare), to_form(bare), market, rules, next_open=next_open)
        with direct_calls():
            together = replay_pool_batch(market, kernel_plan, rules, entries[mixed]).outcomes
            alone = [replay_pool_batch(market, kernel_plan, rules, entries[i : i + 1]).outcomes for i in mixed]
        assert np.array_equal(together, np.concatenate(alone))


def test_zero_funding_is_no_funding() -> None:
    """Stamps at rate 0 move nothing. (They end a segment, so its extremes may be noted at other marks.)"""
    for world in worlds(COUNT // 2):
        zero, none = (
            replace(world.market, instruments=tuple(replace(i, funding=stamps(i)) for i in world.market.instruments))
            for stamps in (lambda i: dict.fromkeys((b.time_ms for b in i.bars[::3]), Decimal(0)), lambda i: {})
        )
        extremes = ("min_buffer_ppm", "max_margin_ratio_ppm")
        assert same(run_kernel(zero, world.plan), run_kernel(none, world.plan), but=extremes)
