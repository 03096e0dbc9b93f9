"""Is a difference more than luck: block sign-flip test, Holm's correction, stationary bootstrap.

Entries overlap, so one crash decides many pairs at once. Pairs are therefore gathered in calendar blocks, by the time
at which they were decided, and only blocks count as independent. In simulated studies with a rule that does nothing,
blocks of three horizons gave the stated error and coverage; blocks of one horizon called it better twice too often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backtest.analysis.pairs import IntArray, Pairs

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2_000
CONFIDENCE = 0.95
# Mean length of a bootstrap run, in blocks: neighbouring blocks share the runs that cross their border.
MEAN_RUN_BLOCKS = 1.5


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
    no seed.
    """
    sign = pairs.baseline["liquidated"].astype(np.int64) - pairs.treated["liquidated"].astype(np.int64)
    discordant = sign != 0
    block = calendar.block(pairs.decided_ms[discordant])
    _, member = np.unique(block, return_inverse=True)
    sums = np.bincount(member, weights=sign[discordant]).astype(np.int64)
    return SignFlip(int(discordant.sum()), len(sums), sign_flip_p(sums))


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
    return (np.take_along_axis(start, origin, axis=1) + step - origin) % count


def ratio_interval(numerator: FloatArray, denominator: FloatArray, drawn: IntArray) -> Interval:
    """Give the percentile interval of sum(numerator) / sum(denominator) over resampled blocks.

    A plain percentile interval is too narrow when blocks are few; it is expanded as Hesterberg (2015, The American
    Statistician 69, section 5.1) does, by the t quantile. Null with fewer than two blocks.
    """
    below = denominator[drawn].sum(axis=1)
    above = numerator[drawn].sum(axis=1)[below > 0]
    if drawn.shape[1] < 2 or not len(above):
        return Interval(None, None)
    tail = 100.0 * expanded_tail(drawn.shape[1])
    low, high = np.percentile(above / below[below > 0], [tail, 100.0 - tail])
    return Interval(float(low), float(high))


def expanded_tail(blocks: int) -> float:
    """Give the share to cut from each end of the resampled values: normal(-t sqrt(n / (n - 1)))."""
    from scipy.special import ndtr, stdtrit

    t = stdtrit(blocks - 1, 0.5 + CONFIDENCE / 2.0)
    return float(ndtr(-t * math.sqrt(blocks / (blocks - 1))))
