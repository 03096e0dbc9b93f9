"""The marks at which the core's account of a run was first liquidated.

The ledger keeps the marks of what was filled. The others moved with them: they are found on the path that the replay
lays through the bar, where the first core instrument is at its recorded mark and the predicate turns true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.engine import cells as at
from backtest.engine.compile import jit
from backtest.engine.compiled import prepare
from backtest.engine.ledger import ACTION_ROW
from backtest.engine.plan import SCRIPT_ROW
from backtest.engine.pool.forms import POOL_FILL, POOL_TRANSFER, PoolBook, PoolDesk
from backtest.engine.pool.market import PoolMarket
from backtest.engine.pool.path import STEPS, choose_extremes, lay
from backtest.engine.pool.replay import blank_pool_runs
from backtest.engine.state import MEMORY_SIZE, STATE_DTYPE
from backtest.errors import InvariantError

if TYPE_CHECKING:
    from backtest.study.pool_life import Holding

Ints = npt.NDArray[np.int64]


@jit
def lay_ways(market: PoolMarket, plan: Any, desk: Any, run: Any, bar: int) -> None:
    """Write the ends of both ways of a bar into the desk."""
    choose_extremes(market, plan, desk, run, bar)


@jit
def lay_marks(desk: Any, step: int, into: Any) -> None:
    """Write the marks at a step of the desk's way."""
    lay(desk, step, into)


def breach_marks(
    at_open: Holding, before: Holding, bar: int, mark_e8: int, forced: Sequence[Mapping[str, Any]]
) -> Ints:
    """Give all marks at the first breach of the core's account in a bar.

    `at_open` is the run where the bar's path begins, `before` where the breach does; `mark_e8` is the mark of the first
    core instrument there, and the first of the `forced` fills tells its own.

    Errors: InvariantError where no point of the path fits.
    """
    opens = before.marks(bar)
    filled, fill_mark = before.instrument(before.slot(forced[0]["symbol"])), int(forced[0]["mark_e8"])

    def fits(marks: Ints) -> bool:
        equity, maintenance, _ = before.unit(0, marks)
        return equity <= maintenance and int(marks[0]) == mark_e8 and int(marks[filled]) == fill_mark

    if fits(opens):
        return opens
    desk = _desk(len(opens))
    lay_ways(before.market, before.plan, desk, at_open.run, bar)
    ways = ((opens, desk.ends.copy()), (desk.ends.copy(), desk.others.copy()))
    for start, end in ways:
        desk.starts[:], desk.ends[:] = start, end
        marks = _first_on_way(desk, before, mark_e8, filled, fill_mark)
        if fits(marks):
            return marks
    raise InvariantError.at("the first liquidation", "no point of its bar leads to it", "see: backtest verify")


def _first_on_way(desk: PoolDesk, before: Holding, mark_e8: int, filled: int, fill_mark: int) -> Ints:
    """Give the marks at the first step of the desk's way at which both marks are reached and the predicate holds."""
    marks = np.zeros(len(desk.starts), np.int64)

    def at_step(step: int) -> Ints:
        lay_marks(desk, step, marks)
        return marks

    def reached(instrument: int, target: int) -> Callable[[Ints], bool]:
        start = int(desk.starts[instrument])
        return lambda here: abs(int(here[instrument]) - start) >= abs(target - start)

    first, other = reached(0, mark_e8), reached(filled, fill_mark)

    def holds(here: Ints) -> bool:
        equity, maintenance, _ = before.unit(0, here)
        return equity <= maintenance and first(here) and other(here)

    low, high = -1, STEPS
    while high - low > 1:
        middle = (low + high) // 2
        if holds(at_step(middle)):
            high = middle
        else:
            low = middle
    return at_step(high).copy()


def _desk(count: int) -> PoolDesk:
    rows = [np.zeros(0, dtype) for dtype in (POOL_TRANSFER, POOL_FILL, ACTION_ROW)]
    nothing = prepare([])
    return PoolDesk(
        PoolBook(rows[0], rows[1], rows[2], np.zeros(4, np.int64), 0),
        np.zeros((1, 3), np.int64),
        nothing.functions,
        nothing.params,
        np.zeros(1, STATE_DTYPE),
        np.zeros((at.RULES_MAX, MEMORY_SIZE)),
        np.zeros(0, SCRIPT_ROW),
        blank_pool_runs(),
        *(np.zeros(count, np.int64) for _ in range(6)),
    )
