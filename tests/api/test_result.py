"""Results in Python: tables in natural units, runs with their equity, figures, and what a notebook shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from study.small import STRATEGIES, make_lake, small_study

import backtest as bt
from backtest.api.plots import palette
from backtest.api.result import Result, compare, open_result, synthetic_lake
from backtest.data.store import Lake
from backtest.errors import BacktestError, IntegrityError, StudyError, UsageError
from backtest.report.figures import figures
from backtest.schema import RESULT_TABLES
from backtest.study.canonical import study_toml
from backtest.study.config import load_study
from backtest.units import E8

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(Path(tmp_path_factory.mktemp("lake")))


@pytest.fixture(scope="module")
def result(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Result:
    study = small_study(entries={"leverage": [5, 20, 100]})  # so much leverage is refused
    return compare(study, lake.root, tmp_path_factory.mktemp("result"))


# --- tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESULT_TABLES)
def test_a_frame_is_the_table_in_natural_units(result: Result, name: str) -> None:
    exact, frame, described = result.arrow(name), result.frame(name), bt.columns(name)
    assert len(exact) == len(frame) > 0
    assert list(frame.columns) == list(described.index)
    assert list(described["arrow"]) == exact.column_names
    for column, arrow, kind in described[["arrow", "kind"]].itertuples():
        scale = {"_e8": E8, "_e2": 100, "_ppm": 1_000_000}.get(arrow[arrow.rfind("_") :], 1)
        for value, whole in zip(frame[column].tolist(), exact[arrow].to_pylist(), strict=True):
            if whole is None:
                assert pd.isna(value)
            elif kind == "UTC time":
                assert value == pd.Timestamp(whole, unit="ms", tz="UTC")
            else:
                assert value == (whole if scale == 1 else whole / scale)


@pytest.mark.parametrize("name", RESULT_TABLES)
def test_every_column_is_in_the_documentation(name: str) -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| (.+?) \| (.+) \|$", page.partition(f"### {name}\n")[2].partition("###")[0], re.M
    )
    described = bt.columns(name).reset_index()
    assert [list(row) for row in rows] == described.to_numpy().tolist()


def test_the_summary_counts_what_the_outcomes_hold(result: Result) -> None:
    outcomes = result.outcomes.query("leverage < 100")  # where hold is refused there is no pair
    for key, row in result.summary.iterrows():
        strategy, reaction = key  # type: ignore[misc]
        own = outcomes[(outcomes["strategy"] == strategy) & outcomes["reaction"].isin([reaction, "both"])]
        assert row["liquidated"] == own["liquidated"].sum()
    assert result.summary.loc[("hold", "intrabar"), "liquidated"] > 0


# --- one run -------------------------------------------------------------------------------------------------------


def chosen(result: Result) -> list[str]:
    """Choose runs of every strategy and end, liquidated ones and others."""
    taken = result.outcomes.query("exit_reason != 'refused'")
    return taken.groupby(["strategy", "reaction", "exit_reason", "liquidated"])["run_id"].first().tolist()


def test_equity_goes_from_the_capital_to_what_was_left(result: Result) -> None:
    for run_id in chosen(result):
        run = result.run(run_id)
        assert run.equity.index[0] == pd.Timestamp(run.outcome["entry_ms"], unit="ms", tz="UTC")
        assert run.equity.iloc[0] == 10_000
        assert run.equity.iloc[-1] == run.outcome["equity_end_e8"] / E8


def test_returns_carry_the_accessor_of_vectorbt_and_make_up_the_whole(result: Result) -> None:
    for run_id in chosen(result)[::4]:
        run = result.run(run_id)
        whole = run.equity.iloc[-1] / run.equity.iloc[0] - 1
        assert run.returns.vbt.returns.total() == pytest.approx(whole)
        assert len(run.returns) == len(run.equity) - 1


def test_the_fund_holds_one_unit_priced_at_the_equity(result: Result) -> None:
    for run_id in chosen(result)[::4]:
        run = result.run(run_id)
        fund = run.fund()
        orders = fund.orders.records
        assert (len(orders), orders["size"][0], orders["price"][0]) == (1, 1.0, 10_000.0)
        assert fund.value().tolist() == run.equity.tolist()
        assert fund.total_return() == pytest.approx(run.equity.iloc[-1] / 10_000 - 1)


def test_rows_come_back_where_they_were_not_kept(result: Result) -> None:
    outcomes = result.outcomes.query("not liquidated and actions > 0")
    run = result.run(outcomes["run_id"].iloc[0])
    assert run.id not in set(result.frame("transfers")["run_id"])
    assert (run.actions["status"] == "done").sum() == run.outcome["actions"]
    assert run.transfers["kind"].iloc[0] == "deposit"
    assert run.fills["qty"].sum() == pytest.approx(0, abs=1e-9)


def test_a_run_tells_its_story_and_draws_itself(result: Result) -> None:
    run = result.run(result.outcomes.query("liquidated")["run_id"].iloc[0])
    assert run.story.startswith(f"Run {run.id}")
    assert "liquidated" in run.story
    drawn = run.plot()
    assert isinstance(drawn, go.Figure)
    assert "liquidation price" in {trace.name for trace in drawn.data}
    assert run.id in run._repr_html_()


def test_another_lake_is_noticed(result: Result, tmp_path: Path) -> None:
    other = synthetic_lake(tmp_path, seed=4, days=60)
    run_id = result.outcomes.query("not liquidated and exit_reason == 'horizon'")["run_id"].iloc[0]
    with pytest.raises(BacktestError, match="does not end as its stored outcome says"):
        _ = open_result(result.folder, other).run(run_id).equity


# --- figures and notebooks -----------------------------------------------------------------------------------------


def colors_in(value: Any) -> set[str]:
    return set(re.findall(r'"(--[\w-]+)"', value.to_json()))


def test_every_chart_of_the_report_is_a_plotly_figure(result: Result) -> None:
    expected = figures(result._model)
    assert dir(result.plot) == sorted(name.replace("-", "_") for name in expected)
    for name, figure in expected.items():
        drawn = getattr(result.plot, name.replace("-", "_"))()
        assert isinstance(drawn, go.Figure)
        assert drawn.layout.title.text == figure.title
        assert len(drawn.data) == len(figure.data)
        assert colors_in(drawn) == set()
    assert {"--ink", "--paper", "--series-1", "--band"} <= set(palette())


def test_names_that_do_not_exist_are_told_with_the_nearest(result: Result) -> None:
    with pytest.raises(AttributeError, match='did you mean "frontier"'):
        _ = result.plot.fronteer
    with pytest.raises(UsageError, match='did you mean "fills"'):
        result.frame("fill")
    run_id = result.outcomes["run_id"].iloc[0]
    with pytest.raises(StudyError, match=f'did you mean "{run_id}"'):
        result.run(run_id.replace("hold", "hld"))
    with pytest.raises(IntegrityError, match="cannot be read"):
        open_result(result.folder / "nothing")
    with pytest.raises(AttributeError, match="no attribute 'comparee'"):
        _ = bt.comparee


def test_a_notebook_shows_the_comparison_and_the_study(result: Result) -> None:
    shown = result._repr_html_()
    hold = result.summary.loc[("hold", "intrabar"), "liquidated"]
    assert f"<td>hold</td>\n      <td>{hold}</td>" in shown
    assert shown.count("<td>–</td>") == 1  # hold has no p: it is what others are compared with
    for strategy in STRATEGIES:
        assert f"<td>{strategy['name']}</td>" in shown
    study = result.study._repr_html_()
    assert "<td>entries</td><td>horizon</td><td>10d</td>" in study


# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_study_written_from_python_may_be_replaced_but_not_one_of_a_person(lake: Lake, tmp_path: Path) -> None:
    first, second = small_study(strategies=[]), small_study(strategies=[], study={"seed": 2})
    file = compare(first, lake.root, tmp_path).folder / "study.toml"
    assert load_study(file) == first
    compare(second, lake.root, tmp_path)
    assert load_study(file) == second
    mine = study_toml(second) + "# mine\n"
    file.write_text(mine)
    compare(second, lake.root, tmp_path)
    with pytest.raises(StudyError, match="is another study, and not written from Python"):
        compare(first, lake.root, tmp_path)
    assert file.read_text() == mine
    assert open_result(tmp_path, lake.root).study == second


def test_progress_is_told(lake: Lake, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = compare(small_study(strategies=[]), lake.root, tmp_path, progress=lambda *args: told.append(args))
    assert told[-1] == (len(done.outcomes), len(done.outcomes))
