"""Kernel and oracle agree on generated pools, transfer for transfer, and so does the kernel without skipping."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest
from pool_fuzz import POOLS
from pool_harness import disagreements
from pool_worlds import draw_world

from backtest.engine.oracle import pool as twin

ROOT = Path(__file__).parents[3]
CHUNK = 200
FAST, ALL = 5, 60  # chunks: 1,000 worlds in every test run, 12,000 in all


def compare_chunk(chunk: int) -> None:
    """Compare the worlds of a chunk; a difference names the command that repeats it."""
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        world = draw_world(seed)
        lines = disagreements(world.market, world.plan)
        assert not lines, "\n".join([f"repeat with: python -m tests.engine.fuzz --pool --world {seed}", *lines])


@pytest.mark.parametrize("chunk", range(FAST))
def test_kernel_and_oracle_write_the_same(chunk: int) -> None:
    compare_chunk(chunk)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(FAST, ALL))
def test_kernel_and_oracle_write_the_same_at_length(chunk: int) -> None:
    compare_chunk(chunk)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100))
def test_kernel_and_oracle_agree_over_200_bars(seed: int) -> None:
    world = draw_world(seed, bars=200)
    assert not disagreements(world.market, world.plan)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "worlds"), [("0", 400), ("bounds", 1500)])
def test_the_kernel_agrees_in_plain_python_and_with_bounds_checked(mode: str, worlds: int) -> None:
    command = [sys.executable, "-m", "tests.engine.fuzz", "--pool", "--seed", "0", "--count", str(worlds)]
    environment = {**os.environ, "BACKTEST_JIT": mode}
    command += ["--minutes", "30"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{worlds} worlds" in done.stdout


def test_a_difference_is_seen_shrunk_and_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """The fuzzer is not blind: an oracle that gains 1e-8 of coin in a purchase is caught, and the world told small."""
    honest = twin.replay

    def wrong(market: twin.PoolMarket, plan: twin.PoolPlan) -> twin.PoolResult:
        result = honest(market, plan)
        rows = [
            t._replace(amount_e8=t.amount_e8 + 1) if t.kind == "convert" and t.credit != "market" and t.asset else t
            for t in result.transfers
        ]
        return twin.PoolResult(rows, result.fills, result.actions, result.outcome)

    monkeypatch.setattr(twin, "replay", wrong)
    monkeypatch.setattr(fuzz, "pools", lambda: POOLS)
    assert fuzz.main(["--pool", "--seed", "0", "--count", "50"]) == 1
    told = capsys.readouterr().out
    assert "repeat with: python -m tests.engine.fuzz --pool --world" in told
    assert "kind='convert'" in told
    assert told.count("  bar ") <= 8
    assert "  rule " not in told
