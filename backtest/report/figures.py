"""The charts of a report, as plain plotly data: lists of rounded numbers, fixed names, no random ids.

A colour written `--name` is a CSS variable of the page, looked up when the chart is drawn, so that one figure serves
light, dark and print. Names go through `label`, because plotly reads a little HTML in its texts.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.analysis.frontier import Point
from backtest.analysis.pairs import BASELINE, NEVER, REACTIONS, Pairs
from backtest.analysis.survival import Incidence, incidence
from backtest.report.model import Model, Strategy, horizon_ms
from backtest.report.text import leverage, per_cent
from backtest.units import DAY_MS

Trace = dict[str, Any]
SERIES = ("--series-1", "--series-2", "--series-3", "--series-4", "--series-5")
CURVE_POINTS = 121
CURVES = 5


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


def figures(model: Model) -> dict[str, Figure]:
    """Draw every chart that the outcomes allow, by name."""
    drawn = [liquidations(model), frontier_chart(model), incidence_chart(model), calendar(model), holding(model)]
    return {figure.name: figure for figure in drawn}


def liquidations(model: Model) -> Figure:
    """Draw liquidated runs by strategy, a mark for each reaction."""
    rows = list(reversed(model.summary.strategies))
    names = [label(one.name) for one in rows]
    colors = ["--muted" if one.control else "--accent" for one in rows]
    line_x, line_y = _joined([(one.intrabar.liquidated, one.next_open.liquidated) for one in rows], names)
    data: list[Trace] = [
        {"type": "scatter", "mode": "lines", "x": line_x, "y": line_y, "line": {"color": "--rule", "width": 5},
         "hoverinfo": "skip", "showlegend": False},
    ]  # fmt: skip
    for reaction, symbol in zip(REACTIONS, ("circle", "diamond-open"), strict=True):
        picked = [getattr(one, reaction) for one in rows]
        data.append(
            {"type": "scatter", "mode": "markers", "name": reaction.replace("_", " "), "y": names,
             "x": [row.liquidated for row in picked],
             "marker": {"color": colors, "size": 10, "symbol": symbol, "line": {"width": 2, "color": colors}},
             "text": [per_cent(row.liquidated_pct) for row in picked],
             "hovertemplate": "%{y}: %{x:,} liquidated (%{text})<extra></extra>"}
        )  # fmt: skip
    hold = model.summary.baseline.worst_liquidated
    layout = {
        "xaxis": {"title": {"text": "liquidated runs"}, "rangemode": "tozero"},
        "yaxis": {"automargin": True},
        "shapes": [_upright(hold, "--ink")],
        "legend": _LEGEND_ABOVE,
    }
    caption = (
        "Liquidated runs under each strategy. A filled dot is a bot that reacts inside the bar, an open diamond one "
        "that acts at the next open; the dashed line is hold. Strategies of the study are in colour, controls in grey."
    )
    return Figure("liquidations", "Liquidations by strategy", caption, data, layout, 110 + 24 * len(rows))


def frontier_chart(model: Model) -> Figure:
    """Draw liquidations against cost, coloured by exposure kept."""
    data: list[Trace] = []
    places = label_places(model.points)
    for front, symbol, name in ((True, "circle", "not beaten"), (False, "circle-open", "beaten by another")):
        points = [point for point in model.points if point.on_front == front]
        data.append(
            {"type": "scatter", "mode": "markers+text", "name": name,
             "x": [_round(point.running_cost_pct) for point in points],
             "y": [_round(point.liquidated_pct) for point in points],
             "text": [label(point.strategy) for point in points],
             "textposition": [places[point.strategy] for point in points],
             "textfont": {"size": 11},
             "customdata": [_round(100 * point.exposure_kept) for point in points],
             "marker": {"symbol": symbol, "size": 12, "color": [_round(100 * p.exposure_kept) for p in points],
                        "cmin": 0, "cmax": 100, "colorscale": [[0, "#c8742b"], [0.5, "#8d8a86"], [1, "#2f6f9f"]],
                        "line": {"width": 2},
                        "showscale": front, "colorbar": {"title": {"text": "exposure<br>kept, %"}, "thickness": 10,
                                                         "outlinewidth": 0}},
             "hovertemplate": "%{text}: %{y:.1f} % liquidated, costs %{x:.2f} % of capital, "
                              "keeps %{customdata:.0f} % of the exposure<extra></extra>"}
        )  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "running cost, % of capital"}, "zeroline": True},
        "yaxis": {"title": {"text": "liquidated, % of pairs"}, "rangemode": "tozero"},
        "legend": _LEGEND_ABOVE,
    }
    caption = (
        "Lower and further left is better: fewer liquidations at less cost. Colour is the exposure kept; a strategy "
        "that only holds less is brown. No other strategy beats a filled mark in all three. Each at its worse reaction."
    )
    return Figure("frontier", "What a saved position costs", caption, data, layout, 440)


def incidence_chart(model: Model) -> Figure:
    """Draw the cumulative incidence of liquidation for the baseline and the strategies that save most."""
    grid = np.linspace(0, horizon_ms(model.input.study), CURVE_POINTS)
    data: list[Trace] = []
    for i, one in enumerate(_shown(model)):
        color = "--ink" if one.name == BASELINE else SERIES[(i - 1) % len(SERIES)]
        for reaction, dash in zip(REACTIONS, ("solid", "dot"), strict=True):
            if reaction == REACTIONS[1] and one.intrabar.liquidated == one.next_open.liquidated:
                continue
            curve = model.incidence[one.name, reaction]
            data.append(_curve(curve, grid, label(one.name), color, dash, reaction == REACTIONS[0]))
    layout = {
        "xaxis": {"title": {"text": "days since entry"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "liquidated, %"}, "rangemode": "tozero"},
        "legend": _LEGEND_ABOVE,
        "hovermode": "x unified",
    }
    caption = (
        "Share of positions liquidated by each day after entry, with closing by a rule counted as a competing end. "
        "Solid is intrabar, dotted next open; the baseline and the strategies that save most."
    )
    return Figure("incidence", "How long a position lives", caption, data, layout, 400)


def holding(model: Model) -> Figure:
    """Draw the liquidation probability under the baseline by holding time, for each leverage and side."""
    held = model.pairs[BASELINE, REACTIONS[0]].treated
    grid = np.linspace(0, horizon_ms(model.input.study), CURVE_POINTS)
    data: list[Trace] = []
    for i, level in enumerate(np.unique(held["leverage"]).tolist()):
        for side, dash in (("long", "solid"), ("short", "dot")):
            mask = (held["leverage"] == level) & (held["side"] == side)
            if mask.any():
                curve = incidence({name: column[mask] for name, column in held.items()})
                data.append(_curve(curve, grid, f"{leverage(level)} {side}", SERIES[i % len(SERIES)], dash, True))
    layout = {
        "xaxis": {"title": {"text": "holding time, days"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "liquidated, %"}, "rangemode": "tozero"},
        "legend": _LEGEND_ABOVE,
        "hovermode": "x unified",
    }
    caption = "Chance that a position left alone has been liquidated, by holding time and leverage; shorts are dotted."
    return Figure("holding", "Liquidation probability by leverage and holding time", caption, data, layout, 400)


def calendar(model: Model) -> Figure:
    """Draw liquidations by calendar month: the baseline and the best strategy."""
    shown = [(BASELINE, REACTIONS[0], "--muted")]
    best = model.summary.best
    if best is not None:
        worse = max(REACTIONS, key=lambda reaction: int(getattr(best, reaction).liquidated))
        shown.append((best.name, worse, "--accent"))
    counted = [_by_month(model.pairs[name, reaction]) for name, reaction, _ in shown]
    months = sorted({month for counts in counted for month in counts})
    data: list[Trace] = [
        {"type": "bar", "name": label(name), "x": months, "y": [counts.get(month, 0) for month in months],
         "marker": {"color": color}, "hovertemplate": "%{x|%B %Y}: %{y:,}<extra>" + label(name) + "</extra>"}
        for (name, _, color), counts in zip(shown, counted, strict=True)
    ]  # fmt: skip
    layout = {
        "xaxis": {"type": "date"},
        "yaxis": {"title": {"text": "liquidated runs a month"}},
        "barmode": "overlay",
        "bargap": 0.15,
        "legend": _LEGEND_ABOVE,
    }
    caption = (
        "Runs liquidated in each month. Entries overlap and fall together, so only whole blocks of the calendar count "
        "as evidence."
    )
    return Figure("calendar", "Liquidations through time", caption, data, layout, 320)


def label_places(points: Sequence[Point]) -> dict[str, str]:
    """Choose for each label the side of its mark where it covers least: other marks, and labels placed before."""
    if not points:
        return {}
    wide = max(point.running_cost_pct for point in points) - min(0.0, *(point.running_cost_pct for point in points))
    high = max(point.liquidated_pct for point in points)
    at = {p.strategy: (p.running_cost_pct / (wide or 1.0), p.liquidated_pct / (high or 1.0)) for p in points}
    taken = [(x - 0.008, y - 0.02, x + 0.008, y + 0.02) for x, y in at.values()]
    outside = ((1.04, -1.0, 9.0, 9.0), (-9.0, -1.0, -0.06, 9.0))
    places = {}
    for name, (x, y) in at.items():
        half = 0.005 * len(name)
        boxes = {
            "middle right": (x + 0.012, y - 0.018, x + 0.012 + 2 * half, y + 0.018),
            "bottom center": (x - half, y - 0.065, x + half, y - 0.025),
            "top center": (x - half, y + 0.025, x + half, y + 0.065),
            "middle left": (x - 0.012 - 2 * half, y - 0.018, x - 0.012, y + 0.018),
        }
        places[name] = min(boxes, key=lambda place: sum(_overlap(boxes[place], other) for other in (*taken, *outside)))
        taken.append(boxes[places[name]])
    return places


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


_LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left", "traceorder": "normal"}


def _shown(model: Model) -> list[Strategy]:
    """Pick the baseline, then the strategies of the study that save most."""
    own = sorted((s for s in model.summary.strategies if not s.control), key=lambda s: (s.caused - s.saved, s.name))
    return [model.summary.baseline, *own[: CURVES - 1]]


def _curve(curve: Incidence, grid: Any, name: str, color: str, dash: str, legend: bool) -> Trace:
    index = np.searchsorted(curve.time_ms, grid, side="right")
    chance = np.concatenate([[0.0], curve.liquidated])[index]
    return {
        "type": "scatter", "mode": "lines", "name": name, "legendgroup": name, "showlegend": legend,
        "x": _rounded(grid / DAY_MS), "y": _rounded(100 * chance),
        "line": {"color": color, "dash": dash, "shape": "hv"},
        "hovertemplate": "%{y:.1f} %",
    }  # fmt: skip


def _by_month(pairs: Pairs) -> dict[str, int]:
    time = pairs.treated["liquidation_ms"]
    months, counts = np.unique(time[time != NEVER].astype("datetime64[ms]").astype("datetime64[M]"), return_counts=True)
    return {f"{month}-01": int(n) for month, n in zip(months.astype(str).tolist(), counts.tolist(), strict=True)}


def _joined(ends: Iterable[tuple[int, int]], names: Sequence[str]) -> tuple[list[int | None], list[str | None]]:
    """Give one line trace that joins the two figures of every row, with gaps between rows."""
    x: list[int | None] = []
    y: list[str | None] = []
    for (first, second), name in zip(ends, names, strict=True):
        x += [first, second, None]
        y += [name, name, None]
    return x, y


def _upright(x: float, color: str) -> dict[str, Any]:
    line = {"color": color, "width": 1, "dash": "dash"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _rounded(values: Any) -> list[float]:
    return [_round(value) for value in np.asarray(values, dtype=np.float64).tolist()]
