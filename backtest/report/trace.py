"""Single runs drawn over time: mark against liquidation price, margin ratio and buffer, and the account's money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.report.figure import LEGEND_ABOVE, Figure, Trace, rounded, times
from backtest.report.model import Told
from backtest.units import DAY_MS

if TYPE_CHECKING:
    import pyarrow as pa

POINTS_MAX = 1_500
# How rows are joined when a run has more than a chart can show: extremes stay extremes.
_JOIN = {"mark_high": np.fmax, "mark_low": np.fmin, "margin_ratio": np.fmax, "buffer": np.fmin}
PRICE_SAID = " and the price at which the position is liquidated"
DAYS_BEFORE = 4  # of a crash chart, before the liquidation


def trace_figure(trace: pa.Table, liquidated: bool) -> Figure:
    """Draw the life of one run in three panels over one time axis; mark its end where it was `liquidated` whole."""
    rows = _thinned(trace)
    has_price = not np.isnan(rows["liquidation_price"]).all()  # several legs have no one price
    data = _price_lines(rows, has_price) + ([_end(rows, has_price)] if liquidated else [])
    data += _margin_lines(rows)
    data += [
        _line(rows, "equity", "equity", "--series-1", "y3"),
        _line(rows, "maintenance_margin", "maintenance margin", "--danger", "y3", dash="dot"),
        _line(rows, "initial_margin", "initial margin", "--muted", "y3", dash="dot"),
    ]
    layout = {
        "xaxis": {"type": "date", "anchor": "y3"},
        "yaxis": {"title": {"text": "price"}, "domain": [0.56, 1]},
        "yaxis2": {"title": {"text": "ratio, buffer"}, "domain": [0.31, 0.5], "range": [0, _top(rows)]},
        "yaxis3": {"title": {"text": "quote"}, "domain": [0, 0.25], "rangemode": "tozero"},
        "shapes": [_limit("y2")],
        "legend": LEGEND_ABOVE,
        "hovermode": "x unified",
    }
    caption = (
        f"Top: mark price (band: low to high of each bar){PRICE_SAID if has_price else ''}. Middle: "
        "the margin ratio, maintenance margin over equity, at 1 of which the venue takes the position, and the buffer, "
        "which is then 0. Bottom: equity falling to maintenance."
    )
    return Figure("trace", "One liquidation", caption, data, layout, 620)


def crash_figures(runs: Sequence[Told]) -> list[Figure]:
    """Draw, for each crash window, the last days of a run that was liquidated in it."""
    return [_crash_figure(i + 1, one) for i, one in enumerate(runs)]


def _crash_figure(order: int, told: Told) -> Figure:
    time = told.bars["time_ms"].to_numpy()
    rows = _thinned(told.bars.slice(int(np.searchsorted(time, time[-1] - DAYS_BEFORE * DAY_MS))))
    _, _, entry, side, leverage, _ = told.run_id.split("/")
    layout = {
        "xaxis": {"type": "date", "anchor": "y2"},
        "yaxis": {"title": {"text": "price"}, "domain": [0.42, 1]},
        "yaxis2": {"title": {"text": "ratio, buffer"}, "domain": [0, 0.34], "range": [0, _top(rows)]},
        "shapes": [_limit("y2")],
        "legend": LEGEND_ABOVE,
        "hovermode": "x unified",
    }
    caption = (
        f"A {side} at {leverage.removesuffix('x')}× opened on {entry[:10]}, left alone, in its last {DAYS_BEFORE} days."
    )
    data = [*_price_lines(rows), _end(rows), *_margin_lines(rows)]
    return Figure(f"crash-{order}", told.title, caption, data, layout, 400)


def _price_lines(rows: dict[str, Any], has_price: bool = True) -> list[Trace]:
    band = {"type": "scatter", "mode": "lines", "x": times(rows["time_ms"]), "yaxis": "y", "hoverinfo": "skip",
            "showlegend": False, "line": {"width": 0, "color": "--muted"}}  # fmt: skip
    return [
        band | {"y": rounded(rows["mark_low"])},
        band | {"y": rounded(rows["mark_high"]), "fill": "tonexty", "fillcolor": "--band"},
        _line(rows, "mark_open", "mark", "--ink", "y", shape="linear"),
        *([_line(rows, "liquidation_price", "liquidation price", "--danger", "y")] if has_price else []),
    ]


def _end(rows: dict[str, Any], has_price: bool = True) -> Trace:
    """Mark the end at the liquidation price, or on the equity where there is none."""
    column, axis = ("liquidation_price", "y") if has_price else ("equity", "y3")
    return {"type": "scatter", "mode": "markers", "name": "liquidated", "x": times(rows["time_ms"][-1:]), "yaxis": axis,
            "y": rounded(rows[column][-1:]),
            "marker": {"color": "--danger", "size": 9, "symbol": "x"}}  # fmt: skip


def _margin_lines(rows: dict[str, Any]) -> list[Trace]:
    return [
        _line(rows, "margin_ratio", "margin ratio", "--accent", "y2", shape="linear"),
        _line(rows, "buffer", "buffer", "--series-3", "y2", shape="linear"),
    ]


def _line(rows: dict[str, Any], column: str, name: str, color: str, axis: str, **style: Any) -> Trace:
    drawn = {"color": color, "width": 1.6, "shape": "hv"} | style
    return {"type": "scatter", "mode": "lines", "name": name, "x": times(rows["time_ms"]), "y": rounded(rows[column]),
            "yaxis": axis, "line": drawn}  # fmt: skip


def _limit(axis: str) -> Trace:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": 1, "y1": 1,
            "line": {"color": "--danger", "width": 1, "dash": "dash"}}  # fmt: skip


def _top(rows: dict[str, Any]) -> float:
    """Give the top of a panel of margin ratio and buffer: 1 in sight, and all of the buffer."""
    return 1.05 * max(1.0, float(np.nanmax(rows["buffer"], initial=0.0)))


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
