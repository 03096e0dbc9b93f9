"""The command line: every bad input gives one line on stderr, its own exit code, and no traceback."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from backtest.cli import run
from backtest.study.config import load_study

ROOT = Path(__file__).parents[1]
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
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_help_and_version_print_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "margin" in capsys.readouterr().out
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


# --- rules ---


def test_a_new_rule_comes_with_a_test_that_passes_and_neither_is_overwritten(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["new", "rule", "my_cut"]) == 0
    assert capsys.readouterr().out.split() == ["strategies/my_cut.py", "strategies/test_my_cut.py"]
    monkeypatch.syspath_prepend("strategies")
    written = importlib.import_module("test_my_cut")
    for test in ("test_it_closes_its_step", "test_it_wakes_when_the_buffer_is_thin"):
        getattr(written, test)()
    Path("strategies/my_cut.py").unlink()
    code, lines = refused(capsys, "new", "rule", "my_cut")
    assert (code, len(lines)) == (2, 1)
    assert not Path("strategies/my_cut.py").exists(), "half a rule was written"


@pytest.mark.parametrize("name", ["My-Rule", "class", "../x", ""])
def test_a_new_rule_needs_a_name_that_can_be_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = refused(capsys, "new", "rule", name)
    assert (code, len(lines)) == (2, 1)
    assert not any(Path().iterdir())


# --- margin ---

LIQ = ["liq", "--symbol", "BTCUSDT", "--side", "long", "--entry", "100000", "--leverage", "50", "--as-of", "2025-11-08"]
ACCOUNT = {
    "venue": "binance",
    "margin_mode": "isolated",
    "positions": [
        {
            "symbol": "BTCUSDT",
            "side": "long",
            "qty": "1",
            "entry_price": "100000",
            "mark_price": "100000",
            "leverage": "50",
        }
    ],
}


def test_liq_gives_the_liquidation_price_of_the_formula(capsys: pytest.CaptureFixture[str]) -> None:
    """Tier 1: rate 0.4 %, deduction 0: (100,000 - 2,000) / (1 - 0.004)."""
    assert run([*LIQ, "--notional", "100000", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["positions"][0]
    assert figures["liquidation_price"] == "98393.57429719"
    assert figures["maintenance_margin"] == "400"
    assert run([*LIQ, "--qty", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["positions"][0] == figures


def test_liq_prints_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LIQ, "--notional", "100000"]) == 0
    out = capsys.readouterr().out
    assert "long BTCUSDT" in out
    assert "98393.57429719" in out


@pytest.mark.parametrize(
    ("options", "code", "what"),
    [
        ([], 2, "give --notional or --qty"),
        (["--qty", "1", "--notional", "1"], 2, "give --notional or --qty"),
        (["--notional", "many"], 2, "give numbers"),
        (["--qty", "-1"], 8, "qty"),
        (["--qty", "1", "--venue", "binanc"], 8, 'did you mean "binance"?'),
        (["--qty", "1", "--symbol", "BTCUSD"], 8, 'did you mean "BTCUSDT"?'),
        (["--qty", "1", "--leverage", "500"], 8, "leverage"),
        (["--qty", "1", "--margin-mode", "cross"], 2, "give --balance"),
    ],
)
def test_liq_refuses_what_cannot_be_a_position(
    options: list[str], code: int, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, lines = refused(capsys, *LIQ, *options)
    assert (found, len(lines)) == (code, 1)
    assert what in lines[0]


def test_margin_reads_an_account_or_a_list_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.json").write_text(json.dumps(ACCOUNT))
    assert run(["margin", "one.json", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    Path("many.json").write_text(json.dumps([ACCOUNT, {"venue": "binance"}, ACCOUNT]))
    assert run(["margin", "many.json", "--json"]) == 0
    many = json.loads(capsys.readouterr().out)
    assert many[0] == many[2] == one
    assert many[1]["error"]["code"] == "AccountError"


def test_every_problem_of_an_account_is_a_line_that_names_file_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    bad = json.loads(json.dumps(ACCOUNT))
    bad["positions"][0] |= {"qty": -1.5, "symbol": "BTCUSD", "levrage": "3"}
    Path("bad.json").write_text(json.dumps(bad))
    code, lines = refused(capsys, "margin", "bad.json")
    assert code == 8
    assert len(lines) == 3
    assert all(line.startswith("error: bad.json: ") for line in lines)
    assert any('did you mean "leverage"?' in line for line in lines)


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_file_that_holds_no_account_is_one_line(content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        Path("account.json").write_text(content)
    code, lines = refused(capsys, "margin", "account.json")
    assert (code, len(lines)) == (8, 1)
    assert "account.json" in lines[0]
