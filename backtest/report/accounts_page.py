"""A report of continuous accounts as HTML, as Markdown, and as text for the terminal."""

from __future__ import annotations

from backtest.report.accounts import (
    LEFT_OUT,
    TWO_FIGURES,
    AccountsModel,
    account_grid,
    answer,
    data_grids,
    gain_figure,
    headline,
    part_grids,
    scope,
    summary_grid,
)
from backtest.report.markdown import escape, markdown_table
from backtest.report.page import render_page
from backtest.report.story import unlike_history
from backtest.report.terminal import grid_text


def render_accounts(model: AccountsModel) -> str:
    """Render the report as one self-contained HTML page."""
    chart = gain_figure(model)
    return render_page(
        "accounts.html.j2",
        headline(model),
        {chart.name: chart},
        answer=answer(model),
        scope=scope(model),
        unlike_history=unlike_history(model.input.study),
        source=model.input,
        summary=summary_grid(model),
        parts=part_grids(model),
        each=account_grid(model),
        data=data_grids(model),
        left_out=LEFT_OUT,
    )


def accounts_markdown(model: AccountsModel) -> str:
    """Write the report without its chart as Markdown; names are inert."""
    source = model.input
    parts = [f"# {escape(headline(model))}", escape(answer(model)), escape(scope(model))]
    if source.synthetic:
        parts.append("The market of this report is made up; it says nothing about any real market.")
    if (made := unlike_history(source.study)) is not None:
        parts.append(escape(made))
    parts += ["## Strategies by liquidation count", markdown_table(summary_grid(model)), escape(LEFT_OUT)]
    parts += ["## By leverage and calendar block", *map(markdown_table, part_grids(model))]
    parts += ["## Every account", markdown_table(account_grid(model))]
    parts += ["## Assumptions", "\n".join(f"- {escape(name)}: {escape(text)}" for name, text in source.assumptions)]
    parts += ["## Data", *map(markdown_table, data_grids(model))]
    parts += ["## How to reproduce", "\n".join(f"    {line}" for line in source.reproduce)]
    return "\n\n".join(parts) + "\n"


def accounts_text(model: AccountsModel) -> str:
    """Write the comparison as text for the terminal."""
    tables = [grid_text(summary_grid(model)), *(f"{grid.caption}\n\n{grid_text(grid)}" for grid in part_grids(model))]
    said = [TWO_FIGURES, LEFT_OUT]
    if (made := unlike_history(model.input.study)) is not None:
        said.append(made)
    return "\n".join((*tables, *said)) + "\n"
