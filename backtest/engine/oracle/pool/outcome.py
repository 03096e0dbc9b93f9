"""The figures of the outcome of a run with several legs. Section 8 of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from backtest.engine.oracle.breach import Breaches
from backtest.engine.oracle.numbers import E8, E16, e8, half_even
from backtest.engine.oracle.outcome import HOUR_MS
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.model import PoolPlan, PoolResult
from backtest.engine.oracle.pool.pool import Marks, Pool


class Exposure(NamedTuple):
    """The core legs as they are when the path of a bar begins, the bar's mark opens, and its length."""

    time_ms: int
    core: tuple[Leg, ...]
    mark_open: Marks
    length_ms: int

    def exact_notional(self) -> int:
        """Give quantity x mark (inverse: the quantity) of the core, in units of 1e-16."""
        return sum(leg.qty * (E8 if leg.inverse else self.mark_open[leg.instrument]) for leg in self.core)


@dataclass
class Story:
    """What happened in a run beside its books."""

    entry_qtys: list[int] = field(default_factory=list)
    entry_marks: Marks = ()
    entry_notional: int = 0
    forced: int = 0
    exposures: list[Exposure] = field(default_factory=list)
    exit_ms: int | None = None
    exit_reason: str | None = None
    refusal: str | None = None
    liquidation: tuple[int, int, str] | None = None  # the first: time, mark of the first core instrument, cause

    @property
    def over(self) -> bool:
        return self.exit_reason is not None

    def note_forced(self, core: list[Leg], qtys: list[int]) -> None:
        """Add what a forced close took of the core legs."""
        self.forced += self.size(core, qtys)

    def size(self, core: list[Leg], qtys: list[int]) -> int:
        """Measure core quantities: the one leg's own, or the notional at the entry's mark opens."""
        if len(qtys) == 1:
            return qtys[0]
        return sum(leg.notional(qty, self.entry_marks[leg.instrument]) for leg, qty in zip(core, qtys, strict=True))


def outcome_of(
    plan: PoolPlan, story: Story, pool: Pool, breaches: list[Breaches], result: PoolResult
) -> dict[str, object]:
    """Gather the outcome of a run; what does not exist is None."""
    refused = story.refusal is not None
    totals, capital = pool.books.totals, e8(plan.capital)
    of_core = [breach for unit, breach in zip(pool.units, breaches, strict=True) if unit.holds_core]
    liquidation_ms, liquidation_mark, cause = story.liquidation or (None, None, None)
    exit_ms = story.exit_ms or 0
    paired_end = exit_ms if plan.baseline_exit_ms is None else min(exit_ms, plan.baseline_exit_ms)
    done = sum(action.status == "done" for action in result.actions)
    entry_qty = 0 if refused else story.size(pool.core, story.entry_qtys)
    return {
        "exit_ms": story.exit_ms,
        "exit_reason": story.exit_reason,
        "refusal": story.refusal,
        "liquidated": story.liquidation is not None,
        "cause": cause,
        "partial": any(breach.partial for breach in of_core),
        "liquidated_share_e8": half_even(story.forced * E8, entry_qty) if entry_qty else 0,
        "liquidation_count": sum(breach.count for breach in of_core),
        "layer_liquidations": sum(breach.count for breach in breaches) - sum(breach.count for breach in of_core),
        "liquidation_ms": liquidation_ms,
        "liquidation_price_e8": liquidation_mark,
        "entry_qty_e8": entry_qty,
        "entry_notional_e8": story.entry_notional,
        "qty_at_baseline_liquidation_e8": None if refused else _size_at(plan.baseline_liquidation_ms, story),
        "equity_start_e8": capital,
        "equity_end_e8": capital if refused else pool.books.held("free") + pool.books.held("reserve"),
        "fees_e8": totals.fees,
        "funding_e8": totals.funding,
        "slippage_e8": totals.slippage,
        "premium_e8": totals.premium,
        "clearance_fee_e8": totals.clearance,
        "margin_added_e8": totals.margin_added,
        "turnover_e8": totals.turnover,
        "notional_hours_e2": _notional_hours(story.exposures),
        "notional_hours_paired_e2": _notional_hours([e for e in story.exposures if e.time_ms < paired_end]),
        "min_buffer_ppm": pool.min_buffer_ppm,
        "max_margin_ratio_ppm": pool.max_ratio_ppm,
        "actions": done,
        "refused": len(result.actions) - done,
    }


def _size_at(time_ms: int | None, story: Story) -> int | None:
    """Give the size of the core as the path of a bar began: 0 where the run had ended by then."""
    if time_ms is None:
        return None
    there = next((exposure for exposure in story.exposures if exposure.time_ms == time_ms), None)
    return 0 if there is None else story.size(list(there.core), [leg.qty for leg in there.core])


def _notional_hours(exposures: list[Exposure]) -> int:
    """Sum the core's notional x bar hours in hundredths, with one half-even rounding."""
    exact = sum(exposure.exact_notional() * exposure.length_ms for exposure in exposures)
    return half_even(exact * 100, HOUR_MS * E16)
