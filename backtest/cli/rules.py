"""`backtest rules` and `backtest new`: see the rules there are, begin a rule or a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.output import Json, note, print_table, say, say_json
from backtest.errors import UsageError
from backtest.units import duration_text

if TYPE_CHECKING:
    from backtest.engine.rules import Rule, Wake

new = typer.Typer(name="new", help="Begin a study or a rule.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command("rules")(rules)
    app.add_typer(new)


def rules(
    name: Annotated[str | None, typer.Argument(help="Show this rule with its parameters.")] = None,
    check: Annotated[Path | None, typer.Option(help="Say what is wrong with a rule file, or that it compiles.")] = None,
    as_json: Json = False,
) -> None:
    """List the rules that a study can use, with parameters, limits and one line each."""
    from backtest.study.rule_files import find_rule, load_rule_file, load_rules, try_rules

    if check is not None:
        found = load_rule_file(check)
        try_rules(found)
    else:
        known = load_rules()
        found = list(known.values()) if name is None else [find_rule(known, name, "backtest rules")]
    if as_json:
        say_json([_form(rule) for rule in found])
        return
    if check is None and name is None:
        print_table(("rule", "wakes", "what it does"), [(r.name, _wakes(r), r.doc) for r in found], align="l")
        say("")
    _print_params(found)
    if check is None and name is None:
        _print_presets()
    if check is not None:
        note(f"{check}: nothing is wrong with it")


def _print_params(found: Sequence[Rule]) -> None:
    rows = [
        (rule.name, name, _value(p.default), "" if p.is_switch else f"{p.low:g} to {p.high:g}", p.help)
        for rule in found
        for name, p in rule.params.items()
    ]
    print_table(("rule", "parameter", "default", "limits", "meaning"), rows, align="llrrl")


def _print_presets() -> None:
    """List what stands for rules, and for the latency of a reserve, in one word of a study."""
    from backtest.study.profiles import PROFILES
    from backtest.study.reserve import PRESETS

    say("")
    print_table(("profile", "what it does"), [(name, profile.help) for name, profile in PROFILES.items()], align="l")
    say("")
    print_table(("preset of the reserve", "latency", "because"), [(n, *why) for n, why in PRESETS.items()], align="lrl")


def _form(rule: Rule) -> dict[str, object]:
    params = {
        name: {"default": p.default, "help": p.help} | ({} if p.is_switch else {"low": p.low, "high": p.high})
        for name, p in rule.params.items()
    }
    return {"name": rule.name, "doc": rule.doc, "wakes": [w._asdict() for w in rule.wakes], "params": params}


def _wakes(rule: Rule) -> str:
    return " | ".join(_wake(wake) for wake in rule.wakes)


def _wake(wake: Wake) -> str:
    """Write a wake with what it waits for: a signal, an event, a limit."""
    said = [wake.name] if wake.name else []
    if wake.value is not None:
        said.append(_wake_value(wake))
    return f"{wake.kind}({', '.join(said)})" if said else wake.kind


def _wake_value(wake: Wake) -> str:
    if wake.kind == "every" and isinstance(wake.value, float):
        return duration_text(int(wake.value))
    if wake.kind in ("before_event", "after_event") and isinstance(wake.value, float):
        return f"{wake.value:g}h"
    return _value(wake.value) if isinstance(wake.value, float) else str(wake.value)


def _value(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


@new.command("study")
def new_study(
    name: Annotated[str, typer.Argument(help="Name of the study and of its folder: small letters, digits, hyphens.")],
    folder: Annotated[Path, typer.Option("--in", help="Folder that holds the studies.")] = Path("reports"),
) -> None:
    """Write a first study with every key explained."""
    from backtest.study.template import study_toml

    path = folder / name / "study.toml"
    _write_new(path, study_toml(name))
    note(f"edit it, then: backtest compare {path}")


@new.command("rule")
def new_rule(
    name: Annotated[str, typer.Argument(help="Name of the rule: small letters, digits and _.")],
    folder: Annotated[Path, typer.Option("--in", help="Folder that holds the rules.")] = Path("strategies"),
) -> None:
    """Write a first rule with a test beside it."""
    from backtest.study.rule_files import shipped_folder
    from backtest.study.template import rule_files

    if (shipped_folder() / f"{name}.py").exists():
        raise UsageError.at(name, "is the name of a rule that comes along", "take another name")
    files = {folder / file: text for file, text in rule_files(name, str(folder)).items()}
    for path in files:
        _refuse_existing(path)
    for path, text in files.items():
        _write_new(path, text)
    note(f"edit it, then: backtest rules --check {folder / name}.py")


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError.at(path, "exists already", "take another name, or remove it first")


def _write_new(path: Path, text: str) -> None:
    """Write a file that must not exist yet, and print its path."""
    _refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    say(str(path))
