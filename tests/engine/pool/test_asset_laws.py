"""The laws of valued assets, each by name, over the kernel alone: what they move, when they end, whom they save."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

from pool_harness import run_kernel
from pool_laws import (
    COUNT,
    FIRST,
    Rebuilt,
    asset_number,
    bar_of,
    held,
    lived,
    row_of,
    same,
    wallet_of,
)
from pool_worlds import World, draw_world, shared_times
from worlds import ceil_div

from backtest.engine import oracle
from backtest.engine.oracle import pool as twin
from backtest.schema import VERBS
from backtest.units import E8, to_e8

TRADE = VERBS.index("trade")
ASSET = twin.TARGETS.index("asset")
OF_THE_CORE = ("liquidation_ms", "liquidation_price_e8", "liquidation_count", "cause", "partial", "liquidated_share_e8")


@cache
def asset_worlds() -> tuple[World, ...]:
    """Give worlds that have assets, and take their entry."""
    drawn = (draw_world(seed) for seed in range(FIRST, FIRST + 4 * COUNT))
    return tuple(world for world in drawn if world.plan.assets and enters(world))


def enters(world: World) -> bool:
    return run_kernel(world.market, held(world).plan).outcome["exit_reason"] != "refused"


def is_pooled(world: World) -> bool:
    """Say whether the core's account takes assets: cross, in quote."""
    plan = world.plan
    return plan.margin_mode == "cross" and not world.market.instruments[plan.core[0].instrument].inverse


def alone(world: World, **terms: Any) -> World:
    """Give a hold in which the only asset is the first one, on other terms, with money for it from the entry on."""
    spec = world.plan.assets[0]._replace(ratio=Decimal(1))._replace(**terms)
    plan = replace(held(world).plan, assets=(spec,), latency_ms=0, daily_cap=None, capital=world.plan.capital * 1000)
    return replace(world, plan=plan, market=replace(world.market, assets=world.market.assets[:1]))


def trading(world: World, *trades: tuple[int, float]) -> World:
    """Give the world with trades of its first asset: bars after the entry, and share."""
    script = tuple(oracle.ScriptedAction(bars, TRADE, share, ASSET) for bars, share in trades)
    return replace(world, plan=replace(world.plan, script=script))


def slot_of_asset(world: World) -> int:
    return 2 * len(world.plan.core) + 2


def end_of(world: World, number: int) -> int | None:
    """Give the open of the bar where an asset ends; None where the data end before."""
    end_ms = world.market.assets[number].bars[-1].time_ms + world.market.interval_ms
    return next((time for time in shared_times(world.market) if time >= end_ms), None)


# --- what they move ------------------------------------------------------------------------------------------------


def test_paid_assets_move_their_value_and_margined_ones_do_not() -> None:
    """Each fill of a paid asset is one premium, in order, of its own wallet; the outcome adds them up."""
    seen = 0
    for world, result in lived(4 * COUNT):
        due = []
        for f in result.fills:
            number = asset_number(world, f.slot)
            if number >= 0 and world.plan.assets[number].paid and f.cost_e8:
                due.append((f.time_ms, wallet_of(world, f.slot), f.cost_e8 if f.qty_e8 > 0 else -f.cost_e8))
        moved = [
            (t.time_ms, t.debit, t.amount_e8) if t.credit == "market" else (t.time_ms, t.credit, -t.amount_e8)
            for t in result.transfers
            if t.kind == "premium"
        ]
        assert moved == due
        assert result.outcome["premium_e8"] == sum(amount for *_, amount in due)
        seen += len(due)
    assert seen > COUNT / 4


def test_nothing_is_traded_that_is_not_listed_and_all_is_settled_at_the_end() -> None:
    """From the first row to the bar where the asset ends, at whose open what is left goes at the last close."""
    settled = 0
    for world, result in lived(4 * COUNT):
        qty: dict[int, int] = defaultdict(int)
        for f in result.fills:
            number = asset_number(world, f.slot)
            if number < 0:
                continue
            qty[f.slot] += f.qty_e8
            bars, end = world.market.assets[number].bars, end_of(world, number)
            if f.cause == "expiry":
                assert (f.time_ms, f.price_e8, qty[f.slot]) == (end, to_e8(bars[-1].close), 0)
                settled += 1
            elif f.cause != "data_end":
                assert bars[0].time_ms <= f.time_ms
                assert end is None or f.time_ms < end
        for slot in qty:
            end = end_of(world, asset_number(world, slot))
            assert not end or not sum(f.qty_e8 for f in result.fills if f.slot == slot and f.time_ms <= end)
    assert settled


def test_marks_of_fills_are_marks_of_the_bar() -> None:
    """Between low and high, under `sync` between open and close; without a row the last close."""
    seen = 0
    for world, result in lived(4 * COUNT):
        for f in result.fills:
            if asset_number(world, f.slot) >= 0 and f.cause != "data_end":
                bar = bar_of(world, f.slot, f.time_ms)
                ends = (bar.mark_open, bar.mark_close) if world.plan.joint == "sync" else (bar.mark_low, bar.mark_high)
                assert to_e8(min(ends)) <= f.mark_e8 <= to_e8(max(ends))
                seen += 1
    assert seen > COUNT / 4


def test_what_is_bought_and_paid_leaves_nothing_in_its_own_account() -> None:
    """It costs what it costs, brings what it brings, and is never closed by force."""
    seen = 0
    for world, result in lived(4 * COUNT):
        own = {
            slot_of_asset(world) + a
            for a, spec in enumerate(world.plan.assets)
            if spec.side > 0 and spec.paid and spec.own_account
        }
        assert not any(f.slot in own and f.cause == "liquidation" for f in result.fills)
        if world.plan.release == "pro_rata":
            for slot in own:
                balance: dict[int, int] = defaultdict(int)
                for t in result.transfers:
                    sign = (t.credit == f"margin.{slot}") - (t.debit == f"margin.{slot}")
                    balance[t.time_ms] += sign * t.amount_e8
                assert not any(balance.values())
                seen += bool(balance)
    assert seen


def test_assets_that_nobody_holds_change_nothing() -> None:
    """Without a trade of them the run is the one without assets. (They end stretches, whose extremes may be others.)"""
    for world in asset_worlds():
        rules = tuple(use for use in world.plan.rules if getattr(use.params, "target", 0.0) < ASSET)
        script = tuple(action for action in world.plan.script if (action.verb, action.target < ASSET) != (TRADE, False))
        plan = replace(world.plan, rules=rules, script=script)
        bare = run_kernel(replace(world.market, assets=()), replace(plan, assets=()))
        assert same(run_kernel(world.market, plan), bare, but=("min_buffer_ppm", "max_margin_ratio_ppm"))


# --- whom they save ------------------------------------------------------------------------------------------------


def test_what_is_owned_in_an_own_account_is_no_margin_of_the_core() -> None:
    """Bought, sold in part and held, it leaves every fill and figure of the core as it was: its money was not moved."""
    bought = 0
    for world in asset_worlds():
        own = alone(world, side=1, paid=True, own_account=True)
        count = len(shared_times(world.market))
        r = Random(world.seed)
        with_asset = trading(own, (0, 1.0), (r.randrange(count), -0.3), (r.randrange(count), 0.4))
        without, result = (run_kernel(w.market, w.plan) for w in (own, with_asset))
        slot = slot_of_asset(world)
        bought += any(f.slot == slot for f in result.fills)
        assert [f for f in result.fills if f.slot != slot] == without.fills
        assert [t for t in result.transfers if "margin" in (t.debit, t.credit)] == [
            t for t in without.transfers if "margin" in (t.debit, t.credit)
        ]
        assert [result.outcome[name] for name in OF_THE_CORE] == [without.outcome[name] for name in OF_THE_CORE]
    assert bought > COUNT / 4


def pooled_pairs(pairs: tuple[tuple[str, float], tuple[str, float]]) -> Iterator[list[twin.PoolResult]]:
    """Give two runs of each pool that takes assets: bought for good in the core's account, by ratio and share."""
    for world in filter(is_pooled, asset_worlds()):
        results = []
        for ratio, share in pairs:
            one = trading(alone(world, side=1, paid=True, own_account=False, ratio=Decimal(ratio)), (0, share))
            results.append(run_kernel(one.market, one.plan))
        slot = slot_of_asset(world)
        if all(any(f.slot == slot for f in result.fills) for result in results):
            yield results


def is_later(result: twin.PoolResult, other: twin.PoolResult) -> bool:
    """Say whether a run is liquidated not earlier than another."""
    ours, theirs = result.outcome["liquidation_ms"], other.outcome["liquidation_ms"]
    return ours is None or (theirs is not None and int(str(ours)) >= int(str(theirs)))


def test_at_a_higher_ratio_the_core_is_never_liquidated_earlier() -> None:
    saved = pairs = 0
    for half, whole in pooled_pairs((("0.5", 1.0), ("1", 1.0))):
        assert is_later(whole, half)
        pairs += 1
        saved += half.outcome["liquidation_ms"] != whole.outcome["liquidation_ms"]
    assert pairs > COUNT / 10
    assert saved


def test_more_of_what_is_owned_never_liquidates_the_core_earlier() -> None:
    """Paid from the reserve and never sold it cannot be worth less than nothing, wherever its mark goes."""
    saved = pairs = 0
    for little, much in pooled_pairs((("0.9", 0.5), ("0.9", 2.0))):
        assert is_later(much, little)
        pairs += 1
        saved += little.outcome["liquidation_ms"] != much.outcome["liquidation_ms"]
    assert pairs > COUNT / 10
    assert saved


# --- liquidation ---------------------------------------------------------------------------------------------------


def test_who_cannot_stand_at_an_open_is_liquidated_there() -> None:
    """Rebuilt from the rows before an open and what falls due at it, an account with E <= MM is forced there."""
    due = 0
    for world, result in lived(4 * COUNT):
        if not world.plan.assets or world.plan.fee_reserve:
            continue  # the reserve for the closing fee needs leverage as it was set
        last_ms = min(int(str(result.outcome["exit_ms"])), world.plan.stop_ms - 1)
        for time_ms in shared_times(world.market):
            if not world.plan.entry_ms < time_ms <= last_ms:
                continue
            state, dead = rebuilt_at(world, result, time_ms), set()
            for account in {wallet_of(world, slot) for slot, qty in state.qty.items() if qty}:
                marks = {s: to_e8(bar_of(world, s, time_ms).mark_open) for s in state.slots(account)}
                if state.is_at_risk(account) and state.headroom(account, marks, time_ms) <= 0:
                    dead.add(account)
            forced = {
                wallet_of(world, f.slot) for f in result.fills if (f.time_ms, f.cause) == (time_ms, "liquidation")
            }
            core_is_gone = "margin" in forced and result.outcome["exit_ms"] == time_ms
            assert dead <= forced or core_is_gone
            due += len(dead)
    assert due > COUNT / 10


def rebuilt_at(world: World, result: twin.PoolResult, time_ms: int) -> Rebuilt:
    """Give a run as it stands at an open when it is tested first."""
    state, before_test = Rebuilt(world), ("funding", "expiry", "arrival")
    for t in result.transfers:
        if t.time_ms < time_ms or (t.time_ms == time_ms and t.cause in before_test):
            state.move(t)
    for f in result.fills:
        if f.time_ms < time_ms or (f.time_ms == time_ms and f.cause in before_test):
            state.fill(f)
    return state


def test_an_own_account_is_closed_by_force_only_where_it_owes_what_it_has() -> None:
    """At the mark of its forced fill, with what it held before, E <= MM."""
    seen: set[tuple[int, int, int]] = set()
    for world, result in lived(4 * COUNT):
        state = Rebuilt(world)
        for f in result.fills:
            account, key = wallet_of(world, f.slot), (world.seed, f.slot, f.time_ms)
            of_asset = asset_number(world, f.slot) >= 0 and account != "margin"
            if of_asset and f.cause == "liquidation" and key not in seen:  # of two in a bar the first
                state.balance.clear()
                for t in result.transfers:
                    ours = account in (t.debit, t.credit)
                    if t.time_ms > f.time_ms or (ours and (t.time_ms, t.cause) == (f.time_ms, "liquidation")):
                        break
                    state.move(t)
                assert state.headroom(account, {f.slot: f.mark_e8}, f.time_ms) <= 0
                seen.add(key)
            state.fill(f)
    assert len(seen) > COUNT / 20


def test_an_account_of_its_own_dies_at_the_first_event_where_its_predicate_holds_and_at_none_before() -> None:
    """Of what was written or sold, in integers of its own, along the opens and the ends of the ways."""
    died = lasted = 0
    for world in asset_worlds():
        side, paid = (-1, world.seed % 2 == 0) if world.seed % 3 else (1, False)
        one = trading(alone(world, side=side, paid=paid, own_account=True), (0, 1.0))
        posted = one.plan.posted_margin * 100
        one = replace(one, plan=replace(one.plan, posted_margin=posted))
        result = run_kernel(one.market, one.plan)
        slot = slot_of_asset(world)
        opened = next((f for f in result.fills if f.slot == slot), None)
        if opened is None or result.outcome["liquidated"] or opened.time_ms != one.plan.entry_ms:
            continue
        forced = next((f.time_ms for f in result.fills if f.slot == slot and f.cause == "liquidation"), None)
        assert forced == first_death(one, result, opened)
        died += forced is not None
        lasted += forced is None
    assert died > COUNT / 20
    assert lasted > COUNT / 20


def first_death(world: World, result: twin.PoolResult, opened: twin.PoolFill) -> int | None:
    """Walk the bars of a run and give the first one in which the account of its asset owes what it has."""
    wallet, qty = 0, abs(opened.qty_e8)
    for t in result.transfers:
        if t.time_ms == opened.time_ms and t.cause == "rule":
            account = f"margin.{opened.slot}"
            wallet += t.amount_e8 * ((t.credit == account) - (t.debit == account))
    spec, end = world.plan.assets[0], end_of(world, 0)

    def equity(mark: int) -> int:
        value = ceil_div(qty * mark, E8) if spec.side < 0 else qty * mark // E8
        return wallet + spec.side * value - (0 if spec.paid else spec.side * opened.cost_e8)

    last_ms = min(int(str(result.outcome["exit_ms"])), world.plan.stop_ms - 1)
    for time_ms in shared_times(world.market):
        if not world.plan.entry_ms <= time_ms <= last_ms:
            continue
        if time_ms == end:
            return None
        bar, row = bar_of(world, opened.slot, time_ms), row_of(world.market.assets[0], time_ms)
        needed = ceil_div(qty * to_e8(row.maintenance), E8)
        marks = [bar.mark_open]
        if time_ms < world.plan.entry_ms + world.plan.horizon_ms:
            marks += [bar.mark_close] if world.plan.joint == "sync" else [bar.mark_low, bar.mark_high]
        if any(equity(to_e8(mark)) <= needed for mark in marks):
            return time_ms
    return None
