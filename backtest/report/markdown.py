"""`report.md`: the report without its charts, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from backtest.report.grid import Cell, Column, Grid
from backtest.report.grids import breakdown_grids, grids
from backtest.report.model import Model
from backtest.report.story import answer, headline, plain, scope, unlike_history

_SPECIAL = "\\`*_{}[]<>()#+!|~&"


def render_markdown(model: Model) -> str:
    """Write a computed report as Markdown; names are inert."""
    source = model.input
    parts = [f"# {escape(headline(source))}", escape(plain(answer(model))), escape(scope(model))]
    if source.synthetic:
        parts.append("The market of this report is made up; it says nothing about any real market.")
    if (made := unlike_history(source.study)) is not None:
        parts.append(escape(made))
    tables = grids(model)

    def section(title: str, *names: str) -> list[str]:
        found = [markdown_table(grid) for name in names if (grid := tables[name]) is not None]
        return [f"## {title}", *found] if found else []

    parts += section("Strategies by liquidation count", "summary")
    parts += section("Skill or luck", "timing", "best")
    parts += section("Through the crashes", "crashes")
    parts += section("Around announced events", "events")
    parts += section("Liquidation probability by leverage and holding time", "holding", "survive")
    if found := breakdown_grids(model):
        parts += ["## Where the difference comes from", *map(markdown_table, found)]
    parts += section("Under other assumptions", "sensitivity")
    parts += section("Worst runs", "worst")
    if model.typical is not None:
        parts += ["## One liquidation", "\n".join(f"- {escape(line.strip())}" for line in model.typical.story)]
    parts += section("Equity and drawdown", "money")
    if source.assumptions:
        parts += ["## Assumptions", "\n".join(f"- {escape(name)}: {escape(text)}" for name, text in source.assumptions)]
    parts += section("Data", "coverage", "finer", "gaps", "fidelity", "refused", "actions", "fills")
    parts += ["## How to reproduce", "\n".join(f"    {line}" for line in source.reproduce)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Write text so that Markdown and HTML leave it as it is.

    >>> escape("a_b <i>")
    'a\\\\_b \\\\<i\\\\>'
    """
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text.replace("\n", " "))


def markdown_table(grid: Grid) -> str:
    """Write a table with its caption."""
    lines = [_line([_title(column) for column in grid.columns])]
    lines.append(_line(["---:" if column.numeric else "---" for column in grid.columns]))
    lines += [_line(_cells(row)) for row in grid.rows]
    return escape(grid.caption) + "\n\n" + "\n".join(lines)


def _title(column: Column) -> str:
    return escape(f"{column.title}, {column.unit}" if column.unit else column.title)


def _cells(row: Sequence[Cell]) -> list[str]:
    return [escape(cell.text) for cell in row]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
