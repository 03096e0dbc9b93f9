"""One liquidation drawn: mark against liquidation price, margin ratio, and the account's money over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.report.figures import Figure

if TYPE_CHECKING:
    import pyarrow as pa

POINTS_MAX = 1_500
# How rows are joined when a run has more than a chart can show: extremes stay extremes.
_JOIN = {"mark_high": np.fmax, "mark_low": np.fmin, "margin_ratio": np.fmax, "buffer": np.fmin}


def trace_figure(trace: pa.Table) -> Figure:
    """Draw the life of one liquidated run in three panels over one time axis."""
    rows = _thinned(trace)
    time = _times(rows["time_ms"])
    band = {"type": "scatter", "mode": "lines", "x": time, "yaxis": "y", "hoverinfo": "skip", "showlegend": False,
            "line": {"width": 0, "color": "--muted"}}  # fmt: skip

    def line(column: str, name: str, color: str, axis: str, **style: Any) -> dict[str, Any]:
        drawn = {"color": color, "width": 1.6, "shape": "hv"} | style
        return {"type": "scatter", "mode": "lines", "name": name, "x": time, "y": _numbers(rows[column]), "yaxis": axis,
                "line": drawn}  # fmt: skip

    data = [
        band | {"y": _numbers(rows["mark_low"])},
        band | {"y": _numbers(rows["mark_high"]), "fill": "tonexty", "fillcolor": "--band"},
        line("mark_open", "mark", "--ink", "y", shape="linear"),
        line("liquidation_price", "liquidation price", "--danger", "y"),
        line("margin_ratio", "margin ratio", "--accent", "y2"),
        line("equity", "equity", "--series-1", "y3"),
        line("maintenance_margin", "maintenance margin", "--danger", "y3", dash="dot"),
        line("initial_margin", "initial margin", "--muted", "y3", dash="dot"),
    ]
    ratio = rows["margin_ratio"][np.isfinite(rows["margin_ratio"])]
    top = min(1.5, max(1.05, float(ratio.max()))) if len(ratio) else 1.05
    limit = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y2", "y0": 1, "y1": 1,
             "line": {"color": "--danger", "width": 1, "dash": "dash"}}  # fmt: skip
    layout = {
        "xaxis": {"type": "date", "anchor": "y3"},
        "yaxis": {"title": {"text": "price"}, "domain": [0.56, 1]},
        "yaxis2": {"title": {"text": "margin ratio"}, "domain": [0.31, 0.5], "range": [0, top]},
        "yaxis3": {"title": {"text": "quote"}, "domain": [0, 0.25], "rangemode": "tozero"},
        "shapes": [limit],
        "legend": {
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "xanchor": "left",
            "traceorder": "normal",
        },
        "hovermode": "x unified",
    }
    caption = (
        "Top: mark price (band: low to high of each bar) and the price at which the position is liquidated. Middle: "
        "maintenance margin over equity; at 1 the venue takes the position. Bottom: equity falling to maintenance."
    )
    return Figure("trace", "One liquidation", caption, data, layout, 620)


def _thinned(trace: pa.Table) -> dict[str, Any]:
    """Join neighbouring rows so that at most POINTS_MAX remain; the last row stays."""
    columns = {name: trace[name].to_numpy().astype(np.float64) for name in trace.column_names}
    columns["margin_ratio"] = np.where(columns["margin_ratio"] < 0, np.nan, columns["margin_ratio"])
    step = -(-trace.num_rows // POINTS_MAX)
    if step <= 1:
        return columns
    start = np.arange(0, trace.num_rows, step)
    return {
        name: _JOIN[name].reduceat(column, start) if name in _JOIN else column[start]
        for name, column in columns.items()
    }


def _times(time_ms: Any) -> list[str]:
    return [f"{time}" for time in time_ms.astype("int64").astype("datetime64[ms]").astype("datetime64[m]").astype(str)]


def _numbers(values: Any) -> list[float | None]:
    return [float(f"{value:.8g}") if np.isfinite(value) else None for value in values.tolist()]
