"""The charts over all runs: liquidations, frontier, incidence, calendar, holding time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from backtest.analysis.breakdown import Window
from backtest.analysis.frontier import Point
from backtest.analysis.pairs import BASELINE, NEVER, REACTIONS, Pairs
from backtest.analysis.survival import Incidence, incidence
from backtest.report.figure import LEGEND_ABOVE, SERIES, Figure, Trace, label, rounded
from backtest.report.labels import label_places
from backtest.report.model import Model, horizon_ms
from backtest.report.text import date, leverage, per_cent
from backtest.units import DAY_MS

CURVE_POINTS = 121


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
        "legend": LEGEND_ABOVE,
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
    height = 440 + 10 * max(0, len(places) - 15)
    for front, symbol, name in ((True, "circle", "not beaten"), (False, "circle-open", "beaten by another")):
        points = [point for point in model.points if point.on_front == front]
        data.append(
            {"type": "scatter", "mode": "markers+text", "name": name,
             "x": rounded([point.running_cost_pct for point in points]),
             "y": rounded([point.liquidated_pct for point in points]),
             "text": [label(point.strategy) if point.strategy in places else "" for point in points],
             "hovertext": [label(point.strategy) for point in points],
             "textposition": [places.get(point.strategy, "middle right") for point in points],
             "textfont": {"size": 11},
             "customdata": rounded([100 * point.exposure_kept for point in points]),
             "marker": {"symbol": symbol, "size": 12, "color": rounded([100 * point.exposure_kept for point in points]),
                        "cmin": 0, "cmax": 100, "colorscale": [[0, "#c8742b"], [0.5, "#8d8a86"], [1, "#2f6f9f"]],
                        "line": {"width": 2},
                        "showscale": front, "colorbar": {"title": {"text": "exposure<br>kept, %"}, "thickness": 10,
                                                         "outlinewidth": 0}},
             "hovertemplate": "%{hovertext}: %{y:.1f} % liquidated, costs %{x:.2f} % of capital, "
                              "keeps %{customdata:.0f} % of the exposure<extra></extra>"}
        )  # fmt: skip
    layout = {
        "xaxis": {
            "title": {"text": "running cost, % of capital"},
            "range": _cost_range(model.points),
        },
        "yaxis": {"title": {"text": "liquidated, % of pairs"}, "rangemode": "tozero"},
        "legend": LEGEND_ABOVE,
    }
    caption = (
        "Lower and further left is better: fewer liquidations at less cost. Colour is the exposure kept; a strategy "
        "that only holds less is brown. No other strategy beats a filled mark in all three. Each at its worse "
        "reaction; twins are not named."
    )
    return Figure("frontier", "What a saved position costs", caption, data, layout, height)


def _cost_range(points: Sequence[Point]) -> list[float | None]:
    """Give the range of the cost axis: room on both sides for labels."""
    costs = [0.0, *(point.running_cost_pct for point in points)]
    low, high = min(costs), max(costs)
    room = 0.12 * (high - low) or 1.0
    return rounded([low - room, high + room])


def incidence_chart(model: Model) -> Figure:
    """Draw the cumulative incidence of liquidation for the baseline and the strategies that save most."""
    grid = np.linspace(0, horizon_ms(model.input.study), CURVE_POINTS)
    data: list[Trace] = []
    for name, reaction, color, dash in _shown(model):
        curve = model.incidence[name, reaction]
        data.append(_curve(curve, grid, label(name), color, dash, reaction == REACTIONS[0]))
    layout = {
        "xaxis": {"title": {"text": "days since entry"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "liquidated, %"}, "rangemode": "tozero"},
        "legend": LEGEND_ABOVE,
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
        "legend": LEGEND_ABOVE,
        "hovermode": "x unified",
    }
    caption = "Chance that a position left alone has been liquidated, by holding time and leverage; shorts are dotted."
    return Figure("holding", "Liquidation probability by leverage and holding time", caption, data, layout, 400)


def calendar(model: Model) -> Figure:
    """Draw liquidations added up over calendar time, for the baseline and the strategies that save most."""
    data: list[Trace] = []
    for name, reaction, color, dash in _shown(model):
        day, count = _by_day(model.pairs[name, reaction])
        data.append(
            {"type": "scatter", "mode": "lines", "name": label(name), "legendgroup": label(name),
             "showlegend": reaction == REACTIONS[0], "x": day, "y": count,
             "line": {"color": color, "dash": dash, "shape": "hv"}, "hovertemplate": "%{y:,}"}
        )  # fmt: skip
    layout = {
        "xaxis": {"type": "date"},
        "yaxis": {"title": {"text": "liquidated runs so far"}, "rangemode": "tozero"},
        "shapes": [_band(window.start_ms, window.stop_ms) for window in model.windows if _touches(model, window)],
        "legend": LEGEND_ABOVE,
        "hovermode": "x unified",
    }
    caption = (
        "Runs liquidated so far, day by day; shaded are the named crash windows. Entries overlap and fall together, so "
        "only whole blocks of the calendar count as evidence. Solid is intrabar, dotted next open."
    )
    return Figure("calendar", "Liquidations through time", caption, data, layout, 400)


def _shown(model: Model) -> Iterator[tuple[str, str, str, str]]:
    """Give name, reaction, colour and dash of each curve of the strategies shown; one where the reactions agree."""
    for i, one in enumerate(model.summary.shown):
        color = "--ink" if one.name == BASELINE else SERIES[(i - 1) % len(SERIES)]
        for reaction, dash in zip(REACTIONS, ("solid", "dot"), strict=True):
            if reaction == REACTIONS[0] or one.intrabar.liquidated != one.next_open.liquidated:
                yield one.name, reaction, color, dash


def _touches(model: Model, window: Window) -> bool:
    time = model.pairs[BASELINE, REACTIONS[0]].treated
    return bool(((time["exit_ms"] >= window.start_ms) & (time["entry_ms"] < window.stop_ms)).any())


def _curve(curve: Incidence, grid: Any, name: str, color: str, dash: str, legend: bool) -> Trace:
    index = np.searchsorted(curve.time_ms, grid, side="right")
    chance = np.concatenate([[0.0], curve.liquidated])[index]
    return {
        "type": "scatter", "mode": "lines", "name": name, "legendgroup": name, "showlegend": legend,
        "x": rounded(grid / DAY_MS), "y": rounded(100 * chance),
        "line": {"color": color, "dash": dash, "shape": "hv"},
        "hovertemplate": "%{y:.1f} %",
    }  # fmt: skip


def _by_day(pairs: Pairs) -> tuple[list[str], list[int]]:
    """Give the days with liquidations, and how many there were up to each."""
    time = pairs.treated["liquidation_ms"]
    days, counts = np.unique(time[time != NEVER].astype("datetime64[ms]").astype("datetime64[D]"), return_counts=True)
    return days.astype(str).tolist(), np.cumsum(counts).tolist()


def _band(start_ms: int, stop_ms: int) -> dict[str, Any]:
    return {"type": "rect", "xref": "x", "x0": date(start_ms), "x1": date(stop_ms), "yref": "paper", "y0": 0, "y1": 1,
            "fillcolor": "--band", "line": {"width": 0}, "layer": "below"}  # fmt: skip


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
