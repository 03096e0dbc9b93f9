"""A sweep as a heat map: liquidations over the values of its parameters."""

from __future__ import annotations

from backtest.analysis.sweep import Sweep
from backtest.report.figure import Figure, label, rounded
from backtest.report.model import Summary
from backtest.report.text import number, parameter, two

ROW = 56  # pixels


def sweep_figure(order: int, sweep: Sweep, summary: Summary) -> Figure:
    """Draw the liquidated share at each combination: the last parameter across, the others down."""
    down = list(dict.fromkeys(values[:-1] for values, _ in sweep.points))
    across = list(dict.fromkeys(values[-1] for values, _ in sweep.points))
    at = {values: summary.named(name) for values, name in sweep.points}
    worst, text = [], []
    for head in down:
        cells = [at.get((*head, value)) for value in across]
        shares = [(one.intrabar.liquidated_pct, one.next_open.liquidated_pct) if one else (None, None) for one in cells]
        worst.append(rounded([max((v for v in pair if v is not None), default=float("nan")) for pair in shares]))
        text.append([two(number(a, 1), number(b, 1)) if one else "" for one, (a, b) in zip(cells, shares, strict=True)])
    data = [
        {"type": "heatmap", "x": [label(parameter(value)) for value in across],
         "y": [label(", ".join(map(parameter, head)) or sweep.name) for head in down], "z": worst, "text": text,
         "texttemplate": "%{text}", "zmin": 0, "zmax": 100, "showscale": False, "xgap": 2, "ygap": 2,
         "colorscale": [[0, "#e8edf0"], [1, "#d0736b"]], "textfont": {"color": "#1d2126"},
         "hovertemplate": "%{x}, %{y}: %{text} % liquidated<extra></extra>"}
    ]  # fmt: skip
    heads = ", ".join(sweep.parameters[:-1])
    layout = {
        "xaxis": {"title": {"text": label(sweep.parameters[-1])}, "type": "category", "showgrid": False},
        "yaxis": {
            "title": {"text": label(heads)},
            "type": "category",
            "autorange": "reversed",
            "automargin": True,
            "showgrid": False,
        },
    }
    caption = (
        f"Liquidated, % of pairs, over the swept values of {sweep.name}; two figures are intrabar / next open, the "
        "colour is the worse of them."
    )
    return Figure(f"sweep-{order}", f"Swept: {sweep.name}", caption, data, layout, 120 + ROW * len(down))
