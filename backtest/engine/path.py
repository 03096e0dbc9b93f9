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
    return holds_exactly(tape, plan, run, condition, price)


@inner
def holds_exactly(tape: Market, plan: Plan, run: Run, condition: int, price: int) -> bool:
    """Tell whether a condition holds at a mark price, without a glance: for prices at which it is about to turn."""
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
    unit = float(run.qty) * UNIT
    least = (float(min(price, end)) - 2.0) * unit * (1.0 - 1e-12)
    most = (float(max(price, end)) + 2.0) * unit * (1.0 + 1e-12)
    for k in range(tape.tiers[table, 0].count - 1):
        cap = tape.tiers[table, k].cap_e8
        if not least <= float(cap) <= most:
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

    Bisection over places that rise along the way. Rising: over the price. Falling: over k = floor(q p), negated; within
    one k the profit of a long is constant and its maintenance largest at the top, so the first price at which the
    condition turns is the top of a k, or the end. From a guess the search first goes on in steps that double, until
    the condition turns.
    """
    if is_distance(plan, condition):
        return first_near(tape, plan, run, condition, start, end)
    if end > start:
        way, free, held = 1, start, end
    else:
        way, free, held = -1, -mul_floor(run.qty, start), 1 - mul_floor(run.qty, end)
    guess, unit = zero_between(tape, plan, run, condition, start, end), float(run.qty) * UNIT
    if guess > 0.0:
        place, step = (int(guess / unit), 1 + int(1.0 / unit)) if way > 0 else (-1 - int(guess), 1)
    else:
        place, step = (middle_of(free, held, way) if way > 0 else held - 1), 0
    before = 0
    while held - free > 1:
        if not free < place < held:
            place, step = middle_of(free, held, way), 0
        if holds_exactly(tape, plan, run, condition, price_at(run, start, way, place)):
            held, heading = place, -1
        else:
            free, heading = place, 1
        if heading * before < 0:
            step = 0  # it turns in between
        before = heading
        place += heading * step
        step *= 2
    return held if way > 0 else max(end, price_at(run, start, way, held))


@inlined
def middle_of(free: int, held: int, way: int) -> int:
    """Give the place in the middle of two, halves rounded down in prices or k."""
    return way * ((way * free + way * held) // 2)


@inlined
def price_at(run: Run, start: int, way: int, place: int) -> int:
    """Give the price of a place of `crossing`."""
    return place if way > 0 else step_top(run.qty, -place, start)


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
