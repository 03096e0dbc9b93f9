"""How long a position lives: cumulative incidence of liquidation with competing exits (Aalen and Johansen 1978)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backtest.analysis.pairs import NEVER, Columns, IntArray
from backtest.units import DAY_MS

FloatArray = npt.NDArray[np.float64]

CENSORED, LIQUIDATED, CLOSED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Incidence:
    """Chance that a run has been liquidated, or closed by its rules, by each time since entry."""

    runs: int
    time_ms: IntArray
    liquidated: FloatArray
    closed: FloatArray

    def at(self, time_ms: int) -> float:
        """Give the chance of a liquidation up to and including a time since entry."""
        index = int(np.searchsorted(self.time_ms, time_ms, side="right"))
        return float(self.liquidated[index - 1]) if index else 0.0


def incidence(runs: Columns) -> Incidence:
    """Estimate the incidence over runs; a horizon or the end of the data ends the watch without an event.

    The first liquidation counts, full or partial.
    """
    liquidated = runs["liquidation_ms"] != NEVER
    ended_ms = np.where(liquidated, runs["liquidation_ms"], runs["exit_ms"]) - runs["entry_ms"]
    event = np.where(liquidated, LIQUIDATED, np.where(runs["exit_reason"] == "closed", CLOSED, CENSORED))
    return aalen_johansen(ended_ms, event)


def aalen_johansen(duration_ms: IntArray, event: IntArray) -> Incidence:
    """Estimate cumulative incidence from durations and events: 0 censored, 1 liquidated, 2 closed.

    At each time t with n still watched and d events: incidence grows by survival before t times d / n. At one time
    events come before censoring.
    """
    time, member = np.unique(duration_ms, return_inverse=True)
    count = np.bincount(member, minlength=len(time))
    liquidated = np.bincount(member[event == LIQUIDATED], minlength=len(time))
    closed = np.bincount(member[event == CLOSED], minlength=len(time))
    watched = count.sum() - np.cumsum(count) + count
    survival = np.cumprod(1.0 - (liquidated + closed) / np.maximum(watched, 1))
    before = np.concatenate([[1.0], survival[:-1]]) if len(time) else survival
    return Incidence(
        runs=len(duration_ms),
        time_ms=time,
        liquidated=np.cumsum(before * liquidated / np.maximum(watched, 1)),
        closed=np.cumsum(before * closed / np.maximum(watched, 1)),
    )


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """Chance of a liquidation of one side and leverage within each holding time."""

    side: str
    leverage: float
    runs: int
    liquidated: int
    probability: tuple[float, ...]


def holding_days(horizon_ms: int) -> tuple[int, ...]:
    """Give the holding times, in days, that a table shows for a horizon."""
    days = max(1, horizon_ms // DAY_MS)
    shown = [day for day in (1, 3, 7, 14, 30, 60, 90, 180, 365) if day < days]
    return (*shown, days)


def by_leverage_and_holding(held: Columns, days: tuple[int, ...]) -> list[HoldingRow]:
    """Give the liquidation probability of baseline runs by leverage, side and holding time; side `both` pools them."""
    rows = []
    sides = sorted(set(held["side"].tolist()))
    for side in [*sides, "both"] if len(sides) > 1 else sides:
        for leverage in np.unique(held["leverage"]).tolist():
            mask = (held["leverage"] == leverage) & ((held["side"] == side) | (side == "both"))
            if not mask.any():
                continue
            runs = {name: column[mask] for name, column in held.items()}
            curve = incidence(runs)
            probability = tuple(curve.at(day * DAY_MS) for day in days)
            rows.append(HoldingRow(side, leverage, curve.runs, int(runs["liquidated"].sum()), probability))
    return rows
