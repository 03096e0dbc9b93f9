"""Walking along the feed: which wakes a bar's open calls, how long a true range is now, and what a rule is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from backtest.engine.arithmetic import INT64_MAX
from backtest.engine.compile import inner
from backtest.engine.distance import way_of
from backtest.engine.plan import DATED, LAST_EVENT, LIQ_ATR_BELOW, NEXT_EVENT
from backtest.engine.rules import EVENTS_MAX, SIGNALS_MAX

if TYPE_CHECKING:
    from backtest.engine.ledger import Plan, Run

HOUR_MS = 3_600_000.0


class Desk(Protocol):
    """A desk as far as the feed lies on it."""

    @property
    def agenda(self) -> Any: ...  # records of plan.SCRIPT_ROW


@inner
def row_after(feed: Any, low: int, high: int, bar: int) -> int:
    """Give the first row in [low, high) that is in force after a bar only; high when there is none."""
    while low < high:
        middle = (low + high) // 2
        if feed[middle].bars <= bar:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def note_due(plan: Plan, desk: Desk, run: Run) -> None:
    """Note the first bar at which a row of the feed comes into force that was not taken yet."""
    run.feed_due = INT64_MAX
    for wake in range(plan.wake_count):
        told = plan.wake_kind[wake] >= DATED or plan.wake_kind[wake] == LIQ_ATR_BELOW
        if told and run.wake_at[wake] < plan.wake_rows[wake, 1]:
            run.feed_due = min(run.feed_due, desk.agenda[run.wake_at[wake]].bars)


@inner
def begin_feed(plan: Plan, desk: Desk, run: Run) -> None:
    """Place a run in the feed: dated wakes call after the entry bar only."""
    for wake in range(plan.wake_count):
        if plan.wake_kind[wake] >= DATED:
            run.wake_at[wake] = row_after(desk.agenda, plan.wake_rows[wake, 0], plan.wake_rows[wake, 1], run.entry_bar)
        elif plan.wake_kind[wake] == LIQ_ATR_BELOW:
            run.wake_at[wake] = plan.wake_rows[wake, 0]
            run.wake_way[wake] = -1
    note_due(plan, desk, run)


@inner
def renew_ways(plan: Plan, desk: Desk, run: Run, bar: int) -> bool:
    """Take the true ranges known at a bar's open; tell whether one has changed."""
    renewed = False
    for wake in range(plan.wake_count):
        stop = plan.wake_rows[wake, 1]
        if plan.wake_kind[wake] != LIQ_ATR_BELOW or run.wake_at[wake] == stop:
            continue
        if desk.agenda[run.wake_at[wake]].bars <= bar:
            run.wake_at[wake] = row_after(desk.agenda, run.wake_at[wake], stop, bar)
            run.wake_way[wake] = way_of(plan.wake_value[wake], desk.agenda[run.wake_at[wake] - 1].amount)
            renewed = True
    return renewed


@inner
def is_dated(plan: Plan, desk: Desk, run: Run, wake: int) -> bool:
    """Tell whether a dated wake calls at this bar's open; go past the row that says so."""
    row = run.wake_at[wake]
    if row == plan.wake_rows[wake, 1] or desk.agenda[row].bars != run.bar:
        return False
    run.wake_at[wake] = row + 1
    return True


@inner
def known(plan: Plan, desk: Desk, run: Run, rule: int, slot: int) -> float:
    """Give the value of a slot that is known at this bar's open; NaN before the first."""
    first, stop = plan.slot_rows[rule, slot, 0], plan.slot_rows[rule, slot, 1]
    row = row_after(desk.agenda, first, stop, run.bar)
    return float(desk.agenda[row - 1].amount) if row > first else np.nan


@inner
def tell(plan: Plan, desk: Desk, run: Run, s: Any, rule: int) -> None:
    """Write what a rule reads of the feed into its record: signals, and hours to and from events."""
    for k in range(SIGNALS_MAX):
        s.signals[k] = known(plan, desk, run, rule, k)
    for k in range(EVENTS_MAX):
        coming = known(plan, desk, run, rule, NEXT_EVENT + k)
        gone = known(plan, desk, run, rule, LAST_EVENT + k)
        s.hours_to_event[k] = (coming - float(run.time_ms)) / HOUR_MS if not np.isnan(coming) else np.inf
        s.hours_since_event[k] = (float(run.time_ms) - gone) / HOUR_MS if not np.isnan(gone) else np.inf
