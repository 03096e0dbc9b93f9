"""A sweep of two parameters as a heat map."""

from __future__ import annotations

from typing import Any

from backtest.analysis.sweep import sweeps
from backtest.report.figures import figures
from backtest.report.heat import sweep_figure
from backtest.report.html import render_model
from backtest.report.model import Model, build
from tests.analysis import fake
from tests.report import sample


def two_parameters() -> list[dict[str, Any]]:
    """Give three strategies of the generator as one sweep of two parameters, in which one combination is missing."""
    values = {"deleverage-0.25": (0.25, 0.5), "deleverage-0.5": (0.5, 0.5), "top-up": (0.25, "<b>")}
    return [
        {"name": name, "base_name": "<i>cut", "rules": [{"use": "cut", "trigger": trigger, "step": step}]}
        for name, (trigger, step) in values.items()
    ]


def test_each_combination_has_its_cell_and_a_missing_one_is_empty(model: Model) -> None:
    (sweep,) = sweeps(two_parameters())
    assert sweep.parameters == ("cut.trigger", "cut.step")
    figure = sweep_figure(1, sweep, model.summary)
    (drawn,) = figure.data
    assert drawn["y"] == ["0.25", "0.5"]
    assert drawn["x"] == ["0.5", "&lt;b&gt;"]
    first = model.summary.named("deleverage-0.25")
    shares = (first.intrabar.liquidated_pct, first.next_open.liquidated_pct)
    assert drawn["text"][0][0] == f"{shares[0]:.1f} / {shares[1]:.1f}"
    assert abs(drawn["z"][0][0] - max(s for s in shares if s is not None)) < 1e-3
    assert (drawn["z"][1][1], drawn["text"][1][1]) == (None, "")


def test_a_sweep_of_two_parameters_is_drawn_in_the_report_and_one_of_one_is_a_shaded_table(model: Model) -> None:
    assert not [name for name in figures(model) if name.startswith("sweep")]
    assert 'id="table-sweep-1"' in render_model(model)
    study = sample.study() | {"strategy": two_parameters()}
    page = render_model(build(sample.report_input(fake.outcomes(60), study=study)))
    assert 'id="chart-sweep-1"' in page
    assert "<i>cut" not in page
