"""Scripts: the accepted actions of runs, for other runs to play back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.engine.batch import Batch
from backtest.engine.plan import NONE, SCRIPT_ROW

Rows = npt.NDArray[Any]
DONE = 0  # the status of an action that was carried out


def draw_donors(seed: int, rows: Rows, taken: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Draw for each run another of the same side and leverage, whose actions it will play back.

    The permutation has no fixed point. Runs that are alone in their group, or not taken, get NONE.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    donors = np.full(len(rows), NONE, np.int64)
    for side in (1, -1):
        for leverage in sorted({int(x) for x in rows["leverage_e2"]}):
            group = np.flatnonzero(taken & (rows["side"] == side) & (rows["leverage_e2"] == leverage))
            if len(group) > 1:
                order = generator.permutation(group)
                donors[order] = np.roll(order, 1)
    return donors


def play_back(rows: Rows, donors: npt.NDArray[np.int64], batch: Batch) -> Rows:
    """Point each entry at the accepted actions of its donor (its place in the batch, or NONE); give the script."""
    actions = batch.actions[batch.actions["status"] == DONE]
    script = np.zeros(len(actions), SCRIPT_ROW)
    for name in ("bars", "verb", "amount", "target"):
        script[name] = actions[name]
    bounds = np.searchsorted(actions["run"], np.arange(len(batch.outcomes) + 1))
    rows["script_start"] = np.where(donors >= 0, bounds[donors], 0)
    rows["script_stop"] = np.where(donors >= 0, bounds[donors + 1], 0)
    return script
