"""The command line: every bad input gives one line on stderr, its own exit code, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backtest.cli import run
from backtest.study.config import load_study

HEAVY = ("numba", "pandas", "vectorbt", "plotly", "pyarrow", "duckdb", "numpy", "statsmodels", "scipy", "rich")


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in an empty folder, without a lake from the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BACKTEST_LAKE", raising=False)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[str]]:
    """Run a command that must fail; give its exit code and the lines on stderr."""
    code = run(argv)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return code, err.splitlines()


def test_starting_the_command_line_loads_nothing_heavy() -> None:
    loads = "import backtest.cli, sys; print(*sorted(set(sys.argv[1:]) & sys.modules.keys()))"
    argv = [sys.executable, "-c", loads, *HEAVY]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == ""


def test_help_and_version_print_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "compare" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("argv", [["nope"], ["data", "nope"], ["data", "ls", "--nope"], ["new", "study"]])
def test_a_command_line_that_cannot_be_read_is_one_line_and_exit_code_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = refused(capsys, *argv)
    assert code == 2
    assert len(lines) == 1
    assert "--help" in lines[0]


def test_an_interrupt_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("backtest.study.template.study_toml", interrupt)
    code, lines = refused(capsys, "new", "study", "x")
    assert (code, len(lines)) == (130, 1)


def test_a_new_study_reads_and_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", "study", "my-study"]) == 0
    path = Path("reports/my-study/study.toml")
    assert capsys.readouterr().out.strip() == str(path)
    assert load_study(path).name == "my-study"
    path.write_text("mine")
    code, lines = refused(capsys, "new", "study", "my-study")
    assert code == 2
    assert lines == [f"error: {path}: exists already; take another name, or remove it first"]
    assert path.read_text() == "mine"


def test_a_new_study_needs_a_name_that_can_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = refused(capsys, "new", "study", "../x")
    assert (code, len(lines)) == (2, 1)
    assert not any(Path().iterdir())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--map", "open"], '"open" is not COLUMN=FILE_COLUMN'),
        (["--utc-offset", "3"], "'3' is not a duration"),
        (["--start", "soon"], "'soon' is not a UTC date"),
        (["--scale", "ten"], "--scale"),
    ],
)
def test_import_options_that_make_no_sense(options: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = refused(capsys, "data", "import", "x.csv", *options)
    assert (code, len(lines)) == (2, 1)
    assert what in lines[0]


def test_an_empty_lake_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "ls"]) == 0
    assert "holds nothing yet" in capsys.readouterr().err
    assert run(["data", "ls", "--json"]) == 0
    assert capsys.readouterr().out.strip() == "[]"
