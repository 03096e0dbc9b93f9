"""Scripts: the accepted actions of runs, for other runs to play back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.engine.batch import Batch
from backtest.engine.plan import NONE, SCRIPT_ROW

Rows = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
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


def play_back(rows: Rows, donors: Ints, batch: Batch, clock: tuple[Ints, Ints] | None = None) -> Rows:
    """Point each entry at the accepted actions of its donor (its place in the batch, or NONE); give the script.

    An action is done as many bars after the entry as it was. Where bars differ in length a `clock` is given, their
    opens and each donor's entry time: then at the first bar at or after as long a time. No donor has two entries.
    """
    actions = batch.actions[batch.actions["status"] == DONE]
    script = np.zeros(len(actions), SCRIPT_ROW)
    for name in ("bars", "verb", "amount", "target"):
        script[name] = actions[name]
    bounds = np.searchsorted(actions["run"], np.arange(len(batch.outcomes) + 1))
    if clock is not None:
        times_ms, entry_ms = clock
        entry_of = np.full(len(batch.outcomes), NONE, np.int64)
        entry_of[donors[donors >= 0]] = np.flatnonzero(donors >= 0)
        own = rows[entry_of[actions["run"]]]
        due_ms = own["entry_ms"] + actions["time_ms"] - entry_ms[actions["run"]]
        script["bars"] = np.searchsorted(times_ms, due_ms) - own["entry_bar"]
    rows["script_start"] = np.where(donors >= 0, bounds[donors], 0)
    rows["script_stop"] = np.where(donors >= 0, bounds[donors + 1], 0)
    return script
