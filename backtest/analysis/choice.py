"""Which single runs a report follows: always the same ones for the same outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backtest.analysis.breakdown import Window
from backtest.analysis.pairs import BoolArray, Columns, IntArray


def middle_leverage(held: Columns) -> float:
    """Give the middle of the leverages, the upper one of two."""
    levels = np.unique(held["leverage"])
    return float(levels[len(levels) // 2])


def typical_liquidation(held: Columns) -> str | None:
    """Give a liquidated run of the middle leverage among those liquidated whole, of the median life; None of none."""
    whole = held["exit_reason"] == "liquidated"
    if not whole.any():
        return None
    level = middle_leverage({"leverage": held["leverage"][whole]})
    return _median(held, whole & (held["leverage"] == level), held["exit_ms"] - held["entry_ms"])


def crash_runs(held: Columns, windows: Sequence[Window]) -> list[tuple[Window, str]]:
    """Give for each window in which a run was liquidated whole the one of the middle leverage and the median moment.

    Runs entered at least a day before the window are preferred: what the crash did to them shows whole.
    """
    found = []
    for window in windows:
        inside = (held["exit_ms"] >= window.start_ms) & (held["exit_ms"] < window.stop_ms)
        inside &= held["exit_reason"] == "liquidated"
        if not inside.any():
            continue
        before = inside & (held["entry_ms"] < window.start_ms)
        chosen = before if before.any() else inside
        level = middle_leverage({"leverage": held["leverage"][chosen]})
        run_id = _median(held, chosen & (held["leverage"] == level), held["exit_ms"])
        found.append((window, run_id))
    return found


def one_after_the_other(held: Columns, horizon_ms: int) -> BoolArray:
    """Choose entries of one symbol, side and leverage that never overlap: each a horizon after the one before.

    The first symbol, longs where there are any, and the middle leverage.
    """
    symbol, side = min(held["symbol"].tolist()), min(held["side"].tolist())
    mine = (held["symbol"] == symbol) & (held["side"] == side) & (held["leverage"] == middle_leverage(held))
    chosen = np.zeros(len(mine), bool)
    free_ms = -1
    for i in np.flatnonzero(mine).tolist():
        if held["entry_ms"][i] >= free_ms:
            chosen[i] = True
            free_ms = int(held["entry_ms"][i]) + horizon_ms
    return chosen


def _median(held: Columns, among: BoolArray, by: IntArray) -> str:
    order = sorted(np.flatnonzero(among).tolist(), key=lambda i: (int(by[i]), str(held["run_id"][i])))
    return str(held["run_id"][order[len(order) // 2]])
