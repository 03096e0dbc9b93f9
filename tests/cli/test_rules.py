"""`backtest rules` and `backtest new`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from backtest.cli import run
from backtest.study.config import load_study

from .conftest import Refused


def test_a_new_study_reads_and_is_never_overwritten(capsys: pytest.CaptureFixture[str], refused: Refused) -> None:
    assert run(["new", "study", "my-study"]) == 0
    path = Path("reports/my-study/study.toml")
    assert capsys.readouterr().out.strip() == str(path)
    assert load_study(path).name == "my-study"
    path.write_text("mine")
    code, lines = refused("new", "study", "my-study")
    assert code == 2
    assert lines == [f"error: {path}: exists already; take another name, or remove it first"]
    assert path.read_text() == "mine"


def test_a_new_study_needs_a_name_that_can_be_one(refused: Refused) -> None:
    code, lines = refused("new", "study", "../x")
    assert (code, len(lines)) == (2, 1)
    assert not any(Path().iterdir())


def test_a_new_rule_comes_with_a_test_that_passes_and_neither_is_overwritten(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    assert run(["new", "rule", "my_cut"]) == 0
    assert capsys.readouterr().out.split() == ["strategies/my_cut.py", "strategies/test_my_cut.py"]
    monkeypatch.syspath_prepend("strategies")
    written = importlib.import_module("test_my_cut")
    for test in ("test_it_closes_its_step", "test_it_wakes_when_the_buffer_is_thin"):
        getattr(written, test)()
    Path("strategies/my_cut.py").unlink()
    code, lines = refused("new", "rule", "my_cut")
    assert (code, len(lines)) == (2, 1)
    assert not Path("strategies/my_cut.py").exists(), "half a rule was written"


@pytest.mark.parametrize("name", ["My-Rule", "class", "../x", ""])
def test_a_new_rule_needs_a_name_that_can_be_one(name: str, refused: Refused) -> None:
    code, lines = refused("new", "rule", name)
    assert (code, len(lines)) == (2, 1)
    assert not any(Path().iterdir())
