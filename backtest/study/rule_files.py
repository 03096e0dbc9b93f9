"""Find rules: shipped ones, those of the folder `strategies` where the command is called, and files the user names."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import backtest
from backtest.engine.rules import Rule
from backtest.errors import BacktestError, Problem, RuleError, did_you_mean
from backtest.study.config import StrategySpec

FOLDER = Path("strategies")

Use = tuple[Rule, dict[str, float | bool]]
Uses = tuple[Use, ...]


def shipped_folder() -> Path:
    """Give the folder of the shipped rules: inside an installed package, else beside it."""
    package = Path(backtest.__file__).parent
    inside = package / "_shipped" / "strategies"
    return inside if inside.is_dir() else package.parent / "strategies"


def load_rules(files: Iterable[Path] = ()) -> dict[str, Rule]:
    """Load every rule there is, by name, sorted.

    Raises RuleError with every file that cannot be loaded, and for two files that define one name differently.
    """
    paths = [*_rule_files(shipped_folder()), *_rule_files(FOLDER), *files]
    rules: dict[str, Rule] = {}
    problems: list[Problem] = []
    for path in dict.fromkeys(path.resolve() for path in paths):
        try:
            found = load_rule_file(path)
        except RuleError as error:
            problems += error.problems
            continue
        for rule in found:
            known = rules.setdefault(rule.name, rule)
            if Path(known.path).read_bytes() != path.read_bytes():
                problems.append(Problem(str(path), f'rule "{rule.name}" is also in {known.path}', "rename one of them"))
    if problems:
        raise RuleError(*problems)
    return dict(sorted(rules.items()))


def load_rule_file(path: Path) -> list[Rule]:
    """Run a rule file and give the rules it defines.

    Raises RuleError with file, line and reason where it does not run, and where it defines no rule.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise RuleError.at(path, f"cannot be read ({error.strerror})", "check the path") from None
    module = _run(path, f"rule_file_{hashlib.sha256(source + str(path).encode()).hexdigest()[:16]}")
    rules = [value for value in vars(module).values() if isinstance(value, Rule)]
    if not rules:
        raise RuleError.at(path, "defines no rule", "decorate a function with @rule")
    return rules


def find_rule(rules: dict[str, Rule], name: str, where: str) -> Rule:
    """Give a rule by its name; RuleError with the nearest name where there is none."""
    if name not in rules:
        raise RuleError.at(where, f'no rule "{name}"', did_you_mean(name, rules))
    return rules[name]


def resolve_rules(strategies: Iterable[StrategySpec], rules: dict[str, Rule], where: str) -> dict[str, Uses]:
    """Give each strategy's rules with all their values, by the strategy's name.

    Raises RuleError with every rule that does not exist and every parameter that a rule does not take.
    """
    resolved: dict[str, Uses] = {}
    problems: list[Problem] = []
    for strategy in strategies:
        place = f'{where}: strategy "{strategy.base_name}"'
        uses: list[Use] = []
        for spec in strategy.rules:
            try:
                rule = find_rule(rules, spec.use, place)
                uses.append((rule, rule.values(dict(spec.params), f'{place}, rule "{rule.name}"')))
            except RuleError as error:
                problems += error.problems
        resolved[strategy.name] = tuple(uses)
    if problems:
        raise RuleError(*dict.fromkeys(problems))  # a sweep repeats them
    return resolved


def try_rule(rule: Rule) -> None:
    """Check the names a rule uses, compile it, and call it with its defaults on made-up states.

    Raises RuleError: for every state field and parameter that does not exist, else for what does not compile or run.
    """
    from backtest.engine.compiled import check_rule

    if len(inspect.signature(rule.function).parameters) != 2:
        raise RuleError.at(rule.path, f'rule "{rule.name}" does not take two arguments', "define it as (state, p)")
    problems = list(_unknown_names(rule))
    if problems:
        raise RuleError(*problems)
    check_rule(rule, rule.values({}))


def _unknown_names(rule: Rule) -> Iterator[Problem]:
    """List what a rule's function reads of its state and of its parameters that is not there."""
    from backtest.engine.state import STATE_FIELDS

    state, params = inspect.signature(rule.function).parameters
    known = {state: ("field of the state", {*STATE_FIELDS, "memory"}), params: ("parameter", set(rule.params))}
    for function in ast.walk(ast.parse(Path(rule.path).read_bytes())):
        if not (isinstance(function, ast.FunctionDef) and function.name == rule.name):
            continue
        for node in ast.walk(function):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known):
                continue
            kind, names = known[node.value.id]
            if node.attr not in names:
                what = f"{node.value.id}.{node.attr} is no {kind}"
                yield Problem(f"{rule.path}:{node.lineno}", what, did_you_mean(node.attr, names))


def _rule_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*.py")) if not path.name.startswith(("_", "test_")))


def _run(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RuleError.at(path, "is not a Python file", "name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BacktestError:
        raise
    except SyntaxError as error:
        raise RuleError.at(f"{path}:{error.lineno}", f"is not Python: {error.msg}", "mend the line") from None
    except Exception as error:  # the file is the user's own code: anything can happen in it
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.origin]
        place = f"{path}:{lines[-1]}" if lines else str(path)
        raise RuleError.at(place, f"does not run: {type(error).__name__}: {error}", "mend the line") from None
    return module
