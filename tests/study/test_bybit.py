"""The Bybit study on real data: the replay keeps Bybit's rules, and the decimal oracle writes the same ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from backtest.data.imports import ImportOptions, import_path
from backtest.data.store import Lake
from backtest.engine import oracle
from backtest.errors import StudyError
from backtest.report.model import summarise
from backtest.report.terminal import summary_text
from backtest.study.assumptions import assumptions
from backtest.study.canonical import resolved
from backtest.study.config import Study, load_study
from backtest.study.rule_files import load_rules
from backtest.study.runner import load_symbol, terms
from backtest.study.verify import verify_runs
from backtest.units import E8, time_ms
from tests.analysis import fake

from .small import Ran, ran

STUDY = Path(__file__).parents[2] / "reports" / "bybit-buffers" / "study.toml"
SAMPLE = 2  # runs of each strategy, reaction and end


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(STUDY)


def test_terms_are_those_of_the_venue(study: Study) -> None:
    """Takeover at the bankruptcy price, no clearance fee, the closing fee in both margins."""
    found = terms(study)
    assert (found.takeover, found.fee_reserve, found.clearance_e8) == (True, True, 0)


def test_a_start_before_margin_at_mark_is_refused(study: Study, tmp_path: Path) -> None:
    early = replace(study, market=replace(study.market, start_ms=time_ms("2025-08-01")))
    with pytest.raises(StudyError, match="2025-09-02"):
        ran(early, Lake(tmp_path))


def test_the_report_says_that_the_tiers_are_current(study: Study) -> None:
    outcomes = pa.table({"tier_fidelity": ["current"] * 3})
    said = dict(assumptions(study, outcomes))
    assert said["Tiers"].startswith("current; runs by fidelity of the tables in force: 3 current")
    assert "BTCUSDT 2026-02-26 to 2026-08-05" in said["Tiers"]
    assert {"Closing fee", "Initial margin", "Era"} <= said.keys()


def test_the_terminal_says_that_the_tiers_are_current(study: Study) -> None:
    """A table of all dates is named under the table; tables as of each date need no word."""
    for tiers, said in (("current", True), ("as-of", False)):
        form = resolved(replace(study, market=replace(study.market, tiers=tiers)))
        printed = summary_text(form, summarise(form, fake.outcomes(20)))
        assert ("Tiers: current, one table for all dates." in printed) is said


# --- real data -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bybit_lake(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("bybit"))
    for path in sorted((real_data / "bybit-linear-freqtrade").glob("BTC_*")):
        import_path(lake, path, ImportOptions(venue="bybit", drop_last=True))
    return lake


def differences(found: Ran) -> dict[str, list[str]]:
    """Compare some runs of every strategy, reaction and end with the oracle, row for row."""
    outcomes = found.tables["outcomes"]
    keys = ("strategy", "reaction", "exit_reason", "side")
    groups = (
        outcomes.append_column("row", pa.array(np.arange(len(outcomes)))).group_by(keys).aggregate([("row", "list")])
    )
    rows = [row for group in groups["row_list"].to_pylist() for row in group[:: -(-len(group) // SAMPLE)]]
    return verify_runs(found.study, found.data, found.jobs, load_rules(), outcomes.take(pa.array(rows)))


@pytest.mark.slow
@pytest.mark.real
def test_the_study_is_replayed_by_bybit_s_rules(study: Study, bybit_lake: Lake) -> None:
    """Transfer for transfer; a liquidation leaves nothing, and what was in the wallet goes to insurance."""
    found = ran(study, bybit_lake)
    outcomes, transfers = found.tables["outcomes"], found.tables["transfers"]
    assert set(outcomes["tier_fidelity"].to_pylist()) == {"current"}
    lost = outcomes.filter(pc.equal(outcomes["exit_reason"], "liquidated"))
    assert len(lost) > 1000
    kinds = set(transfers["kind"].to_pylist())
    assert "takeover" in kinds
    assert "clearance" not in kinds
    forced = transfers.filter(pc.equal(transfers["cause"], "liquidation"))
    assert "free" not in forced["credit"].to_pylist()
    assert differences(found) == {}


@pytest.mark.real
def test_the_oracle_reads_the_same_tiers(study: Study, bybit_lake: Lake) -> None:
    """The oracle's own reader of the dated tables gives the ladder that the tape has."""
    (data,) = [load_symbol(study, bybit_lake, symbol) for symbol in study.market.symbols]
    (_, rows) = oracle.load_tiers("bybit", "BTCUSDT")[-1]
    tape = data.result.tape
    assert [int(row.rate * E8) for row in rows] == tape.tier_rate_e8[0].tolist()
    assert [int(row.deduction * E8) for row in rows] == tape.tier_deduction_e8[0].tolist()
    assert [int(row.cap * E8) for row in rows[:-1] if row.cap] == tape.tier_cap_e8[0][:-1].tolist()


@pytest.mark.slow
@pytest.mark.real
def test_large_positions_step_down_before_they_are_taken_over(study: Study, bybit_lake: Lake) -> None:
    """A notional of 10 million lies above tier 1: part is closed at the mark first, as the oracle has it."""
    large = replace(study, capital_e8=1_000_000 * E8, strategies=study.strategies[:1])
    found = ran(large, bybit_lake)
    outcomes, fills = found.tables["outcomes"], found.tables["fills"]
    forced = fills.filter(pc.equal(fills["cause"], "liquidation"))
    counts = pc.value_counts(forced["run_id"]).field("counts")
    assert pc.max(counts).as_py() > 1
    assert pc.any(outcomes["partial"]).as_py()
    assert differences(found) == {}
