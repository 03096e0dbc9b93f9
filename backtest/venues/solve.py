"""Where headroom ends: the price at which a piecewise linear function of the mark turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

Function = Callable[[Fraction], Fraction]


class Boundary(NamedTuple):
    """A price on one side of which the account is alive; `alive_above`: the side with the higher prices."""

    price: Fraction
    alive_above: bool


def nearest_boundary(
    headroom: Function, kinks: Iterable[Fraction], mark: Fraction, *, inverse: bool
) -> Boundary | None:
    """Give the boundary between positive and other headroom that is nearest to the mark; None where none exists.

    Headroom is linear in the price (in 1 / price for inverse contracts) between two neighbouring `kinks`, the prices at
    which a tier begins, a balance turns negative or an order starts to lose. Each piece is solved in closed form, and
    a solution counts only inside its own piece: that is the self-consistent tier. Jumps at kinks are allowed.

    Source: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 and Bybit help centre, Liquidation Price, both of which
    recompute with the tier of the value at the liquidation price.
    """

    def flip(price: Fraction) -> Fraction:
        return 1 / price if inverse else price

    edges = sorted({flip(kink) for kink in kinks if kink > 0})
    found = [
        Boundary(flip(x), alive_right != inverse)
        for x, alive_right in _turns(lambda x: headroom(flip(x)), edges)
        if x > 0
    ]
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


def _turns(function: Function, edges: list[Fraction]) -> Iterator[tuple[Fraction, bool]]:
    """Walk the pieces from 0 to infinity and give each point where the sign turns, and the sign to its right."""
    before: bool | None = None
    for left, right in pairwise([Fraction(0), *edges, None]):
        if left is None:
            return
        slope, at_left = _line(function, left, right)
        starts = at_left > 0 or (at_left == 0 and slope > 0)
        if before is not None and before != starts:
            yield left, starts
        before = starts
        root = left - at_left / slope if slope else None
        if root is not None and root > left and (right is None or root < right):
            before = slope > 0
            yield root, before


def _line(function: Function, left: Fraction, right: Fraction | None) -> tuple[Fraction, Fraction]:
    """Give slope and left-hand limit of a function that is linear between two points."""
    width = right - left if right is not None else max(left, Fraction(1))
    first, second = left + width / 3, left + 2 * width / 3
    low, high = function(first), function(second)
    slope = (high - low) / (second - first)
    return slope, low - slope * (first - left)
