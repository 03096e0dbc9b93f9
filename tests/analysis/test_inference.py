"""Tests of significance against enumeration, other programs, and simulated studies in which nothing works."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.analysis.inference import (
    MEAN_RUN_BLOCKS,
    RESAMPLES,
    Calendar,
    Interval,
    block_sums,
    holm,
    ratio_interval,
    reach,
    resampled_blocks,
    sign_flip,
    sign_flip_p,
)
from backtest.analysis.pairs import pair_up
from tests.analysis import null_study
from tests.analysis.fake import DAY_MS, E8, START_MS, run, table


@given(st.lists(st.integers(-9, 9).filter(bool), max_size=9))
@settings(deadline=None, max_examples=60)
def test_p_is_the_share_of_all_sign_flips_at_least_as_far_out(sums: list[int]) -> None:
    flips = [
        sum(s * x for s, x in zip(signs, sums, strict=True)) for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    expected = sum(abs(total) >= abs(sum(sums)) for total in flips) / len(flips)
    assert sign_flip_p(np.array(sums, dtype=np.int64)) == pytest.approx(expected, abs=1e-12)


def test_pairs_of_one_block_flip_together() -> None:
    # Ten avoided in one block are worth one toss: p = 1. Six in six blocks: 2 / 2^6.
    def study(days: list[float]) -> float:
        rows = [run("hold", d, liquidation_ms=START_MS + int(d * DAY_MS) + 1) for d in days]
        rows += [run("a", d, qty_at_baseline_liquidation_e8=E8) for d in days]
        return sign_flip(pair_up(table(rows))[2], Calendar(START_MS, 30 * DAY_MS)).p

    assert study([float(d) for d in range(10)]) == 1.0
    assert study([31.0 * d for d in range(6)]) == 2 / 64


def test_concordant_pairs_say_nothing() -> None:
    rows = [run(s, d, liquidation_ms=START_MS + d * DAY_MS + 5) for s in ("hold", "a") for d in range(4)]
    result = sign_flip(pair_up(table(rows))[2], Calendar(START_MS, 30 * DAY_MS))
    assert (result.discordant_pairs, result.discordant_blocks, result.p) == (0, 0, 1.0)


def test_many_blocks_do_not_underflow() -> None:
    assert 0.9 < sign_flip_p(np.tile([1, -1], 1_000)) <= 1.0
    assert sign_flip_p(np.ones(2_000, dtype=np.int64)) < 1e-300


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=40)
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_resampled_blocks_are_runs_of_neighbours_of_the_stated_mean_length() -> None:
    drawn = resampled_blocks(50, seed=1)
    assert drawn.shape == (RESAMPLES, 50)
    assert drawn.min() == 0
    assert drawn.max() == 49
    follows = (drawn[:, 1:] - drawn[:, :-1]) % 50 == 1
    goes_on = 1 - 1 / MEAN_RUN_BLOCKS
    assert follows.mean() == pytest.approx(goes_on + (1 - goes_on) / 50, abs=0.01)
    assert (drawn == resampled_blocks(50, seed=1)).all()
    assert (drawn != resampled_blocks(50, seed=2)).any()


def test_the_interval_of_a_constant_ratio_is_that_ratio() -> None:
    count = np.array([3.0, 1.0, 8.0, 2.0])
    interval = ratio_interval(0.25 * count, count, resampled_blocks(4, seed=1))
    assert (interval.low, interval.high) == (0.25, 0.25)


def test_the_interval_of_independent_blocks_is_near_the_normal_one() -> None:
    values = np.random.default_rng(5).normal(2.0, 1.0, 200)
    interval = ratio_interval(values, np.ones(200), resampled_blocks(200, seed=1))
    half = 1.96 * values.std() / np.sqrt(200)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.05)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.05)


def test_few_blocks_widen_the_interval() -> None:
    assert reach(10_000, 0.975) == pytest.approx(1.96, abs=1e-3)
    # t(4) at 97.5 % is 2.776; times sqrt(5 / 4)
    assert reach(5, 0.975) == pytest.approx(3.104, abs=1e-3)


@pytest.mark.parametrize("blocks", [1, 2])
def test_one_stretch_has_no_interval(blocks: int) -> None:
    one = np.ones(blocks)
    assert ratio_interval(one, one, resampled_blocks(blocks, seed=1)) == Interval(None, None)


def test_the_calendar_with_the_weakest_evidence_counts() -> None:
    # Avoided on days 0, 29 and 61 (of blocks of 30, 60 and 90): a calendar shifted by a third joins the first two.
    rows = [run("hold", d, liquidation_ms=START_MS + int(d * DAY_MS) + 1) for d in (0, 29, 61)]
    rows += [run("a", d, qty_at_baseline_liquidation_e8=E8) for d in (0, 29, 61)]
    pairs = pair_up(table(rows))[2]
    apart = Calendar(START_MS - 5 * DAY_MS, 30 * DAY_MS)
    assert [len(set(one.block(pairs.decided_ms).tolist())) for one in apart.shifted()] == [3, 3, 3]
    joined = Calendar(START_MS, 30 * DAY_MS)
    assert sorted(len(set(one.block(pairs.decided_ms).tolist())) for one in joined.shifted()) == [2, 3, 3]
    assert sign_flip(pairs, joined).discordant_blocks == 2
    assert (sign_flip(pairs, apart).p, sign_flip(pairs, joined).p) == (0.25, 0.5)


def test_block_sums_count_empty_blocks() -> None:
    assert block_sums(np.array([5, 7, 1]), np.array([4, 4, 6]), 4, 4).tolist() == [12.0, 0.0, 1.0, 0.0]


def test_rules_that_do_nothing_are_not_called_better_too_often() -> None:
    """Small version: 60 studies; McNemar's test would call about one rule in three better."""
    rates = null_study.rates(60, seed=11)
    assert rates.better.interval[0] <= 0.025
    assert rates.any_better.interval[0] <= 0.025
    assert rates.mcnemar.interval[0] > 0.10
    assert rates.kept.share > 0.9


@pytest.mark.slow
def test_rules_that_do_nothing_over_2000_studies(capsys: pytest.CaptureFixture[str]) -> None:
    rates = null_study.rates(2_000, seed=1)
    with capsys.disabled():
        print("\n" + rates.text())
    assert rates.better.interval[0] <= 0.025  # half of a two-sided 5 %
    assert rates.any_better.interval[0] <= 0.025
    assert rates.covered.interval[1] >= 0.95
    assert rates.kept.interval[1] >= 0.95
    assert rates.all_kept.interval[1] >= 0.95
    page = (Path(__file__).parents[2] / "docs/report.md").read_text(encoding="utf-8")
    for rate in (rates.better, rates.any_better, rates.mcnemar, rates.covered, rates.all_kept):
        low, high = rate.interval
        assert f"| {100 * rate.share:.1f} % | {100 * low:.1f} to {100 * high:.1f} % |" in page
