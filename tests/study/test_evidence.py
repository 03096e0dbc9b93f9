"""What a report says of the data, and single runs brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from backtest.study import evidence
from backtest.study.single_runs import SingleRuns
from backtest.units import DAY_MS, E8, HOUR_MS

from .small import Ran


def test_coverage_counts_bars_and_settlements(small: Ran) -> None:
    bars, funding = evidence.coverage([small.data])
    assert (bars["rows"], funding["rows"]) == (60 * 24, 60 * 3)
    assert evidence.gaps([small.data]) == []


def test_volatility_sees_nothing_after_the_entry(small: Ran) -> None:
    tape = small.data.result.tape
    found = evidence.volatility([small.data]).to_pylist()
    assert [row["volatility_pct"] is None for row in found[:2]] == [True, False]
    last = found[-1]
    stop = int(np.searchsorted(tape.time_ms, last["entry_ms"]))
    closes = tape.mark_close_e8[stop - 30 * 24 : stop] / E8
    expected = 100 * np.log(closes[1:] / closes[:-1]).std() * np.sqrt(24 * 365)
    assert last["volatility_pct"] == pytest.approx(expected, rel=1e-6)


def test_refused_actions_are_counted_by_reason(small: Ran, tmp_path: Path) -> None:
    pq.write_table(small.tables["actions"], tmp_path / "actions.parquet")
    refused = [row for row in small.tables["actions"].to_pylist() if row["status"] != "done"]
    found = evidence.refused_actions(tmp_path)
    assert sum(int(str(row["actions"])) for row in found) == len(refused) > 0
    assert {row["strategy"] for row in found} == {row["run_id"].split("/")[0] for row in refused}


def test_fills_are_set_against_the_volume_of_their_bar(small: Ran, tmp_path: Path) -> None:
    pq.write_table(small.tables["fills"], tmp_path / "fills.parquet")
    outcomes = small.tables["outcomes"]
    entries, forced, _ = evidence.large_fills([small.data], outcomes, tmp_path)
    shares = [
        row["entry_notional_e8"] / E8 / small.data.result.quote_volume[(row["entry_ms"] - row0) // HOUR_MS]
        for row0 in [int(small.data.result.tape.time_ms[0])]
        for row in outcomes.to_pylist()
        if row["exit_reason"] != "refused"
    ]
    assert entries["number"] == len(shares)
    assert entries["above 1 % of their bar"] == sum(share > 0.01 for share in shares)
    assert entries["largest, % of its bar"] == pytest.approx(100 * max(shares), abs=1e-4)
    assert forced["number"] == sum(row["liquidation_count"] for row in outcomes.to_pylist())


@pytest.fixture(scope="module")
def runs(small: Ran) -> SingleRuns:
    return SingleRuns(small.study, [small.data], small.jobs, small.tables["outcomes"])


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["run_id"] for row in rows]


def test_a_run_is_brought_back_with_story_bars_and_money(small: Ran, runs: SingleRuns) -> None:
    chosen = [small.of("hold")[:6], small.of("top-up", "next_open")[:6], small.of("exit~shuffled", "intrabar")[:6]]
    for row, money in [pair for rows in chosen for pair in zip(rows, runs.money(ids(rows)), strict=True)]:
        assert money.equity[0] == row["equity_start_e8"] / E8
        assert money.equity[-1] == row["equity_end_e8"] / E8
        assert len(money.coin) == len(money.equity) == len(money.time_ms)
        gained = (row["equity_end_e8"] - row["equity_start_e8"]) / E8
        assert sum(amount for _, amount in money.flows) == pytest.approx(gained)
        assert money.flows[0] == (row["entry_ms"], -5_000.0)
        assert runs.story(row["run_id"])[0] == f"Run {row['run_id']}"
    assert runs.bars(small.of("hold")[0]["run_id"])["time_ms"][0].as_py() == small.of("hold")[0]["entry_ms"]


def test_margin_added_later_is_a_flow_of_its_own_day(small: Ran, runs: SingleRuns) -> None:
    row = next(row for row in small.of("top-up", "next_open") if row["margin_added_e8"] > 0)
    flows = runs.money([row["run_id"]])[0].flows
    added = [amount for time, amount in flows[1:-1] if amount < 0 and time > row["entry_ms"]]
    assert -sum(added) >= row["margin_added_e8"] / E8
    assert flows[-1][0] == row["exit_ms"] <= row["entry_ms"] + 10 * DAY_MS
