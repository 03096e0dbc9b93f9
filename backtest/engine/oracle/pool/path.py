"""The path of all marks inside a bar: ways, the adverse extremes, and where a condition turns. Section 5."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from backtest.engine.oracle.model import Wake
from backtest.engine.oracle.numbers import E8, ceil_div, e8, float_e8, half_even
from backtest.engine.oracle.path import BPS, RANGE_LIMIT
from backtest.engine.oracle.pool.pool import Marks, Pool
from backtest.engine.oracle.pool.tape import Step
from backtest.engine.oracle.pool.units import Unit

END = 1 << 20

Holds = Callable[[Marks], bool]


class Way(NamedTuple):
    """All marks from one place to another; a place on it is a number from 0 to END."""

    start: Marks
    end: Marks

    def marks(self, place: int) -> Marks:
        """Give the marks at a place: as far as it says, rounded towards the start."""
        return tuple(
            a + (b - a) * place // END if b >= a else a - (a - b) * place // END
            for a, b in zip(self.start, self.end, strict=True)
        )


def ways_of(pool: Pool, step: Step) -> list[Way]:
    """Give the ways of a bar: opens, adverse extremes, other extremes; or from the opens to the closes."""
    if pool.plan.joint == "sync":
        return [Way(step.mark_open, step.mark_close)]
    adverse, other = [], []
    for instrument, (low, high) in enumerate(zip(step.mark_low, step.mark_high, strict=True)):
        first, second = (low, high) if _low_is_adverse(pool, step, instrument) else (high, low)
        adverse.append(first)
        other.append(second)
    return [Way(step.mark_open, tuple(adverse)), Way(tuple(adverse), tuple(other))]


def _low_is_adverse(pool: Pool, step: Step, instrument: int) -> bool:
    unit = _unit_on(pool, instrument)
    if unit is None:
        return True

    def headroom(extreme: int) -> int:
        marks = [*step.mark_open]
        marks[instrument] = extreme
        return pool.figures(unit, tuple(marks)).headroom

    return headroom(step.mark_low[instrument]) <= headroom(step.mark_high[instrument])


def _unit_on(pool: Pool, instrument: int) -> Unit | None:
    """Give the unit whose headroom decides what is adverse for an instrument."""
    slots = [slot for slot, leg in sorted(pool.legs.items()) if leg.qty and leg.instrument == instrument]
    held = bool(pool.open_legs(pool.units[0]))  # else the coin was sold
    collateral = held and any(coin.instrument == instrument for coin in pool.collaterals)
    if collateral or any(slot in pool.units[0].slots for slot in slots):
        return pool.units[0]
    return pool.unit_of(slots[0]) if slots else None


def condition(pool: Pool, wake: Wake, true_range: float) -> Holds:
    """Give the test of a threshold wake on unit 0, by cross multiplication: nothing is rounded.

    `true_range` is the signal of a distance in true ranges, as it is known now.
    """
    assert wake.value is not None, f"{wake.kind} needs a threshold"
    top, bottom = wake.value.as_integer_ratio()
    core = pool.units[0]
    if wake.kind == "liq_bps_below":
        share = half_even(top * E8, bottom * BPS)
        return _near_death(pool, lambda marks: [ceil_div(mark * share, E8) for mark in marks])
    if wake.kind == "liq_atr_below":
        if not 0 <= true_range < RANGE_LIMIT:
            return lambda marks: False
        way = ceil_div(e8(wake.value) * float_e8(true_range), E8)
        return _near_death(pool, lambda marks: _by_share(marks, pool.core[0].instrument, way))

    def holds(marks: Marks) -> bool:
        if not pool.open_legs(core):
            return False
        figures = pool.figures(core, marks)
        if wake.kind == "buffer_below":
            return figures.buffer_base > 0 and figures.headroom * bottom <= top * figures.buffer_base
        if wake.kind == "margin_ratio_above":
            return figures.equity <= 0 or figures.maintenance * bottom >= top * figures.equity
        price_of_asset = E8 if core.coin.instrument is None else marks[core.coin.instrument]
        return figures.headroom * price_of_asset * bottom <= top * E8 * E8

    return holds


def _near_death(pool: Pool, moves: Callable[[Marks], list[int]]) -> Holds:
    """Give the test whether unit 0 is liquidated with all marks moved together, one way or the other."""

    def holds(marks: Marks) -> bool:
        ways = [min(move, mark) for move, mark in zip(moves(marks), marks, strict=True)]
        down = tuple(max(m - way, floor) for m, way, floor in zip(marks, ways, _floors(pool, marks), strict=True))
        up = tuple(mark + way for mark, way in zip(marks, ways, strict=True))
        return pool.liquidated(pool.units[0], down) or pool.liquidated(pool.units[0], up)

    return holds


def _floors(pool: Pool, marks: Marks) -> list[int]:
    """Give the least mark that is looked at: 1e-8 (0 stays 0); of an inverse contract a thousandth: coin has no end."""
    inverse = {leg.instrument for leg in pool.legs.values() if leg.inverse}
    return [ceil_div(mark, 1000) if i in inverse else min(mark, 1) for i, mark in enumerate(marks)]


def _by_share(marks: Marks, first: int, way: int) -> list[int]:
    """Move one mark by a way, by itself at most, and all others by the same share."""
    way = min(way, marks[first])
    share = ceil_div(way * E8, marks[first])
    return [way if i == first else ceil_div(mark * share, E8) for i, mark in enumerate(marks)]


def next_place(way: Way, present: int, conditions: list[Holds]) -> int | None:
    """Give the first place after the present one at which one of the conditions that hold at the end turns true."""
    end = way.marks(END)
    turns = [_turn(way, present, holds) for holds in conditions if holds(end)]
    return min(turns, default=None)


def _turn(way: Way, present: int, holds: Holds) -> int:
    low, high = present, END
    while high - low > 1:
        middle = (low + high) // 2
        if holds(way.marks(middle)):
            high = middle
        else:
            low = middle
    return high
