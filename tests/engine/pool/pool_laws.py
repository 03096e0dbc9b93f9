"""What the laws of runs with several legs read: worlds, what the kernel wrote of them, and who holds what."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from pool_harness import run_kernel
from pool_worlds import World, draw_world
from worlds import ceil_div

from backtest.engine.oracle import pool as twin
from backtest.engine.oracle.numbers import half_even
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
    """Give the instrument of a slot; the assets are counted after the others."""
    count = len(world.plan.core)
    if slot < 2 * count:
        return world.plan.core[slot % count].instrument
    if (number := asset_number(world, slot)) >= 0:
        return len(world.market.instruments) + number
    target = twin.TARGETS[slot - 2 * count + 1]
    return next(s.instrument for s in world.plan.layers if s.target == target and s.instrument is not None)


def asset_number(world: World, slot: int) -> int:
    """Give the number of the valued asset of a slot; negative where it is another leg's."""
    return slot - 2 * len(world.plan.core) - 2


def side_of(world: World, slot: int) -> int:
    """Give the side of a slot's leg."""
    if (number := asset_number(world, slot)) >= 0:
        return world.plan.assets[number].side
    return world.plan.side if slot < len(world.plan.core) else -world.plan.side


def asset_of(world: World, slot: int) -> int:
    """Give the asset in which a slot settles."""
    if asset_number(world, slot) >= 0:
        return 0
    instrument = instrument_of(world, slot)
    return instrument + 1 if world.market.instruments[instrument].inverse else 0


def wallet_of(world: World, slot: int) -> str:
    """Give the account whose wallet a slot has: the core's, or in other units its own."""
    cross, number = world.plan.margin_mode == "cross", asset_number(world, slot)
    if number >= 0:
        return f"margin.{slot}" if world.plan.assets[number].own_account else "margin"
    beside = {*world.plan.isolated, *(len(world.plan.core) + slot for slot in world.plan.isolated)}
    if slot in beside:
        return f"margin.{slot}"
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


def in_force(dated: Any, time_ms: int) -> Any:
    return [value for start, value in dated if start <= time_ms or start == dated[0][0]][-1]


def bar_of(world: World, slot: int, time_ms: int) -> twin.PoolBar:
    """Give prices of a slot in a bar; of an asset, which is valued but not traded, its mark, or its last close."""
    number = asset_number(world, slot)
    if number < 0:
        bars = world.market.instruments[instrument_of(world, slot)].bars
        return next(bar for bar in bars if bar.time_ms == time_ms)
    last = [bar for bar in world.market.assets[number].bars if bar.time_ms <= time_ms][-1]
    prices = (last.open, last.close, last.open, last.high, last.low, last.close)
    return twin.PoolBar(time_ms, *(prices if last.time_ms == time_ms else (last.close,) * 6))


def fee_rate_of(world: World, slot: int, time_ms: int) -> int:
    """Give the fee rate of a slot's fills."""
    number = asset_number(world, slot)
    if number >= 0:
        return to_e8(world.market.assets[number].fee)
    return to_e8(in_force(world.market.instruments[instrument_of(world, slot)].taker, time_ms))


def slippage_of(world: World, slot: int) -> int:
    """Give the slippage of a slot's fills by choice."""
    number = asset_number(world, slot)
    return to_e8(world.plan.slippage if number < 0 else world.plan.assets[number].slippage)


def is_inverse(world: World, slot: int) -> bool:
    return asset_number(world, slot) < 0 and world.market.instruments[instrument_of(world, slot)].inverse


# --- a run up to a place in its rows --------------------------------------------------------------------------------


class Rebuilt:
    """Legs and balances of a run up to a place in its rows, and what an account with quote in it has and needs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.qty: dict[int, int] = defaultdict(int)
        self.cost: dict[int, int] = defaultdict(int)
        self.balance: dict[tuple[str, int], int] = defaultdict(int)

    def move(self, t: twin.PoolTransfer) -> None:
        self.balance[t.debit, t.asset] -= t.amount_e8
        self.balance[t.credit, t.asset] += t.amount_e8

    def fill(self, f: twin.PoolFill) -> None:
        change = f.qty_e8 * side_of(self.world, f.slot)
        if change > 0:
            self.cost[f.slot] += f.cost_e8
        else:
            self.cost[f.slot] -= half_even(self.cost[f.slot] * -change, self.qty[f.slot])
        self.qty[f.slot] += change

    def slots(self, account: str) -> list[int]:
        held = [slot for slot, qty in self.qty.items() if qty]
        return [s for s in held if wallet_of(self.world, s) == account and asset_of(self.world, s) == 0]

    def is_at_risk(self, account: str) -> bool:
        return any(not is_owned(self.world, slot) for slot in self.slots(account))

    def headroom(self, account: str, mark_of: dict[int, int], time_ms: int) -> int:
        """Give equity less maintenance at marks by slot; collaterals at the marks of the bar's open."""
        left = self.balance[account, 0]
        for slot in self.slots(account):
            left += worth(self.world, slot, self.qty[slot], self.cost[slot], mark_of[slot])
            left -= needed(self.world, slot, self.qty[slot], mark_of[slot], time_ms)
        for coin in self.world.plan.collaterals if account == "margin" else ():
            bars = self.world.market.instruments[coin.instrument].bars
            mark = next(to_e8(bar.mark_open) for bar in bars if bar.time_ms == time_ms)
            left += self.balance["margin", coin.instrument + 1] * mark * to_e8(coin.ratio) // E8**2
        return left


def is_owned(world: World, slot: int) -> bool:
    number = asset_number(world, slot)
    return number >= 0 and world.plan.assets[number].paid and world.plan.assets[number].side > 0


def worth(world: World, slot: int, qty: int, cost: int, mark: int) -> int:
    """Give what a linear leg adds to equity."""
    side, number = side_of(world, slot), asset_number(world, slot)
    value = qty * mark // E8 if side > 0 else ceil_div(qty * mark, E8)
    if number < 0 or not world.plan.assets[number].paid:
        return side * (value - cost)
    return qty * mark * to_e8(world.plan.assets[number].ratio) // E8**2 if side > 0 else -value


def needed(world: World, slot: int, qty: int, mark: int, time_ms: int) -> int:
    """Give the maintenance margin of a linear leg."""
    number = asset_number(world, slot)
    if number >= 0:
        each = to_e8(row_of(world.market.assets[number], time_ms).maintenance)
        return 0 if is_owned(world, slot) else ceil_div(qty * each, E8)
    rows = in_force(world.market.instruments[instrument_of(world, slot)].tiers, time_ms)
    row = next((row for row in rows if row.cap is None or qty * mark <= to_e8(row.cap) * E8), rows[-1])
    return ceil_div(qty * mark * to_e8(row.rate), E8**2) - to_e8(row.deduction)


def row_of(asset: twin.Asset, time_ms: int) -> twin.AssetBar:
    return [bar for bar in asset.bars if bar.time_ms <= time_ms][-1]
