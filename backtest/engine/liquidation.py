"""The liquidation test and what follows: breaches, their causes, and the end of a run.

A breach is every forced close from the event in which the predicate turns true until a later event finds it false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine.band import is_in_clear_band
from backtest.engine.compile import inlined, inner
from backtest.engine.exposure import settle_exposure
from backtest.engine.path import LIQUIDATION, close_stretch, holds, see
from backtest.engine.position import forced_close, measure_at

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market

RUNNING = -1
# Ends of a run, in the order of schema.EXIT_REASONS.
R_LIQUIDATED, R_HORIZON, R_CLOSED, R_DATA_END, R_REFUSED = range(5)
# Causes of a liquidation, in the order of schema.LIQUIDATION_CAUSES.
BY_PRICE, BY_FUNDING, BY_FEE, BY_PREMIUM, BY_TIER_CHANGE, BY_HEDGE_MARGIN = range(6)


@inner
def end_run(run: Run, reason: int, time_ms: int) -> None:
    """Mark a run as ended."""
    run.reason = reason
    run.exit_ms = time_ms


@inlined
def end_breach(run: Run) -> None:
    """A test was false: a breach that was open ends here, with quantity left."""
    if run.breached:
        run.breached = 0
        run.partial = 1
    run.paid_since_test = 0


@inner
def liquidate(tape: Market, plan: Plan, desk: Desk, run: Run, mark: int, cause: int) -> None:
    """Force a close at a mark where the predicate holds, and count the breach it belongs to."""
    settle_exposure(tape, run)
    see(run, mark, mark)
    close_stretch(tape, run)
    if not run.breached:
        run.breached = 1
        run.breaches += 1
        if run.breaches == 1:
            run.first_liq_ms = run.time_ms
            run.first_liq_mark = mark
            run.first_cause = cause
    forced_close(tape, plan, desk.book, run, mark)
    run.paid_since_test = 0
    if run.qty == 0:
        end_run(run, R_LIQUIDATED, run.time_ms)
    else:
        see(run, mark, mark)


@inner
def fee_cause(tape: Market, run: Run, mark: int) -> int:
    """Name the cause of a breach after fills: the fee, unless the predicate would hold without the fees just paid."""
    equity, maintenance, _ = measure_at(tape, run, mark)
    return BY_PRICE if equity + run.paid_since_test <= maintenance else BY_FEE


@inlined
def is_liquidated(tape: Market, plan: Plan, run: Run, mark: int) -> bool:
    """Tell whether the liquidation predicate holds at a mark; inside the clear band it does not."""
    return bool(plan.liquidate) and not is_in_clear_band(run, mark, mark) and holds(tape, plan, run, LIQUIDATION, mark)


@inner
def test_after_fill(tape: Market, plan: Plan, desk: Desk, run: Run, mark: int) -> None:
    """Make the liquidation test after fills at a mark."""
    if run.qty == 0 or run.reason != RUNNING:
        return
    see(run, mark, mark)
    if is_liquidated(tape, plan, run, mark):
        liquidate(tape, plan, desk, run, mark, fee_cause(tape, run, mark))
    else:
        end_breach(run)
