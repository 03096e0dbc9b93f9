"""Each scenario's ledger and figures, computed by hand in its file, are what every engine writes.

`SCENARIO_SHOW=name pytest …` prints what the engines wrote for the scenarios whose name contains it. Nothing is ever
accepted from a program: a number in a file changes only with the arithmetic beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from scenario import Scenario, actual_tables, build_market, build_plan, differences, read_scenario, transcript

from backtest import schema
from backtest.engine import oracle

FOLDER = Path(__file__).parent.parent / "scenarios"
FILES = sorted(FOLDER.glob("*.txt"))

ENGINES: dict[str, Callable[[oracle.Market, oracle.Plan], oracle.Result]] = {"oracle": oracle.replay}
if find_spec("harness") is not None:
    from harness import run_kernel

    ENGINES["kernel"] = run_kernel

# What a run of one position cannot give: it has no valued asset, no hedge and no coin; what a reduction leaves under
# the minimum notional is closed, not refused; and a scripted action after the end of its run leaves no row.
CAUSES_OUT_OF_REACH = {"premium", "hedge_margin"}
KINDS_OUT_OF_REACH = {"convert", "premium"}
ROW_CAUSES_OUT_OF_REACH = {"expiry"}
STATUSES_OUT_OF_REACH = {"below_min_notional", "insufficient_margin", "not_listed", "dropped"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("engine", ENGINES)
def test_scenario(path: Path, engine: str) -> None:
    """The engine writes the ledger that was computed by hand."""
    scenario = read_scenario(path)
    result = ENGINES[engine](build_market(scenario), build_plan(scenario))
    if (wanted := os.environ.get("SCENARIO_SHOW")) is not None and wanted in scenario.name:
        print(f"\n{scenario.name} ({engine})\n{transcript(scenario, result)}")
    lines = differences(scenario, result)
    assert not lines, f"{path.name} ({engine}):\n" + "\n".join(lines)


def expected(block: str, column: str) -> set[str]:
    """All values that the files expect in a column."""
    return {row[column] for path in FILES for row in read_scenario(path).tables[block]}


def expected_figures(name: str) -> set[str]:
    return {read_scenario(path).outcome.get(name, "none") for path in FILES} - {"none"}


def test_every_ending_is_told() -> None:
    """Exit reasons, entry refusals and causes of liquidation each occur in a scenario."""
    assert expected_figures("exit_reason") == set(schema.EXIT_REASONS)
    assert expected_figures("refusal") == set(schema.REFUSALS)
    assert expected_figures("cause") == set(schema.LIQUIDATION_CAUSES) - CAUSES_OUT_OF_REACH


def test_every_transfer_is_told() -> None:
    """Kinds and causes of transfers and statuses of actions each occur in a scenario."""
    assert expected("transfers", "kind") == set(schema.TRANSFER_KINDS) - KINDS_OUT_OF_REACH
    assert expected("transfers", "cause") == set(schema.CAUSES) - ROW_CAUSES_OUT_OF_REACH
    assert expected("actions", "status") == set(schema.ACTION_STATUS) - STATUSES_OUT_OF_REACH


def test_a_wrong_number_is_seen() -> None:
    """The comparison is not blind: one unit more in any expected column is a difference."""
    path = FOLDER / "long_liquidated.txt"
    scenario = read_scenario(path)
    result = oracle.replay(build_market(scenario), build_plan(scenario))
    assert set(actual_tables(scenario, result)) == {"transfers", "fills", "actions"}
    for block, column in (("transfers", "amount"), ("fills", "price"), ("fills", "hour")):
        tables = scenario.tables | {block: [dict(row) for row in scenario.tables[block]]}
        tables[block][-1][column] = str(float(tables[block][-1][column]) + 1)
        assert differences(Scenario(scenario.name, scenario.settings, tables, scenario.outcome), result)
    assert differences(Scenario(scenario.name, scenario.settings, scenario.tables, {"fees": "1"}), result) == [
        "outcome fees: expected 1, actual 0.04"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "market interval\n",
        "nonsense a=1\n",
        "bars\n   hour open\n",
        "fills\n   hour qty price cost mark cause rule\n   1 2\n",
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, text: str) -> None:
    """What the parser does not understand is an error with file and line."""
    (tmp_path / "bad.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad.txt line \d"):
        read_scenario(tmp_path / "bad.txt")
