"""The money of one account that holds run after run: equity and drawdown, and a table of vectorbt's statistics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backtest.analysis.money import Account
from backtest.analysis.pairs import BASELINE
from backtest.report.figure import LEGEND_ABOVE, SERIES, Figure, Trace, label, rounded, times
from backtest.report.grid import Column, Grid, figure_cell, text_cell
from backtest.report.text import MISSING, number
from backtest.units import DAY_MS


def money_figures(accounts: Mapping[str, Account]) -> list[Figure]:
    """Draw growth and drawdown of each account, a point a day."""
    if not accounts:
        return []
    data: list[Trace] = []
    for i, (name, one) in enumerate(accounts.items()):
        color = "--ink" if name == BASELINE else SERIES[(i - 1) % len(SERIES)]
        last = _last_of_days(one)
        for values, axis in ((one.growth, "y"), (100.0 * one.drawdown, "y2")):
            data.append(
                {"type": "scatter", "mode": "lines", "name": label(name), "legendgroup": label(name),
                 "showlegend": axis == "y", "x": times(one.time_ms[last]), "y": rounded(values[last]), "yaxis": axis,
                 "line": {"color": color, "width": 1.5}}
            )  # fmt: skip
    layout = {
        "xaxis": {"type": "date", "anchor": "y2"},
        "yaxis": {
            "title": {"text": "growth of 1 (log)"},
            "type": "log",
            "exponentformat": "power",
            "domain": [0.42, 1],
        },
        "yaxis2": {"title": {"text": "drawdown, %"}, "domain": [0, 0.34], "range": [-102, 2]},
        "legend": LEGEND_ABOVE,
        "hovermode": "x unified",
    }
    caption = (
        "One account that holds run after run, each with all that the one before left: the same entries for every "
        "strategy, acting at the next open. Above its growth, below the loss since its highest point."
    )
    return [Figure("money", "Equity and drawdown", caption, data, layout, 520)]


def _last_of_days(one: Account) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Give the place of the last value of each day."""
    day = one.time_ms // DAY_MS
    return np.append(np.flatnonzero(np.diff(day)), len(day) - 1)


CHAIN = (
    "Return statistics of those accounts by vectorbt, on the returns of bars. The IRR is that of the cash flows of the "
    "median run: what went to the venue and came back, each on its day."
)


def money_grid(accounts: Mapping[str, Account], caption: str = CHAIN) -> Grid:
    """Give the statistics of each account."""
    columns = (
        Column("Strategy", numeric=False),
        Column("Runs"),
        Column("Total return", "%"),
        Column("Max drawdown", "%"),
        Column("Volatility", "% a year"),
        Column("Sharpe", "a year"),
        Column("Sortino", "a year"),
        Column("Calmar"),
        Column("IRR", "% a year", "of what the median run sent to the venue and got back"),
        Column("Beta", "to the coin"),
    )
    rows = []
    for name, one in accounts.items():
        per_cent = (one.total, one.max_drawdown, one.volatility)
        ratios = (one.sharpe, one.sortino, one.calmar)
        irr = None if one.irr is None else 100.0 * one.irr
        rows.append(
            (
                text_cell(name),
                figure_cell(one.runs, number(one.runs)),
                *(figure_cell(value, number(100.0 * value, 1)) for value in per_cent),
                *(figure_cell(value, MISSING if value is None else number(value, 2)) for value in ratios),
                figure_cell(irr, number(irr, 1)),
                figure_cell(one.beta, number(one.beta, 2)),
            )
        )
    return Grid("money", caption, columns, tuple(rows))
