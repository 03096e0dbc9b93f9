"""A study's rules are found and completed, or every one that is not there is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest.errors import RuleError
from backtest.study.config import RuleSpec, StrategySpec, load_study
from backtest.study.rule_files import (
    load_rule_file,
    load_rules,
    require_layers,
    require_signals,
    resolve_rules,
    shipped_folder,
)

TRACKED = sorted((Path(__file__).parents[2] / "reports").glob("*/study.toml"))


def strategy(name: str, *rules: RuleSpec) -> StrategySpec:
    return StrategySpec(name, "base", rules, None, 0)


@pytest.mark.parametrize("path", TRACKED, ids=lambda path: path.parent.name)
def test_every_rule_of_a_tracked_study_exists_and_takes_its_parameters(path: Path) -> None:
    study = load_study(path)
    resolved = resolve_rules(study.strategies, load_rules(), str(path))
    assert list(resolved) == [strategy.name for strategy in study.strategies]


def test_values_are_completed_with_defaults() -> None:
    rules = load_rules()
    [(rule, values)] = resolve_rules([strategy("a", RuleSpec("deleverage", (("step", 0.5),)))], rules, "s")["a"]
    assert rule.name == "deleverage"
    assert values == {"trigger": 0.5, "step": 0.5, "put_back": True}


def test_every_problem_is_named_once_though_a_sweep_repeats_it() -> None:
    wrong = (RuleSpec("delevrage", ()), RuleSpec("exit", (("triger", 0.5),)), RuleSpec("exit", (("trigger", 7.0),)))
    with pytest.raises(RuleError) as caught:
        resolve_rules([strategy("a-1", *wrong), strategy("a-2", *wrong)], load_rules(), "s.toml")
    lines = [str(problem) for problem in caught.value.problems]
    assert len(lines) == 3
    assert 'strategy "base": no rule "delevrage"; did you mean "deleverage"?' in lines[0]
    assert 'did you mean "trigger"?' in lines[1]
    assert "out of range" in lines[2]


def test_the_shipped_rules_are_there() -> None:
    assert {path.stem for path in shipped_folder().glob("*.py")} >= {"deleverage", "exit", "top_up"}


def test_a_rule_that_trades_a_hedge_which_is_not_there_is_refused() -> None:
    hedges = [strategy("a", RuleSpec("hedge_short", ())), strategy("b", RuleSpec("hedge_other", ()))]
    uses = resolve_rules([*hedges, strategy("c", RuleSpec("exit", ()))], load_rules(), "s.toml")
    require_layers(uses, ("opposite", "other"), "s.toml")
    with pytest.raises(RuleError) as caught:
        require_layers(uses, ("inverse",), "s.toml")
    lines = [str(problem) for problem in caught.value.problems]
    assert len(lines) == 2
    assert 's.toml: rule "hedge_short": trades "opposite", a hedge that is not there; add [[layer]]' in lines[0]
    assert 'use = "other", symbol and leverage' in lines[1]


@pytest.mark.parametrize("call", ['trade("inverse", 0.5)', 'trade(share=0.5, layer="inverse")'])
def test_the_hedge_that_a_call_names_is_found(call: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    head = "from backtest import every_bar, rule, trade\n\n\n@rule(wake=every_bar())\ndef mine(state, p):\n"
    path.write_text(f"{head}    return {call}\n")
    [mine] = load_rule_file(path)
    with pytest.raises(RuleError, match='rule "mine": trades "inverse"'):
        require_layers({"a": ((mine, {}),)}, ("opposite",), "s.toml")


def test_a_signal_that_nobody_defines_is_refused_with_the_rule_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from backtest import HOLD, liq_distance_below, rule, signal\n\n\n"
        '@rule(wake=signal("breakout") | liq_distance_below(2.0, "atr"), signals=("vol_30",))\n'
        "def mine(state, p):\n    return HOLD\n"
    )
    [mine] = load_rule_file(path)
    uses = {"a": ((mine, {}),), "b": ((mine, {}),)}
    require_signals(uses, ("breakout", "vol_30"), "s.toml")
    with pytest.raises(RuleError) as caught:
        require_signals(uses, (), "s.toml")
    lines = [str(problem) for problem in caught.value.problems]
    assert len(lines) == 2
    assert 's.toml: rule "mine": names the signal "breakout", which is not there; define it in [[signal]]' in lines[0]
    assert 'did you mean "vol_30d"?' in lines[1]
