"""The command line: every bad input gives one line on stderr, its own exit code, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backtest.cli import run

from .conftest import Refused

ROOT = Path(__file__).parents[2]
HEAVY = ("numba", "pandas", "vectorbt", "plotly", "pyarrow", "duckdb", "numpy", "statsmodels", "scipy", "rich")


def test_starting_the_command_line_loads_nothing_heavy() -> None:
    loads = "import backtest.cli, sys; print(*sorted(set(sys.argv[1:]) & sys.modules.keys()))"
    argv = [sys.executable, "-c", loads, *HEAVY]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_help_and_version_print_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "margin" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("argv", [["nope"], ["data", "nope"], ["data", "ls", "--nope"], ["new", "study"]])
def test_a_command_line_that_cannot_be_read_is_one_line_and_exit_code_2(argv: list[str], refused: Refused) -> None:
    code, lines = refused(*argv)
    assert code == 2
    assert len(lines) == 1
    assert "--help" in lines[0]


def test_an_interrupt_is_one_line_and_exit_code_130(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    def interrupt(name: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("backtest.study.template.study_toml", interrupt)
    code, lines = refused("new", "study", "x")
    assert (code, len(lines)) == (130, 1)
