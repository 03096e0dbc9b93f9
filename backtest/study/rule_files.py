"""Find rules: shipped ones, those of the folder `strategies` where the command is called, and files the user names."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import backtest
from backtest.engine.rules import Param, Rule
from backtest.errors import Problem, RuleError, did_you_mean
from backtest.study.config import StrategySpec
from backtest.user_code import run_file

FOLDER = Path("strategies")
_SIGNAL_WAKES = ("signal", "liq_atr_below")

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

    Raises RuleError with file, line and reason where it does not run, where it defines no rule, and where a rule is
    declared as something else than a function with parameters and names.
    """
    problems = list(_bare_names(path))
    if problems:
        raise RuleError(*problems)
    rules = [value for value in vars(run_file(path, RuleError)).values() if isinstance(value, Rule)]
    if not rules:
        raise RuleError.at(path, "defines no rule", "decorate a function with @rule")
    problems = [problem for rule in rules for problem in _wrong_declaration(rule)]
    if problems:
        raise RuleError(*problems)
    return rules


def _bare_names(path: Path) -> Iterator[Problem]:
    """List `signals` and `events` of a rule that are one text, which Python would take for a list of its letters."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # running the file says what is wrong
    for node in ast.walk(tree):
        match node:
            case ast.keyword("signals" | "events" as what, ast.Constant(str(name))):
                yield Problem(f"{path}:{node.lineno}", f'{what} is the text "{name}"', f'write {what}=("{name}",)')


def _wrong_declaration(rule: Rule) -> Iterator[Problem]:
    """List parameters that are declared without param, and a function that is no plain one."""
    place = _place(rule)
    for name, p in rule.params.items():
        if not isinstance(p, Param):
            remedy = f"write {name}=param({p!r}, low=…, high=…, help=…)"
            yield Problem(place, f"{name} = {p!r} is no parameter", remedy)
    if inspect.iscoroutinefunction(rule.function) or inspect.isgeneratorfunction(rule.function):
        yield Problem(place, f'rule "{rule.name}" is no plain function', "write it with def and return, without yield")


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


def require_layers(uses: Mapping[str, Uses], layers: Iterable[str], where: str) -> None:
    """Raise RuleError for every rule that trades a hedge which the runs do not have: it would never get one."""
    held = set(layers)
    problems = [
        Problem(f'{where}: rule "{rule.name}"', f'trades "{layer}", a hedge that is not there', _layer_remedy(layer))
        for rule in {rule.name: rule for use in uses.values() for rule, _ in use}.values()
        for layer in sorted(set(_traded(rule)) - held)
    ]
    if problems:
        raise RuleError(*problems)


def _layer_remedy(layer: str) -> str:
    if layer.startswith("asset"):
        told = "asset, account, step, fee_bps and slippage_bps; they are numbered in the order of the file"
        return f'add [[layer]] with use = "asset", {told}; for what-if: --layer'
    needed = " and" if layer == "opposite" else ", symbol and"
    return f'add [[layer]] with use = "{layer}"{needed} leverage; for what-if: --layer'


def require_signals(uses: Mapping[str, Uses], defined: Iterable[str], where: str) -> None:
    """Raise RuleError for every signal that a rule names and neither the program nor the study knows."""
    from backtest.signals.registry import PRESETS, SIGNALS

    known = {*PRESETS, *SIGNALS, *defined}
    problems = [
        Problem(
            f'{where}: rule "{rule.name}"',
            f'names the signal "{name}", which is not there; define it in [[signal]]',
            did_you_mean(name, known),
        )
        for rule in {rule.name: rule for use in uses.values() for rule, _ in use}.values()
        for name in sorted({*rule.signals, *(w.name for w in rule.wakes if w.kind in _SIGNAL_WAKES)} - known)
    ]
    if problems:
        raise RuleError(*problems)


def _traded(rule: Rule) -> Iterator[str]:
    """Give the hedges that a rule's function trades: they are written out in it."""
    for node in _nodes(rule):
        match node:
            case ast.Call(ast.Name("trade"), places, keywords):
                named = [one.value for one in keywords if one.arg == "layer"]
                for said in (*places[:1], *named):
                    if isinstance(said, ast.Constant) and isinstance(said.value, str):
                        yield said.value


def try_rules(rules: Iterable[Rule]) -> None:
    """Try each rule; RuleError with all that is wrong with any of them."""
    problems: list[Problem] = []
    for rule in rules:
        try:
            try_rule(rule)
        except RuleError as error:
            problems += error.problems
    if problems:
        raise RuleError(*problems)


def try_rule(rule: Rule) -> None:
    """Check a rule's parameters, wakes and the names it uses, compile it, and call it on made-up states.

    Raises RuleError: for all that can be read from the file, else for what does not compile or run.
    """
    from backtest.engine.compiled import check_rule

    problems = [*_wrong_params(rule), *_wrong_wakes(rule), *_wrong_reads(rule)]
    if problems:
        raise RuleError(*problems)
    check_rule(rule, rule.values({}))


def _wrong_params(rule: Rule) -> Iterator[Problem]:
    """List parameters that are too many, or whose default is outside their limits."""
    from backtest.engine.cells import PARAMS_MAX

    place = _place(rule)
    if len(rule.params) > PARAMS_MAX:
        yield Problem(place, f'rule "{rule.name}" has {len(rule.params)} parameters', f"at most {PARAMS_MAX}")
    for name, p in rule.params.items():
        if not p.is_switch and not p.low <= p.default <= p.high:
            yield Problem(place, f"{name} = {p.default:g} is out of its own range", f"{p.low:g} to {p.high:g}")


def _wrong_wakes(rule: Rule) -> Iterator[Problem]:
    """List periods in which no time passes."""
    for wake in rule.wakes:
        if wake.kind == "every" and not (isinstance(wake.value, float) and wake.value > 0):
            yield Problem(_place(rule), "every waits for no time at all", 'name a period, such as every("1h")')


def _wrong_reads(rule: Rule) -> Iterator[Problem]:
    """List what a rule's function reads of its state, its memory and its parameters that is not there."""
    from backtest.engine.state import STATE_DTYPE

    if len(inspect.signature(rule.function).parameters) != 2:
        yield Problem(_place(rule), f'rule "{rule.name}" does not take two arguments', "define it as (state, p)")
        return
    state, params = inspect.signature(rule.function).parameters
    known = {state: ("field of the state", set(STATE_DTYPE.names or ())), params: ("parameter", set(rule.params))}
    for node in _nodes(rule):
        match node:
            case ast.FunctionDef() if node.name == rule.name and _falls_through(node.body):
                what = f'rule "{rule.name}" can end without a verb'
                yield Problem(f"{rule.path}:{node.lineno}", what, "end it with: return HOLD")
            case ast.Attribute(ast.Name(owner), name, ast.Store()) if owner == state and name in known[owner][1]:
                what = f"{owner}.{name} is written to, but is only told"
                yield Problem(f"{rule.path}:{node.lineno}", what, "keep it in a variable, or in state.memory")
            case ast.Attribute(ast.Name(owner), name) if owner in known and name not in known[owner][1]:
                kind, names = known[owner]
                yield Problem(f"{rule.path}:{node.lineno}", f"{owner}.{name} is no {kind}", did_you_mean(name, names))
            case ast.Call(ast.Name("breakpoint")):
                remedy = "take it out, or replay one run: backtest what-if … --debug"
                yield Problem(f"{rule.path}:{node.lineno}", "breakpoint() waits for a debugger", remedy)
            case ast.Subscript(ast.Attribute(ast.Name(owner), name), ast.Constant(int(place))) if owner == state:
                size = _sizes(rule).get(name)
                if size is not None and place >= size:
                    what = f"{owner}.{name}[{place}] is not there"
                    yield Problem(f"{rule.path}:{node.lineno}", what, _remedy(name, size))
            case ast.Subscript(ast.Attribute(ast.Name(owner), name), ast.UnaryOp(ast.USub())) if owner == state:
                what = f"{owner}.{name} is read from its end"
                yield Problem(f"{rule.path}:{node.lineno}", what, _remedy(name, _sizes(rule).get(name, 0)))


def _falls_through(body: list[ast.stmt]) -> bool:
    """Say whether a function can reach the end of these statements."""
    match body[-1]:
        case ast.Return() | ast.Raise():
            return False
        case ast.If(_, then, otherwise) if otherwise:
            return _falls_through(then) or _falls_through(otherwise)
    return True


def _sizes(rule: Rule) -> dict[str, int]:
    """Give how many numbers of each array of the state a rule may read."""
    from backtest.engine.state import STATE_ARRAYS

    named = {"signals": rule.signals, "hours_to_event": rule.events, "hours_since_event": rule.events}
    return {name: len(named[name]) if name in named else size for name, (size, _) in STATE_ARRAYS.items()}


def _remedy(name: str, size: int) -> str:
    if size:
        return f"use 0 to {size - 1}"
    return f'name them: @rule(…, {"signals" if name == "signals" else "events"}=("…",))'


def _nodes(rule: Rule) -> Iterator[ast.AST]:
    """Walk the code of a rule's function, as it stands in its file."""
    for function in ast.walk(ast.parse(Path(rule.path).read_bytes())):
        if isinstance(function, ast.FunctionDef) and function.name == rule.name:
            yield from ast.walk(function)


def _place(rule: Rule) -> str:
    return f"{rule.path}:{rule.function.__code__.co_firstlineno}"


def _rule_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*.py")) if not path.name.startswith(("_", "test_")))
