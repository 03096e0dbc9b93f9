"""The distance to liquidation: is the position liquidated if the mark goes so far against it?

docs/semantics.md, section 4. The way is a share of the mark, or a number of true ranges that the feed tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine.arithmetic import INT64_MAX, mul_ceil, to_fixed
from backtest.engine.compile import inner
from backtest.engine.plan import DISTANCES, LIQ_BPS_BELOW, NONE, THRESHOLDS

if TYPE_CHECKING:
    from backtest.engine.ledger import Plan, Run

LONGEST = 9.1e18  # longer than any mark is high


@inner
def is_distance(plan: Plan, wake: int) -> bool:
    """Tell whether a condition is a threshold on the distance to liquidation."""
    return bool(wake >= 0 and DISTANCES <= plan.wake_kind[wake] < THRESHOLDS)


@inner
def moved(plan: Plan, run: Run, wake: int, mark: int) -> int:
    """Give the mark moved against the position by a wake's limit, by the mark itself at most; NONE: not known."""
    if plan.wake_kind[wake] == LIQ_BPS_BELOW:
        way = mul_ceil(mark, plan.wake_value[wake])
    else:
        way = run.wake_way[wake]
        if way < 0:
            return NONE
    way = min(way, mark)
    return max(mark - way, 1) if run.side > 0 else mark + way


@inner
def way_of(limit: int, true_range: float) -> int:
    """Give a number of true ranges as a way at 1e-8, rounded up; NONE where the range is not known."""
    if not 0.0 <= true_range < 9e10:
        return NONE
    if float(limit) * true_range >= LONGEST:
        return INT64_MAX
    return mul_ceil(limit, to_fixed(true_range))
