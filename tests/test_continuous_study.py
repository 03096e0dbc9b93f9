"""Continuous accounts end to end: what `compare` leaves and prints, and what is asked about it afterwards."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from study.small import STRATEGIES, make_lake

from backtest import conductor
from backtest.analysis.accounts import by_block, standings
from backtest.api.result import open_result
from backtest.api.tables import columns
from backtest.cli import run
from backtest.data.disk import sha256_file
from backtest.data.store import Lake
from backtest.errors import StudyError
from backtest.report.accounts import AccountsModel, accounts_csv, part_grids, summary_grid
from backtest.report.accounts_page import accounts_markdown, accounts_text
from backtest.schema import RESULT_TABLES
from backtest.study.accounts import ACCOUNT_TABLES
from backtest.study.canonical import study_toml
from backtest.study.config import Study, parse_study
from backtest.study.explain import explain
from backtest.study.narrate import narrate
from backtest.study.results import open_results
from backtest.study.rule_files import load_rules
from backtest.study.runner import load_symbol, study_jobs
from backtest.study.verify import verify_runs
from backtest.units import E8

FILES = {f"{name}.parquet" for name in (*RESULT_TABLES, *ACCOUNT_TABLES)} | {
    "summary.csv", "report.md", "report.html", "manifest.json", "provenance.json"
}  # fmt: skip


def make(policy: str = "refill") -> Study:
    form: dict[str, object] = {
        "study": {"name": "wild", "capital": "10_000"},
        "market": {
            "venue": "binance", "symbols": ["BTCUSDT"], "interval": "1h", "start": "2023-01-01", "stop": "2023-03-02",
        },
        "entries": {
            "every": "24h", "leverage": [5, 20], "continuous": True, "on_liquidation": policy, "block": "quarter"
        },
        "strategy": STRATEGIES,
    }  # fmt: skip
    return parse_study(form, "wild")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(Path(tmp_path_factory.mktemp("lake")))


def compare(study: Study, lake: Lake, folder: Path, workers: int | None = None) -> conductor.Comparison:
    return conductor.compare(study, lake.root, folder, "wild", reproduce=["backtest compare wild"], workers=workers)


@pytest.fixture(scope="module")
def finished(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> conductor.Comparison:
    return compare(make(), lake, Path(tmp_path_factory.mktemp("results")) / "wild")


@pytest.fixture(scope="module")
def model(finished: conductor.Comparison) -> AccountsModel:
    assert isinstance(finished.model, AccountsModel)
    return finished.model


def table(finished: conductor.Comparison, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(finished.folder / f"{name}.parquet").to_pylist())


# --- what is left --------------------------------------------------------------------------------------------------


def test_a_comparison_leaves_tables_of_accounts_beside_the_usual_ones(finished: conductor.Comparison) -> None:
    assert {path.name for path in finished.folder.iterdir()} == FILES
    listed = json.loads((finished.folder / "manifest.json").read_text())["files"]
    assert set(listed) == FILES - {"manifest.json", "provenance.json"}
    for name, form in ACCOUNT_TABLES.items():
        stored = pq.read_table(finished.folder / f"{name}.parquet")
        assert stored.schema == form.arrow()
        assert listed[f"{name}.parquet"]["rows"] == len(stored) > 0


def test_a_second_call_with_other_workers_gives_the_same_bytes(
    finished: conductor.Comparison, lake: Lake, tmp_path: Path
) -> None:
    again = compare(make(), lake, tmp_path / "again", workers=3)
    names = FILES - {"provenance.json"}
    assert {n: sha256_file(again.folder / n) for n in names} == {n: sha256_file(finished.folder / n) for n in names}


def test_another_policy_is_another_study(finished: conductor.Comparison, lake: Lake, tmp_path: Path) -> None:
    other = compare(make("continue"), lake, tmp_path / "other")
    ids = [json.loads((one.folder / "manifest.json").read_text())["study_id"] for one in (finished, other)]
    assert ids[0] != ids[1]


def test_an_interrupted_call_leaves_nothing(lake: Lake, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conductor.compare(make(), lake.root, tmp_path / "none", "wild", progress=interrupt)
    assert not (tmp_path / "none").exists()


# --- what it says --------------------------------------------------------------------------------------------------


def test_standings_count_what_the_outcomes_hold(finished: conductor.Comparison, model: AccountsModel) -> None:
    runs = table(finished, "outcomes")
    for (strategy, reaction), row in model.standings.items():
        own = [run for run in runs if run["strategy"] == strategy and run["reaction"] in (reaction, "both")]
        taken = [run for run in own if run["exit_reason"] != "refused"]
        assert row.positions == len(taken)
        assert row.liquidated == sum(run["liquidated"] for run in own)
        gained = sum(run["equity_end_e8"] - run["equity_start_e8"] for run in own) / E8
        assert row.gain_quote * row.accounts == pytest.approx(gained)
    assert model.standings["hold", "intrabar"].liquidated > 4
    assert model.standings["hold", "intrabar"].fewer == 0


def test_accounts_are_compared_with_the_one_of_hold_of_the_same_form(finished: conductor.Comparison) -> None:
    accounts = pq.read_table(finished.folder / "accounts.parquet")
    lost = {row["account_id"]: row["liquidated"] for row in accounts.to_pylist()}
    found = standings(accounts)["exit", "next_open"]
    pairs = [
        (count, lost["/".join(("hold", *name.split("/")[1:-1], "both"))])
        for name, count in lost.items()
        if name.startswith("exit/") and name.endswith("/next_open")
    ]
    assert found.fewer == sum(own < hold for own, hold in pairs) > 0
    assert found.more == sum(own > hold for own, hold in pairs)


def test_the_last_block_ends_with_the_gain_of_all(finished: conductor.Comparison, model: AccountsModel) -> None:
    accounts, blocks = (pq.read_table(finished.folder / f"{name}.parquet") for name in ACCOUNT_TABLES)
    parts = by_block(accounts, blocks)
    assert list(parts) == ["2023-Q1"]
    for key, row in model.standings.items():
        assert parts["2023-Q1"][key].gain_quote == pytest.approx(row.gain_quote)
        assert parts["2023-Q1"][key].refill_quote == pytest.approx(row.refill_quote)


@pytest.mark.parametrize("policy", ["refill", "stop"])
def test_the_printed_tables_name_every_strategy(policy: str, lake: Lake, tmp_path: Path) -> None:
    model = compare(make(policy), lake, tmp_path / policy).model
    assert isinstance(model, AccountsModel)
    text = accounts_text(model)
    assert text.splitlines()[3].split()[0] == "hold"
    for name in model.strategies:
        assert text.count(f"\n{name} ") == 1 + len(part_grids(model))
    assert ("Refills" in text) == (policy == "refill")
    assert "Left out" in text


def test_the_report_shows_each_account_and_says_what_it_leaves_out(
    finished: conductor.Comparison, model: AccountsModel
) -> None:
    page = (finished.folder / "report.html").read_text()
    for name in ("accounts", "leverage", "blocks", "refills", "gains", "each", "coverage"):
        assert f'id="table-{name}"' in page
    assert "no shuffled twins" in page
    assert all(row["account_id"] in page for row in table(finished, "accounts"))
    for block in accounts_markdown(model).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_csv_has_a_row_for_each_strategy_and_reaction(model: AccountsModel) -> None:
    rows = list(csv.DictReader(io.StringIO(accounts_csv(model))))
    assert len(rows) == 2 * len(model.strategies) == 2 * len(summary_grid(model).rows)
    assert {row["strategy"] for row in rows if row["control"] == "false"} == {"deleverage", "top-up", "exit"}


# --- what is asked afterwards --------------------------------------------------------------------------------------


def second_links(finished: conductor.Comparison) -> list[dict[str, Any]]:
    """Give, of some strategies, a later link of an account: one that did not begin with what the study says."""
    rows = [row for row in table(finished, "outcomes") if row["exit_reason"] != "refused"]
    later = [row for row in rows if row["entry_ms"] > min(one["entry_ms"] for one in rows)]
    return [next(row for row in later if row["strategy"] == name) for name in ("hold", "smaller-50", "exit")]


def test_a_later_link_is_explained_and_its_rows_lead_to_its_end(finished: conductor.Comparison, lake: Lake) -> None:
    results = open_results(finished.folder)
    for row in second_links(finished):
        told = explain(results, row["run_id"], lake.root)
        assert told.changed == ()
        assert told.story.outcome["equity_end_e8"] == row["equity_end_e8"]
        assert row["run_id"] in next(iter(narrate(told.story)))


def test_the_oracle_gives_the_same_links(finished: conductor.Comparison, lake: Lake) -> None:
    study = make()
    outcomes = pq.read_table(finished.folder / "outcomes.parquet")
    data, jobs = load_symbol(study, lake, "BTCUSDT"), study_jobs(study, "wild")
    every_third = outcomes.take(list(range(0, len(outcomes), 3)))
    assert len(every_third) > 20
    assert verify_runs(study, data, jobs, load_rules(), every_third) == {}


def test_python_reads_the_accounts(finished: conductor.Comparison, lake: Lake) -> None:
    result = open_result(finished.folder, lake.root)
    accounts = result.frame("accounts")
    assert len(accounts) == len(table(finished, "accounts"))
    assert accounts["equity_end"].iloc[0] == table(finished, "accounts")[0]["equity_end_e8"] / E8
    assert result.summary.loc[("hold", "intrabar"), "refills"] > 0
    assert "Refills" in result._repr_html_()
    with pytest.raises(StudyError, match="continuous accounts, which have a report of their own"):
        result.plot.frontier()


@pytest.fixture
def folder(finished: conductor.Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder that holds the study's file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(study_toml(make()))
    return tmp_path


def test_compare_prints_the_tables(folder: Path, lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "study.toml", "--lake", str(lake.root)]) == 0
    out = capsys.readouterr().out
    assert "Liquidated positions by calendar block." in out
    assert out.splitlines()[-1] == "report: report.html"


def test_a_dry_run_counts_accounts(folder: Path, lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "study.toml", "--lake", str(lake.root), "--dry-run"]) == 0
    assert "44 continuous accounts: 11 strategies and reactions" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["lookahead"], ["compare-intervals"], ["simplified"]])
def test_commands_about_separate_positions_refuse(
    command: list[str], folder: Path, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--fine", "30m"] if command == ["compare-intervals"] else []
    assert run([*command, "study.toml", *more, "--lake", str(lake.root)]) == 2
    assert "compares separate positions, and this study has continuous accounts" in capsys.readouterr().err


@pytest.mark.parametrize("name", ACCOUNT_TABLES)
def test_every_column_is_in_the_documentation(name: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / "continuous.md").read_text()
    section = page.partition(f"### {name}\n")[2].partition("###")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.+?) \| (.+) \|$", section, re.MULTILINE)
    assert [list(row) for row in rows] == columns(name).reset_index().to_numpy().tolist()
