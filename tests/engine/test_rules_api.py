"""The rule author's API: what it refuses and says, and that a rule compiled is the rule as written."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import backtest
from backtest import (
    buffer_below,
    close,
    every,
    every_bar,
    headroom_below,
    increase,
    move_margin,
    on_fill,
    param,
    reduce,
    rule,
    set_leverage,
)
from backtest.engine.cells import PARAMS_MAX
from backtest.engine.compile import MODE
from backtest.engine.compiled import check_rule, compile_rule, prepare, sample_states
from backtest.engine.plan import WAKE_KINDS
from backtest.engine.rules import Param, Rule, Wakes
from backtest.engine.state import STATE_ARRAYS, STATE_FIELDS
from backtest.errors import RuleError
from backtest.study.rule_files import load_rule_file, load_rules, try_rule

SHIPPED = load_rules()
ROOT = Path(__file__).parents[2]


def made(text: str, folder: Path, name: str = "mine") -> Rule:
    """Write a rule file and load its rule."""
    path = folder / f"{name}.py"
    path.write_text(text)
    return load_rule_file(path)[0]


# --- verbs and wakes -----------------------------------------------------------------------------------------------


def test_verbs_are_codes_amounts_and_targets() -> None:
    assert backtest.HOLD == (0, 0.0, 0)
    assert reduce(0.5) == (1, 0.5, 0)
    assert reduce(1, put_back=True) == (1, 1.0, 1)
    assert increase(0.1) == (2, 0.1, 0)
    assert close() == (3, 0.0, 0)
    assert move_margin(-5) == (4, -5.0, 0)
    assert move_margin(5, source="free") == (4, 5.0, 1)
    assert set_leverage(3) == (5, 3.0, 0)


def test_a_source_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        move_margin(1.0, source="bank")


def test_wakes_join_in_order() -> None:
    joined = buffer_below(0.5) | every("90m") | on_fill()
    assert isinstance(joined, Wakes)
    assert [wake.kind for wake in joined] == ["buffer_below", "every", "on_fill"]
    assert joined[1].value == 90 * 60_000
    assert {wake.kind for wake in joined} <= set(WAKE_KINDS)


# --- declarations --------------------------------------------------------------------------------------------------


def test_a_wake_that_names_no_parameter_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(RuleError, match=r'buffer_below\("triger"\) names no parameter') as error:

        @rule(wake=buffer_below("triger") | headroom_below("least"), trigger=param(0.5, help="buffer"))
        def halve(state: Any, p: Any) -> Any:
            return reduce(0.5)

    assert len(error.value.problems) == 2
    assert "trigger" in str(error.value)


@pytest.mark.parametrize("name", ["Halve", "_halve", "h" * 41])
def test_a_rule_name_is_lower_case_and_short(name: str) -> None:
    def function(state: Any, p: Any) -> Any:
        return close()

    function.__name__ = name
    with pytest.raises(RuleError, match="rule name"):
        rule(wake=every_bar())(function)


LIMITED = Rule(
    "limited",
    lambda state, p: close(),
    every_bar(),
    {"share": Param(0.5, 0.0, 1.0, "share"), "gentle": Param(True, 0.0, 1.0, "switch")},
    "",
)


def test_parameters_are_completed_with_defaults() -> None:
    assert LIMITED.values({}) == {"share": 0.5, "gentle": True}
    assert LIMITED.values({"share": 1, "gentle": False}) == {"share": 1.0, "gentle": False}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"shar": 0.5}, ["shar", "share"]),
        ({"share": 1.5}, ["1.5", "0 to 1"]),
        ({"share": -0.1}, ["out of range"]),
        ({"share": float("nan")}, ["out of range"]),
        ({"share": True}, ["a number"]),
        ({"share": "half"}, ["a number"]),
        ({"gentle": 1.0}, ["true or false"]),
        ({"share": 2.0, "gentle": 3, "more": 1}, ["out of range", "true or false", "more"]),
    ],
)
def test_parameters_are_checked_all_at_once(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RuleError) as error:
        LIMITED.values(given, "study.toml")
    assert all(word in str(error.value) for word in ["study.toml", *words])


def test_a_strategy_holds_eight_rules() -> None:
    assert len(prepare([(EXIT, EXIT.values({}), 0)] * 8).wake_kind) == 8
    with pytest.raises(RuleError, match="9 rules"):
        prepare([(EXIT, EXIT.values({}), 0)] * 9)


EXIT = SHIPPED["exit"]


def test_the_loosest_threshold_of_each_kind_bounds_the_skip() -> None:
    rules = prepare(
        [
            (SHIPPED["deleverage"], SHIPPED["deleverage"].values({"trigger": 0.25}), 0),
            (SHIPPED["exit"], SHIPPED["exit"].values({"trigger": 0.75}), 0),
        ]
    )
    assert rules.bounds()[0] == 75_000_000
    assert rules.has_threshold
    assert not rules.has("every_bar")


# --- compiled and plain --------------------------------------------------------------------------------------------


def plain_answer(rule_: Rule, state: Any, values: dict[str, float | bool]) -> tuple[int, float, int]:
    fields = {name: float(state[name]) for name in STATE_FIELDS}
    view = SimpleNamespace(**fields, **{name: [float(x) for x in state[name]] for name in STATE_ARRAYS})
    return rule_.function(view, SimpleNamespace(**values))


def values_of(rule_: Rule, index: int) -> dict[str, float | bool]:
    """Give the defaults, or the lowest or highest of every parameter."""
    if index == 0:
        return rule_.values({})
    pick = {n: (index == 1) if p.is_switch else (p.low if index == 1 else p.high) for n, p in rule_.params.items()}
    return rule_.values(pick)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_compiled_and_plain_python_answer_alike(name: str, index: int) -> None:
    shipped = SHIPPED[name]
    values = values_of(shipped, index)
    params = np.zeros(PARAMS_MAX)
    params[: len(values)] = [float(v) for v in values.values()]
    compiled = compile_rule(shipped)
    for state in sample_states(200):
        assert tuple(compiled(state.copy(), params)) == plain_answer(shipped, state, values)  # memory is written


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_shipped_rule_passes_the_check_and_says_what_it_does(name: str) -> None:
    shipped = SHIPPED[name]
    check_rule(shipped, shipped.values({}))
    assert shipped.doc.endswith(".")
    assert all(p.help for p in shipped.params.values())
    assert name in {path.stem for path in (ROOT / "strategies").glob("*.py")}


HEAD = "from backtest import HOLD, close, every_bar, move_margin, reduce, rule\n\n\n@rule(wake=every_bar())\n"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return reduce(state.buffer / 0.0 * 0.0)", "finite|fails"),
        ("return (9, 1.0, 0)", "verb 9"),
        ("return (-1, 1.0, 0)", "verb -1"),
        ("return move_margin(float('inf'))", "inf|compile"),
    ],
)
def test_an_answer_that_is_no_action_is_refused_before_the_replay(tmp_path: Path, body: str, reason: str) -> None:
    bad = made(f"{HEAD}def careless(state, p):\n    {body}\n", tmp_path)
    with pytest.raises(RuleError, match=reason) as error:
        check_rule(bad, {})
    assert "mine.py" in str(error.value)


@pytest.mark.parametrize(
    "body",
    ["return close(", "return open('x')", "return state.buffr", "return [1, 2]", "return 'close'"],
)
def test_a_rule_that_does_not_compile_is_refused_with_its_file(tmp_path: Path, body: str) -> None:
    with pytest.raises(RuleError, match=re.escape("mine.py")):
        try_rule(made(f"{HEAD}def careless(state, p):\n    {body}\n", tmp_path))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('return move_margin(1.0, source="bank")', 'is "reserve" or "free", written out, not bank'),
        ("return move_margin(1.0, state.side)", 'is "reserve" or "free"'),
        ("import math\n    return reduce(math.sqrt(state.buffer))", "IMPORT_NAME"),
        ('return reduce(f"{state.buffer}")', "could not convert string to float"),
        ("return {1: 2}[3]", "does not compile"),
        ("return reduce(nothing)", "name 'nothing' is not defined"),
        ("return reduce(state.nothing)", "KeyError: 'nothing'"),
    ],
)
@pytest.mark.skipif(MODE == "0", reason="nothing is compiled")
def test_whatever_the_compiler_fails_with_becomes_a_reason(tmp_path: Path, body: str, reason: str) -> None:
    with pytest.raises(RuleError, match=re.escape(reason)) as error:
        compile_rule(made(f"{HEAD}def careless(state, p):\n    {body}\n", tmp_path))
    assert "Failed in nopython" not in str(error.value)
    assert "rule_" not in str(error.value).partition(": ")[0]


@pytest.mark.skipif(MODE == "0", reason="nothing is compiled")
def test_the_compiler_s_line_is_told_in_the_author_s_file(tmp_path: Path) -> None:
    bad = made(f"{HEAD}def careless(state, p):\n    share = 0.5\n    return reduce(state['nothing'])\n", tmp_path)
    with pytest.raises(RuleError, match=rf"mine\.py:{HEAD.count(chr(10)) + 3}: "):
        compile_rule(bad)


@pytest.mark.skipif(MODE == "0", reason="nothing is compiled")
def test_a_rule_that_answers_otherwise_in_plain_python_is_refused(tmp_path: Path) -> None:
    """Compiled code does not look at bounds: the ninth place of memory holds whatever lies there."""
    with pytest.raises(RuleError, match="index 8 is out of bounds"):
        check_rule(made(f"{HEAD}def careless(state, p):\n    return reduce(state.memory[8] * 0.0)\n", tmp_path), {})
    wide = "return reduce(0.5 if int(state.entry_qty * 1e30) > 0 else 0.25)"  # no int64 holds it
    with pytest.raises(RuleError, match=r"in plain Python and .* compiled"):
        check_rule(made(f"{HEAD}def careless(state, p):\n    {wide}\n", tmp_path), {})


def test_memory_is_the_rules_own(tmp_path: Path) -> None:
    counting = made(
        f"{HEAD}def counting(state, p):\n    state.memory[0] += 1.0\n"
        "    if state.memory[0] < 3.0:\n        return HOLD\n    return close()\n",
        tmp_path,
    )
    function, state, params = compile_rule(counting), sample_states(1)[0], np.zeros(PARAMS_MAX)
    state.memory[:] = 0.0
    assert [function(state, params)[0] for _ in range(4)] == [0, 0, 3, 3]
