"""Where headroom ends: the price at which a piecewise linear function of the mark turns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

Function = Callable[[Fraction], Fraction]
Piece = tuple[Fraction, Fraction | None]


class Boundary(NamedTuple):
    """A price on one side of which the account is alive; `alive_above`: the side with the higher prices.

    `slope` is that of headroom there, per unit of price (inverse: of 1 / price).
    """

    price: Fraction
    alive_above: bool
    slope: Fraction


def nearest_boundary(
    headroom: Function, kinks: Iterable[Fraction], mark: Fraction, *, inverse: bool, concave: bool
) -> Boundary | None:
    """Give the boundary between positive and other headroom that is nearest to the mark; None where none exists.

    Headroom is linear in the price (in 1 / price for inverse contracts) between two neighbouring `kinks`, the prices at
    which a tier begins, a balance turns negative or an order starts to lose. Each piece is solved in closed form, and
    a solution counts only inside its own piece: that is the self-consistent tier. Jumps at kinks are allowed, but then
    headroom is not `concave`, and pieces that a concave function cannot turn in are looked at too.

    Source: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 and Bybit help centre, Liquidation Price, both of which
    recompute with the tier of the value at the liquidation price.
    """

    def flip(price: Fraction) -> Fraction:
        return 1 / price if inverse else price

    def function(x: Fraction) -> Fraction:
        return headroom(flip(x))

    edges = sorted({flip(kink) for kink in kinks if kink > 0})
    pieces: list[Piece] = [*pairwise([Fraction(0), *edges]), (edges[-1] if edges else Fraction(0), None)]
    sides = [pieces]
    if concave and headroom(mark) > 0:
        sides = _sides_of(function, edges, pieces, flip(mark))
    turns = (turn for side in sides for turn in _turns(function, side))
    found = [Boundary(flip(x), alive_right != inverse, slope) for x, alive_right, slope in turns if x > 0]
    return min(found, key=lambda boundary: abs(boundary.price - mark), default=None)


def linear_root(function: Function, *, inverse: bool) -> Iterator[Fraction]:
    """Give the price at which a function that is linear in it (inverse: in 1 / price) is zero, if there is one.

    >>> list(linear_root(lambda price: 3 - price, inverse=False))
    [Fraction(3, 1)]
    """
    one = function(Fraction(1))
    slope = function(Fraction(1, 2) if inverse else Fraction(2)) - one
    root = 1 - one / slope if slope else Fraction(0)
    if root > 0:
        yield 1 / root if inverse else root


def _sides_of(function: Function, edges: list[Fraction], pieces: list[Piece], here: Fraction) -> list[list[Piece]]:
    """Give the pieces on each side of a positive point in which a concave function may turn.

    Such a function is positive on one stretch only, so that its sign at the edges can be searched by halves.
    """
    middle = bisect_left(edges, here)
    first_alive = bisect_left(edges[:middle], True, key=lambda edge: function(edge) > 0)
    first_dead = middle + bisect_left(edges[middle:], True, key=lambda edge: function(edge) <= 0)
    return [pieces[max(first_alive - 1, 0) : first_alive + 1], pieces[first_dead : first_dead + 2]]


def _turns(function: Function, pieces: list[Piece]) -> Iterator[tuple[Fraction, bool, Fraction]]:
    """Walk the pieces and give each point where the sign turns, whether it is positive to its right, and the slope."""
    before: bool | None = None
    for piece in pieces:
        left, right = piece
        slope, at_left = _line(function, piece)
        starts = at_left > 0 or (at_left == 0 and slope > 0)
        if before is not None and before != starts:
            yield left, starts, slope
        before = starts
        root = left - at_left / slope if slope else None
        if root is not None and root > left and (right is None or root < right):
            before = slope > 0
            yield root, before, slope


def _line(function: Function, piece: Piece) -> tuple[Fraction, Fraction]:
    """Give slope and left-hand limit of a function that is linear in a piece."""
    left, right = piece
    width = right - left if right is not None else max(left, Fraction(1))
    first, second = left + width / 4, left + width / 2
    low, high = function(first), function(second)
    slope = (high - low) / (second - first)
    return slope, low - slope * (first - left)
