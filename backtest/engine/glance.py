"""A quick look with floats, and how far it can be off: what lets the replay skip without ever being wrong.

A glance gives equity and margins at a mark in a few nanoseconds. Its error is under `slack`; whatever is closer to a
limit than that is looked at exactly. So floats decide only where nothing can happen.

Error: each value is a sum of at most four terms of at most |wallet| + cost + notional, each off by less than 1e-15 of
itself, and the exact values round by at most 1. `slack` allows ten times that.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.compile import inlined, inner
from backtest.engine.distance import is_distance, moved
from backtest.engine.margin import PPM, RATIO_PPM_MAX, buffer_ppm, ratio_ppm
from backtest.engine.plan import BUFFER_BELOW, INT64_MIN, MARGIN_RATIO_ABOVE
from backtest.engine.position import measure_at
from backtest.venues.margin import Arithmetic, margin_formulas

if TYPE_CHECKING:
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market

Glance = tuple[float, float, float, float, float]
UNIT = 1e-8
ONE = 100_000_000


@inlined
def _same(value: float) -> float:
    return value


@inlined
def _times(value: float, rate: float) -> float:
    return value * (rate * UNIT)


@inlined
def _share(value: float, numerator: float, denominator: float) -> float:
    return value * numerator / denominator


@inlined
def _charge(amount: float, fee: float, numerator: float, denominator: float) -> float:
    return _share(_times(amount, fee), numerator, denominator)


_FORMULAS = margin_formulas(
    Arithmetic(one=100.0, product=_times, down=_same, up=_same, times_up=_times, share_up=_share, charge_up=_charge),
    inlined,
)
profit_of, maintenance_of, initial_of = _FORMULAS.profit, _FORMULAS.maintenance, _FORMULAS.initial


@inlined
def about_tier(tape: Market, run: Run, notional: float) -> int:
    """Give the tier row of a notional, or the next to it within what floats err."""
    k = 0
    last = tape.tiers[run.table, 0].count - 1
    while k < last and notional > float(tape.tiers[run.table, k].cap_e8):
        k += 1
    return k


@inner
def glance(tape: Market, run: Run, price: int) -> Glance:
    """Give equity, maintenance, initial margin and notional at a mark, and how far the next tier's border is.

    Floats in units of 1e-8.
    """
    notional = _times(float(run.qty), float(price))
    k = about_tier(tape, run, notional)
    row = tape.tiers[run.table, k]
    below = notional - float(tape.tiers[run.table, k - 1].cap_e8) if k > 0 else notional
    reserve = float(run.fee_reserve)
    return (
        float(run.balance[at.MARGIN]) + profit_of(run.side, notional, float(run.cost)),
        maintenance_of(notional, float(row.rate_e8), float(row.deduction_e8), reserve),
        initial_of(notional, float(run.leverage_e2), reserve),
        notional,
        min(below, abs(float(row.cap_e8) - notional)),
    )


@inner
def rounding(run: Run, notional: float) -> float:
    """Give a bound on the error of a glance whose tier is right, tenfold."""
    return 16.0 + 1e-14 * (notional + float(run.cost) + abs(float(run.balance[at.MARGIN])))


@inner
def slack(run: Run, seen: Glance) -> float:
    """Give a bound on the error of a glance; infinite at a tier's border, where floats may choose the wrong tier."""
    off = rounding(run, seen[3])
    return off if seen[4] > off else inf


@inner
def is_clear_at_a_glance(tape: Market, plan: Plan, run: Run, low: int, high: int) -> bool:
    """Tell that neither the predicate nor any threshold can hold between two marks: a bound, never wrong."""
    at_low, at_high = glance(tape, run, low), glance(tape, run, high)
    if not is_clear_between(plan, at_low, at_high, max(slack(run, at_low), slack(run, at_high))):
        return False
    return not plan.distance or is_far(tape, plan, run, low, high)


@inner
def is_clear_between(plan: Plan, at_low: Glance, at_high: Glance, off: float) -> bool:
    """The same from two glances.

    Worst equity with worst maintenance, each at its own extreme; the widest room between the margins for the buffer.
    """
    equity = min(at_low[0], at_high[0])
    maintenance = at_high[1]
    headroom = equity - maintenance - 4.0 * off
    if plan.liquidate and headroom <= 0.0:
        return False
    if plan.headroom_max_e8 > INT64_MIN and headroom <= float(plan.headroom_max_e8):
        return False
    if plan.buffer_max_e8 >= 0:
        limit = float(plan.buffer_max_e8) * UNIT
        if headroom <= limit * (at_high[2] - at_low[1] + 4.0 * off):
            return False
    if plan.ratio_min_e8 >= 0:
        limit = float(plan.ratio_min_e8) * UNIT
        return maintenance + off < limit * (equity - off)
    return True


@inner
def is_far(tape: Market, plan: Plan, run: Run, low: int, high: int) -> bool:
    """Tell that no threshold on the distance to liquidation can hold between two marks."""
    for wake in range(plan.wake_count):
        if not is_distance(plan, wake):
            continue
        from_low, from_high = moved(plan, run, wake, low), moved(plan, run, wake, high)
        if from_low < 0:
            continue
        at_low, at_high = glance(tape, run, from_low), glance(tape, run, from_high)
        off = max(slack(run, at_low), slack(run, at_high))
        if min(at_low[0], at_high[0]) - at_high[1] - 4.0 * off <= 0.0:
            return False
    return True


@inner
def zero_between(tape: Market, plan: Plan, run: Run, condition: int, start: int, end: int) -> float:
    """Guess the notional at which a condition turns on a way inside one tier: the zero of the line through both ends.

    A wrong guess costs the caller time only. A condition that may flicker gets none (0).
    """
    if condition >= 0 and flickers(plan, condition):
        return 0.0
    first = gauge(tape, plan, run, condition, start)[0]
    second = gauge(tape, plan, run, condition, end)[0]
    if first <= 0.0 or second >= 0.0:
        return 0.0
    return float(run.qty) * UNIT * (float(start) + float(end - start) * (first / (first - second)))


@inner
def flickers(plan: Plan, wake: int) -> bool:
    """Tell whether a threshold may hold, not hold and hold again on a falling way, by the steps of the margins.

    While floor(q p) falls by 1, equity falls by 1 and each margin by 0 or 1: a buffer above 1 or a ratio under 1 can
    rise again for a moment.
    """
    kind, limit = plan.wake_kind[wake], plan.wake_value[wake]
    return bool((kind == BUFFER_BELOW and limit > ONE) or (kind == MARGIN_RATIO_ABOVE and limit < ONE))


@inner
def gauge(tape: Market, plan: Plan, run: Run, condition: int, price: int) -> tuple[float, float]:
    """Give a figure that is positive while a condition does not hold, and linear in the price inside a tier.

    Beside it a bound on its error; infinite where its sign does not decide: a buffer that is null, no equity.
    """
    seen = glance(tape, run, price)
    equity, maintenance, initial = seen[:3]
    headroom, off = equity - maintenance, 4.0 * slack(run, seen)
    if condition < 0:
        return headroom, off
    limit = float(plan.wake_value[condition])
    kind = plan.wake_kind[condition]
    if kind == BUFFER_BELOW:
        limit *= UNIT
        room = initial - maintenance
        return headroom - limit * room, off * (1.0 + limit) if room > off else inf
    if kind == MARGIN_RATIO_ABOVE:
        limit *= UNIT
        return limit * equity - maintenance, off * (1.0 + limit) if equity > off else inf
    return headroom - limit, off


@inner
def note_extremes(tape: Market, run: Run, low: int, high: int) -> None:
    """Keep the least buffer, the largest margin ratio and the largest deficit of the state at two marks."""
    for price in (low, high):
        seen = glance(tape, run, price)
        note_if_worse(tape, run, price, seen, slack(run, seen))


@inner
def note_if_worse(tape: Market, run: Run, price: int, seen: Glance, off: float) -> None:
    """Measure exactly at a mark where a glance says that it may be the worst so far."""
    equity, maintenance, initial = seen[:3]
    headroom = equity - maintenance
    room = initial - maintenance
    off *= 4.0
    buffer, ratio = float(run.min_buffer), float(run.max_ratio)
    unsure = off == inf  # at a tier's border
    thinner = unsure or (room > -off and (headroom - off) * PPM < buffer * room + abs(buffer) * off)
    higher = unsure or (maintenance + off) * PPM > ratio * (equity - off)
    if thinner or higher or off - headroom > float(run.deficit):
        note_exactly(tape, run, price, thinner, higher)


@inner
def note_exactly(tape: Market, run: Run, price: int, thinner: bool, higher: bool) -> None:
    """Measure at a mark and keep what is worse than all before: buffer and ratio where they may be."""
    equity, maintenance, initial = measure_at(tape, run, price)
    headroom, room = equity - maintenance, initial - maintenance
    run.deficit = max(run.deficit, -headroom)
    if thinner and room > 0:
        run.min_buffer = min(run.min_buffer, buffer_ppm(headroom, room))
    if higher and run.max_ratio < RATIO_PPM_MAX:
        run.max_ratio = max(run.max_ratio, ratio_ppm(equity, maintenance))
