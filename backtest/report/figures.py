"""Every chart of a report, by name."""

from __future__ import annotations

from backtest.report.charts import calendar, frontier_chart, holding, incidence_chart, liquidations
from backtest.report.figure import Figure
from backtest.report.heat import sweep_figure
from backtest.report.model import Model
from backtest.report.money import money_figures
from backtest.report.trace import crash_figures, trace_figure


def figures(model: Model) -> dict[str, Figure]:
    """Draw every chart that the outcomes allow, by name."""
    drawn = [liquidations(model), frontier_chart(model), incidence_chart(model), calendar(model), holding(model)]
    drawn += [
        sweep_figure(i + 1, sweep, model.summary) for i, sweep in enumerate(model.sweeps) if len(sweep.parameters) > 1
    ]
    drawn += crash_figures(model.crash_runs)
    drawn += [] if model.typical is None else [trace_figure(model.typical.bars, liquidated=True)]
    drawn += money_figures(model.accounts)
    return {figure.name: figure for figure in drawn}
