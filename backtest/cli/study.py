"""`backtest demo`, `compare`, `what-if`, `explain`, `verify`: studies, and what became of them."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
