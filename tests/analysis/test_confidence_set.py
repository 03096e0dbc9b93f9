"""The model confidence set: by hand, against its own definition, and in a published simulation."""

from __future__ import annotations

import numpy as np

from backtest.analysis.confidence_set import confidence_set, elimination_p
from backtest.analysis.inference import Calendar, resampled_blocks
from backtest.analysis.pairs import pair_up
from tests.analysis.fake import DAY_MS, E8, START_MS, run, table


def test_a_strategy_that_always_loses_is_left_out_and_the_best_stays() -> None:
    losses = np.array([[5.0] * 12, [0.0] * 12])
    assert elimination_p(losses, np.full(12, 5.0), resampled_blocks(12, seed=1)) == [0.0, 1.0]


def test_strategies_that_lose_alike_all_stay() -> None:
    row = np.arange(12.0)
    assert elimination_p(np.stack([row] * 3), np.full(12, 20.0), resampled_blocks(12, seed=1)) == [1.0] * 3


def test_one_stretch_of_history_tells_nothing() -> None:
    assert elimination_p(np.array([[9.0], [0.0]]), np.full(1, 9.0), resampled_blocks(1, seed=1)) == [1.0, 1.0]


def test_p_never_falls_as_worse_strategies_go() -> None:
    random = np.random.default_rng(4)
    losses = random.poisson(np.array([8, 9, 10, 14, 20])[:, None], (5, 30)).astype(float)
    found = elimination_p(losses, np.full(30, 40.0), resampled_blocks(30, seed=1))
    order = np.argsort(-losses.sum(axis=1))
    assert [found[i] for i in order] == sorted(found)
    assert found[order[0]] < 0.01
    assert found[order[-1]] == 1.0


def test_the_set_holds_the_best_of_many_as_often_as_stated_and_throws_out_the_far() -> None:
    """The design of Hansen, Lunde and Nason (2011), section 5.1: independent normal losses, means 0 or lambda / sqrt n.

    The set at 95 % must hold the one best model in at least 95 % of samples; of models that are worse by 10 standard
    errors it keeps none.
    """
    random = np.random.default_rng(6)
    blocks, samples = 100, 200
    drawn, runs = resampled_blocks(blocks, seed=1), np.full(blocks, 1.0)
    best = far = near = 0
    for _ in range(samples):
        mean = np.array([0.0, 1.0, 1.0, 10.0, 10.0]) / np.sqrt(blocks)
        found = elimination_p(random.normal(mean[:, None], 1.0, (5, blocks)), runs, drawn)
        best += found[0] > 0.05
        near += min(found[1:3]) > 0.05
        far += max(found[3:]) > 0.05
    assert best >= 0.95 * samples
    assert near > samples / 2
    assert far == 0


def test_leaving_counts_as_losing_the_position() -> None:
    days = [90.0 * k for k in range(16)]
    rows = [run("hold", d, liquidation_ms=START_MS + int(d * DAY_MS) + 1) for d in days]
    rows += [run("a", d, qty_at_baseline_liquidation_e8=E8) for d in days]
    rows += [run("left", d, qty_at_baseline_liquidation_e8=0) for d in days]
    groups = [pairs for pairs in pair_up(table(rows)) if pairs.reaction == "intrabar"]
    assert confidence_set(groups, Calendar(START_MS, 90 * DAY_MS), seed=1) == {"hold": 0.0, "a": 1.0, "left": 0.0}
