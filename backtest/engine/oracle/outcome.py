"""The figures of one run's outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from backtest.engine.oracle.account import Account
from backtest.engine.oracle.breach import Breaches
from backtest.engine.oracle.model import Plan, Result
from backtest.engine.oracle.numbers import E8, E16, e8, half_even

HOUR_MS = 3_600_000


class Exposure(NamedTuple):
    """Quantity held through a bar, as it is when the path begins, the bar's mark open, and its length."""

    time_ms: int
    qty: int
    mark_open: int
    length_ms: int


@dataclass
class Story:
    """What happened in a run beside its books."""

    entry_qty: int = 0
    entry_notional: int = 0
    exposures: list[Exposure] = field(default_factory=list)
    largest_deficit: int | None = None
    exit_ms: int | None = None
    exit_reason: str | None = None
    refusal: str | None = None


def outcome_of(plan: Plan, story: Story, account: Account, breaches: Breaches, result: Result) -> dict[str, object]:
    """Gather the outcome of a run; what does not exist is None."""
    refused = story.refusal is not None
    capital = e8(plan.capital)
    exit_ms = story.exit_ms or 0
    paired_end = exit_ms if plan.baseline_exit_ms is None else min(exit_ms, plan.baseline_exit_ms)
    done = sum(action.status == "done" for action in result.actions)
    return {
        "exit_ms": story.exit_ms,
        "exit_reason": story.exit_reason,
        "refusal": story.refusal,
        "liquidated": breaches.count > 0,
        "cause": breaches.first_cause,
        "partial": breaches.partial,
        "liquidated_share_e8": 0 if refused else half_even(breaches.forced_qty * E8, story.entry_qty),
        "liquidation_count": breaches.count,
        "liquidation_ms": breaches.first_ms,
        "liquidation_price_e8": breaches.first_mark,
        "entry_qty_e8": 0 if refused else story.entry_qty,
        "entry_notional_e8": story.entry_notional,
        "qty_at_baseline_liquidation_e8": None if refused else _qty_at(plan.baseline_liquidation_ms, story),
        "equity_start_e8": capital,
        "equity_end_e8": capital if refused else account.balances["free"] + account.balances["reserve"],
        "fees_e8": account.fees,
        "funding_e8": account.funding,
        "slippage_e8": account.slippage,
        "clearance_fee_e8": account.clearance,
        "margin_added_e8": account.margin_added,
        "turnover_e8": account.turnover,
        "notional_hours_e2": _notional_hours(story.exposures),
        "notional_hours_paired_e2": _notional_hours([e for e in story.exposures if e.time_ms < paired_end]),
        "min_buffer_ppm": account.min_buffer_ppm,
        "max_margin_ratio_ppm": account.max_ratio_ppm,
        "actions": done,
        "refused": len(result.actions) - done,
        "largest_deficit_e8": story.largest_deficit,
    }


def _qty_at(time_ms: int | None, story: Story) -> int | None:
    """Give the quantity as the path of a bar began: 0 where the run had ended by then."""
    if time_ms is None:
        return None
    return next((exposure.qty for exposure in story.exposures if exposure.time_ms == time_ms), 0)


def _notional_hours(exposures: list[Exposure]) -> int:
    """Sum quantity x mark open x bar hours in hundredths, with one half-even rounding."""
    exact = sum(exposure.qty * exposure.mark_open * exposure.length_ms for exposure in exposures)
    return half_even(exact * 100, HOUR_MS * E16)
