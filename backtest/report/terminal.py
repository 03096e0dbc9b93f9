"""The comparison as a table for the terminal; the same text whether or not it is a terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from backtest.report.grid import Grid
from backtest.report.model import Summary
from backtest.report.story import possible, quote_unit, unlike_history
from backtest.report.tables import summary_grid
from backtest.venues.tiers import is_dated

if TYPE_CHECKING:
    from rich.table import Table

# Columns of the drawing area: more than any table needs, so that nothing is cut whatever the terminal.
UNBOUND = 400


def grid_table(grid: Grid) -> Table:
    """Give a table as a rich table; controls are dim."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in grid.columns:
        header = Text(f"{column.title}\n{column.unit}" if column.unit else column.title)
        table.add_column(header, justify="right" if column.numeric else "left", no_wrap=True)
    for row in grid.rows:
        style = "dim" if row[0].kind == "control" else ""
        table.add_row(*(Text(cell.text) for cell in row), style=style)
    return table


def grid_text(grid: Grid) -> str:
    """Write a table as text, as wide as it needs to be."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=UNBOUND, force_terminal=False, legacy_windows=False).print(grid_table(grid))
    return _stripped(out.getvalue())


def summary_text(study: Mapping[str, Any], summary: Summary, *, color: bool = False) -> str:
    """Write the comparison as text, as wide as it needs to be, with colour only if asked."""
    from rich.console import Console

    out = io.StringIO()
    colors: Literal["standard"] | None = "standard" if color else None
    console = Console(file=out, width=UNBOUND, force_terminal=color, color_system=colors, legacy_windows=False)
    console.print(grid_table(summary_grid(summary, quote_unit(study))))
    console.print("Two figures: a bot that reacts inside the bar / one that acts at the next open.", style="dim")
    if not is_dated(tiers := study["market"]["tiers"]):
        console.print(f"Tiers: {tiers}, one table for all dates.", style="dim")
    if (open_question := possible(summary)) is not None:
        console.print(open_question, markup=False, highlight=False)
    if (made := unlike_history(study)) is not None:
        console.print(made, markup=False, highlight=False)
    return _stripped(out.getvalue())


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
