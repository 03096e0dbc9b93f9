"""The liquidation test and what follows: breaches, their causes, and the end of a run.

A breach is every forced close from the event in which the predicate turns true until a later event finds it false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.compile import jit
from backtest.engine.exposure import settle_exposure
from backtest.engine.path import LIQUIDATION, close_stretch, holds, note_extremes
from backtest.engine.position import forced_close, measure_at

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Int64Array
    from backtest.engine.plan import Plan
    from backtest.schema import Tape

RUNNING = -1
# Ends of a run, in the order of schema.EXIT_REASONS.
R_LIQUIDATED, R_HORIZON, R_CLOSED, R_DATA_END, R_REFUSED = range(5)
# Causes of a liquidation, in the order of schema.LIQUIDATION_CAUSES.
BY_PRICE, BY_FUNDING, BY_FEE, BY_PREMIUM, BY_TIER_CHANGE, BY_HEDGE_MARGIN = range(6)


@jit
def end_run(a: Int64Array, reason: int, time_ms: int) -> None:
    """Mark a run as ended."""
    a[at.REASON] = reason
    a[at.EXIT_TIME] = time_ms


@jit
def end_breach(a: Int64Array) -> None:
    """A test was false: a breach that was open ends here, with quantity left."""
    if a[at.BREACHED]:
        a[at.BREACHED] = 0
        a[at.PARTIAL] = 1
    a[at.PAID_SINCE_TEST] = 0


@jit
def liquidate(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, mark: int, cause: int) -> None:
    """Force a close at a mark where the predicate holds, and count the breach it belongs to."""
    settle_exposure(tape, a)
    close_stretch(tape, a)
    note_extremes(tape, a, mark, mark)
    if not a[at.BREACHED]:
        a[at.BREACHED] = 1
        a[at.BREACHES] += 1
        if a[at.BREACHES] == 1:
            a[at.FIRST_LIQ_TIME] = a[at.TIME]
            a[at.FIRST_LIQ_MARK] = mark
            a[at.FIRST_CAUSE] = cause
    forced_close(tape, plan, desk.book, a, mark)
    a[at.PAID_SINCE_TEST] = 0
    if a[at.QTY] == 0:
        end_run(a, R_LIQUIDATED, a[at.TIME])


@jit
def fee_cause(tape: Tape, a: Int64Array, mark: int) -> int:
    """Name the cause of a breach after fills: the fee, unless the predicate would hold without the fees just paid."""
    equity, maintenance, _ = measure_at(tape, a, mark)
    return BY_PRICE if equity + a[at.PAID_SINCE_TEST] <= maintenance else BY_FEE


@jit
def test_after_fill(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, mark: int) -> None:
    """Make the liquidation test after fills at a mark."""
    if a[at.QTY] == 0 or a[at.REASON] != RUNNING:
        return
    if plan.liquidate and holds(tape, plan, a, LIQUIDATION, mark):
        liquidate(tape, plan, desk, a, mark, fee_cause(tape, a, mark))
    else:
        end_breach(a)
