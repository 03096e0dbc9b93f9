"""The report's charts as plotly figures, in the report's light colours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from backtest.errors import did_you_mean
from backtest.report.figure import Figure
from backtest.report.figures import figures
from backtest.report.model import Model
from backtest.report.page import TEMPLATES

if TYPE_CHECKING:
    import plotly.graph_objects as go


def palette() -> dict[str, str]:
    """Read the colours of the light page from the report's style sheet."""
    light = (TEMPLATES / "report.css").read_text(encoding="utf-8").partition("}")[0]
    return dict(re.findall(r"(--[\w-]+):\s*([^;]+);", light))


def themed(value: Any, colors: Mapping[str, str]) -> Any:
    """Replace colours that are written as CSS variables, as the page's script does."""
    if isinstance(value, dict):
        return {key: themed(item, colors) for key, item in value.items()}
    if isinstance(value, list):
        return [themed(item, colors) for item in value]
    return colors[value] if isinstance(value, str) and value in colors else value


def plotly_figure(figure: Figure) -> go.Figure:
    """Give a chart of the report as a plotly figure, with its title."""
    import plotly.graph_objects as go

    colors = palette()
    layout = {
        "title": {"text": figure.title},
        "height": figure.height + 80,
        "template": "none",
        "margin": {"t": 110},
        "font": {"color": colors["--ink"]},
        "paper_bgcolor": colors["--paper"],
        "plot_bgcolor": colors["--paper"],
    }
    return go.Figure(themed(figure.data, colors), layout | themed(figure.layout, colors))


class Plots:
    """The charts of a report by name: `result.plot.frontier()`. `dir(result.plot)` lists them."""

    def __init__(self, model: Callable[[], Model]) -> None:
        self._model = model

    @cached_property
    def _figures(self) -> dict[str, Figure]:
        return {name.replace("-", "_"): figure for name, figure in figures(self._model()).items()}

    def __dir__(self) -> list[str]:
        return sorted(self._figures)

    def __getattr__(self, name: str) -> Callable[[], go.Figure]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._figures:
            raise AttributeError(f'no chart "{name}"; {did_you_mean(name, self._figures)}')
        return lambda: plotly_figure(self._figures[name])
