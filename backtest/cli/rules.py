"""`backtest rules` and `backtest new`: see the rules there are, begin a rule or a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtest.cli.output import note, say
from backtest.errors import UsageError

new = typer.Typer(name="new", help="Begin a study or a rule.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(new)


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
    from backtest.study.template import rule_files

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
