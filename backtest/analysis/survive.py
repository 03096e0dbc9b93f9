"""How much more margin would have saved the liquidated baseline runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backtest.analysis.pairs import Columns

QUANTILES_PCT = (25, 50, 75, 90)
NOT_KNOWN = -1


@dataclass(frozen=True, slots=True)
class SurvivalRow:
    """Extra margin at entry, in per cent of the margin posted, with which a share of liquidated runs had lived."""

    side: str
    leverage: float
    liquidated: int
    needed_pct: tuple[float, ...]


def margin_to_survive(held: Columns) -> list[SurvivalRow]:
    """Give, by side and leverage, the extra margin that would have saved 25, 50, 75 and 90 % of liquidated runs.

    The margin posted is taken as entry notional over leverage. Quantiles are observed values (nearest rank), so a
    printed figure is the need of a run that exists.
    """
    known = held["margin_to_survive_e8"] != NOT_KNOWN
    rows = []
    for side in sorted(set(held["side"].tolist())):
        for leverage in np.unique(held["leverage"]).tolist():
            mine = known & (held["side"] == side) & (held["leverage"] == leverage)
            if mine.any():
                posted = held["entry_notional_e8"][mine] / leverage
                needed = np.sort(100.0 * held["margin_to_survive_e8"][mine] / posted)
                quantiles = tuple(float(needed[_rank(pct, len(needed))]) for pct in QUANTILES_PCT)
                rows.append(SurvivalRow(side, leverage, len(needed), quantiles))
    return rows


def _rank(pct: int, count: int) -> int:
    """Give the index of the least value that at least `pct` per cent do not pass."""
    return -(-pct * count // 100) - 1
