"""Compare kernel and oracle on generated worlds for as long as one likes.

    python -m tests.engine.fuzz --seed 1 --minutes 5
    python -m tests.engine.fuzz --world 1000000042      repeats one world and shrinks it

A difference prints the command that repeats it, and the smallest run found in which it remains.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
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


def simpler(world: World) -> Iterator[World]:
    """Give worlds that are a little simpler: fewer bars, rules, wakes, events and settings."""
    market, plan = world.market, world.plan
    count = len(market.bars)
    for keep in (count // 2, count - count // 4, count - 1):
        if 0 < keep < count:
            yield replace(world, market=replace(market, bars=market.bars[:keep]))
    for i in range(len(plan.rules)):
        yield replace(world, plan=replace(plan, rules=plan.rules[:i] + plan.rules[i + 1 :]))
        wakes = plan.rules[i].wakes
        for k in range(len(wakes) if len(wakes) > 1 else 0):
            use = replace(plan.rules[i], wakes=wakes[:k] + wakes[k + 1 :])
            yield replace(world, plan=replace(plan, rules=(*plan.rules[:i], use, *plan.rules[i + 1 :])))
    for name, value in PLAIN.items():
        if getattr(plan, name) != value:
            yield replace(world, plan=replace(plan, **{name: value}))
    for stamp in market.funding:
        yield replace(world, market=replace(market, funding={k: v for k, v in market.funding.items() if k != stamp}))
    for field in ("tiers", "taker"):
        if len(getattr(market, field)) > 1:
            yield replace(world, market=replace(market, **{field: getattr(market, field)[:1]}))
    for i in range(1, count if count < 60 else 0):
        yield replace(world, market=replace(market, bars=market.bars[:i] + market.bars[i + 1 :]))


def shrink(world: World, seconds: float) -> World:
    """Take what can be taken from a world while kernel and oracle still differ."""
    stop = time.monotonic() + seconds
    found = True
    while found and time.monotonic() < stop:
        found = False
        for candidate in simpler(world):
            if time.monotonic() < stop and differs(candidate):
                world, found = candidate, True
                break
    return world


def differs(world: World) -> bool:
    return bool(disagreements(world.market, world.plan))


def tell(world: World) -> str:
    """Write a world and its differences down."""
    lines = disagreements(world.market, world.plan)
    plan = [f"  {f.name} = {getattr(world.plan, f.name)}" for f in fields(world.plan) if f.name != "rules"]
    rules = [
        f"  rule {use.name} {vars(use.params)} cooldown {use.cooldown_ms}: "
        + " | ".join(f"{wake.kind} {wake.value or ''}" for wake in use.wakes)
        for use in world.plan.rules
    ]
    market = [f"  funding {k}: {v}" for k, v in world.market.funding.items()]
    market += [f"  taker from {k}: {v}" for k, v in world.market.taker]
    market += [f"  tiers from {k}: {' '.join(map(str, row))}" for k, table in world.market.tiers for row in table]
    market += [f"  bar {' '.join(map(str, bar))}" for bar in world.market.bars]
    return "\n".join([*lines, "shrunk to", f"  interval_ms = {world.market.interval_ms}", *plan, *rules, *market])


def report(seed: int, seconds: float) -> None:
    """Say how to repeat a difference, and what it shrinks to."""
    print(f"\nrepeat with: python -m tests.engine.fuzz --world {seed}", flush=True)
    print(tell(shrink(draw_world(seed), seconds)))


def run(seeds: Iterator[int], stop: float, seconds: float) -> int:
    """Compare worlds until the time is over; give the number of differences, at most one."""
    started, worlds, bars = time.monotonic(), 0, 0
    told = started
    for seed in seeds:
        world = draw_world(seed)
        if differs(world):
            report(seed, seconds)
            return 1
        worlds, bars = worlds + 1, bars + len(world.market.bars)
        now = time.monotonic()
        if now - told > 10 or now > stop:
            print(f"{worlds} worlds, {bars} bars, {now - started:.0f} s, no difference (next {seed + 1})", flush=True)
            told = now
        if now > stop:
            break
    print(f"{worlds} worlds, {bars} bars: kernel and oracle agree")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--count", type=int, help="worlds to compare at most")
    parser.add_argument("--world", type=int, help="repeat the world of this seed")
    parser.add_argument("--no-shrink", action="store_true", help="tell a difference as it is")
    args = parser.parse_args(argv)
    seconds = 0.0 if args.no_shrink else 60.0
    if args.world is not None:
        if not differs(draw_world(args.world)):
            print(f"world {args.world}: kernel and oracle agree")
            return 0
        report(args.world, seconds)
        return 1
    first = args.seed * SEEDS_APART
    last = first + (SEEDS_APART if args.count is None else args.count)
    return run(iter(range(first, last)), time.monotonic() + args.minutes * 60, seconds)


if __name__ == "__main__":
    sys.exit(main())
