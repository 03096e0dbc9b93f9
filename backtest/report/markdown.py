"""`report.md`: the answer, the main table and how to reproduce it, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from backtest.report.grid import Cell, Column, Grid, plain_grid
from backtest.report.model import Model
from backtest.report.story import answer, headline, plain, quote_unit, resampled, scope
from backtest.report.tables import holding_grid, summary_grid

_SPECIAL = "\\`*_{}[]<>()#+!|~&"


def render_markdown(model: Model) -> str:
    """Write a computed report as Markdown; names are inert."""
    source = model.input
    unit = quote_unit(source.study)
    parts = [f"# {escape(headline(source))}", escape(plain(answer(model))), escape(scope(model))]
    if source.synthetic:
        parts.append("The market of this report is made up; it says nothing about any real market.")
    if (made := resampled(source.study)) is not None:
        parts.append(escape(made))
    parts += ["## Strategies by liquidation count", _table(summary_grid(model.summary, unit))]
    parts += ["## Liquidation probability by leverage and holding time", _table(holding_grid(model))]
    if source.assumptions:
        parts += ["## Assumptions", "\n".join(f"- {escape(name)}: {escape(text)}" for name, text in source.assumptions)]
    if source.coverage:
        parts += ["## Data", _table(plain_grid("coverage", "Stored market data that the study read.", source.coverage))]
    if model.typical is not None:
        parts += ["## One liquidation", "\n".join(f"- {escape(line.strip())}" for line in model.typical.story)]
    parts += ["## How to reproduce", "\n".join(f"    {line}" for line in source.reproduce)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Write text so that Markdown and HTML leave it as it is.

    >>> escape("a_b <i>")
    'a\\\\_b \\\\<i\\\\>'
    """
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text.replace("\n", " "))


def _table(grid: Grid) -> str:
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
