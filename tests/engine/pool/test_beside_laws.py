"""The law of core legs that stand isolated beside the pool: each is a run of its own, the pool one without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pool_harness import run_kernel
from pool_laws import COUNT, FIRST, held
from pool_worlds import World, draw_world, shared_times
from worlds import decimal

from backtest.engine.oracle import pool as twin
from backtest.units import to_e8


def beside_worlds() -> Iterator[World]:
    """Give holds with legs beside the pool, whose instruments have the same bars."""
    for seed in range(FIRST, FIRST + 10 * COUNT):
        world = draw_world(seed)
        if world.plan.isolated:
            times = set(shared_times(world.market))
            instruments = tuple(only(instrument, times) for instrument in world.market.instruments)
            plan = replace(held(world).plan, layers=(), assets=())
            yield replace(world, plan=plan, market=replace(world.market, instruments=instruments, assets=()))


def only(instrument: twin.Instrument, times: set[int]) -> twin.Instrument:
    bars = tuple(bar for bar in instrument.bars if bar.time_ms in times)
    return replace(instrument, bars=bars, funding={t: rate for t, rate in instrument.funding.items() if t in times})


def part(world: World, slots: list[int], posted: int, **changes: Any) -> twin.PoolResult:
    """Run some core legs without the others, each with the margin that it is sized by in the whole."""
    plan, count = world.plan, len(world.plan.core)
    order = slots + [i for i in range(len(world.market.instruments)) if i not in slots]
    collaterals = tuple(c._replace(instrument=order.index(c.instrument)) for c in plan.collaterals)
    core = tuple(plan.core[slot]._replace(instrument=k) for k, slot in enumerate(slots))
    sizing = decimal(to_e8(plan.sizing_margin) // count * len(slots))
    changes = {"collaterals": collaterals, "isolated": (), **changes}
    own = replace(plan, core=core, sizing_margin=sizing, posted_margin=decimal(posted), **changes)
    instruments = tuple(world.market.instruments[i] for i in order)
    return run_kernel(replace(world.market, instruments=instruments), own)


def told(result: twin.PoolResult, account: str, slots: list[int]) -> list[Any]:
    """Give the bar of an account's first forced close, and what moved in it and was filled in its slots before."""
    forced = next((f.time_ms for f in result.fills if f.slot in slots and f.cause == "liquidation"), None)
    moved = [
        (t.time_ms, t.kind, t.credit == account, t.amount_e8, t.cause)
        for t in result.transfers
        if account in (t.debit, t.credit) and (forced is None or t.time_ms < forced)
    ]
    fills = [
        (f.time_ms, slots.index(f.slot), *f[2:])
        for f in result.fills
        if f.slot in slots and (forced is None or f.time_ms < forced)
    ]
    return [forced, moved, fills]


def test_a_leg_beside_the_pool_is_a_run_of_its_own_and_the_pool_one_without_it() -> None:
    """Row for row, up to the bar of its first forced close: where on a way that is found depends on all that turns."""
    seen = died = 0
    for world in beside_worlds():
        whole = run_kernel(world.market, world.plan)
        if whole.outcome["exit_reason"] == "refused":
            continue
        count, posted = len(world.plan.core), to_e8(world.plan.posted_margin)
        each, beside = posted // count, list(world.plan.isolated)
        pooled = [slot for slot in range(count) if slot not in beside]
        parts = [("margin", pooled, part(world, pooled, posted - each * len(beside)))]
        for slot in beside:
            alone = part(world, [slot], each, margin_mode="isolated", collaterals=())
            parts.append((f"margin.{slot}", [slot], alone))
        for account, slots, result in parts:
            assert told(whole, account, slots) == told(result, "margin", list(range(len(slots))))
            seen += 1
        first = [r.outcome["liquidation_ms"] for *_, r in parts if r.outcome["liquidated"]]
        assert whole.outcome["liquidation_ms"] == min(first, default=None)
        died += len(first)
    assert seen > COUNT / 10
    assert died
