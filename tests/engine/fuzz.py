"""Compare kernel and oracle on generated worlds for as long as one likes.

    python -m tests.engine.fuzz --seed 1 --minutes 5
    python -m tests.engine.fuzz --world 1000000042      repeats one world and shrinks it
    python -m tests.engine.fuzz --pool …                runs with several legs

A difference prints the command that repeats it, and the smallest run found in which it remains.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from harness import disagreements
from worlds import World, draw_world

SEEDS_APART = 10**9  # world seeds of one fuzz seed
PLAIN: dict[str, Any] = {
    "script": (),
    "slippage": Decimal(0),
    "liq_slippage": Decimal(0),
    "clearance_rate": Decimal(0),
    "latency_ms": 0,
    "reaction_ms": 0,
    "daily_cap": None,
    "baseline_liquidation_ms": None,
    "baseline_exit_ms": None,
    "fee_reserve": False,
    "release": "pro_rata",
    "margin_mode": "isolated",
    "procedure": "ioc",
    "reaction": "intrabar",
    "qty_share": Decimal(1),
    "min_notional": Decimal(0),
}


@dataclass(frozen=True)
class Subject:
    """What is fuzzed: worlds, their comparison, simpler ones, and what is told of a market; `option` names it."""

    option: str
    draw: Callable[[int], Any]
    disagreements: Callable[[Any, Any], list[str]]
    simpler: Callable[[Any], Iterator[Any]]
    told: Callable[[Any], list[str]]
    bars: Callable[[Any], int]

    def differs(self, world: Any) -> bool:
        return bool(self.disagreements(world.market, world.plan))


def simpler_plans(plan: Any, plain: dict[str, Any]) -> Iterator[Any]:
    """Give plans that are a little simpler: fewer rules, wakes and settings."""
    for i in range(len(plan.rules)):
        yield replace(plan, rules=plan.rules[:i] + plan.rules[i + 1 :])
        wakes = plan.rules[i].wakes
        for k in range(len(wakes) if len(wakes) > 1 else 0):
            use = replace(plan.rules[i], wakes=wakes[:k] + wakes[k + 1 :])
            yield replace(plan, rules=(*plan.rules[:i], use, *plan.rules[i + 1 :]))
    for name, value in plain.items():
        if getattr(plan, name) != value:
            yield replace(plan, **{name: value})


def simpler(world: World) -> Iterator[World]:
    """Give worlds that are a little simpler: fewer bars, rules, wakes, events and settings."""
    market = world.market
    count = len(market.bars)
    for keep in (count // 2, count - count // 4, count - 1):
        if 0 < keep < count:
            yield replace(world, market=replace(market, bars=market.bars[:keep]))
    for plan in simpler_plans(world.plan, PLAIN):
        yield replace(world, plan=plan)
    for stamp in market.funding:
        yield replace(world, market=replace(market, funding={k: v for k, v in market.funding.items() if k != stamp}))
    for field in ("tiers", "taker"):
        if len(getattr(market, field)) > 1:
            yield replace(world, market=replace(market, **{field: getattr(market, field)[:1]}))
    for i in range(1, count if count < 60 else 0):
        yield replace(world, market=replace(market, bars=market.bars[:i] + market.bars[i + 1 :]))


def told_of(market: Any) -> list[str]:
    """Write a market down."""
    lines = [f"  funding {k}: {v}" for k, v in market.funding.items()]
    lines += [f"  taker from {k}: {v}" for k, v in market.taker]
    lines += [f"  tiers from {k}: {' '.join(map(str, row))}" for k, table in market.tiers for row in table]
    return lines + [f"  bar {' '.join(map(str, bar))}" for bar in market.bars]


ONE = Subject("", draw_world, disagreements, simpler, told_of, lambda market: len(market.bars))


def shrink(subject: Subject, world: Any, seconds: float) -> Any:
    """Take what can be taken from a world while kernel and oracle still differ."""
    stop = time.monotonic() + seconds
    found = True
    while found and time.monotonic() < stop:
        found = False
        for candidate in subject.simpler(world):
            if time.monotonic() < stop and subject.differs(candidate):
                world, found = candidate, True
                break
    return world


def tell(subject: Subject, world: Any) -> str:
    """Write a world and its differences down."""
    lines = subject.disagreements(world.market, world.plan)
    plan = [f"  {f.name} = {getattr(world.plan, f.name)}" for f in fields(world.plan) if f.name != "rules"]
    rules = [
        f"  rule {use.name} {vars(use.params)} cooldown {use.cooldown_ms}: "
        + " | ".join(f"{wake.kind} {wake.value or ''}" for wake in use.wakes)
        for use in world.plan.rules
    ]
    head = ["shrunk to", f"  interval_ms = {world.market.interval_ms}"]
    return "\n".join([*lines, *head, *plan, *rules, *subject.told(world.market)])


def report(subject: Subject, seed: int, seconds: float) -> None:
    """Say how to repeat a difference, and what it shrinks to."""
    print(f"\nrepeat with: python -m tests.engine.fuzz {subject.option}--world {seed}", flush=True)
    print(tell(subject, shrink(subject, subject.draw(seed), seconds)))


def run(subject: Subject, seeds: Iterator[int], stop: float, seconds: float) -> int:
    """Compare worlds until the time is over; give the number of differences, at most one."""
    started, worlds, bars = time.monotonic(), 0, 0
    told = started
    for seed in seeds:
        world = subject.draw(seed)
        if subject.differs(world):
            report(subject, seed, seconds)
            return 1
        worlds, bars = worlds + 1, bars + subject.bars(world.market)
        now = time.monotonic()
        if now - told > 10 or now > stop:
            print(f"{worlds} worlds, {bars} bars, {now - started:.0f} s, no difference (next {seed + 1})", flush=True)
            told = now
        if now > stop:
            break
    print(f"{worlds} worlds, {bars} bars: kernel and oracle agree")
    return 0


def pools() -> Subject:
    """Give the subject of runs with several legs."""
    sys.path.insert(0, str(Path(__file__).parent / "pool"))
    from pool_fuzz import POOLS

    return POOLS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--count", type=int, help="worlds to compare at most")
    parser.add_argument("--world", type=int, help="repeat the world of this seed")
    parser.add_argument("--no-shrink", action="store_true", help="tell a difference as it is")
    parser.add_argument("--pool", action="store_true", help="runs with several legs")
    args = parser.parse_args(argv)
    subject = pools() if args.pool else ONE
    seconds = 0.0 if args.no_shrink else 60.0
    if args.world is not None:
        if not subject.differs(subject.draw(args.world)):
            print(f"world {args.world}: kernel and oracle agree")
            return 0
        report(subject, args.world, seconds)
        return 1
    first = args.seed * SEEDS_APART
    last = first + (SEEDS_APART if args.count is None else args.count)
    return run(subject, iter(range(first, last)), time.monotonic() + args.minutes * 60, seconds)


if __name__ == "__main__":
    sys.exit(main())
