"""`backtest rules` and `backtest new`."""

from __future__ import annotations

import importlib
import json
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


# --- what is there, and what is wrong with a file ---


def test_rules_are_listed_with_parameters_limits_and_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules"]) == 0
    out = capsys.readouterr().out
    assert "buffer_below(trigger)" in out
    assert "0.01 to 100   margin to add, per cent of capital" in out
    assert run(["rules", "top_up", "--json"]) == 0
    [form] = json.loads(capsys.readouterr().out)
    assert form["params"]["amount_pct"] == {
        "default": 10.0,
        "low": 0.01,
        "high": 100.0,
        "help": "margin to add, per cent of capital",
    }


def test_a_rule_that_does_not_exist_is_one_line_with_the_nearest_name(refused: Refused) -> None:
    code, lines = refused("rules", "delevrage")
    assert (code, len(lines)) == (7, 1)
    assert 'did you mean "deleverage"?' in lines[0]


GOOD = (
    'from backtest import every_bar, reduce, rule\n\n\n@rule(wake=every_bar())\ndef mine(state, p):\n    """Mine."""\n'
)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (None, "mine.py: cannot be read"),
        ("def mine(:\n", "mine.py:1: is not Python"),
        ("x = 1\n", "mine.py: defines no rule"),
        ("import nothing_like_it\n", "mine.py:1: does not run: ModuleNotFoundError"),
        (
            GOOD.replace("every_bar())", 'buffer_below("x"))').replace("every_bar", "buffer_below"),
            'mine.py:4: wake buffer_below("x") names no parameter',
        ),
        (
            GOOD + "    return reduce(state.bufer)\n",
            'mine.py:7: state.bufer is no field of the state; did you mean "buffer"?',
        ),
        (GOOD + "    return reduce(p.step)\n", "mine.py:7: p.step is no parameter"),
        (GOOD + "    return reduce(state.memory[8])\n", "mine.py:7: state.memory[8] is not there; use 0 to 7"),
        (
            GOOD.replace("every_bar())", "every_bar(), x=param(2.0, help='x'))").replace("reduce", "param, reduce")
            + "    return reduce(p.x)\n",
            "mine.py:4: x = 2 is out of its own range; 0 to 1",
        ),
        (
            GOOD.replace("state, p", "state") + "    return reduce(0.5)\n",
            'mine.py:4: rule "mine" does not take two arguments',
        ),
        (GOOD + "    return reduce(0.0 * state.mark_price / 0.0 * state.qty)\n", "mine.py"),
        (
            GOOD.replace("every_bar())", "every_bar(), x=0.5)") + "    return reduce(p.x)\n",
            "mine.py:4: x = 0.5 is no parameter; write x=param(0.5, ",
        ),
        (
            GOOD.replace("def ", "async def ") + "    return reduce(0.5)\n",
            'mine.py:4: rule "mine" is no plain function',
        ),
        (
            GOOD.replace("every_bar())", 'every_bar(), signals="vol_30d")') + "    return reduce(0.5)\n",
            'mine.py:4: signals is the text "vol_30d"; write signals=("vol_30d",)',
        ),
        (
            GOOD.replace("every_bar", "every").replace("every()", 'every("0h")') + "    return reduce(0.5)\n",
            'mine.py:4: every waits for no time at all; name a period, such as every("1h")',
        ),
        (
            GOOD + "    if state.buffer < 0.5:\n        return reduce(0.5)\n",
            'mine.py:5: rule "mine" can end without a verb; end it with: return HOLD',
        ),
        (
            GOOD + "    state.buffer = 1.0\n    return reduce(0.5)\n",
            "mine.py:7: state.buffer is written to, but is only told",
        ),
        (GOOD + "    return reduce(state.memory[-1])\n", "mine.py:7: state.memory is read from its end; use 0 to 7"),
    ],
)
def test_check_says_what_is_wrong_with_a_rule_file(source: str | None, what: str, refused: Refused) -> None:
    if source is not None:
        Path("mine.py").write_text(source)
    code, lines = refused("rules", "--check", "mine.py")
    assert (code, len(lines)) == (7, 1)
    assert what in lines[0]


def test_check_says_all_that_is_wrong_with_a_file_at_once(refused: Refused) -> None:
    second = GOOD.split("\n\n\n")[1].replace("def mine", "def yours")
    body = "    return reduce(state.bufer * p.step)\n"
    Path("mine.py").write_text(GOOD + body + "\n\n" + second + body)
    code, lines = refused("rules", "--check", "mine.py")
    assert code == 7
    places = [Path(line.split(": ")[1]).name for line in lines]
    assert places == ["mine.py:7", "mine.py:7", "mine.py:13", "mine.py:13"]


def test_a_rule_may_end_in_each_branch_of_a_condition(capsys: pytest.CaptureFixture[str]) -> None:
    body = "    if state.buffer < 0.5:\n        return reduce(0.5)\n    else:\n        return reduce(0.25)\n"
    Path("mine.py").write_text(GOOD + body)
    assert run(["rules", "--check", "mine.py"]) == 0
    assert "nothing is wrong" in capsys.readouterr().err


def test_a_new_rule_takes_no_name_of_a_rule_that_comes_along(refused: Refused) -> None:
    code, lines = refused("new", "rule", "deleverage")
    assert code == 2
    assert "deleverage: is the name of a rule that comes along; take another name" in lines[0]
    assert not Path("strategies").exists()


def test_check_passes_a_good_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(GOOD + "    return reduce(0.5)\n")
    assert run(["rules", "--check", "mine.py"]) == 0
    assert "nothing is wrong" in capsys.readouterr().err


def test_rules_of_the_folder_are_found_and_a_second_meaning_of_a_name_is_refused(
    capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    assert run(["new", "rule", "mine"]) == 0
    assert run(["rules", "mine"]) == 0
    capsys.readouterr()
    Path("strategies/other.py").write_text(GOOD + "    return reduce(0.5)\n")
    code, lines = refused("rules")
    assert (code, len(lines)) == (7, 1)
    assert 'rule "mine" is also in' in lines[0]


def test_a_wake_is_told_with_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules"]) == 0
    told = "".join(capsys.readouterr().out.split())
    for wake in ("signal(macd_12_26_9_1d_cross)", "before_event(fomc,fomc_before)", "liq_atr_below(atr_14_1d,trigger)"):
        assert wake in told
