"""Each shipped rule that trades a hedge, in a short story: oracle and kernel write the ledger of its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import harness
import pytest
from pool_harness import run_kernel
from pool_scenario import PoolScenario, build_market, build_pool_plan, differences, read_pool_scenario, transcript
from test_rule_scenarios import SHIPPED, job

from backtest.engine.oracle import pool as twin
from backtest.study.verify import oracle_rules

FILES = sorted((Path(__file__).parents[2] / "scenarios" / "hedges").glob("*.txt"))
ENGINES = {"oracle": twin.replay, "kernel": run_kernel}


def plan_of(scenario: PoolScenario) -> twin.PoolPlan:
    """Give the plan of a scenario with the rules as a study has them."""
    bare = replace(scenario, file=replace(scenario.file, tables=scenario.file.tables | {"rules": []}))
    uses = oracle_rules(job(scenario.file.tables["rules"]), SHIPPED)
    harness.RULES.update({use.name: SHIPPED[use.name] for use in uses})
    return replace(build_pool_plan(bare), rules=uses)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_hedge_rule_does_what_its_story_tells(path: Path, engine: str) -> None:
    scenario = read_pool_scenario(path)
    result = ENGINES[engine](build_market(scenario), plan_of(scenario))
    lines = differences(scenario, result)
    assert not lines, f"{path.name} ({engine}):\n" + "\n".join(lines) + f"\n{transcript(scenario, result)}"
