"""`report.html`: every section of a report on one page."""

from __future__ import annotations

from backtest.analysis.breakdown import Part
from backtest.report.evidence_tables import best_set_grid, fidelity_grid, refused_grid, rows_grid, timing_grid
from backtest.report.figures import figures
from backtest.report.grid import Grid
from backtest.report.model import Model, ReportInput, build
from backtest.report.money import money_grid
from backtest.report.page import render_page
from backtest.report.part_tables import count_grid, part_grid, sensitivity_grid, sweep_grid
from backtest.report.story import answer, headline, quote_unit, resampled, scope
from backtest.report.tables import detail_grid, holding_grid, summary_grid, survive_grid, worst_grid


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
        resampled=resampled(source.study),
        model=model,
        source=source,
        crashes=[figure for name, figure in charts.items() if name.startswith("crash-")],
        grids=_grids(model, quote_unit(source.study)),
        sweeps=[sweep_grid(i + 1, sweep, model.summary) for i, sweep in enumerate(model.sweeps)],
        breakdowns=_breakdown_grids(model),
    )


def _grids(model: Model, unit: str) -> dict[str, Grid | None]:
    source, summary = model.input, model.summary
    crashes = "Liquidated runs in each crash window."
    actions = "Actions that the venue would have refused, in liquidated runs; the count over all runs is above."
    fills = "Fills against what was traded in their bar: above 1 % the assumption of no market impact is doubtful."
    return {
        "summary": summary_grid(summary, unit),
        "detail": detail_grid(summary),
        "timing": timing_grid(model.timing),
        "best": best_set_grid(model),
        "holding": holding_grid(model),
        "survive": survive_grid(model.survive),
        "crashes": count_grid("crashes", crashes, model.crashes, summary) if model.crashes else None,
        "sensitivity": sensitivity_grid(model.sensitivity, summary),
        "worst": worst_grid(model.worst, model.stories, unit),
        "money": money_grid(model.accounts) if model.accounts else None,
        "fidelity": fidelity_grid(model),
        "refused": refused_grid(model),
        "actions": rows_grid("actions", actions, source.refused_actions),
        "fills": rows_grid("fills", fills, source.large_fills),
        "coverage": rows_grid("coverage", "Stored market data that the study read.", source.coverage),
        "gaps": rows_grid("gaps", "The longest gaps in them.", source.gaps),
    }


def _breakdown_grids(model: Model) -> list[Grid]:
    by_dimension: dict[str, list[Part]] = {}
    for part in model.breakdowns:
        by_dimension.setdefault(part.dimension, []).append(part)
    return [
        part_grid(f"by-{name.replace(' ', '-')}", f"Liquidated, % of pairs, by {name}.", parts, model.summary)
        for name, parts in by_dimension.items()
    ]
