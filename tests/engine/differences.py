"""Compare kernel and oracle on one world: transfers, fills, actions and every figure both know, exactly."""

from __future__ import annotations

from harness import run_kernel
from worlds import World

from backtest.engine import oracle

# The kernel keeps the largest deficit of every run; the oracle only where nothing is liquidated.
PROBE_ONLY = "largest_deficit_e8"
# How far the kernel had to look is its own affair.
EFFORT = "bars_visited"


def differences(world: World) -> list[str]:
    """List what differs between the oracle, the kernel, and the kernel that visits every bar."""
    expected = oracle.replay(world.market, world.plan)
    kernel = run_kernel(world.market, world.plan)
    plodding = run_kernel(world.market, world.plan, skip=False)
    lines = _rows(expected, kernel, "oracle", "kernel") + _rows(kernel, plodding, "skipping", "visiting every bar")
    for name, value in expected.outcome.items():
        if name in kernel.outcome and kernel.outcome[name] != value and not (name == PROBE_ONLY and value is None):
            lines.append(f"{name}: oracle {value}, kernel {kernel.outcome[name]}")
    for name, value in kernel.outcome.items():
        if name != EFFORT and plodding.outcome[name] != value:
            lines.append(f"{name}: skipping {value}, visiting every bar {plodding.outcome[name]}")
    return lines


def liquidated(world: World) -> bool:
    """Tell whether the oracle's run was liquidated."""
    return bool(oracle.replay(world.market, world.plan).outcome["liquidated"])


def _rows(one: oracle.Result, other: oracle.Result, first: str, second: str) -> list[str]:
    lines = []
    for name in ("transfers", "fills", "actions"):
        a, b = getattr(one, name), getattr(other, name)
        place = next((i for i, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), min(len(a), len(b)))
        if a != b:
            rows = [rows[place] if place < len(rows) else "nothing" for rows in (a, b)]
            lines.append(f"{name} {place}: {first} {rows[0]}, {second} {rows[1]}")
    return lines
