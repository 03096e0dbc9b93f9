"""Every table of a report: what the page and the Markdown show alike."""

from __future__ import annotations

from backtest.analysis.breakdown import Part
from backtest.report.evidence_tables import FINER, best_set_grid, fidelity_grid, refused_grid, rows_grid, timing_grid
from backtest.report.grid import Grid
from backtest.report.model import Model
from backtest.report.money import money_grid
from backtest.report.part_tables import count_grid, part_grid, sensitivity_grid
from backtest.report.story import quote_unit
from backtest.report.tables import detail_grid, holding_grid, summary_grid, survive_grid, worst_grid


def grids(model: Model) -> dict[str, Grid | None]:
    """Give every table by its name, in the order of a report; null where there is nothing to show."""
    source, summary = model.input, model.summary
    unit = quote_unit(source.study)
    crashes = "Liquidated runs in each crash window."
    actions = "Actions that the venue would have refused, in liquidated runs."
    events = (
        "Do liquidations cluster around announced events? Overlapping positions share theirs: count events, not runs."
    )
    fills = "Fills against what was traded in their bar: above 1 % the assumption of no market impact is doubtful."
    return {
        "summary": summary_grid(summary, unit),
        "detail": detail_grid(summary),
        "timing": timing_grid(model.timing),
        "best": best_set_grid(model),
        "holding": holding_grid(model),
        "survive": survive_grid(model.survive),
        "crashes": count_grid("crashes", crashes, model.crashes, summary) if model.crashes else None,
        "events": rows_grid("events", events, source.events),
        "sensitivity": sensitivity_grid(model.sensitivity, summary),
        "worst": worst_grid(model.worst, model.stories, unit),
        "money": money_grid(model.accounts) if model.accounts else None,
        "fidelity": fidelity_grid(model),
        "refused": refused_grid(model),
        "actions": rows_grid("actions", actions, source.refused_actions),
        "fills": rows_grid("fills", fills, source.large_fills),
        "coverage": rows_grid("coverage", "Stored market data that the study read.", source.coverage),
        "finer": rows_grid("finer", FINER, source.finer),
        "gaps": rows_grid("gaps", "The longest gaps in them.", source.gaps),
    }


def breakdown_grids(model: Model) -> list[Grid]:
    """Give one table for each dimension along which the pairs are parted."""
    by_dimension: dict[str, list[Part]] = {}
    for part in model.breakdowns:
        by_dimension.setdefault(part.dimension, []).append(part)
    return [
        part_grid(f"by-{name.replace(' ', '-')}", f"Liquidated, % of pairs, by {name}.", parts, model.summary)
        for name, parts in by_dimension.items()
    ]
