"""Kernel and oracle agree on crowds: every bar of a generated market entered on both sides, compared event by event.

An event is the open or the path of a bar that a run lives, or a row that it writes. One call of the kernel replays a
crowd, so that a million events fit into every test run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from harness import compare, to_outcome, to_outside, to_rules, to_run, to_tape, to_terms
from worlds import draw_world

from backtest.engine import oracle
from backtest.engine.batch import Batch, replay_batch
from backtest.engine.market import market_of
from backtest.engine.plan import SCRIPT_ROW
from backtest.study.verify import kernel_result

ROOT = Path(__file__).parents[2]
BARS = 120
NOTIONAL_MAX = Decimal(900_000_000)  # what a run may reach; a study asserts it
PARTS, SHARE = 8, 130_000  # parts of the test, and the least number of events in each
OF_THE_WALK = ("bars_visited", "exit_bar", "last_segment")


def crowd_of(seed: int) -> tuple[oracle.Market, list[oracle.Plan]]:
    """Draw a market, and a plan for every bar and side of it; nobody pays for the data's end in advance."""
    world = draw_world(seed, bars=BARS)
    world = replace(world, market=replace(world.market, bars=world.market.bars[:BARS]))  # finer ones are many
    plan = replace(world.plan, script=(), baseline_liquidation_ms=None, baseline_exit_ms=None, liquidation=True)
    highest = max(bar.mark_high for bar in world.market.bars)
    most = NOTIONAL_MAX * min(1, 1 / (plan.sizing_margin * plan.leverage * plan.qty_share))
    bars = [b for b in world.market.bars if b.time_ms < plan.stop_ms and highest / b.trade_open < most]
    return world.market, [replace(plan, entry_ms=bar.time_ms, side=side) for bar in bars for side in (1, -1)]


def replay_crowd(market: oracle.Market, plans: list[oracle.Plan], *, skip: bool) -> Batch:
    """Replay a crowd in one call of the kernel."""
    one = plans[0]
    tape = to_tape(market, one.stop_ms)
    assert tape is not None
    rules = to_rules(one.rules).fed(tape.time_ms, to_outside(one))
    plan = to_terms(one).plan(rules, next_open=one.reaction == "next_open", skip=skip)
    entries = np.concatenate([to_run(tape, each) for each in plans])
    script = np.zeros(0, SCRIPT_ROW)
    return replay_batch(market_of(tape), plan, rules, entries, script=script, keep="all", book_rows=1 << 16)


def check_crowd(seed: int) -> int:
    """Compare a crowd with the oracle, run by run, and with itself without skipping; give the number of events."""
    market, plans = crowd_of(seed)
    if not plans:
        return 0
    batch, visited = (replay_crowd(market, plans, skip=skip) for skip in (True, False))
    for table in ("transfers", "fills", "actions"):
        assert getattr(batch, table).tobytes() == getattr(visited, table).tobytes(), (seed, table)
    for name in batch.outcomes.dtype.names or ():
        if name not in OF_THE_WALK:
            assert np.array_equal(batch.outcomes[name], visited.outcomes[name]), (seed, name)
    events = 0
    for run, plan in enumerate(plans):
        expected = oracle.replay(market, plan)
        actual = kernel_result(batch, run)
        actual.outcome.update(to_outcome(batch.outcomes[run], plan))
        lines = compare(expected, actual)
        assert not lines, (seed, plan.entry_ms, plan.side, lines)
        events += 2 * lived(market, plan, expected) + sum(
            len(rows) for rows in (expected.transfers, expected.fills, expected.actions)
        )
    return events


def lived(market: oracle.Market, plan: oracle.Plan, result: oracle.Result) -> int:
    """Count the bars that a run has lived."""
    exit_ms = result.outcome["exit_ms"]
    if not isinstance(exit_ms, int):
        return 0
    return sum(plan.entry_ms <= bar.time_ms < exit_ms for bar in market.bars)


def check_until(events: int, seed: int) -> int:
    """Compare crowd after crowd until so many events are reached; give the number of crowds."""
    done, first = 0, seed
    while done < events:
        done += check_crowd(seed)
        seed += 1
    return seed - first


@pytest.mark.parametrize("part", range(PARTS))
def test_a_million_events_compiled(part: int) -> None:
    assert check_until(SHARE, 1_000 * part) > 3


@pytest.mark.parametrize(("mode", "events"), [("0", 20_000), ("bounds", 100_000)])
def test_fewer_in_plain_python_and_with_bounds_checked(mode: str, events: int) -> None:
    command = [sys.executable, "-c", f"import test_crowds; print(test_crowds.check_until({events}, 500_000))"]
    environment = {**os.environ, "BACKTEST_JIT": mode, "PYTHONPATH": f"{Path(__file__).parent}:{ROOT}"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 0
