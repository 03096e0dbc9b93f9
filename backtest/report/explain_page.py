"""One run as a page: its bars, the numbers that decided, and its story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from backtest.report.grid import Column, Grid, text_cell
from backtest.report.page import render_page
from backtest.report.trace import trace_figure

if TYPE_CHECKING:
    import pyarrow as pa

SUMMARY_LINES = 2  # of a story: what the run is


def render_explanation(
    run_id: str, story: Sequence[str], numbers: Mapping[str, str], bars: pa.Table | None, liquidated: bool
) -> str:
    """Render one run as a self-contained page.

    `numbers` are what decided its liquidation, in words and natural units; `bars` follow it, as `study.trace` does;
    `liquidated` says that it ended so.
    """
    charts = {} if bars is None or not bars.num_rows else {"trace": trace_figure(bars, liquidated)}
    grids = [_grid(numbers)] if numbers else []
    return render_page(
        "explain.html.j2", run_id, charts, summary=story[1:SUMMARY_LINES], story=story[SUMMARY_LINES:], grids=grids
    )


def _grid(numbers: Mapping[str, str]) -> Grid:
    columns = (Column("What", numeric=False), Column("Value"))
    rows = tuple((text_cell(name), text_cell(value)) for name, value in numbers.items())
    return Grid("numbers", "The state, the mark row and the tier row of the first liquidation.", columns, rows)
