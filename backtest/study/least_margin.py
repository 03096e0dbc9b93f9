"""How much more margin, posted at entry, would have kept liquidated runs alive: sought by replaying them.

Under a rule the need cannot be read off one replay, as it can where nothing acts: what a rule does depends on the
margin. So each run is replayed with other margins until two neighbours differ, all runs of a job side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.engine.plan import NONE
from backtest.units import E8

Rows = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Replay = Callable[[Rows], Rows]  # entries to their outcomes

MOST_E8 = 900_000_000 * E8
# Rounds take turns: to where the deficit would end if it went on falling as it did, twice as far, to the middle. The
# first two close in within a few rounds unless a rule's action comes or goes; then the middle does.
REACHES = (1, 2, None)
HALVES = (None,)  # where a replay tells no deficit


def least_margins_e8(replay: Replay, rows: Rows, notional_e8: Ints, reaches: Sequence[int | None] = REACHES) -> Ints:
    """Give for each liquidated run the extra margin with which it lives and with 1e-8 less does not.

    `rows` are its entries, `notional_e8` their notionals. NONE where no margin up to 9e8 is found. The margin comes on
    top of the capital and is posted whole. More margin need not always help under a rule, so it is the least one only
    as far as it does; that the two neighbours differ is certain. `reaches` are the rounds that take turns: HALVES where
    the replay tells no deficit of a run that lives.
    """
    dead, alive = np.zeros(len(rows), np.int64), np.full(len(rows), NONE, np.int64)
    deficit = np.zeros(len(rows), np.int64)  # of the run with the margin `alive`, below 0
    fall = np.ones(len(rows))  # of the deficit, for each 1 of margin
    tried = notional_e8.copy()
    sought, turn = np.arange(len(rows)), 0
    while len(sought):
        reach = reaches[turn % len(reaches)]
        outcomes = replay(_with_more(rows[sought], tried[sought]))
        lives = outcomes["liquidated"] == 0
        died, lived, found = sought[~lives], sought[lives], outcomes["largest_deficit_e8"][lives]
        dead[died] = tried[died]
        fall[lived] = _fall(alive[lived], deficit[lived], tried[lived], found, fall[lived])
        alive[lived], deficit[lived] = tried[lived], found
        tried = np.where(alive == NONE, 2 * dead, _between(dead, alive, deficit, fall, reach))
        sought = sought[(tried[sought] <= MOST_E8) & ((alive[sought] == NONE) | (alive[sought] - dead[sought] > 1))]
        turn += 1
    return alive


def _with_more(rows: Rows, more_e8: Ints) -> Rows:
    rows["posted_e8"] += more_e8
    rows["capital_e8"] += more_e8
    return rows


def _fall(before: Ints, deficit_before: Ints, now: Ints, deficit_now: Ints, known: Floats) -> Floats:
    """Give the fall of the deficit from a margin to a larger one; what is known where there is none to see."""
    seen = (before != NONE) & (deficit_before < deficit_now)
    np.divide(deficit_now - deficit_before, before - now, out=known, where=seen)
    return known


def _between(dead: Ints, alive: Ints, deficit: Ints, fall: Floats, reach: int | None) -> Ints:
    """Give the margin to try next, between one that is too little and one that is enough."""
    if reach is None:
        return dead + (alive - dead) // 2
    # A run lives with a deficit of -1; what it has beyond that is margin to spare.
    spare = reach * (-1 - deficit) / fall
    return np.clip(alive - np.maximum(np.minimum(spare, 1.0 * MOST_E8).astype(np.int64), 1), dead + 1, alive - 1)
