"""A comparison that is watched on a terminal, and stopped there with a real SIGINT; the next call goes on from it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from study.small import make_lake, small_study

from backtest.cli.live import running_table
from backtest.cli.output import progress_lines
from backtest.schema import RESULT_TABLES
from backtest.study.canonical import study_toml
from backtest.study.unfinished import INTERRUPTED

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
# The command itself, which after a shuffled twin waits to be stopped. Whoever runs the tests in the background of a
# shell has it ignore SIGINT, and so would all its children.
WAITING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from backtest.study.unfinished import Tracked
write, seen = Tracked.write, []
def waiting(self, outcomes, ledger):
    if any(name.endswith("~shuffled") for name in seen):
        time.sleep(60)
    write(self, outcomes, ledger)
    seen.append(outcomes["strategy"][0].as_py())
Tracked.write = waiting
from backtest.cli import run
sys.exit(run(sys.argv[1:]))
"""


def command(program: list[str], folder: Path, out: str) -> list[str]:
    return [
        sys.executable,
        *program,
        "compare",
        str(folder / "study.toml"),
        "--lake",
        str(folder / "lake"),
        "--out",
        out,
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}


def watched_until(word: str, arguments: list[str]) -> tuple[subprocess.Popen[bytes], int, str]:
    """Start a command on a terminal of its own; give it, the terminal and its text once it shows a word."""
    terminal, inner = pty.openpty()
    process = subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=inner)
    os.close(inner)
    seen, deadline = b"", time.monotonic() + PATIENCE_S
    while word.encode() not in seen and time.monotonic() < deadline:
        seen += os.read(terminal, 4096)
    return process, terminal, seen.decode()


def rest_of(terminal: int) -> str:
    """Read what a terminal still shows; it ends with an error when the other side is closed."""
    seen = b""
    while True:
        try:
            seen += os.read(terminal, 4096)
        except OSError:
            os.close(terminal)
            return seen.decode()


def test_ctrl_c_keeps_what_is_finished_and_the_next_call_goes_on(tmp_path: Path) -> None:
    make_lake(tmp_path / "lake")
    (tmp_path / "study.toml").write_text(study_toml(small_study()), encoding="utf-8")
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"

    process, terminal, shown = watched_until("deleverage~shuffled", command(["-c", WAITING], tmp_path, str(stopped)))
    for words in ("runs/s", "liquidated", "hold", "smaller-50", "deleverage"):
        assert words in shown, words
    process.send_signal(signal.SIGINT)
    told = rest_of(terminal)
    assert process.wait(PATIENCE_S) == 130, told
    assert "jobs are finished and kept in" in told
    assert "interrupted; call the same command again to go on" in told
    assert "Traceback" not in told

    assert [path.name for path in stopped.iterdir()] == [INTERRUPTED]
    manifest = json.loads((stopped / INTERRUPTED / "manifest.json").read_text())
    assert manifest["interrupted"] is True
    assert 6 <= len(manifest["finished"]) < manifest["jobs"]
    for name in RESULT_TABLES:
        assert pq.read_table(stopped / INTERRUPTED / f"{name}.parquet").num_rows > 0

    for out in (stopped, whole):
        done = subprocess.run(
            command(["-m", "backtest"], tmp_path, str(out)),
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "replay: " in done.stderr
    apart = ("provenance.json", INTERRUPTED)
    ours, theirs = ({p.name: p.read_bytes() for p in out.iterdir() if p.name not in apart} for out in (stopped, whole))
    assert ours == theirs
    assert not (stopped / INTERRUPTED).exists()
    bars = [json.loads((out / "provenance.json").read_text())["run_bars"] for out in (stopped, whole)]
    assert bars[0] < bars[1]


def test_lines_tell_the_rate_and_the_time_that_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 110.0, 110.0, 112.0, 120.0, 120.0])
    monkeypatch.setattr("backtest.cli.output.time.monotonic", lambda: next(clock))
    report = progress_lines("replay", "runs")
    report(1_000, 4_000)
    report(1_500, 4_000)  # too soon for another line
    report(4_000, 4_000)
    assert capsys.readouterr().err.splitlines() == [
        "replay: 1,000 of 4,000 runs, 100 runs/s, 30 s left",
        "replay: 4,000 of 4,000 runs, 200 runs/s",
    ]


def test_the_running_table_counts_by_strategy() -> None:
    table = running_table({("hold", "both"): (200, 50), ("[b]odd[/b]", "next_open"): (0, 0)})
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    assert cells == [["hold", "[b]odd[/b]"], ["both", "next open"], ["200", "0"], ["50", "0"], ["25.0", "–"]]
