"""What a chart is: plain plotly data of rounded numbers, with a fixed name and no random ids.

A colour written `--name` is a CSS variable of the page, looked up when the chart is drawn, so that one figure serves
light, dark and print. Names go through `label`, because plotly reads a little HTML in its texts.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np

Trace = dict[str, Any]
SERIES = ("--series-1", "--series-2", "--series-3", "--series-4", "--series-5")
LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left", "traceorder": "normal"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart: fixed name, what it shows in words, plotly data and layout, height in pixels."""

    name: str
    title: str
    caption: str
    data: list[Trace]
    layout: dict[str, Any]
    height: int = 360


def label(name: str) -> str:
    """Make a name inert in plotly's texts."""
    return html.escape(name)


def rounded(values: Any) -> list[float | None]:
    """Write numbers with six digits; what is not finite is a gap."""
    numbers = np.asarray(values, dtype=np.float64).tolist()
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in numbers]


def times(time_ms: Any) -> list[str]:
    """Write times as plotly reads them, to the minute."""
    stamps = np.asarray(time_ms).astype("int64").astype("datetime64[ms]").astype("datetime64[m]")
    return [str(stamp) for stamp in stamps.astype(str).tolist()]
