"""Does a finished study reproduce: run it again in a fresh process, compare file by file, say what differs and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import backtest
from backtest.data.store import Lake
from backtest.errors import IntegrityError
from backtest.study.results import Results, open_results
from backtest.study.rule_files import load_rules
from backtest.study.runner import load, study_jobs
from backtest.study.verify import POSITION, Report, verify_runs
from backtest.study.verify_pools import POOL

# Parts of what decides a study, in words.
PARTS = {
    "study": "the study",
    "data": "the stored market data",
    "tiers": "the tier tables",
    "contracts": "the contract steps and minima",
    "rules": "the source of the rules",
    "engine": "the source of the engine",
    "lock": "the versions of the libraries",
}


SHOWN = 60  # characters of a difference


@dataclass(frozen=True, slots=True)
class FileCheck:
    """One file of a study: whether it still is what was written, and whether the second run gave the same bytes."""

    name: str
    damage: str  # empty: as it was written
    same: bool
    difference: str  # empty where it is the same


@dataclass(frozen=True, slots=True)
class Verification:
    """What running a study again showed."""

    files: tuple[FileCheck, ...]
    parts: tuple[str, ...]  # of what decides the study, those that are not what they were

    @property
    def reproduces(self) -> bool:
        return all(file.same and not file.damage for file in self.files)

    @property
    def why(self) -> str:
        """Say what the differences come from."""
        if self.parts:
            return "changed since: " + ", ".join(PARTS[part] for part in self.parts)
        return "nothing that decides the study has changed: another processor, or a fault of ours"


def reproduce(results: Results, lake: Path) -> Verification:
    """Run a study again into an empty folder, in a process of its own, and compare every file with the manifest."""
    with tempfile.TemporaryDirectory(prefix="backtest-verify-") as temporary:
        again = Path(temporary)
        _run_again(results.folder, lake, again)
        return compare_results(results, again)


def _run_again(folder: Path, lake: Path, out: Path) -> None:
    command = [sys.executable, "-m", "backtest", "rerun", str(folder), "--lake", str(lake), "--out", str(out)]
    # The very package that runs here, wherever it was started from.
    found_in = str(Path(backtest.__file__).parents[1])
    path = os.pathsep.join(filter(None, (found_in, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        reasons = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise IntegrityError.at(folder, f"cannot be run again: {'; '.join(reasons) or done.stderr[-500:]}")


def compare_results(results: Results, again: Path) -> Verification:
    """Compare a study's folder with the folder of its second run."""
    written, now = results.manifest, open_results(again).manifest
    damaged = results.damaged()
    files = []
    for name in sorted({*written["files"], *now["files"]}):
        ours, theirs = written["files"].get(name), now["files"].get(name)
        same = ours is not None and theirs is not None and ours["sha256"] == theirs["sha256"]
        difference = "" if same else _difference(name, results.folder, again)
        files.append(FileCheck(name, damaged.get(name, ""), same, difference))
    parts = tuple(part for part in PARTS if written["decided_by"].get(part) != now["decided_by"].get(part))
    return Verification(tuple(files), parts)


def _difference(name: str, folder: Path, again: Path) -> str:
    """Say how two files differ; tables are compared by their values."""
    if not (folder / name).is_file() or not (again / name).is_file():
        return "only one of the two runs has it"
    if not name.endswith(".parquet"):
        return text_difference((folder / name).read_text(encoding="utf-8"), (again / name).read_text(encoding="utf-8"))
    return table_difference(pq.read_table(folder / name), pq.read_table(again / name))


def text_difference(before: str, now: str) -> str:
    """Say where two texts differ: the first line that does, and from which character on.

    >>> text_difference("a\\nbcd\\n", "a\\nbxd\\n")
    'line 2 was "cd", is "xd"'
    """
    pairs = enumerate(zip_longest(before.splitlines(), now.splitlines(), fillvalue=""), start=1)
    number, (a, b) = next(((n, pair) for n, pair in pairs if pair[0] != pair[1]), (0, ("", "")))
    if not number:
        return "the same lines with other ends"
    place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f'line {number} was "{a[place : place + SHOWN]}", is "{b[place : place + SHOWN]}"'


def table_difference(before: pa.Table, now: pa.Table) -> str:
    """Say how two tables differ: their first differing value by run and column, and how many runs differ."""
    if before.schema.names != now.schema.names:
        return "other columns"
    if len(before) != len(now):
        return f"{len(before):,} rows before, {len(now):,} now"
    differs = np.zeros(len(before), bool)
    for name in before.column_names:
        if not before[name].equals(now[name]):
            pairs = zip(before[name].to_pylist(), now[name].to_pylist(), strict=True)
            differs |= np.array([a != b for a, b in pairs], bool)
    if not differs.any():
        return "the same values in other bytes"
    first = int(np.argmax(differs))
    a, b = before.slice(first, 1).to_pylist()[0], now.slice(first, 1).to_pylist()[0]
    column = next(name for name in before.column_names if a[name] != b[name])
    count = f"{int(differs.sum()):,} of {len(before):,} rows differ"
    return f"{count}, the first in {a['run_id']}: {column} was {a[column]}, is {b[column]}"


@dataclass(frozen=True, slots=True)
class Sampled:
    """Stored runs that were replayed in the decimal oracle, and the differences by run."""

    runs: int
    liquidated: int
    differences: Mapping[str, Sequence[str]]


def sample(results: Results, lake: Path, count: int, report: Report | None = None) -> Sampled:
    """Replay stored runs in the decimal oracle: as many as asked for, drawn with the study's seed."""
    outcomes = results.outcomes()
    study = results.study
    generator = np.random.Generator(np.random.PCG64(study.seed))
    places = np.sort(generator.permutation(len(outcomes))[:count])
    chosen = outcomes.take(pa.array(places))
    all_jobs, rules = study_jobs(study, str(results.folder)), load_rules()
    found: dict[str, list[str]] = {}
    done = 0
    for data in load(study, Lake(lake)):
        mine = chosen.filter(pa.array([name == data.symbol for name in chosen["symbol"].to_pylist()], pa.bool_()))
        before = done

        def advance(runs: int, _: int, before: int = before) -> None:
            if report is not None:
                report(before + runs, len(chosen))

        twin = POSITION if data.pool is None else POOL
        found |= verify_runs(study, data, all_jobs, rules, mine, advance, twin)
        done += len(mine)
    return Sampled(len(chosen), sum(chosen["liquidated"].to_pylist()), found)


def facts(checked: Verification, sampled: Sampled | None) -> dict[str, Any]:
    """Give a verification as JSON values."""
    form: dict[str, Any] = {
        "reproduces": checked.reproduces,
        "changed": list(checked.parts),
        "files": [
            {"name": f.name, "as_written": not f.damage, "same": f.same, "difference": f.damage or f.difference or None}
            for f in checked.files
        ],
    }
    if sampled is not None:
        differences = json.loads(json.dumps(sampled.differences))
        form["oracle"] = {"runs": sampled.runs, "liquidated": sampled.liquidated, "differences": differences}
    return form
