"""One run as a page: its bars, the numbers that decided, its money, and its story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtest.analysis.money import Money, account
from backtest.report.grid import Column, Grid, text_cell
from backtest.report.money import money_grid
from backtest.report.page import render_page
from backtest.report.trace import trace_figure

if TYPE_CHECKING:
    import pyarrow as pa

SUMMARY_LINES = 2  # of a story: what the run is


@dataclass(frozen=True, slots=True)
class RunPage:
    """What the page of one run shows.

    `numbers` are what decided its liquidation, in words and natural units; `bars` follow it, as `study.trace` does;
    `liquidated` says that it ended so. A refused entry has neither bars nor money.
    """

    run_id: str
    story: Sequence[str]
    numbers: Mapping[str, str]
    bars: pa.Table | None
    liquidated: bool
    money: Money | None


def render_explanation(page: RunPage) -> str:
    """Render one run as a self-contained page."""
    charts = {}
    if page.bars is not None and page.bars.num_rows:
        charts["trace"] = trace_figure(page.bars, page.liquidated)
    grids = [_grid(page.numbers)] if page.numbers else []
    if page.money is not None:
        grids.append(money_grid({page.run_id.split("/")[0]: account([page.money])}, "Its returns, by vectorbt."))
    summary, story = page.story[1:SUMMARY_LINES], page.story[SUMMARY_LINES:]
    return render_page("explain.html.j2", page.run_id, charts, summary=summary, story=story, grids=grids)


def _grid(numbers: Mapping[str, str]) -> Grid:
    columns = (Column("What", numeric=False), Column("Value"))
    rows = tuple((text_cell(name), text_cell(value)) for name, value in numbers.items())
    return Grid("numbers", "The state, the mark row and the tier row of the first liquidation.", columns, rows)
