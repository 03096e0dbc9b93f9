"""Inside a bar: where on the way between two prices does a condition first hold?

A way is cut at the tier borders; inside a piece every condition is linear in the price, so looking at the piece's end
and bisecting finds the first price on the 1e-8 grid. See docs/semantics.md, section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine.arithmetic import E8, mul_div_floor, mul_floor
from backtest.engine.band import is_in_known_band
from backtest.engine.compile import inlined, inner
from backtest.engine.distance import is_distance, moved
from backtest.engine.glance import UNIT, gauge, note_extremes, zero_between
from backtest.engine.margin import buffer_at_most, ratio_at_least
from backtest.engine.plan import BUFFER_BELOW, MARGIN_RATIO_ABOVE
from backtest.engine.position import measure_at

if TYPE_CHECKING:
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market

LIQUIDATION = -1


@inner
def holds(tape: Market, plan: Plan, run: Run, condition: int, price: int) -> bool:
    """Tell whether the liquidation predicate, or the wake of that index, holds at a mark price.

    Exactly; where a glance leaves no doubt, it is believed.
    """
    figure, off = gauge(tape, plan, run, condition, price)
    if abs(figure) > off:
        return figure < 0.0
    equity, maintenance, initial = measure_at(tape, run, price)
    if condition == LIQUIDATION:
        return equity <= maintenance
    limit = plan.wake_value[condition]
    kind = plan.wake_kind[condition]
    if kind == BUFFER_BELOW:
        return buffer_at_most(equity, maintenance, initial, limit)
    if kind == MARGIN_RATIO_ABOVE:
        return ratio_at_least(equity, maintenance, limit)
    return equity - maintenance <= limit


@inner
def is_met(tape: Market, plan: Plan, run: Run, wake: int, price: int) -> bool:
    """Tell whether a threshold wake holds at a mark: one on the distance to liquidation, at the moved mark."""
    if is_distance(plan, wake):
        price = moved(plan, run, wake, price)
        wake = LIQUIDATION
    return price > 0 and holds(tape, plan, run, wake, price)


@inner
def first_near(tape: Market, plan: Plan, run: Run, wake: int, start: int, end: int) -> int:
    """Give where the distance to liquidation falls to its limit on a way: halving over the price, rising or falling."""
    while abs(end - start) > 1:
        middle = start + (end - start) // 2
        if is_met(tape, plan, run, wake, middle):
            end = middle
        else:
            start = middle
    return end


@inner
def next_border(tape: Market, run: Run, price: int, end: int) -> int:
    """Give the end of the piece that begins at a price: the nearest tier border on the way, else the way's end."""
    nearest = end
    table = run.table
    for k in range(tape.tiers[table, 0].count - 1):
        cap = tape.tiers[table, k].cap_e8
        where = float(cap) / float(run.qty) * 1e8
        if not float(min(price, end)) * (1.0 - 1e-12) - 2.0 <= where <= float(max(price, end)) * (1.0 + 1e-12) + 2.0:
            continue  # certainly not on the way
        border = mul_div_floor(cap, E8, run.qty)
        if price < border < nearest or nearest < border < price:
            nearest = border
    return nearest


@inner
def step_top(qty: int, k: int, start: int) -> int:
    """Give the largest price, not above start, with floor(qty price) <= k."""
    guess = int(float(k + 1) / float(qty) * 1e8)
    if guess >= start:
        guess = start
    while guess < start and mul_floor(qty, guess + 1) <= k:
        guess += 1
    while guess > 0 and mul_floor(qty, guess) > k:
        guess -= 1
    return guess


@inner
def crossing(tape: Market, plan: Plan, run: Run, condition: int, start: int, end: int) -> int:
    """Give the first price after start at which a condition holds that holds at end and not at start.

    Rising: bisection over the price. Falling: over k = floor(q p); within one k the profit of a long is constant and
    its maintenance largest at the top, so the first price at which the condition turns is the top of a k. A straight
    line between the ends says where to look first; what it narrows is decided by the condition itself.
    """
    if is_distance(plan, condition):
        return first_near(tape, plan, run, condition, start, end)
    guess, reach = zero_between(tape, plan, run, condition, start, end)
    if end > start:
        low, high = start, end
        unit = float(run.qty) * UNIT
        for near in (int((guess - reach) / unit), int((guess + reach) / unit) + 1):
            if low < near < high:
                if holds(tape, plan, run, condition, near):
                    high = near
                else:
                    low = near
        while high - low > 1:
            middle = low + (high - low) // 2
            if holds(tape, plan, run, condition, middle):
                high = middle
            else:
                low = middle
        return high
    qty = run.qty
    false_k, last_k = mul_floor(qty, start), mul_floor(qty, end)
    true_k = last_k
    for k in (int(guess + reach) + 1, int(guess - reach)):
        if true_k < k < false_k:
            if holds(tape, plan, run, condition, step_top(qty, k, start)):
                true_k = k
            else:
                false_k = k
    if true_k == last_k and not holds(tape, plan, run, condition, step_top(qty, true_k, start)):
        return end
    while false_k - true_k > 1:
        middle = true_k + (false_k - true_k) // 2
        if holds(tape, plan, run, condition, step_top(qty, middle, start)):
            true_k = middle
        else:
            false_k = middle
    return max(end, step_top(qty, true_k, start))


@inlined
def see(run: Run, low: int, high: int) -> None:
    """Add marks to the stretch of constant state."""
    if run.stretch_low < 0 or low < run.stretch_low:
        run.stretch_low = low
    if high > run.stretch_high:
        run.stretch_high = high


@inlined
def close_stretch(tape: Market, run: Run) -> None:
    """Note the extremes of the stretch that ends here, before the state changes."""
    if run.stretch_low >= 0 and run.qty > 0 and not is_in_known_band(run, run.stretch_low, run.stretch_high):
        note_extremes(tape, run, run.stretch_low, run.stretch_high)
    run.stretch_low = -1
    run.stretch_high = -1
