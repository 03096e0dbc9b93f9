"""Is a difference more than luck: block sign-flip test, Holm's correction, stationary bootstrap.

Entries overlap, so one crash decides many pairs at once. Pairs are therefore gathered in calendar blocks, by the time
at which they were decided, and only blocks count as independent. How long blocks are, that the weakest of three
calendars counts, and how far intervals are widened was chosen on simulated studies of rules that do nothing: a rule is
then called better no more often than stated, and the intervals hold the truth as often as stated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from backtest.analysis.pairs import IntArray, Pairs

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2_000
CONFIDENCE = 0.95
# Mean length of a bootstrap run, in blocks: neighbouring blocks share the runs that cross their border.
MEAN_RUN_BLOCKS = 2.0


# A block is this many horizons long: a stretch of market shared by overlapping runs then seldom falls into two blocks.
BLOCK_HORIZONS = 3


@dataclass(frozen=True, slots=True)
class Calendar:
    """The blocks of a study: they start at `start_ms` and last `block_ms` each."""

    start_ms: int
    block_ms: int

    @classmethod
    def of(cls, start_ms: int, horizon_ms: int) -> Calendar:
        """Give the blocks of a study from its start and the horizon of its entries."""
        return cls(start_ms, BLOCK_HORIZONS * horizon_ms)

    def block(self, time_ms: IntArray) -> IntArray:
        """Give the block number of each time."""
        return (time_ms - self.start_ms) // self.block_ms

    def shifted(self) -> list[Calendar]:
        """Give calendars of the same blocks that begin a horizon apart: where a block begins is arbitrary."""
        step = self.block_ms // BLOCK_HORIZONS
        return [Calendar(self.start_ms - k * step, self.block_ms) for k in range(BLOCK_HORIZONS)]


@dataclass(frozen=True, slots=True)
class SignFlip:
    """Result of the sign-flip test over blocks."""

    discordant_pairs: int
    discordant_blocks: int
    p: float


def sign_flip(pairs: Pairs, calendar: Calendar) -> SignFlip:
    """Test whether the strategy is liquidated as often as the baseline, two-sided.

    A discordant pair has one liquidated side: +1 if it is the baseline, -1 if it is the strategy. If the strategy did
    nothing, the two sides of a block could be swapped. The exact chance, over all 2^blocks swaps, of a sum at least
    as far from 0 as the one seen is p. It comes from the distribution of the sum, built block by block: no sampling,
    no seed. Of the calendars that begin a horizon apart, the one with the largest p is given.
    """
    sign = pairs.baseline["liquidated"].astype(np.int64) - pairs.treated["liquidated"].astype(np.int64)
    discordant = sign != 0
    time = pairs.decided_ms[discordant]
    flips = [_flip(sign[discordant], one.block(time)) for one in calendar.shifted()]
    return max(flips, key=lambda flip: flip.p)


def _flip(sign: IntArray, block: IntArray) -> SignFlip:
    _, member = np.unique(block, return_inverse=True)
    sums = np.bincount(member, weights=sign).astype(np.int64)
    return SignFlip(len(sign), len(sums), sign_flip_p(sums))


def sign_flip_p(sums: IntArray) -> float:
    """Give the exact two-sided p of a total, where each block's sum may have either sign.

    >>> sign_flip_p(np.array([1, 1, 1]))
    0.25
    """
    sizes = np.abs(sums)
    total, seen = int(sizes.sum()), abs(int(sums.sum()))
    chance = np.zeros(total + 1)  # chance[x]: the blocks with a plus sign have sizes that add up to x
    chance[0] = 1.0
    for size in sizes[sizes > 0].tolist():
        moved = chance[:-size].copy()
        chance *= 0.5
        chance[size:] += 0.5 * moved
    far = np.abs(2 * np.arange(total + 1) - total) >= seen
    return min(1.0, math.fsum(chance[far].tolist()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for how many there are (Holm 1979), step down.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; both ends are null where there is nothing to resample."""

    low: float | None
    high: float | None


def block_sums(values: IntArray, block: IntArray, first: int, count: int) -> FloatArray:
    """Add up values by block, for blocks `first` up to `first + count`."""
    sums = np.bincount(block - first, weights=values.astype(np.float64), minlength=count)
    return np.asarray(sums, dtype=np.float64)


@cache
def resampled_blocks(count: int, seed: int) -> IntArray:
    """Draw block numbers for the stationary bootstrap (Politis and Romano 1994): a row is one resampled history.

    Each history is made of runs of neighbouring blocks, wrapped around; run lengths are geometric.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    start = random.integers(0, count, size=(RESAMPLES, count))
    fresh = random.random(size=(RESAMPLES, count)) < 1.0 / MEAN_RUN_BLOCKS
    fresh[:, 0] = True
    step = np.arange(count)
    origin = np.maximum.accumulate(np.where(fresh, step, 0), axis=1)
    drawn: IntArray = (np.take_along_axis(start, origin, axis=1) + step - origin) % count
    drawn.setflags(write=False)
    return drawn


def ratio_interval(numerator: FloatArray, denominator: FloatArray, drawn: IntArray) -> Interval:
    """Give the interval of sum(numerator) / sum(denominator): the estimate ± its bootstrap error times `reach`.

    Null with fewer than three blocks.
    """
    below = denominator[drawn].sum(axis=1)
    above = numerator[drawn].sum(axis=1)[below > 0]
    effective = effective_blocks(drawn.shape[1])
    if effective <= 1.0 or not len(above):
        return Interval(None, None)
    estimate = float(numerator.sum() / denominator.sum())
    half = reach(effective, 0.5 + CONFIDENCE / 2.0) * float((above / below[below > 0]).std())
    return Interval(estimate - half, estimate + half)


def effective_blocks(blocks: int) -> float:
    """Give how many independent stretches a resampled history is made of."""
    return blocks / MEAN_RUN_BLOCKS


def fewer_interval(pairs: Pairs, calendar: Calendar, seed: int) -> Interval:
    """Give the interval of how many fewer runs are liquidated than on the baseline's side, in points of the pairs."""
    fewer = pairs.baseline["liquidated"].astype(np.int64) - pairs.treated["liquidated"].astype(np.int64)
    return mean_interval(100 * fewer, np.ones_like(fewer), calendar.block(pairs.decided_ms), seed)


def mean_interval(values: IntArray, counts: IntArray, block: IntArray, seed: int) -> Interval:
    """Give the interval of sum(values) / sum(counts), resampling the blocks of the rows; null of nothing."""
    if not len(block):
        return Interval(None, None)
    first, blocks = int(block.min()), int(np.ptp(block)) + 1
    above, below = (block_sums(rows, block, first, blocks) for rows in (values, counts))
    return ratio_interval(above, below, resampled_blocks(blocks, seed))


def reach(effective: float, level: float) -> float:
    """Give how many bootstrap errors an interval reaches when it is made from so many stretches: t sqrt(n / (n - 1)).

    A bootstrap error is short by the root, and the t quantile makes up for its own uncertainty.
    """
    from scipy.special import stdtrit

    return float(stdtrit(effective - 1, level)) * math.sqrt(effective / (effective - 1))
