"""`--debug`: a rule is called in plain Python, a debugger can wait in it, and nothing that happens is different."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from backtest import conductor
from backtest.cli import run
from backtest.data.sources import synthetic
from backtest.data.store import Lake
from backtest.study.config import parse_study

from .conftest import Refused

ROOT = Path(__file__).parents[2]
RULE = '''"""Mine."""

from backtest import buffer_below, reduce, rule


@rule(wake=buffer_below(0.6))
def mine(state, p):
    state.memory[0] += 1.0
    return reduce(0.1 * state.memory[0], put_back=True)
'''
STOPPING = RULE.replace("    state.memory[0] +=", "    breakpoint()\n    state.memory[0] +=")
# What stands in for a person at the debugger: it notes what the rule sees.
WATCHER = """import json
import sys


def watch():
    frame = sys._getframe(1)
    state = frame.f_locals["state"]
    with open("seen.jsonl", "a") as seen:
        print(json.dumps([frame.f_code.co_filename, float(state.buffer), float(state.memory[0])]), file=seen)
"""
STUDY: dict[str, object] = {
    "study": {"name": "small", "capital": "10_000"},
    "market": {
        "venue": "binance",
        "symbols": ["BTCUSDT"],
        "interval": "1h",
        "start": "2023-01-01",
        "stop": "2023-02-15",
    },
    "entries": {"every": "120h", "leverage": [20], "horizon": "10d"},
    "strategy": [{"name": "mine", "rules": [{"use": "mine"}]}],
}
WHAT_IF = ["what-if", "--symbol", "BTCUSDT", "--side", "short", "--leverage", "20", "--on", "2023-01-06", "--json"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(tmp_path_factory.mktemp("lake"))
    synthetic.write(Lake(root), synthetic.generate(3, symbols=("BTCUSDT",), days=45))
    return root


@pytest.fixture(autouse=True)
def rule_file() -> Path:
    """Write the rule into the folder where the command is called."""
    path = Path("strategies/mine.py")
    path.parent.mkdir()
    path.write_text(RULE)
    Path("watcher.py").write_text(WATCHER)
    return path


def debugged(*argv: str, hook: str = "watcher.watch", typed: str = "") -> subprocess.CompletedProcess[str]:
    where = {"PYTHONPATH": f"{ROOT}{os.pathsep}.", "PYTHONBREAKPOINT": hook}
    command = [sys.executable, "-m", "backtest", *argv, "--debug"]
    return subprocess.run(command, env=os.environ | where, input=typed, capture_output=True, text=True, check=True)


def seen() -> list[list[Any]]:
    return [json.loads(line) for line in Path("seen.jsonl").read_text().splitlines()]


def asked(story: dict[str, Any]) -> int:
    return sum(len(event["asked"]) for event in story["events"] if event["what"] == "rule")


def without_survival(value: Any) -> Any:
    """Leave out the margin that would have been enough: it takes many replays, so it is not sought."""
    if isinstance(value, dict):
        return {key: without_survival(inner) for key, inner in value.items() if "margin_to_survive" not in key}
    return value


def test_what_if_is_the_same_with_a_breakpoint_in_its_rule(
    lake: Path, rule_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*WHAT_IF, "--rule", "mine", "--lake", str(lake)]
    assert run(command) == 0
    compiled = json.loads(capsys.readouterr().out)
    rule_file.write_text(STOPPING)
    interpreted = json.loads(debugged(*command).stdout)
    assert list(map(without_survival, interpreted)) == list(map(without_survival, compiled))
    calls = seen()
    assert len(calls) == sum(asked(story) for story in compiled) > 2, "called for each wake, and for nothing else"
    assert {Path(file).resolve() for file, *_ in calls} == {rule_file.resolve()}
    assert min(buffer for _, buffer, _ in calls) <= 0.6
    assert max(memory for *_, memory in calls) > 0.0


def test_one_reaction_can_be_looked_at(lake: Path, rule_file: Path) -> None:
    rule_file.write_text(STOPPING)
    told = json.loads(debugged(*WHAT_IF, "--rule", "mine", "--lake", str(lake), "--reaction", "next_open").stdout)
    assert [story["outcome"]["reaction"] for story in told] == ["both", "next_open"]
    assert len(seen()) == asked(told[1]) > 0


def test_a_run_of_a_finished_study_is_replayed_once(
    lake: Path, rule_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "finished"
    conductor.compare(parse_study(STUDY, "small"), lake, folder, "small")
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    run_id = max((r for r in rows if r["strategy"] == "mine"), key=lambda r: (r["liquidated"], r["actions"]))["run_id"]
    command = ["explain", str(folder), run_id, "--lake", str(lake), "--json"]
    assert run(command) == 0
    compiled = json.loads(capsys.readouterr().out)
    rule_file.write_text(STOPPING)
    assert json.loads(debugged(*command).stdout) == compiled
    assert len(seen()) == asked(compiled) > 0


def test_the_debugger_answers_and_can_be_left(lake: Path, rule_file: Path) -> None:
    rule_file.write_text(STOPPING)
    command = [*WHAT_IF, "--rule", "mine", "--lake", str(lake)]
    answered = debugged(*command, hook="pdb.set_trace", typed="p state.leverage\nq\n")
    assert "20.0" in answered.stdout
    assert "Traceback" not in answered.stderr


def test_a_study_refuses_a_rule_that_waits_for_a_debugger(rule_file: Path, refused: Refused) -> None:
    rule_file.write_text(STOPPING)
    code, (line,) = refused("rules", "--check", str(rule_file))
    assert code == 7
    assert f"{rule_file}:8: breakpoint() waits for a debugger" in line


def test_in_a_process_that_replays_compiled_it_is_too_late(lake: Path, refused: Refused) -> None:
    code, (line,) = refused(*WHAT_IF, "--rule", "mine", "--lake", str(lake), "--debug")
    assert (code, "process of its own" in line) == (2, True)
