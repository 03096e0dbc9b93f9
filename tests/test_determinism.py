"""The same study gives the same bytes, whatever the process, the machine's settings and the number of workers.

Each case changes a few things that have nothing to do with one another. It is a process of its own, over a lake of its
own without a kept tape; all its files are compared with those of a first process. Only `provenance.json`, which holds
host and times, may differ, and is compared with nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from study.small import STRATEGIES, make_lake, small_study

from backtest.schema import RESULT_TABLES
from backtest.study.canonical import study_toml

ROOT = Path(__file__).parents[1]
PROVENANCE = "provenance.json"
# Calls the command with small parts of work, so that a small study keeps several workers busy.
PROGRAM = """
import os, sys
from backtest.study import crew
crew.PART_RUNS = 5
threads = os.environ.get("CASE_DUCKDB_THREADS")
if threads:
    import duckdb
    connect = duckdb.connect
    duckdb.connect = lambda *args: connect(*args, config={"threads": int(threads)})
from backtest.cli import run
sys.exit(run(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Case:
    """What is other than in the first process."""

    name: str
    env: dict[str, str] = field(default_factory=dict)
    workers: int = 1
    umask: int = -1
    elsewhere: bool = False


CASES = [
    Case("hash seed, umask", {"PYTHONHASHSEED": "4242"}, umask=0o077),
    Case(
        "time zone, locale, working directory",
        {"TZ": "Asia/Kathmandu", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
        elsewhere=True,
    ),
    Case("2 workers, DuckDB on 1 thread", {"CASE_DUCKDB_THREADS": "1"}, workers=2),
    Case("4 workers, DuckDB on 4 threads", {"CASE_DUCKDB_THREADS": "4"}, workers=4),
    Case("interpreted", {"BACKTEST_JIT": "0"}),
]
Outputs = dict[str, bytes]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Outputs]:
    """Give a function that runs the study in a process and gives its files."""
    base = tmp_path_factory.mktemp("determinism")
    made = make_lake(base / "lake", symbols=("BTCUSDT", "ETHUSDT")).root
    study = base / "study.toml"
    strategies = [*STRATEGIES[:1], {"name": "top-up", "rules": [{"use": "top_up", "trigger": 0.25, "amount_pct": 10}]}]
    form = small_study(
        strategies=strategies,
        market={"symbols": ["BTCUSDT", "ETHUSDT"], "stop": "2023-02-01"},
        entries={"every": "144h", "leverage": [20], "horizon": "3d"},
    )
    study.write_text(study_toml(form), encoding="utf-8")

    def run(case: Case) -> Outputs:
        folder = base / case.name.replace(", ", "-").replace(" ", "-")
        shutil.copytree(made, folder / "lake", ignore=shutil.ignore_patterns(".tapes"))
        command = ["compare", str(study), "--lake", str(folder / "lake"), "--out", str(folder / "out")]
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *command, "--workers", str(case.workers)],
            cwd=folder if case.elsewhere else ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **case.env},
            umask=case.umask,
            check=True,
            capture_output=True,
        )
        return {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.name != PROVENANCE}

    return run


@pytest.fixture(scope="module")
def first(outputs: Callable[[Case], Outputs]) -> Outputs:
    found = outputs(Case("first", {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8"}))
    assert set(found) == {f"{name}.parquet" for name in RESULT_TABLES} | {
        "summary.csv",
        "report.md",
        "report.html",
        "manifest.json",
    }
    for name in RESULT_TABLES:
        assert pq.read_metadata(BytesIO(found[f"{name}.parquet"])).num_rows > 50, name
    return found


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.name == "interpreted" else [])
        for case in CASES
    ],
)
def test_the_same_study_gives_the_same_bytes(case: Case, first: Outputs, outputs: Callable[[Case], Outputs]) -> None:
    again = outputs(case)
    assert {name for name in first.keys() | again.keys() if first.get(name) != again.get(name)} == set()
