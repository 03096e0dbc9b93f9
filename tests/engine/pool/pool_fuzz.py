"""What the fuzzer compares of runs with several legs, and how it makes a world that differs simpler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from fuzz import PLAIN, Subject, simpler_plans, told_of
from pool_harness import disagreements
from pool_worlds import World, draw_world, shared_times

from backtest.engine.oracle import pool as twin

POOL_PLAIN: dict[str, Any] = {
    name: value for name, value in PLAIN.items() if name not in ("margin_mode", "min_notional")
}
POOL_PLAIN |= {"layers": (), "collaterals": (), "isolated": (), "joint": "worst"}


def simpler(world: World) -> Iterator[World]:
    """Give worlds that are a little simpler."""
    market, times = world.market, shared_times(world.market)
    for keep in (len(times) // 2, len(times) - 1):
        if 0 < keep < len(times):
            yield changed(world, bars=lambda bars, stop=times[keep]: tuple(b for b in bars if b.time_ms < stop))
    for plan in simpler_plans(world.plan, POOL_PLAIN):
        yield replace(world, plan=plan)
    for i in range(len(world.plan.layers)):
        layers = world.plan.layers[:i] + world.plan.layers[i + 1 :]
        yield replace(world, plan=replace(world.plan, layers=layers))
    for i, instrument in enumerate(market.instruments):
        for name, value in (("funding", {}), ("tiers", instrument.tiers[:1]), ("taker", instrument.taker[:1])):
            if getattr(instrument, name) != value:
                plainer = replace(instrument, **{name: value})
                yield with_instruments(world, (*market.instruments[:i], plainer, *market.instruments[i + 1 :]))
    yield from simpler_assets(world)
    if len(times) < 40:
        for time in times[1:]:
            yield changed(world, bars=lambda bars, left=time: tuple(b for b in bars if b.time_ms != left))
    if any(instrument.taker[0][1] for instrument in market.instruments):
        yield changed(world, taker=lambda dated: ((dated[0][0], Decimal(0)),))


def simpler_assets(world: World) -> Iterator[World]:
    """Give worlds without the last asset, with fewer rows of one, or with plainer terms."""
    market, plan = world.market, world.plan
    if plan.assets:
        fewer = replace(market, assets=market.assets[:-1]), replace(plan, assets=plan.assets[:-1])
        yield World(world.seed, *fewer)
    for a, asset in enumerate(market.assets):
        bars, plain = asset.bars, [replace(asset, fee=Decimal(0))] if asset.fee else []
        for n in range(1, len(bars) if len(bars) < 40 else 0):
            plain.append(replace(asset, bars=bars[:n] + bars[n + 1 :]))
        for other in plain:
            yield replace(world, market=replace(market, assets=(*market.assets[:a], other, *market.assets[a + 1 :])))
    for a, spec in enumerate(plan.assets):
        for name, value in (("slippage", Decimal(0)), ("ratio", Decimal(1)), ("size_by", "quantity")):
            if getattr(spec, name) != value:
                specs = (*plan.assets[:a], spec._replace(**{name: value}), *plan.assets[a + 1 :])
                yield replace(world, plan=replace(plan, assets=specs))


def with_instruments(world: World, instruments: tuple[twin.Instrument, ...]) -> World:
    return replace(world, market=replace(world.market, instruments=instruments))


def changed(world: World, **changes: Any) -> World:
    """Give the world with a field of every instrument changed."""
    instruments = tuple(
        replace(instrument, **{name: change(getattr(instrument, name)) for name, change in changes.items()})
        for instrument in world.market.instruments
    )
    return with_instruments(world, instruments)


def told(market: twin.PoolMarket) -> list[str]:
    """Write every instrument and asset down."""
    lines = []
    for instrument in market.instruments:
        lines += [f"  {instrument.symbol} inverse={instrument.inverse}", *told_of(instrument)]
    for asset in market.assets:
        lines += [f"  {asset.name} fee={asset.fee}", *(f"  bar {' '.join(map(str, bar))}" for bar in asset.bars)]
    return lines


POOLS = Subject("--pool ", draw_world, disagreements, simpler, told, lambda market: len(shared_times(market)))
