"""The laws of a strategy that takes time to act, over generated worlds and the kernel alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from harness import run_kernel
from test_ledger_laws import held, same, worlds
from worlds import World

FIRST = 6_000_000  # seeds of their own
AT_THRESHOLDS = ("buffer_below", "margin_ratio_above", "headroom_below")


def waiting(world: World) -> World:
    """Leave a world's rules only thresholds to wait for, and its reserve no latency."""
    rules = [
        replace(use, wakes=tuple(wake for wake in use.wakes if wake.kind in AT_THRESHOLDS)) for use in world.plan.rules
    ]
    return replace(world, plan=replace(world.plan, rules=tuple(use for use in rules if use.wakes), latency_ms=0))


def lengths_ms(world: World) -> set[int]:
    """Give the lengths of a world's bars."""
    return {bar.length_ms or world.market.interval_ms for bar in world.market.bars}


def ruled(count: int) -> Iterator[World]:
    return (world for world in map(waiting, worlds(count, FIRST)) if world.plan.rules)


@pytest.mark.parametrize("part", [1, 2], ids=["a millisecond", "a bar"])
def test_a_reaction_within_the_bar_is_next_open(part: int) -> None:
    acted = 0
    for world in ruled(90):
        if part == 2 and len(lengths_ms(world)) > 1:
            continue  # a bar of which length?
        ms = 1 if part == 1 else world.market.interval_ms
        late = run_kernel(world.market, replace(world.plan, reaction="intrabar", reaction_ms=ms))
        next_open = run_kernel(world.market, replace(world.plan, reaction="next_open", reaction_ms=0))
        assert same(late, next_open), world.seed
        acted += len(late.actions)
    assert acted > 20


@pytest.mark.parametrize("reaction", ["intrabar", "next_open"])
def test_no_rule_acts_before_its_reaction_had_its_time(reaction: str) -> None:
    acted = 0
    for world in worlds(60, FIRST):
        after = min(lengths_ms(world)) * (1 if reaction == "next_open" else 0)
        plan = replace(world.plan, reaction=reaction, reaction_ms=world.market.interval_ms * 3 // 2)
        actions = [a for a in run_kernel(world.market, plan).actions if a.rule >= 0]
        events = {wake.kind for use in plan.rules for wake in use.wakes} - set(AT_THRESHOLDS)
        least = plan.entry_ms + plan.reaction_ms + (0 if events else after)
        assert all(action.time_ms >= least for action in actions), world.seed
        acted += len(actions)
    assert acted > 20


def test_a_reaction_longer_than_the_run_is_hold() -> None:
    for world in ruled(40):
        plan = replace(world.plan, script=(), liquidation=True)
        late = run_kernel(world.market, replace(plan, reaction_ms=plan.horizon_ms + world.market.interval_ms))
        assert same(late, run_kernel(world.market, held(world).plan)), world.seed
