"""Outcomes: what is null, how codes become names, and the baseline's paired hours of partly liquidated runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.data.store import Lake
from backtest.study.naming import HOLD
from backtest.study.outcomes import baseline_paired, names
from backtest.units import HOUR_MS

from .small import Ran, ran, small_study


def test_a_negative_code_is_null() -> None:
    assert names(np.array([1, -1, 0], np.int8), ("price", "funding")).to_pylist() == ["funding", None, "price"]


def test_what_belongs_to_a_liquidation_is_there_exactly_when_there_is_one(small: Ran) -> None:
    for row in small.rows:
        for column in ("certainty", "cause", "liquidation_ms", "liquidation_price_e8"):
            assert (row[column] is not None) == row["liquidated"], column
        assert (row["liquidation_count"] > 0) == (row["liquidated_share"] > 0) == row["liquidated"]
        if row["exit_reason"] == "liquidated":
            assert row["liquidated"]
            assert row["liquidated_share"] == 1.0 or row["actions"] > 0, "what a rule closed, the venue could not"
        assert row["certainty"] in (None, "certain"), "one symbol and one leg: nothing is only possible"


def test_what_the_baseline_lost_is_known_of_every_run_then_open(small: Ran) -> None:
    for job in small.jobs:
        for row, hold in zip(small.of(job.strategy, job.reaction), small.of(HOLD), strict=True):
            qty = row["qty_at_baseline_liquidation_e8"]
            if qty is not None:
                assert hold["liquidated"]
                assert 0 <= qty <= row["entry_qty_e8"]
            if job.strategy == "post-all" and hold["liquidated"] and row["exit_reason"] != "liquidated":
                assert qty == row["entry_qty_e8"]


def test_equity_end_is_what_the_costs_leave(small: Ran) -> None:
    """For a run nobody touched: profit of the fills, less fees and funding, and what the venue took."""
    for row in small.of(HOLD) + small.of("post-all"):
        if not row["liquidated"]:
            assert row["turnover_e8"] > row["entry_notional_e8"]
            assert row["clearance_fee_e8"] == row["premium_e8"] == row["margin_added_e8"] == 0
            exit_value = row["turnover_e8"] - row["entry_notional_e8"]
            profit = (exit_value - row["entry_notional_e8"]) * (1 if row["side"] == "long" else -1)
            expected = row["equity_start_e8"] + profit - row["fees_e8"] - row["funding_e8"]
            assert row["equity_end_e8"] == expected


@pytest.fixture(scope="module")
def large(lake: Lake) -> Ran:
    """Give a study of positions so large that the venue takes them down step by step."""
    return ran(small_study(study={"capital": "20_000_000"}, entries={"every": "24h"}), lake)


def test_large_positions_are_liquidated_in_part(large: Ran) -> None:
    partial = [row for row in large.of(HOLD) if row["partial"]]
    assert len(partial) >= 5
    assert any(0 < row["liquidated_share"] < 1 for row in partial)


@given(cut=st.integers(0, 240))
def test_paired_hours_of_a_partly_liquidated_baseline_are_those_of_a_run_that_stopped_there(
    cut: int, large: Ran
) -> None:
    job = large.job(HOLD)
    entries = large.entries(job)
    hold = large.replay(job, entries)
    taken = hold.outcomes["exit_ms"] >= 0
    stop_bar = np.minimum(entries["entry_bar"] + 1 + cut, entries["exit_bar"])
    exit_ms = np.where(taken, entries["entry_ms"] + HOUR_MS * (stop_bar - entries["entry_bar"]), -1)
    found = baseline_paired(large.data.result.tape, hold, exit_ms, large.data.entries)
    shorter = entries.copy()
    shorter["exit_bar"] = stop_bar
    stopped = large.replay(job, shorter).outcomes
    ends_first = taken & (exit_ms < hold.outcomes["exit_ms"])
    assert found[ends_first].tolist() == stopped["notional_hours_e2"][ends_first].tolist()
    whole = hold.outcomes["notional_hours_paired_e2"]
    assert found[~ends_first].tolist() == whole[~ends_first].tolist()
