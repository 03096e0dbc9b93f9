"""The path inside a bar: what happens first between two marks, with the state as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from backtest.engine.oracle.account import Account
from backtest.engine.oracle.model import Wake
from backtest.engine.oracle.numbers import E8, ceil_div, e8, float_e8, half_even
from backtest.engine.oracle.position import Position

BPS = 10**4
RANGE_LIMIT = 9 * 10**10
LIQUIDATION = (-1, -1)  # sorts before every (rule, wake)


class Crossing(NamedTuple):
    """The first mark at which a condition holds; `what` is LIQUIDATION or (rule index, wake index)."""

    mark: int
    what: tuple[int, int]


class Condition(NamedTuple):
    """Whether something holds at a mark with the account as it is, and whether a turn is sought over the mark alone."""

    holds: Callable[[Account, int], bool]
    over_mark: bool = False


def condition(wake: Wake, true_range: float) -> Condition:
    """Give the test of a threshold wake, by cross multiplication: nothing is rounded.

    `true_range` is the signal of a distance in true ranges, as it is known now.
    """
    assert wake.value is not None, f"{wake.kind} needs a threshold"
    top, bottom = wake.value.as_integer_ratio()
    if wake.kind == "liq_bps_below":
        share = half_even(top * E8, bottom * BPS)
        return Condition(lambda a, mark: a.liquidated(against(a, mark, ceil_div(mark * share, E8))), True)
    if wake.kind == "liq_atr_below":
        if not 0 <= true_range < RANGE_LIMIT:
            return Condition(lambda a, mark: False, True)
        way = ceil_div(e8(wake.value) * float_e8(true_range), E8)
        return Condition(lambda a, mark: a.liquidated(against(a, mark, way)), True)

    def holds(account: Account, mark: int) -> bool:
        f = account.figures(mark)
        if wake.kind == "buffer_below":
            return f.buffer_base > 0 and f.headroom * bottom <= top * f.buffer_base
        if wake.kind == "margin_ratio_above":
            return f.equity <= 0 or f.maintenance * bottom >= top * f.equity
        return f.headroom * bottom <= top * E8

    return Condition(holds)


def against(account: Account, mark: int, way: int) -> int:
    """Move a mark against the position: by the mark itself at most, and never under 1e-8."""
    return max(mark - account.position.side * min(way, mark), 1)


def pieces(position: Position, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a leg at the marks where qty x mark reaches a cap; a leg of no length is one piece."""
    borders = {row.cap * E8 // position.qty for row in position.rows[:-1] if row.cap is not None}
    least, greatest = min(start, end), max(start, end)
    cuts = sorted((b for b in borders if least < b < greatest), reverse=end < start)
    points = [start, *cuts, end]
    return pairwise(points)


def halve(holds: Callable[[int], bool], start: int, end: int) -> int:
    """Halve the way from `start` (it does not hold) to `end` (it holds) over the mark; give where it holds."""
    while abs(end - start) > 1:
        middle = (start + end) // 2
        if holds(middle):
            end = middle
        else:
            start = middle
    return end


def bisect(holds: Callable[[int], bool], qty: int, start: int, end: int) -> int:
    """Give the first mark from `start` (it does not hold) to `end` (it holds) at which it holds.

    Rising: over the mark. Falling: over k = floor(qty x mark), at the top mark of each k, for the profit of a long is
    constant within one k and its maintenance margin greatest at the top. Where it does not hold at the top of the end's
    k, the end itself is given.
    """
    if end > start:
        return halve(holds, start, end)

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
        conditions.append((LIQUIDATION, Condition(Account.liquidated)))
    for first, last in pieces(account.position, start, end):
        found = []
        for what, sought in conditions:
            if sought.holds(account, first):
                found.append(Crossing(first, what))
            elif sought.holds(account, last):
                found.append(Crossing(_turn(account, sought, first, last), what))
        if liquidation == "end" and last == end and account.liquidated(last):
            found.append(Crossing(end, LIQUIDATION))
        if found:
            nearest = min(found, key=lambda crossing: (abs(crossing.mark - start), crossing.what))
            # in a tier that begins with a jump the predicate may hold where a wake does, and not at the piece's end
            forced = liquidation == "crossing" and account.liquidated(nearest.mark)
            return nearest._replace(what=LIQUIDATION) if forced else nearest
    return None


def _turn(account: Account, sought: Condition, start: int, end: int) -> int:
    def holds(mark: int) -> bool:
        return sought.holds(account, mark)

    if sought.over_mark:
        return halve(holds, start, end)
    return bisect(holds, account.position.qty, start, end)
