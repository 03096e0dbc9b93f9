"""The compiled replay and its decimal twin agree to the last 1e-8 on made-up worlds pushed to the edges."""

from __future__ import annotations

import pytest
from differences import differences, liquidated
from worlds import draw_world

FAST = 300
SLOW = 20_000
STRIDE = 100


def check(seeds: range) -> None:
    """Fail with every world that differs and the one command that repeats it."""
    failures = []
    for seed in seeds:
        lines = differences(draw_world(seed))
        if lines:
            command = f"python -m tests.engine.fuzz --seed {seed} --worlds 1"
            failures.append("\n  ".join([f"world {seed}: repeat with {command}", *lines]))
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("first", range(0, FAST, STRIDE))
def test_kernel_and_oracle_agree(first: int) -> None:
    """Transfers, fills, actions and figures are equal, and skipping changes no byte."""
    check(range(first, first + STRIDE))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, SLOW + FAST, STRIDE))
def test_many_worlds_agree(first: int) -> None:
    """The same on twenty thousand more."""
    check(range(first, first + STRIDE))


def test_worlds_are_rich_in_liquidations() -> None:
    """At least three runs in ten are liquidated, else the worlds prove little."""
    count = sum(liquidated(draw_world(seed)) for seed in range(100))
    assert count >= 30
