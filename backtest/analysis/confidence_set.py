"""Which strategies cannot be told apart from the best: the model confidence set.

Hansen, Lunde and Nason (2011), "The model confidence set", Econometrica 79, section 3.1.2, with the statistic T_max.
Entries overlap, so the losses of whole calendar blocks are resampled, by the same stationary bootstrap as the
intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backtest.analysis.effects import effects
from backtest.analysis.inference import Calendar, FloatArray, block_sums, effective_blocks, reach, resampled_blocks
from backtest.analysis.pairs import IntArray, Pairs

TAIL = 0.99  # about where the largest of several distances lies: how far it is widened when blocks are few
DIGITS = 12  # of a loss rate: what is below is float noise


def confidence_set(groups: Sequence[Pairs], calendar: Calendar, seed: int) -> dict[str, float]:
    """Give each strategy's p: at a level above it the strategy is left out of the set that holds the best.

    The loss of a run is 1 where the position was lost: liquidated, or left by the time the baseline was liquidated. All
    groups are of one reaction and have the same entries in the same order.
    """
    held = groups[0].baseline
    if not len(held["exit_ms"]):
        return {pairs.strategy: 1.0 for pairs in groups}
    block = calendar.block(np.minimum(held["liquidation_ms"], held["exit_ms"]))
    first, blocks = int(block.min()), int(np.ptp(block)) + 1
    lost = [(pairs.treated["liquidated"] | effects(pairs).exited).astype(np.int64) for pairs in groups]
    losses = np.stack([block_sums(one, block, first, blocks) for one in lost])
    runs = block_sums(np.ones_like(block), block, first, blocks)
    found = elimination_p(losses, runs, resampled_blocks(blocks, seed))
    return {pairs.strategy: p for pairs, p in zip(groups, found, strict=True)}


def elimination_p(losses: FloatArray, runs: FloatArray, drawn: IntArray) -> list[float]:
    """Give the p of each row of `losses` (models by blocks); `runs` counts the runs of a block.

    The worst model is tested first: is its loss further above the mean of those left, in its standard errors, than the
    largest such distance in resampled histories? It goes, and the test is made again; a model's p is the largest so
    far. The last one left has p = 1. One stretch of history tells nothing: all have 1.
    """
    from scipy.special import ndtri

    weight = np.stack([np.bincount(row, minlength=len(runs)) for row in drawn]).astype(np.float64)
    seen = weight @ runs > 0
    mean = losses.sum(axis=1) / runs.sum()
    moved = (weight[seen] @ losses.T) / (weight[seen] @ runs)[:, None] - mean
    left = list(range(len(losses)))
    found = [1.0] * len(losses)
    effective = effective_blocks(len(runs))
    if effective <= 1.0:
        return found
    wider = reach(effective, TAIL) / float(ndtri(TAIL))
    largest = 0.0
    while len(left) > 1:
        distance = np.round(mean[left] - mean[left].mean(), DIGITS)
        noise = np.round(moved[:, left] - moved[:, left].mean(axis=1, keepdims=True), DIGITS)
        # A distance that is the same in every history has no noise: alike (0), or apart for certain.
        scale = np.maximum(np.sqrt((noise**2).mean(axis=0)), 0.1**DIGITS)
        statistic = distance / scale
        farthest = wider * (noise / scale).max(axis=1)
        largest = max(largest, float((farthest >= statistic.max()).mean()))
        worst = left[int(np.argmax(statistic))]
        found[worst] = largest
        left.remove(worst)
    return found
