"""The least margin with which a run lives, sought by replaying it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from backtest.engine.plan import ENTRY, NONE, OUTCOME_ROW
from backtest.study.least_margin import MOST_E8, least_margins_e8
from backtest.study.rule_files import load_rules
from backtest.study.verify import verify_runs
from backtest.units import E8

from .small import Ran

Rows = npt.NDArray[np.void]
NEEDS_E8 = (1, 2, 7_777, 123_456_789_012, 4_000 * E8, 400_000_000 * E8)


def made_up(falls: float, jump_e8: int, tries: list[int]) -> object:
    """Give a replay whose runs live from the margin in `script_start` on, with so much to spare from then on."""

    def replay(rows: Rows) -> Rows:
        tries.append(len(rows))
        outcomes = np.zeros(len(rows), OUTCOME_ROW)
        spare = rows["posted_e8"] - rows["script_start"]
        outcomes["liquidated"] = spare < 0
        outcomes["largest_deficit_e8"] = -1 - jump_e8 - (falls * np.maximum(spare, 0)).astype(np.int64)
        assert (rows["posted_e8"] == rows["capital_e8"]).all()
        return outcomes

    return replay


@pytest.mark.parametrize("falls", [0.01, 1.0, 1.4])
@pytest.mark.parametrize("jump_e8", [0, 3, 500 * E8])
def test_the_border_is_found_whatever_the_deficit_does(falls: float, jump_e8: int) -> None:
    rows = np.zeros(len(NEEDS_E8), ENTRY)
    rows["script_start"] = NEEDS_E8
    tries: list[int] = []
    found = least_margins_e8(made_up(falls, jump_e8, tries), rows, np.full(len(rows), 10_000 * E8))  # type: ignore[arg-type]
    assert found.tolist() == list(NEEDS_E8)
    assert len(tries) < 190  # a range of 57 bits, halved by every third


def test_a_deficit_that_falls_evenly_takes_few_replays() -> None:
    rows = np.zeros(1, ENTRY)
    rows["script_start"] = 123_456_789_012
    tries: list[int] = []
    least_margins_e8(made_up(0.7, 0, tries), rows, np.array([10_000 * E8]))  # type: ignore[arg-type]
    assert len(tries) <= 9


def test_none_is_given_where_no_margin_is_enough() -> None:
    rows = np.zeros(2, ENTRY)
    rows["script_start"] = [MOST_E8 + 1, 5 * E8]
    found = least_margins_e8(made_up(1.0, 0, []), rows, np.full(2, E8))  # type: ignore[arg-type]
    assert found.tolist() == [NONE, 5 * E8]


def test_each_liquidated_run_has_one_and_no_other_has(small: Ran) -> None:
    for row in small.rows:
        assert (row["margin_to_survive_e8"] is not None) == row["liquidated"], row["run_id"]


@pytest.mark.parametrize("strategy", ["hold", "smaller-50", "deleverage", "top-up", "deleverage~shuffled"])
def test_the_oracle_lives_with_it_and_dies_with_one_unit_less(small: Ran, strategy: str) -> None:
    outcomes = small.tables["outcomes"]
    lost = [i for i, row in enumerate(small.rows) if row["strategy"] == strategy and row["liquidated"]]
    stored = outcomes.take(lost)
    assert len(lost)
    assert verify_runs(small.study, small.data, small.jobs, load_rules(), stored) == {}
    place = stored.column_names.index("margin_to_survive_e8")
    for off in (1, -1):
        wrong = stored.set_column(
            place, "margin_to_survive_e8", [[need + off for need in stored["margin_to_survive_e8"].to_pylist()]]
        )
        found = verify_runs(small.study, small.data, small.jobs, load_rules(), wrong)
        assert sorted(found) == sorted(stored["run_id"].to_pylist())
