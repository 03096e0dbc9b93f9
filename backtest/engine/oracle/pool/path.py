"""The path of all marks inside a bar: ways, the adverse extremes, and where a condition turns. Section 5."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from backtest.engine.oracle.model import Wake
from backtest.engine.oracle.numbers import E8
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
    collateral = any(held.instrument == instrument for held in pool.collaterals)
    if collateral or any(slot in pool.units[0].slots for slot in slots):
        return pool.units[0]
    return pool.unit_of(slots[0]) if slots else None


def condition(pool: Pool, wake: Wake) -> Holds:
    """Give the test of a threshold wake on unit 0, by cross multiplication: nothing is rounded."""
    assert wake.value is not None, f"{wake.kind} needs a threshold"
    top, bottom = wake.value.as_integer_ratio()
    core = pool.units[0]

    def holds(marks: Marks) -> bool:
        figures = pool.figures(core, marks)
        if wake.kind == "buffer_below":
            return figures.buffer_base > 0 and figures.headroom * bottom <= top * figures.buffer_base
        if wake.kind == "margin_ratio_above":
            return figures.equity <= 0 or figures.maintenance * bottom >= top * figures.equity
        price_of_asset = E8 if core.coin.instrument is None else marks[core.coin.instrument]
        return figures.headroom * price_of_asset * bottom <= top * E8 * E8

    return holds


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
