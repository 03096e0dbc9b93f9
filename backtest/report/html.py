"""`report.html`: every section of a report on one page."""

from __future__ import annotations

from backtest.report.figures import figures
from backtest.report.grids import breakdown_grids, grids
from backtest.report.model import Model, ReportInput, build
from backtest.report.page import render_page
from backtest.report.part_tables import sweep_grid
from backtest.report.story import answer, headline, scope, unlike_history


def render(source: ReportInput) -> str:
    """Render the report as one self-contained HTML page."""
    return render_model(build(source))


def render_model(model: Model) -> str:
    """Render a report that is computed already."""
    source = model.input
    charts = figures(model)
    return render_page(
        "report.html.j2",
        headline(source),
        charts,
        scope=scope(model),
        answer=answer(model),
        unlike_history=unlike_history(source.study),
        model=model,
        source=source,
        crashes=[figure for name, figure in charts.items() if name.startswith("crash-")],
        grids=grids(model),
        sweeps=[sweep_grid(i + 1, sweep, model.summary) for i, sweep in enumerate(model.sweeps)],
        breakdowns=breakdown_grids(model),
    )
