"""A strategy that takes time to act: what its runs become, what the report says of it, and what it is refused for."""

from __future__ import annotations

import pyarrow as pa
import pytest

from backtest.data.store import Lake
from backtest.errors import StudyError
from backtest.study.assumptions import assumptions
from backtest.study.rule_files import load_rules
from backtest.study.verify import verify_runs

from .small import Ran, ran, small_study

EXIT = {"rules": [{"use": "exit", "trigger": 0.5}]}


@pytest.fixture(scope="module")
def slow(lake: Lake) -> Ran:
    """Give the small study with one strategy at three speeds."""
    strategies = [
        {"name": "quick", **EXIT},
        {"name": "slow", "reaction_latency": "30m", **EXIT},
        {"name": "slower", "reaction_latency": "90m", **EXIT},
    ]
    return ran(small_study(strategies=strategies), lake)


def ends(rows: list[dict[str, object]]) -> list[object]:
    return [(row["exit_ms"], row["exit_reason"], row["equity_end_e8"]) for row in rows]


def test_a_slow_strategy_inside_the_bar_is_a_quick_one_at_the_next_open(slow: Ran) -> None:
    assert ends(slow.of("slow", "intrabar")) == ends(slow.of("quick", "next_open"))
    assert ends(slow.of("slower", "intrabar")) == ends(slow.of("slow", "next_open"))
    assert ends(slow.of("slow", "intrabar")) != ends(slow.of("quick", "intrabar"))
    assert ends(slow.of("slower", "next_open")) != ends(slow.of("slow", "next_open"))


def test_the_oracle_agrees(slow: Ran) -> None:
    outcomes = slow.tables["outcomes"]
    chosen = [i for i, name in enumerate(outcomes["strategy"].to_pylist()) if name in ("slow", "slower")]
    assert verify_runs(slow.study, slow.data, slow.jobs, load_rules(), outcomes.take(pa.array(chosen[::3]))) == {}


def test_the_report_says_what_the_latency_comes_to(slow: Ran) -> None:
    said = dict(assumptions(slow.study, slow.tables["outcomes"]))
    assert "takes 30m" in said["Reaction of slow"]
    assert ": 1h after the open" in said["Reaction of slow"]
    assert "takes 90m" in said["Reaction of slower"]
    assert ": 2h after the open" in said["Reaction of slower"]
    assert "Reaction of quick" not in said


def test_a_latency_that_is_no_duration_is_refused() -> None:
    with pytest.raises(StudyError, match=r"strategy\[1\]\.reaction_latency"):
        small_study(strategies=[{"name": "slow", "reaction_latency": "soon", **EXIT}])
