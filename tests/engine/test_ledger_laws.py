"""The laws of the ledger and of time, each by name, over the kernel alone.

Nothing here knows how the kernel works: the laws read what a run wrote, the tape, and plain integers.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from harness import RULES, direct_calls, replay_tape, run_kernel, to_outside, to_rules, to_run, to_tape, to_terms
from outside_worlds import altered, informing
from worlds import World, ceil_div, decimal, draw_world

from backtest.engine import oracle
from backtest.engine.batch import replay_batch
from backtest.engine.compiled import prepare
from backtest.engine.market import market_of
from backtest.study.rule_files import load_rules
from backtest.units import E8, to_e8

COUNT = int(os.environ.get("LAW_WORLDS", "120"))
FIRST = 5_000_000  # seeds of their own
SHIPPED = load_rules()
OWN = ("margin", "free", "reserve", "transit")  # accounts of the run; the others are the other side


def worlds(count: int = COUNT, first: int = FIRST, bars: int | None = None) -> Iterator[World]:
    for seed in range(first, first + count):
        yield draw_world(seed, bars)


@cache
def lived(count: int = COUNT) -> tuple[tuple[World, oracle.Result], ...]:
    """Give worlds whose entry was taken, with what the kernel wrote."""
    pairs = ((world, run_kernel(world.market, world.plan)) for world in worlds(count))
    return tuple((world, result) for world, result in pairs if result.outcome["exit_reason"] != "refused")


def held(world: World) -> World:
    """Give a world's run without rules: a hold."""
    return replace(world, plan=replace(world.plan, rules=(), script=(), liquidation=True))


def rows_before(result: oracle.Result, time_ms: int) -> list[list[Any]]:
    """Give what was written before a time, without the end of the data, which is not an event of the market."""
    tables = (result.transfers, result.fills, result.actions)
    return [[r for r in t if r.time_ms < time_ms and getattr(r, "cause", "") != "data_end"] for t in tables]


def same(a: oracle.Result, b: oracle.Result, *, but: tuple[str, ...] = ()) -> bool:
    skipped = {"bars_visited", "exit_bar", "last_segment", *but}
    outcomes = [{k: v for k, v in r.outcome.items() if k not in skipped} for r in (a, b)]
    return (a.transfers, a.fills, a.actions, outcomes[0]) == (b.transfers, b.fills, b.actions, outcomes[1])


# --- the ledger ----------------------------------------------------------------------------------------------------


def test_conservation() -> None:
    """Every row moves a positive amount between two accounts, and all that is in the run was paid in or won."""
    for world, result in lived():
        total: dict[str, int] = defaultdict(int)
        for t in result.transfers:
            assert t.amount_e8 > 0
            assert t.debit != t.credit
            total[t.debit] -= t.amount_e8
            total[t.credit] += t.amount_e8
        assert sum(total.values()) == 0
        assert total["world"] == -to_e8(world.plan.capital)
        # what the market took is what the fills' values say, and nothing else
        assert total["market"] == -sum(f.cost_e8 * (-1 if f.qty_e8 > 0 else 1) for f in result.fills)


def test_balances_and_positions_rebuild() -> None:
    """The outcome's figures are sums over the rows."""
    for _, result in lived():
        of = {kind: sum(t.amount_e8 for t in result.transfers if t.kind == kind) for kind in ("fee", "clearance")}
        paid = sum(t.amount_e8 * (1 if t.debit == "margin" else -1) for t in result.transfers if t.kind == "funding")
        kept = dict.fromkeys(OWN, 0)
        for t in result.transfers:
            for name, sign in ((t.debit, -1), (t.credit, 1)):
                if name in kept:
                    kept[name] += sign * t.amount_e8
        outcome = result.outcome
        assert outcome["fees_e8"] == of["fee"]
        assert outcome["clearance_fee_e8"] == of["clearance"]
        assert outcome["funding_e8"] == paid
        assert outcome["equity_end_e8"] == kept["free"] + kept["reserve"]
        assert outcome["turnover_e8"] == sum(f.cost_e8 for f in result.fills)
        assert outcome["actions"] == sum(a.status == "done" for a in result.actions)
        forced = sum(abs(f.qty_e8) for f in result.fills if f.cause == "liquidation")
        assert outcome["forced_qty_e8"] == forced
        assert bool(outcome["liquidated"]) == bool(forced)


def test_solvency() -> None:
    """The free balance and the reserve never owe; the wallet may, and not after a liquidation."""
    for _, result in lived():
        kept = dict.fromkeys(("free", "reserve", "transit"), 0)
        for t in result.transfers:
            for name, sign in ((t.debit, -1), (t.credit, 1)):
                if name in kept:
                    kept[name] += sign * t.amount_e8
                    assert kept[name] >= 0


def test_flat_means_empty() -> None:
    """A run ends without position, wallet or money on its way, and its position never turns around."""
    for world, result in lived():
        qty = 0
        for fill in result.fills:
            qty += fill.qty_e8 * world.plan.side
            assert qty >= 0
        assert qty == 0
        for name in ("margin", "transit"):
            assert sum(t.amount_e8 * ((t.credit == name) - (t.debit == name)) for t in result.transfers) == 0


def test_fees_are_the_rate_of_the_value() -> None:
    """Each fill but a forced one pays ceil(value x taker), in order."""
    for world, result in lived():
        fills = [f for f in result.fills if f.cause != "liquidation"]
        due = [ceil_div(f.cost_e8 * taker_at(world, f), E8) for f in fills]
        assert [fee for fee in due if fee] == [t.amount_e8 for t in result.transfers if t.kind == "fee"]


def taker_at(world: World, fill: oracle.Fill) -> int:
    """Give the taker rate of a fill; at the end of the data, that of the last bar."""
    last = max(b.time_ms for b in world.market.bars if b.time_ms < world.plan.stop_ms)
    now = min(fill.time_ms, last)
    return to_e8([rate for start, rate in world.market.taker if start <= now or start == world.market.taker[0][0]][-1])


def test_nobody_fills_better_than_the_market() -> None:
    """Entry, exit and end fill at the trade price made worse by slippage, as values rounded against the run."""
    for world, result in lived():
        opens = {b.time_ms: to_e8(b.trade_open) for b in world.market.bars}
        slip = to_e8(world.plan.slippage)
        for fill in result.fills:
            buying = fill.qty_e8 > 0
            exact = abs(fill.qty_e8) * fill.price_e8
            assert fill.cost_e8 == (ceil_div(exact, E8) if buying else exact // E8)
            if fill.cause in ("entry", "exit"):
                base = opens[fill.time_ms]
                assert fill.price_e8 == base + (1 if buying else -1) * ceil_div(base * slip, E8)


def test_funding_is_notional_times_rate() -> None:
    """Longs pay a positive rate on quantity x mark open, rounded against the run; the entry's own stamp is free."""
    for world, result in lived():
        rows = [t for t in result.transfers if t.kind == "funding"]
        expected = []
        for time_ms in sorted(world.market.funding):
            rate = to_e8(world.market.funding[time_ms])
            if not world.plan.entry_ms < time_ms <= min(result.outcome["exit_ms"], world.plan.stop_ms - 1):
                continue
            qty = sum(f.qty_e8 for f in result.fills if f.time_ms < time_ms and f.cause != "data_end")
            mark = next(to_e8(b.mark_open) for b in world.market.bars if b.time_ms == time_ms)
            exact = abs(qty) * mark * abs(rate)
            paying = qty * rate > 0
            amount = ceil_div(exact, E8 * E8) if paying else exact // (E8 * E8)
            if amount:
                expected.append((time_ms, "margin" if paying else "funding", amount))
        assert [(t.time_ms, t.debit, t.amount_e8) for t in rows] == expected


def test_what_is_put_back_returns_to_the_position() -> None:
    """A put-back follows its release and undoes it: the free balance is as before."""
    seen = 0
    for world in worlds():
        use = oracle.RuleUse(
            "deleverage", RULES["deleverage"].function, SimpleNamespace(share=0.3, put_back=1.0), (BELOW_HALF,)
        )
        plan = replace(world.plan, rules=(use,), script=(), margin_mode="isolated", release="pro_rata")
        transfers = run_kernel(world.market, plan).transfers
        for before, row in pairwise(transfers):
            if row.kind == "put_back":
                seen += 1
                assert (row.debit, row.credit) == ("free", "margin")
                assert (before.kind, before.amount_e8, before.time_ms) == ("release", row.amount_e8, row.time_ms)
    assert seen


BELOW_HALF = oracle.Wake("buffer_below", Decimal("0.5"))

# --- liquidation ---------------------------------------------------------------------------------------------------


class Stand:
    """A held position in plain integers: the predicate, worked out anew."""

    def __init__(self, world: World, fill: oracle.Fill) -> None:
        self.plan, self.fill = world.plan, fill
        self.qty, self.cost = abs(fill.qty_e8), fill.cost_e8

    def dead(self, wallet: int, mark: int, rows: tuple[oracle.TierRow, ...], taker: int) -> bool:
        notional = self.qty * mark
        row = next((r for r in rows if r.cap is None or notional <= to_e8(r.cap) * E8), rows[-1])
        needed = ceil_div(notional * to_e8(row.rate), E8 * E8) - to_e8(row.deduction)
        if self.plan.fee_reserve:
            leverage = int(self.plan.leverage * 100)
            needed += ceil_div(self.cost * (leverage - 100 * self.plan.side) * taker, leverage * E8)
        worth = notional // E8 - self.cost if self.plan.side > 0 else self.cost - ceil_div(notional, E8)
        return wallet + worth <= needed


def in_force(dated: Any, time_ms: int) -> Any:
    return [value for start, value in dated if start <= time_ms or start == dated[0][0]][-1]


def check_first_liquidation(world: World, result: oracle.Result) -> bool:
    """Walk a hold's bars with the independent predicate up to the first event at which it holds."""
    stand = Stand(world, result.fills[0])
    wallet = to_e8(world.plan.posted_margin) - sum(
        t.amount_e8 for t in result.transfers if t.kind == "fee" and t.cause == "entry"
    )
    paid: dict[int, int] = defaultdict(int)
    for t in result.transfers:
        if t.kind == "funding":
            paid[t.time_ms] += t.amount_e8 * (1 if t.credit == "margin" else -1)
    end = result.outcome["exit_ms"]
    for bar in world.market.bars:
        if bar.time_ms < world.plan.entry_ms or bar.time_ms >= world.plan.stop_ms or bar.time_ms > end:
            continue
        wallet += paid[bar.time_ms]
        rows, taker = in_force(world.market.tiers, bar.time_ms), to_e8(in_force(world.market.taker, bar.time_ms))
        opened, high, low = (to_e8(p) for p in (bar.mark_open, bar.mark_high, bar.mark_low))
        adverse, other = (low, high) if world.plan.side > 0 else (high, low)
        exits = bar.time_ms >= world.plan.entry_ms + world.plan.horizon_ms
        marks = [opened] if exits else [opened, adverse, other]
        if any(stand.dead(wallet, mark, rows, taker) for mark in marks):
            assert result.outcome["liquidation_ms"] == bar.time_ms
            at = result.outcome["liquidation_price_e8"]
            assert stand.dead(wallet, at, rows, taker)
            if at == opened:
                assert stand.dead(wallet, opened, rows, taker)
            elif min(opened, adverse) <= at <= max(opened, adverse):  # the first mark of the way where it holds
                assert not stand.dead(wallet, at + (1 if adverse < opened else -1), rows, taker)
            return True
    assert result.outcome["liquidation_ms"] is None
    return False


def test_liquidation_comes_at_the_first_event_where_the_predicate_holds_and_at_none_before() -> None:
    count = 0
    for world in worlds():
        world = held(world)
        result = run_kernel(world.market, world.plan)
        if result.outcome["exit_reason"] != "refused":
            count += check_first_liquidation(world, result)
    assert count >= 0.25 * COUNT


def test_more_margin_never_liquidates_earlier() -> None:
    """Under hold, for any extra margin posted at entry."""
    for world in worlds():
        base = held(world)
        first = run_kernel(base.market, base.plan).outcome["liquidation_ms"]
        more = Decimal("0.00000001") if world.seed % 2 else base.plan.posted_margin / 4
        more = more.quantize(Decimal("0.00000001"))
        richer = replace(base.plan, posted_margin=base.plan.posted_margin + more, capital=base.plan.capital + more)
        later = run_kernel(base.market, richer).outcome["liquidation_ms"]
        assert later is None or (first is not None and later >= first)


# --- time ----------------------------------------------------------------------------------------------------------


def corrupted(world: World, time_ms: int) -> World:
    """Give the world with all that the tape, signals and events tell from a time on changed."""
    r = Random(world.seed)
    bars = []
    for bar in world.market.bars:
        if bar.time_ms >= time_ms:
            prices = sorted(r.randint(1, 10**12) for _ in range(5))
            low, trade, opened, close, high = map(decimal, prices)
            bar = oracle.Bar(bar.time_ms, trade, close, opened, high, low, bar.length_ms)
        bars.append(bar)
    funding = {
        t: rate if t < time_ms else decimal(r.randint(-(10**6), 10**6)) for t, rate in world.market.funding.items()
    }
    tiers = [
        (t, rows if t < time_ms or t == world.market.tiers[0][0] else (rows[-1]._replace(rate=Decimal("0.3")),))
        for t, rows in world.market.tiers
    ]
    market = replace(world.market, bars=tuple(bars), funding=funding, tiers=tuple(tiers))
    return replace(world, market=market, plan=altered(world.plan, time_ms, world.seed))


def check_no_future(world: World, rules: Any) -> None:
    tape = to_tape(world.market, world.plan.stop_ms)
    if tape is None:
        return
    whole = replay_tape(tape, world.plan, rules)
    times = [bar.time_ms for bar in world.market.bars]
    for time_ms in {times[len(times) // 3], times[len(times) * 2 // 3], times[-1]}:
        other = corrupted(world, time_ms)
        changed = to_tape(other.market, world.plan.stop_ms)
        assert rows_before(replay_tape(changed, other.plan, rules), time_ms) == rows_before(whole, time_ms)


def test_no_future() -> None:
    """Corrupting everything that is known from a time on, outside the tape too, changes nothing written before it."""
    for world in worlds(COUNT // 2):
        check_no_future(world, to_rules(world.plan.rules))


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_no_shipped_rule_sees_the_future(name: str) -> None:
    rules = prepare([(SHIPPED[name], SHIPPED[name].values({}), 0)])
    acted = 0
    for drawn in worlds(max(COUNT // 4, 12)):
        plan = informing(drawn.plan, rules.signals, rules.events, drawn.market.bars) if rules.needs_feed else drawn.plan
        world = replace(drawn, plan=plan)
        check_no_future(world, rules)
        tape = to_tape(world.market, world.plan.stop_ms)
        acted += tape is not None and len(replay_tape(tape, world.plan, rules).actions)
    assert acted


def test_a_tape_cut_at_any_bar_gives_the_same_up_to_it() -> None:
    """What was written does not depend on how much of the tape there is: a run can be resumed by replaying it."""
    for world in worlds(COUNT // 2):
        whole = run_kernel(world.market, world.plan)
        times = [bar.time_ms for bar in world.market.bars if bar.time_ms > world.plan.entry_ms]
        for stop in times[:: max(1, len(times) // 5)]:
            cut = run_kernel(world.market, replace(world.plan, stop_ms=min(stop, world.plan.stop_ms)))
            assert rows_before(cut, stop) == rows_before(whole, stop)


def test_a_rule_that_holds_changes_nothing() -> None:
    """The null rule, woken in every way, leaves every row and figure as without it."""
    wakes = (BELOW_HALF, oracle.Wake("margin_ratio_above", Decimal("0.1")), oracle.Wake("headroom_below", Decimal(9)))
    wakes += tuple(oracle.Wake(kind) for kind in ("every_bar", "on_fill", "on_funding", "on_arrival"))
    null = oracle.RuleUse(
        "patient_top_up", RULES["patient_top_up"].function, SimpleNamespace(calls=1e9, amount=1.0), wakes
    )
    for world in worlds():
        bare = held(world)
        watched = replace(bare.plan, rules=(null, null))
        for reaction in ("intrabar", "next_open"):
            a = run_kernel(bare.market, replace(bare.plan, reaction=reaction))
            assert same(a, run_kernel(bare.market, replace(watched, reaction=reaction)))


def test_skipping_changes_nothing() -> None:
    """Passing over segments and blocks gives the bytes of visiting every bar, over hundreds of bars."""
    for world in worlds(COUNT, FIRST + 10**6, bars=100):
        tape, rules = to_tape(world.market, world.plan.stop_ms), to_rules(world.plan.rules)
        assert same(replay_tape(tape, world.plan, rules), replay_tape(tape, world.plan, rules, skip=False))


def test_purity() -> None:
    """The same call gives the same bytes, after others too."""
    for world in worlds(COUNT // 4):
        first = run_kernel(world.market, world.plan)
        between = draw_world(world.seed + 999)
        run_kernel(between.market, between.plan)
        assert same(first, run_kernel(world.market, world.plan))


def batch_of(world: World) -> tuple[Any, ...]:
    """Give several entries of one plan over one tape: two sides and four leverages."""
    tape = to_tape(world.market, world.plan.stop_ms)
    plan = replace(world.plan, script=())
    rules = to_rules(plan.rules)
    entries = np.concatenate(
        [
            to_run(tape, replace(plan, side=side, leverage=Decimal(leverage), entry_ms=bar.time_ms))
            for side in (1, -1)
            for leverage in (2, 5, 10, 20)
            for bar in world.market.bars[:: max(1, len(world.market.bars) // 3)]
        ]
    )
    rules = rules.fed(tape.time_ms, to_outside(plan))
    kernel_plan = to_terms(plan).plan(rules, next_open=plan.reaction == "next_open")
    return market_of(tape), kernel_plan, rules, entries


def test_the_order_of_rows_does_not_matter() -> None:
    """Entries in another order give the same outcomes, and tables and stamps given unsorted the same tape."""
    for world in worlds(COUNT // 6):
        market, plan, rules, entries = batch_of(replace(world, plan=replace(world.plan, stop_ms=2**60)))
        shuffled = np.array(Random(world.seed).sample(range(len(entries)), len(entries)))
        with direct_calls():
            straight = replay_batch(market, plan, rules, entries).outcomes
            mixed = replay_batch(market, plan, rules, entries[shuffled]).outcomes
        assert np.array_equal(straight[shuffled], mixed)
        unsorted = replace(
            world.market, funding=dict(reversed(world.market.funding.items())), tiers=world.market.tiers[::-1]
        )
        assert same(run_kernel(world.market, world.plan), run_kernel(unsorted, world.plan))


def test_recording_off_and_rows_kept_change_no_outcome() -> None:
    for world in worlds(COUNT // 6):
        market, plan, rules, entries = batch_of(replace(world, plan=replace(world.plan, stop_ms=2**60)))
        with direct_calls():
            every = replay_batch(market, plan, rules, entries, keep="all")
            some = replay_batch(market, plan, rules, entries)
            none = replay_batch(market, plan, rules, entries, record=False)
        assert np.array_equal(every.outcomes, some.outcomes)
        assert np.array_equal(every.outcomes, none.outcomes)
        assert len(none.transfers) == 0
        liquidated = np.flatnonzero(every.outcomes["liquidated"])
        assert np.array_equal(some.transfers, every.transfers[np.isin(every.transfers["run"], liquidated)])


# --- metamorphic ---------------------------------------------------------------------------------------------------


def test_zero_funding_is_no_funding() -> None:
    """Stamps at rate 0 move nothing. (They end a segment, so its extremes may be noted at other marks.)"""
    for world in worlds():
        zero = replace(world.market, funding=dict.fromkeys((b.time_ms for b in world.market.bars[::3]), Decimal(0)))
        none = replace(world.market, funding={})
        extremes = ("min_buffer_ppm", "max_margin_ratio_ppm", "largest_deficit_e8")
        assert same(run_kernel(zero, world.plan), run_kernel(none, world.plan), but=extremes)


def exact_world(seed: int, scale: int) -> World:
    """Give a hold whose every product is exact at 1e-8, with quantities, wallet and tiers scaled."""
    r = Random(f"exact {seed}")
    step, margin = Decimal("0.1") * scale, Decimal(r.choice((100, 200))) * scale
    leverage, price, bars = Decimal(r.choice((3, 5, 10, 20))), 10_000, []
    for index in range(r.randint(4, 40)):
        opened = price + r.randint(-100, 100)
        high, low = opened + r.randint(0, 500), opened - r.randint(0, 500)
        price = r.randint(low, high)
        bars.append(oracle.Bar(index * 3_600_000, *(Decimal(p) / 100 for p in (opened, price, opened, high, low))))
    caps = (Decimal(400) * scale, Decimal(1_500) * scale)
    tiers = (
        oracle.TierRow(caps[0], Decimal("0.004"), Decimal(0), None),
        oracle.TierRow(caps[1], Decimal("0.01"), caps[0] * Decimal("0.006"), None),
        oracle.TierRow(None, Decimal("0.025"), caps[0] * Decimal("0.006") + caps[1] * Decimal("0.015"), None),
    )
    funding = {bar.time_ms: Decimal(r.choice(("0.0001", "-0.001", "0.005"))) for bar in bars[::4]}
    market = oracle.Market(3_600_000, tuple(bars), funding, ((0, tiers),), ((0, Decimal("0.0005")),))
    base = draw_world(seed).plan
    plan = replace(
        base,
        entry_ms=0,
        horizon_ms=10**9,
        stop_ms=10**9,
        side=r.choice((1, -1)),
        leverage=leverage,
        capital=margin * 2,
        sizing_margin=margin,
        posted_margin=margin,
        qty_share=Decimal(1),
        step=step,
        min_notional=Decimal(5) * scale,
        slippage=Decimal(0),
        fee_reserve=False,
        rules=(),
        script=(),
        baseline_liquidation_ms=None,
        baseline_exit_ms=None,
        liquidation=True,
    )
    return World(seed, market, plan)


def test_scaling_all_amounts_scales_the_ledger() -> None:
    """Quantities, wallet and tier borders times 7: the same end, and without a liquidation all amounts times 7."""
    for seed in range(COUNT):
        one, seven = (exact_world(seed, scale) for scale in (1, 7))
        a, b = run_kernel(one.market, one.plan), run_kernel(seven.market, seven.plan)
        names = ("exit_ms", "exit_reason", "liquidation_ms", "liquidation_count", "cause")
        assert [a.outcome[n] for n in names] == [b.outcome[n] for n in names]
        # A takeover leaves what roundings left: some units of 1e-8, or none.
        firm, firm_seven = ([t for t in r.transfers if t.amount_e8 >= dust] for r, dust in ((a, 100), (b, 700)))
        assert [(t.time_ms, t.kind) for t in firm] == [(t.time_ms, t.kind) for t in firm_seven]
        for x, y in zip(firm, firm_seven, strict=True):
            if x.kind in ("deposit", "post", "funding") and a.outcome["liquidation_ms"] in (None, x.time_ms):
                assert y.amount_e8 == 7 * x.amount_e8


def test_the_laws_run_on_what_they_say() -> None:
    """The laws are not empty: what they speak of occurs in what they read."""
    kinds = {t.kind for _, result in lived() for t in result.transfers}
    assert kinds >= {"funding", "release", "clearance", "add_margin", "put_back"}
    assert {f.cause for _, result in lived() for f in result.fills} >= {"entry", "exit", "rule", "liquidation"}
