"""The path inside a bar: what happens first between two marks, with the state as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from backtest.engine.oracle.account import Account
from backtest.engine.oracle.model import Wake
from backtest.engine.oracle.numbers import E8
from backtest.engine.oracle.position import Figures, Position

Condition = Callable[[Figures], bool]
LIQUIDATION = (-1, -1)  # sorts before every (rule, wake)


class Crossing(NamedTuple):
    """The first mark at which a condition holds; `what` is LIQUIDATION or (rule index, wake index)."""

    mark: int
    what: tuple[int, int]


def condition(wake: Wake) -> Condition:
    """Give the test of a threshold wake, by cross multiplication: nothing is rounded."""
    assert wake.value is not None, f"{wake.kind} needs a threshold"
    top, bottom = wake.value.as_integer_ratio()
    if wake.kind == "buffer_below":
        return lambda f: f.buffer_base > 0 and f.headroom * bottom <= top * f.buffer_base
    if wake.kind == "margin_ratio_above":
        return lambda f: f.equity <= 0 or f.maintenance * bottom >= top * f.equity
    return lambda f: f.headroom * bottom <= top * E8


def pieces(position: Position, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a leg at the marks where qty x mark reaches a cap; a leg of no length is one piece."""
    borders = {row.cap * E8 // position.qty for row in position.rows[:-1] if row.cap is not None}
    least, greatest = min(start, end), max(start, end)
    cuts = sorted((b for b in borders if least < b < greatest), reverse=end < start)
    points = [start, *cuts, end]
    return pairwise(points)


def bisect(holds: Callable[[int], bool], qty: int, start: int, end: int) -> int:
    """Give the first mark from `start` (it does not hold) to `end` (it holds) at which it holds.

    Rising: over the mark. Falling: over k = floor(qty x mark), at the top mark of each k, for the profit of a long is
    constant within one k and its maintenance margin greatest at the top. Where it does not hold at the top of the end's
    k, the end itself is given.
    """
    if end > start:
        while end - start > 1:
            middle = (start + end) // 2
            if holds(middle):
                end = middle
            else:
                start = middle
        return end

    def top(k: int) -> int:
        return min(start, ((k + 1) * E8 - 1) // qty)

    free, held = qty * start // E8, qty * end // E8
    if not holds(top(held)):
        return end
    while free - held > 1:
        middle = (free + held) // 2
        if holds(top(middle)):
            held = middle
        else:
            free = middle
    return top(held)


def first_crossing(
    account: Account, leg: tuple[int, int], wakes: Iterable[tuple[tuple[int, int], Condition]], liquidation: str
) -> Crossing | None:
    """Find what comes first on a leg: the liquidation predicate or a wake; at one mark liquidation comes first.

    `liquidation` says where the predicate is looked for: "crossing", at the "end" only, or "none".
    """
    start, end = leg
    conditions = list(wakes)
    if liquidation == "crossing":
        conditions.append((LIQUIDATION, _liquidated))
    for first, last in pieces(account.position, start, end):
        at_first, at_last = account.figures(first), account.figures(last)
        found = []
        for what, holds in conditions:
            if holds(at_first):
                found.append(Crossing(first, what))
            elif holds(at_last):
                found.append(Crossing(_turn(account, holds, first, last), what))
        if liquidation == "end" and last == end and at_last.liquidated:
            found.append(Crossing(end, LIQUIDATION))
        if found:
            return min(found, key=lambda crossing: (abs(crossing.mark - start), crossing.what))
    return None


def _liquidated(figures: Figures) -> bool:
    return figures.liquidated


def _turn(account: Account, holds: Condition, start: int, end: int) -> int:
    return bisect(lambda mark: holds(account.figures(mark)), account.position.qty, start, end)
