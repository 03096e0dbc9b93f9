"""The laws of a ledger with several legs, wallets and assets, each by name, over the kernel alone.

Nothing here knows how the kernel works: the laws read what a run wrote, the market, and plain integers.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
from harness import to_outside, to_terms
from outside_worlds import altered
from pool_harness import direct_calls, replay_market, run_kernel, to_form, to_market, to_rules, to_run
from pool_worlds import POOL_RULES, World, draw_world, shared_times
from worlds import ceil_div, decimal, jumps

from backtest.engine import oracle
from backtest.engine.oracle import pool as twin
from backtest.engine.pool.batch import pool_plan, replay_pool_batch
from backtest.units import E8, to_e8

COUNT = int(os.environ.get("LAW_WORLDS", "120"))
FIRST = 5_000_000  # seeds of their own
LIVES = ("free", "reserve", "transit")


def worlds(count: int = COUNT, first: int = FIRST, bars: int | None = None) -> Iterator[World]:
    for seed in range(first, first + count):
        yield draw_world(seed, bars)


@cache
def lived(count: int = COUNT) -> tuple[tuple[World, twin.PoolResult], ...]:
    """Give worlds whose entry was taken, with what the kernel wrote."""
    pairs = ((world, run_kernel(world.market, world.plan)) for world in worlds(count))
    return tuple((world, result) for world, result in pairs if result.outcome["exit_reason"] != "refused")


def held(world: World) -> World:
    """Give a world's run without rules: a hold."""
    return replace(world, plan=replace(world.plan, rules=(), script=()))


def instrument_of(world: World, slot: int) -> int:
    """Give the instrument of a slot."""
    count = len(world.plan.core)
    if slot < 2 * count:
        return world.plan.core[slot % count].instrument
    target = twin.TARGETS[slot - 2 * count + 1]
    return next(s.instrument for s in world.plan.layers if s.target == target and s.instrument is not None)


def asset_of(world: World, slot: int) -> int:
    """Give the asset in which a slot settles."""
    instrument = instrument_of(world, slot)
    return instrument + 1 if world.market.instruments[instrument].inverse else 0


def wallet_of(world: World, slot: int) -> str:
    """Give the account whose wallet a slot has: the core's, or in other units its own."""
    cross = world.plan.margin_mode == "cross"
    pooled = slot < len(world.plan.core) or (cross and asset_of(world, slot) == asset_of(world, 0))
    return "margin" if pooled else f"margin.{slot}"


def rows_before(result: twin.PoolResult, time_ms: int) -> list[list[Any]]:
    """Give what was written before a time, without the end of the data, which is not an event of the market."""
    tables = (result.transfers, result.fills, result.actions)
    return [[r for r in t if r.time_ms < time_ms and getattr(r, "cause", "") != "data_end"] for t in tables]


def same(a: twin.PoolResult, b: twin.PoolResult, *, but: tuple[str, ...] = ()) -> bool:
    skipped = {"bars_visited", "exit_bar", "last_segment", *but}
    outcomes = [{k: v for k, v in r.outcome.items() if k not in skipped} for r in (a, b)]
    return (a.transfers, a.fills, a.actions, outcomes[0]) == (b.transfers, b.fills, b.actions, outcomes[1])


def flows(result: twin.PoolResult) -> dict[tuple[str, int], int]:
    """Add up every account and asset."""
    total: dict[tuple[str, int], int] = defaultdict(int)
    for t in result.transfers:
        total[t.debit, t.asset] -= t.amount_e8
        total[t.credit, t.asset] += t.amount_e8
    return total


# --- the ledger ----------------------------------------------------------------------------------------------------


def test_conservation_in_every_asset() -> None:
    """Every row moves a positive amount between two accounts; what is in a run was paid in, won, or bought."""
    for world, result in lived():
        market: dict[int, int] = defaultdict(int)
        for t in result.transfers:
            assert t.amount_e8 > 0
            assert t.debit != t.credit
            if t.kind in ("profit", "loss"):
                market[t.asset] += t.amount_e8 * ((t.credit == "market") - (t.debit == "market"))
        worth: dict[int, int] = defaultdict(int)
        for f in result.fills:  # who buys pays the value; of a coin contract the value is received
            paid = f.cost_e8 * (1 if f.qty_e8 > 0 else -1)
            asset = asset_of(world, f.slot)
            worth[asset] += paid if asset == 0 else -paid
        assert {k: v for k, v in market.items() if v} == {k: v for k, v in worth.items() if v}
        total = flows(result)
        assert {asset: v for (name, asset), v in total.items() if name == "world"} == {0: -to_e8(world.plan.capital)}


def test_coin_is_bought_and_sold_at_no_better_than_the_base_price() -> None:
    """A purchase or sale is two rows, quote against coin; at an open nobody does better than the trade price."""
    seen = 0
    for world, result in lived():
        opens = [{b.time_ms: to_e8(b.trade_open) for b in i.bars} for i in world.market.instruments]
        coin = [t for t in result.transfers if t.kind == "convert" and t.asset]
        quote = [t for t in result.transfers if t.kind == "convert" and not t.asset]
        for row in coin:
            bought = row.debit == "market"
            if row.cause not in ("entry", "exit") or row.rule >= 0 or row.time_ms not in opens[row.asset - 1]:
                continue
            if row.cause == "exit" and result.outcome["exit_reason"] != "horizon":
                continue
            value = opens[row.asset - 1][row.time_ms] * row.amount_e8
            paid = [t.amount_e8 for t in quote if t.time_ms == row.time_ms and (t.credit == "market") == bought]
            seen += 1
            if bought:
                assert any(amount >= ceil_div(value, E8) for amount in paid)
            else:
                assert not paid or any(amount <= value // E8 for amount in paid)
    assert seen


def test_balances_rebuild() -> None:
    """The outcome's figures are sums over the rows; those of coin are valued, so only quote is compared."""
    for _, result in lived():
        outcome, total = result.outcome, flows(result)
        assert outcome["equity_end_e8"] == total["free", 0] + total["reserve", 0]
        assert outcome["actions"] == sum(a.status == "done" for a in result.actions)
        assert outcome["refused"] == sum(a.status != "done" for a in result.actions)
        if not any(t.asset for t in result.transfers):
            of = {kind: sum(t.amount_e8 for t in result.transfers if t.kind == kind) for kind in ("fee", "clearance")}
            assert (outcome["fees_e8"], outcome["clearance_fee_e8"]) == (of["fee"], of["clearance"])
            assert outcome["funding_e8"] == total["funding", 0]
            assert outcome["turnover_e8"] == sum(f.cost_e8 for f in result.fills)


def test_solvency() -> None:
    """Free balance, reserve and transit never owe."""
    for _, result in lived():
        kept: dict[str, int] = dict.fromkeys(LIVES, 0)
        for t in result.transfers:
            for name, sign in ((t.debit, -1), (t.credit, 1)):
                if name in kept:
                    assert t.asset == 0
                    kept[name] += sign * t.amount_e8
                    assert kept[name] >= 0


def test_flat_means_empty() -> None:
    """A run ends with no leg, no wallet in any asset and nothing on its way; no leg ever turns around."""
    for world, result in lived():
        qty: dict[int, int] = defaultdict(int)
        for f in result.fills:
            side = world.plan.side if f.slot < len(world.plan.core) else -world.plan.side
            qty[f.slot] += f.qty_e8 * side
            assert qty[f.slot] >= 0
        assert not any(qty.values())
        outside = ("world", "market", "fees", "funding", "insurance")
        left = {place: v for place, v in flows(result).items() if v and place[0] not in outside}
        assert all(place in (("free", 0), ("reserve", 0)) for place in left)


def test_fees_are_the_rate_of_the_value() -> None:
    """Each fill but a forced one pays ceil(value x taker) in its asset, in order, out of its own wallet."""
    for world, result in lived():
        if world.plan.collaterals:
            continue  # their sale pays its fee from the wallet too
        last = max(t for t in shared_times(world.market) if t < world.plan.stop_ms)
        due = []
        for f in result.fills:
            instrument = world.market.instruments[instrument_of(world, f.slot)]
            fee = ceil_div(f.cost_e8 * to_e8(in_force(instrument.taker, min(f.time_ms, last))), E8)
            if f.cause != "liquidation" and fee:
                due.append((wallet_of(world, f.slot), asset_of(world, f.slot), fee))
        paid = [(t.debit, t.asset, t.amount_e8) for t in result.transfers if t.kind == "fee"]
        assert due == [row for row in paid if row[0].startswith("margin")]


def test_values_are_rounded_against_the_run() -> None:
    """Who pays quote pays more, who gets coin gets less; entries and exits fill at the open made worse by slippage."""
    for world, result in lived():
        slip = to_e8(world.plan.slippage)
        for f in result.fills:
            instrument, buying = world.market.instruments[instrument_of(world, f.slot)], f.qty_e8 > 0
            qty = abs(f.qty_e8)
            top, bottom = (qty * E8, f.price_e8) if instrument.inverse else (qty * f.price_e8, E8)
            assert f.cost_e8 == (ceil_div(top, bottom) if buying != instrument.inverse else top // bottom)
            if f.cause == "entry" or (f.cause == "exit" and result.outcome["exit_reason"] == "horizon"):
                base = next(to_e8(b.trade_open) for b in instrument.bars if b.time_ms == f.time_ms)
                assert f.price_e8 == base + (1 if buying else -1) * ceil_div(base * slip, E8)


def in_force(dated: Any, time_ms: int) -> Any:
    return [value for start, value in dated if start <= time_ms or start == dated[0][0]][-1]


def test_funding_is_paid_by_every_leg_on_its_own_notional() -> None:
    """Both sides of a hedge settle, each rounded against the account; rates of bars left out are added."""
    legs = 0
    for world, result in lived():
        rows = [
            (t.time_ms, t.asset, t.credit == "funding", t.amount_e8) for t in result.transfers if t.kind == "funding"
        ]
        expected, previous = [], world.plan.entry_ms
        end = min(int(str(result.outcome["exit_ms"])), world.plan.stop_ms - 1)
        for time_ms in [t for t in shared_times(world.market) if previous < t <= end]:
            qty: dict[int, int] = defaultdict(int)
            for f in result.fills:
                qty[f.slot] += f.qty_e8 if f.time_ms < time_ms and f.cause != "data_end" else 0
            for slot in sorted(slot for slot, amount in qty.items() if amount):
                expected += settled(world, slot, qty[slot], previous, time_ms)
            legs = max(legs, len(qty))
            previous = time_ms
        assert rows == expected
    assert legs > 2


def settled(world: World, slot: int, qty: int, previous_ms: int, time_ms: int) -> list[tuple[int, int, bool, int]]:
    """Give the funding of a leg at a bar that is used."""
    instrument = world.market.instruments[instrument_of(world, slot)]
    stamps = [b.time_ms for b in instrument.bars if previous_ms < b.time_ms <= time_ms]
    rate = sum(to_e8(instrument.funding[t]) for t in stamps if t in instrument.funding)
    mark = next(to_e8(b.mark_open) for b in instrument.bars if b.time_ms == time_ms)
    exact, unit = abs(qty) * abs(rate), E8 * E8
    exact, unit = (exact, mark) if instrument.inverse else (exact * mark, unit)
    paying = qty * rate > 0
    amount = ceil_div(exact, unit) if paying else exact // unit
    return [(time_ms, asset_of(world, slot), paying, amount)] if amount else []


# --- liquidation ---------------------------------------------------------------------------------------------------


class Stand:
    """The core of a hold in plain integers: equity and maintenance of unit 0, worked out anew."""

    def __init__(self, world: World, result: twin.PoolResult) -> None:
        self.world, self.plan = world, world.plan
        self.legs = [
            (abs(f.qty_e8), f.cost_e8, instrument_of(world, f.slot)) for f in result.fills if f.cause == "entry"
        ]
        self.coin = {
            t.asset - 1: t.amount_e8 for t in result.transfers if t.cause == "entry" and t.asset and t.kind == "convert"
        }

    def headroom(self, wallet: int, marks: list[int], time_ms: int) -> int:
        equity, needed = wallet, 0
        for qty, cost, i in self.legs:
            instrument = self.world.market.instruments[i]
            top, bottom = (qty * E8, marks[i]) if instrument.inverse else (qty * marks[i], E8)
            gains = self.plan.side * (-1 if instrument.inverse else 1)
            rows = in_force(instrument.tiers, time_ms)
            row = next((r for r in rows if r.cap is None or top <= to_e8(r.cap) * bottom), rows[-1])
            needed += ceil_div(top * to_e8(row.rate), bottom * E8) - to_e8(row.deduction)
            if self.plan.fee_reserve:
                leverage, taker = int(self.plan.leverage * 100), to_e8(in_force(instrument.taker, time_ms))
                needed += ceil_div(cost * (leverage - 100 * gains) * taker, leverage * E8)
            equity += top // bottom - cost if gains > 0 else cost - ceil_div(top, bottom)
        for collateral in self.plan.collaterals:
            coin = self.coin.get(collateral.instrument, 0)
            equity += coin * marks[collateral.instrument] * to_e8(collateral.ratio) // (E8 * E8)
        return equity - needed


def check_first_liquidation(world: World, result: twin.PoolResult) -> bool:
    """Walk a hold's bars with the independent predicate up to the first event at which it holds."""
    stand, plan = Stand(world, result), world.plan
    asset = asset_of(world, 0)
    paid: dict[int, int] = defaultdict(int)
    for t in result.transfers:
        if t.asset == asset and t.cause in ("entry", "funding"):
            paid[t.time_ms] += t.amount_e8 * ((t.credit == "margin") - (t.debit == "margin"))
    wallet = 0
    for time_ms in shared_times(world.market):
        if not plan.entry_ms <= time_ms <= min(int(str(result.outcome["exit_ms"])), plan.stop_ms - 1):
            continue
        wallet += paid[time_ms]
        bars = [next(b for b in i.bars if b.time_ms == time_ms) for i in world.market.instruments]
        exits = time_ms >= plan.entry_ms + plan.horizon_ms
        points = [[to_e8(b.mark_open) for b in bars]]
        points += [] if exits else ends_of_ways(stand, wallet, bars, time_ms)
        if any(stand.headroom(wallet, marks, time_ms) <= 0 for marks in points):
            assert result.outcome["liquidation_ms"] == time_ms
            return True
    assert result.outcome["liquidation_ms"] is None
    return False


def ends_of_ways(stand: Stand, wallet: int, bars: list[twin.PoolBar], time_ms: int) -> list[list[int]]:
    """Give the marks at the ends of a bar's ways."""
    if stand.plan.joint == "sync":
        return [[to_e8(b.mark_close) for b in bars]]
    opens, adverse, other = [to_e8(b.mark_open) for b in bars], [], []
    for i, bar in enumerate(bars):
        low, high = ([*opens[:i], to_e8(p), *opens[i + 1 :]] for p in (bar.mark_low, bar.mark_high))
        falls = stand.headroom(wallet, low, time_ms) <= stand.headroom(wallet, high, time_ms)
        first, second = (low, high) if falls else (high, low)
        adverse.append(first[i])
        other.append(second[i])
    return [adverse, other]


def test_liquidation_comes_at_the_first_event_where_the_predicate_holds_and_at_none_before() -> None:
    count = 0
    for world in worlds():
        world = held(world)
        result = run_kernel(world.market, world.plan)
        if result.outcome["exit_reason"] != "refused":
            count += check_first_liquidation(world, result)
    assert count >= 0.2 * COUNT


def test_more_margin_never_liquidates_earlier() -> None:
    """Under hold, for any extra margin posted at entry."""
    for world in worlds():
        base = held(world)
        first = run_kernel(base.market, base.plan).outcome["liquidation_ms"]
        more = (Decimal("0.00000001") if world.seed % 2 else base.plan.posted_margin / 4).quantize(Decimal("1e-8"))
        richer = replace(base.plan, posted_margin=base.plan.posted_margin + more, capital=base.plan.capital + more)
        later = run_kernel(base.market, richer).outcome["liquidation_ms"]
        assert later is None or (first is not None and later >= first)


def test_what_dies_at_opens_and_closes_dies_at_the_worst() -> None:
    """Under hold, a pool that is liquidated under `sync` is liquidated under `worst`, and not later."""
    died = 0
    for world in worlds(2 * COUNT):
        if any(jumps(rows) for i in world.market.instruments for _, rows in i.tiers):
            continue
        plan = held(world).plan
        mild, worst = (
            run_kernel(world.market, replace(plan, joint=joint)).outcome["liquidation_ms"]
            for joint in ("sync", "worst")
        )
        died += mild is not None
        assert mild is None or (worst is not None and worst <= mild)
    assert died > 0.1 * COUNT


# --- time and rules ------------------------------------------------------------------------------------------------


def corrupted(world: World, time_ms: int) -> World:
    """Give the world with every value of every instrument at or after a time changed."""
    r, instruments = Random(world.seed), []
    for instrument in world.market.instruments:
        bars = []
        for bar in instrument.bars:
            if bar.time_ms >= time_ms:
                near = max(to_e8(bar.mark_open), 1_000)
                low, trade, opened, close, end, high = sorted(r.randint(near // 2, near * 2) for _ in range(6))
                bar = twin.PoolBar(bar.time_ms, *map(decimal, (trade, close, opened, high, low, end)))
            bars.append(bar)
        funding = {
            t: rate if t < time_ms else decimal(r.randint(-(10**6), 10**6)) for t, rate in instrument.funding.items()
        }
        tiers = [
            (t, rows if t < time_ms or t == instrument.tiers[0][0] else (rows[-1]._replace(rate=Decimal("0.3")),))
            for t, rows in instrument.tiers
        ]
        instruments.append(replace(instrument, bars=tuple(bars), funding=funding, tiers=tuple(tiers)))
    return replace(world, market=replace(world.market, instruments=tuple(instruments)))


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
    wakes = tuple(
        oracle.Wake(kind, Decimal(value))
        for kind, value in (("buffer_below", "0.5"), ("margin_ratio_above", "0.1"), ("headroom_below", "9"))
    )
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
    plan = replace(held(world).plan, core=world.plan.core[:1], collaterals=(), margin_mode="isolated", latency_ms=0)
    layer = twin.LayerSpec("opposite", None, Decimal(50), Decimal(0), Decimal(0))
    posted = plan.posted_margin * 3
    plan = replace(plan, rules=(use,), layers=(layer,), daily_cap=None, posted_margin=posted, capital=posted * 9)
    first = world.market.instruments[0]
    free = tuple((t, tuple(row._replace(max_leverage=None) for row in rows)) for t, rows in first.tiers)
    return replace(world, plan=plan, market=replace(world.market, instruments=(replace(first, tiers=free),)))


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


def test_the_laws_run_on_what_they_say() -> None:
    """The laws are not empty: what they speak of occurs in what they read."""
    kinds = {t.kind for _, result in lived() for t in result.transfers}
    assert kinds >= {"funding", "release", "clearance", "add_margin", "convert", "post", "shortfall"}
    assert {f.cause for _, result in lived() for f in result.fills} >= {"entry", "exit", "rule", "liquidation"}
    assert {t.asset > 0 for _, result in lived() for t in result.transfers} == {True, False}
