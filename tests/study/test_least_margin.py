"""The least margin with which a run lives, sought by replaying it."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.study.least_margin import least_margin_e8, lives
from backtest.study.rerun import rerun

from .small import Ran


def test_for_hold_the_search_finds_what_one_replay_tells(small: Ran) -> None:
    lost = [row for row in small.of("hold") if row["liquidated"]]
    for row in lost:
        assert least_margin_e8(small.study, small.data, small.jobs, row) == row["margin_to_survive_e8"]


@pytest.mark.parametrize("strategy", ["deleverage", "top-up", "smaller-50", "deleverage~shuffled"])
def test_with_it_a_runlives_and_with_one_unit_less_it_does_not(small: Ran, strategy: str) -> None:
    row = next(row for row in small.of(strategy) if row["liquidated"])
    least = least_margin_e8(small.study, small.data, small.jobs, row)
    assert least is not None
    label = row["run_id"].split("/", 1)[1].rsplit("/", 1)[0]
    place = [small.data.entries.labels.index(label)]
    job = small.job(strategy, row["reaction"])
    runs = rerun(small.study, small.data, small.jobs, job, place, [row["seed_run_id"]])
    assert lives(small.data, runs, np.array([0, least - 1, least])).tolist() == [False, False, True]
