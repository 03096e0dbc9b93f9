"""Runs brought back, told, and compared with the decimal oracle; a study's files compared with a second run's."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backtest.engine import oracle
from backtest.errors import IntegrityError, StudyError
from backtest.study.canonical import resolved
from backtest.study.naming import HOLD
from backtest.study.outcomes import ledger_tables
from backtest.study.reproduce import PARTS, table_difference
from backtest.study.rerun import find_job, rerun
from backtest.study.results import open_results, stored_study
from backtest.study.rule_files import load_rules
from backtest.study.story import Ledger, hold_id, replayed_ledger, tell
from backtest.study.verify import (
    _market_of_run,
    compare_run,
    kernel_result,
    oracle_market,
    oracle_plan,
    oracle_rules,
    verify_runs,
)

from .small import Ran, small_study


def sampled(small: Ran, step: int) -> pa.Table:
    outcomes = small.tables["outcomes"]
    return outcomes.take(pa.array(range(0, len(outcomes), step)))


def a_run(small: Ran, **wanted: object) -> dict[str, Any]:
    """Give the first stored run with these columns."""
    return next(row for row in small.rows if all(row[name] == value for name, value in wanted.items()))


# --- kernel and oracle ---------------------------------------------------------------------------------------------


def test_stored_runs_of_every_job_agree_with_the_oracle(small: Ran) -> None:
    stored = sampled(small, 23)
    assert set(stored["strategy"].to_pylist()) == {job.strategy for job in small.jobs}
    assert sum(stored["liquidated"].to_pylist()) > 3
    seen: list[tuple[int, int]] = []
    found = verify_runs(
        small.study, small.data, small.jobs, load_rules(), stored, lambda done, of: seen.append((done, of))
    )
    assert found == {}
    assert seen[-1] == (len(stored), len(stored))


@pytest.mark.parametrize("column", ["equity_end_e8", "fees_e8", "min_buffer_ppm", "margin_to_survive_e8"])
def test_one_unit_more_in_a_stored_outcome_is_seen(small: Ran, column: str) -> None:
    row = a_run(small, strategy=HOLD, liquidated=True)
    wrong = pa.Table.from_pylist([{**row, column: row[column] + 1}], schema=small.tables["outcomes"].schema)
    found = verify_runs(small.study, small.data, small.jobs, load_rules(), wrong)
    assert [line.split(":")[0] for line in found[row["run_id"]]] == [column]


def test_one_unit_more_in_any_row_of_the_kernel_is_seen(small: Ran) -> None:
    row = next(row for row in small.of("deleverage", "intrabar") if row["actions"])
    job = small.job("deleverage", "intrabar")
    place = small.data.entries.labels.index(row["run_id"].split("/", 1)[1].rsplit("/", 1)[0])
    runs = rerun(small.study, small.data, small.jobs, job, [place])
    market = _market_of_run(small.data, place)
    expected = oracle.replay(market, oracle_plan(small.study, runs, 0, load_rules()))
    assert compare_run(expected, kernel_result(runs.batch, 0)) == []
    for table, column in (("transfers", "amount_e8"), ("fills", "cost_e8"), ("actions", "mark_e8")):
        wrong = copy.deepcopy(runs.batch)
        getattr(wrong, table)[column][-1] += 1
        (line,) = compare_run(expected, kernel_result(wrong, 0))
        assert line.startswith(f"{table} row ")
    shorter = kernel_result(runs.batch, 0)
    del shorter.transfers[-1]
    (line,) = compare_run(expected, shorter)
    assert (
        line
        == f"transfers has {len(expected.transfers)} rows in the oracle, {len(expected.transfers) - 1} in the kernel"
    )


def test_a_slice_of_the_tape_says_what_is_in_force(small: Ran) -> None:
    tape = small.data.result.tape
    funded = int(tape.segment_start[3])
    market = oracle_market(tape, funded - 2, funded + 2)
    assert [bar.time_ms for bar in market.bars] == tape.time_ms[funded - 2 : funded + 3].tolist()
    assert market.funding[int(tape.time_ms[funded])].scaleb(8) == int(tape.segment_funding_e8[3])
    # What held before the slice is told from the start of its segment.
    assert market.tiers[0][0] <= market.bars[0].time_ms < market.tiers[1][0]
    assert market.tiers[0][1][-1].cap is not None or tape.tier_cap_e8[0, -1] == np.iinfo(np.int64).max
    assert len(oracle_market(tape, len(tape.time_ms) - 1, len(tape.time_ms) + 50).bars) == 1


def test_rules_reach_the_oracle_with_their_values(small: Ran) -> None:
    (use,) = oracle_rules(small.job("deleverage", "intrabar"), load_rules())
    assert (use.name, use.params.step, use.params.put_back) == ("deleverage", 0.25, True)
    assert [(wake.kind, str(wake.value)) for wake in use.wakes] == [("buffer_below", "0.50000000")]
    assert oracle_rules(small.job(HOLD), load_rules()) == ()


# --- runs brought back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["hold", "post-all", "top-up", "deleverage~shuffled"])
def test_a_run_brought_back_leaves_the_same_rows(small: Ran, strategy: str) -> None:
    row = a_run(small, strategy=strategy, liquidated=True)
    again = replayed_ledger(small.study, small.data, small.jobs, row)
    for name, table in again.items():
        kept = small.tables[name].filter(pa.compute.equal(small.tables[name]["run_id"], row["run_id"]))
        assert table.to_pylist() == kept.to_pylist(), name
    assert len(again["transfers"]) > 3


def test_an_unknown_strategy_or_reaction_is_named(small: Ran) -> None:
    with pytest.raises(StudyError, match='did you mean "deleverage"'):
        find_job(small.jobs, "deleverge", "intrabar")
    with pytest.raises(StudyError, match='it has "both"'):
        find_job(small.jobs, HOLD, "intrabar")


# --- stories -------------------------------------------------------------------------------------------------------


def stories(small: Ran, step: int):
    outcomes = {row["run_id"]: row for row in small.rows}
    for row in small.rows[::step]:
        ledger = Ledger.of(replayed_ledger(small.study, small.data, small.jobs, row))
        yield row, ledger, tell(small.study, small.data, row, ledger, outcomes[hold_id(row["run_id"])])


def test_a_story_tells_every_row_once_and_its_sums_are_the_outcome(small: Ran) -> None:
    causes = set()
    for row, ledger, story in stories(small, 19):
        told = sum(len(event.transfers) + event.settlements for event in story.events)
        assert told == len(ledger.transfers)
        assert sum(len(event.fills) for event in story.events) == len(ledger.fills)
        assert sum(len(event.asked) for event in story.events) == len(ledger.actions)
        assert sum(event.funding_before_e8 for event in story.events) == row["funding_e8"]
        assert story.events[-1].held.qty_e8 == story.events[-1].held.cost_e8 == story.events[-1].held.wallet_e8 == 0
        causes |= {event.what for event in story.events}
    assert causes >= {"entry", "rule", "liquidation", "exit"}


def test_what_a_story_prints_is_what_decided(small: Ran) -> None:
    """The predicate holds at the mark told and not one unit before it, with the state told."""
    seen = 0
    for row, _, story in stories(small, 13):
        found = story.liquidation
        if not row["liquidated"]:
            assert found is None
            continue
        seen += 1
        assert found is not None
        assert found.equity_e8 <= found.maintenance_margin_e8
        side = 1 if row["side"] == "long" else -1
        exact = found.qty_e8 * found.mark_e8
        value = exact // 10**8 if side > 0 else -(-exact // 10**8)
        assert found.equity_e8 == found.wallet_e8 + side * (value - found.cost_e8)
        assert found.maintenance_margin_e8 == -(-exact * found.tier_rate_e8 // 10**16) - found.tier_deduction_e8
        assert found.tier_floor_e8 * 10**8 < exact
        assert found.mark_low_e8 <= found.mark_e8 <= found.mark_high_e8
        # the event before told where it would be liquidated: there, unless funding came between
        before = [event for event in story.events if event.what in ("entry", "rule", "arrival")][-1]
        after = next(event for event in story.events if event.what == "liquidation")
        if not after.settlements and found.mark_e8 != found.mark_open_e8:
            assert before.liquidation_price_e8 == found.mark_e8
    assert seen > 10


# --- results in a folder -------------------------------------------------------------------------------------------


def test_a_study_reads_back_from_its_canonical_form() -> None:
    swept = [{"name": "cut", "rules": [{"use": "deleverage", "trigger": [0.25, 0.5], "step": [0.25, 0.5]}]}]
    study = small_study(strategies=swept)
    form = json.loads(json.dumps(resolved(study)))
    assert [strategy["name"] for strategy in form["strategy"]][:2] == ["cut-0.25-0.25", "cut-0.25-0.5"]
    assert stored_study(form, "manifest") == study
    with pytest.raises(IntegrityError, match="reads otherwise"):
        stored_study({**form, "study": {**form["study"], "capital": "010000"}}, "manifest")


@pytest.mark.parametrize(
    ("text", "what"),
    [(None, "cannot be read"), ("{", "is not JSON"), ("{}", "is not a manifest of format 2"), ("[]", "format 2")],
)
def test_a_folder_without_a_manifest_is_refused(tmp_path: Path, text: str | None, what: str) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IntegrityError, match=what):
        open_results(tmp_path)


def test_the_difference_of_two_tables_is_told_by_run_and_column(small: Ran) -> None:
    before = small.tables["outcomes"]
    rows = before.to_pylist()
    rows[5]["fees_e8"] += 1
    rows[9]["cause"] = "fee"
    now = pa.Table.from_pylist(rows, schema=before.schema)
    told = table_difference(before, now)
    assert told.startswith(f"2 of {len(rows):,} rows differ, the first in {rows[5]['run_id']}: fees_e8 was ")
    assert table_difference(before, before) == "the same values in other bytes"
    assert table_difference(before, before.slice(1)) == f"{len(rows):,} rows before, {len(rows) - 1:,} now"
    assert table_difference(before, before.drop_columns(["cause"])) == "other columns"


def test_every_part_that_decides_has_words(small: Ran) -> None:
    from backtest.study.archive import decisions

    assert set(PARTS) == set(decisions(small.study, [small.data], small.jobs))


def test_rows_of_a_job_are_named_as_in_the_study(small: Ran) -> None:
    job = small.job("exit", "next_open")
    runs = rerun(small.study, small.data, small.jobs, job, [3])
    tables = ledger_tables(job, runs.entries, runs.batch, np.ones(1, bool))
    assert set(tables["transfers"]["run_id"].to_pylist()) == {f"exit/{small.data.entries.labels[3]}/next_open"}
