"""Replays under other assumptions: what each changes, that nothing else does, and that the cost is bounded."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from backtest.engine.batch import replay_batch
from backtest.schema import OUTCOMES
from backtest.study import sensitivity as sensitivity_module
from backtest.study.naming import HOLD
from backtest.study.runner import terms
from backtest.study.sensitivity import adverse_last, neighbour_tiers, sensitivity

from .small import Ran

FIGURES = ["run_id", "exit_ms", "exit_reason", "liquidation_ms", "equity_end_e8", "notional_hours_e2"]
OWN = ("hold", "deleverage", "top-up", "exit")


def of(table: pa.Table, *strategies: str) -> pa.Table:
    chosen = table.filter(pc.is_in(table["strategy"], pa.array(strategies)))
    return chosen.select(FIGURES).sort_by("run_id")


def plain(tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Turn coded texts back."""
    return {name: table.cast(OUTCOMES.arrow()) for name, table in tables.items()}


@pytest.fixture(scope="module")
def others(small: Ran) -> dict[str, pa.Table]:
    return plain(sensitivity(small.study, [small.data], small.jobs))


def test_each_assumption_has_every_run_of_hold_and_of_the_strategies(small: Ran, others: dict[str, pa.Table]) -> None:
    assert list(others) == [
        "adverse extreme last",
        "previous tier table",
        "next tier table",
        "freed margin kept",
    ]
    stated = of(small.tables["outcomes"], *OWN)["run_id"].to_pylist()
    for table in others.values():
        assert of(table, *OWN)["run_id"].to_pylist() == stated


def test_the_order_of_extremes_moves_no_liquidation_of_a_single_position(
    small: Ran, others: dict[str, pa.Table]
) -> None:
    # All conditions of one position turn on the adverse way alone, so the other way changes nothing.
    assert of(others["adverse extreme last"], *OWN).equals(of(small.tables["outcomes"], *OWN))


def test_with_the_extremes_exchanged_a_long_meets_the_high_first(small: Ran) -> None:
    market = adverse_last(small.data).market
    assert (market.bars["mark_low_e8"] == small.data.market.bars["mark_high_e8"]).all()
    assert market.blocks is small.data.market.blocks
    # Where the high is cut down to the open, the first leg is empty and the second reaches the true low: the same end.
    job = small.job("hold")
    flat = small.data.market.bars.copy()
    flat["mark_high_e8"] = np.maximum(flat["mark_open_e8"], small.data.result.tape.mark_close_e8)
    longs = small.entries(job)[small.entries(job)["side"] == 1]
    ends = []
    for one, skip in ((small.data.market._replace(bars=flat), True), (market, False)):
        plan = terms(small.study).plan(job.rules, next_open=False, skip=skip)
        ends.append(replay_batch(one, plan, job.rules, longs).outcomes)
    assert ends[0]["liquidation_ms"].tolist() == ends[1]["liquidation_ms"].tolist()
    assert (ends[0]["liquidated"] == 1).any()


def test_a_margin_that_stays_in_the_position_changes_only_strategies_that_reduce(
    small: Ran, others: dict[str, pa.Table]
) -> None:
    kept, stated = others["freed margin kept"], small.tables["outcomes"]
    assert of(kept, "hold", "top-up").equals(of(stated, "hold", "top-up"))


def test_a_neighbouring_table_is_in_force_where_each_was(small: Ran) -> None:
    market = small.data.market
    tables = market.segments["table"][:-1]
    assert len(market.tiers) > 1
    after = neighbour_tiers(small.data, 1).market.segments["table"][:-1]
    assert (after == np.minimum(tables + 1, len(market.tiers) - 1)).all()
    before = neighbour_tiers(neighbour_tiers(small.data, -1), -1).market.segments["table"][:-1]
    assert (before == np.maximum(tables - 2, 0)).all()
    assert (market.segments["table"][:-1] == tables).all()


def test_a_large_study_is_replayed_on_some_of_its_entries_beside_the_same_as_stated(
    small: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity_module, "RUNS_MAX", 48 * 7 // 3)
    monkeypatch.setattr(sensitivity_module, "BARS_MAX", 10**12)
    others = plain(sensitivity(small.study, [small.data], small.jobs))
    assert list(others)[:2] == ["as stated, 1 in 3 entries", "adverse extreme last, 1 in 3 entries"]
    times = sorted({row["entry_ms"] for row in small.of(HOLD)})
    stated = others["as stated, 1 in 3 entries"]
    assert sorted(set(stated["entry_ms"].to_pylist())) == times[::3]
    runs = stated["run_id"].to_pylist()
    whole = small.tables["outcomes"]
    assert of(stated, *OWN).equals(of(whole.filter(pc.is_in(whole["run_id"], pa.array(runs))), *OWN))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(small: Ran, others: dict[str, pa.Table], workers: int) -> None:
    again = plain(sensitivity(small.study, [small.data], small.jobs, workers))
    assert list(again) == list(others)
    assert all(again[name].equals(others[name]) for name in others)
