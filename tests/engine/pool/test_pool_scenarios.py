"""Each scenario of several legs, computed by hand in its file, is what oracle and kernel write.

`SCENARIO_SHOW=name pytest …` prints what was written for the scenarios whose name contains it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pool_harness import run_kernel
from pool_scenario import build_market, build_pool_plan, differences, read_pool_scenario, transcript

from backtest.engine.oracle import pool as twin

FILES = sorted((Path(__file__).parents[2] / "scenarios" / "pool").glob("*.txt"))
ENGINES = {"oracle": twin.replay, "kernel": run_kernel}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, engine: str) -> None:
    scenario = read_pool_scenario(path)
    result = ENGINES[engine](build_market(scenario), build_pool_plan(scenario))
    if (wanted := os.environ.get("SCENARIO_SHOW")) is not None and wanted in path.stem:
        print(f"\n{path.stem} ({engine})\n{transcript(scenario, result)}")
    lines = differences(scenario, result)
    assert not lines, f"{path.name} ({engine}):\n" + "\n".join(lines)


def test_what_only_several_legs_can_give_is_told() -> None:
    """What a run of one position cannot give occurs in a scenario."""
    files = [read_pool_scenario(path).file for path in FILES]
    rows = {block: [row for file in files for row in file.tables[block]] for block in ("transfers", "fills", "actions")}
    statuses = {row["status"] for row in rows["actions"]}
    assert {row["kind"] for row in rows["transfers"]} >= {"convert", "takeover", "shortfall", "clearance", "premium"}
    assert statuses >= {"insufficient_margin", "below_min_notional", "not_supported"}
    assert statuses >= {"not_listed", "insufficient_reserve"}
    assert {file.outcome.get("cause") for file in files} >= {"hedge_margin", "price", "tier_change"}
    assert {row["cause"] for row in rows["fills"]} >= {"expiry"}
    assert {row["asset"] for row in rows["transfers"]} >= {"quote", "I", "C"}
