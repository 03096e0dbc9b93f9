"""The laws of when a pool is liquidated: at the first event where its predicate holds, not earlier for more margin."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal

from pool_harness import run_kernel
from pool_laws import COUNT, asset_of, held, in_force, instrument_of, wallet_of, worlds
from pool_worlds import World, shared_times
from worlds import ceil_div, jumps

from backtest.engine.oracle import pool as twin
from backtest.units import E8, to_e8


class Stand:
    """Core legs of a hold that share an account, in plain integers: their equity and maintenance, worked out anew."""

    def __init__(self, world: World, result: twin.PoolResult, account: str) -> None:
        self.world, self.plan, self.account, self.wallet = world, world.plan, account, 0
        self.legs = [
            (abs(f.qty_e8), f.cost_e8, instrument_of(world, f.slot))
            for f in result.fills
            if f.cause == "entry" and wallet_of(world, f.slot) == account
        ]
        self.coin = {
            t.asset - 1: t.amount_e8
            for t in result.transfers
            if t.cause == "entry" and t.asset and t.kind == "convert" and t.credit == account
        }
        self.paid: dict[int, int] = defaultdict(int)
        for t in result.transfers:
            if t.asset == asset_of(world, 0) and t.cause in ("entry", "funding"):
                self.paid[t.time_ms] += t.amount_e8 * ((t.credit == account) - (t.debit == account))

    def decides(self, instrument: int) -> bool:
        """Say whether an instrument's adverse extreme is what is worse for these legs."""
        pledged = any(c.instrument == instrument for c in self.plan.collaterals)
        return self.account == "margin" if pledged else any(i == instrument for _, _, i in self.legs)

    def headroom(self, marks: list[int], time_ms: int) -> int:
        equity, needed = self.wallet, 0
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
    plan, core = world.plan, range(len(world.plan.core))
    stands = [Stand(world, result, account) for account in sorted({wallet_of(world, slot) for slot in core})]
    for time_ms in shared_times(world.market):
        if not plan.entry_ms <= time_ms <= min(int(str(result.outcome["exit_ms"])), plan.stop_ms - 1):
            continue
        for stand in stands:
            stand.wallet += stand.paid[time_ms]
        bars = [next(b for b in i.bars if b.time_ms == time_ms) for i in world.market.instruments]
        exits = time_ms >= plan.entry_ms + plan.horizon_ms
        points = [[to_e8(b.mark_open) for b in bars]]
        points += [] if exits else ends_of_ways(stands, bars, time_ms)
        if any(stand.headroom(marks, time_ms) <= 0 for marks in points for stand in stands):
            assert result.outcome["liquidation_ms"] == time_ms
            return True
    assert result.outcome["liquidation_ms"] is None
    return False


def ends_of_ways(stands: list[Stand], bars: list[twin.PoolBar], time_ms: int) -> list[list[int]]:
    """Give the marks at the ends of a bar's ways."""
    if stands[0].plan.joint == "sync":
        return [[to_e8(b.mark_close) for b in bars]]
    opens, adverse, other = [to_e8(b.mark_open) for b in bars], [], []
    for i, bar in enumerate(bars):
        low, high = ([*opens[:i], to_e8(p), *opens[i + 1 :]] for p in (bar.mark_low, bar.mark_high))
        stand = next((stand for stand in stands if stand.decides(i)), None)
        falls = stand is None or stand.headroom(low, time_ms) <= stand.headroom(high, time_ms)
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
        if base.plan.isolated:
            more *= len(base.plan.core)  # in equal parts
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
