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


def _write_new(path: Path, text: str) -> None:
    """Write a file that must not exist yet, and print its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError.at(path, "exists already", "take another name, or remove it first") from None
    say(str(path))
