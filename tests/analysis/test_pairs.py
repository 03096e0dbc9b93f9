"""Pairing: which runs are compared with which."""

from __future__ import annotations

import pytest

from backtest.analysis.pairs import NEVER, pair_up
from backtest.errors import DataError, InvariantError
from tests.analysis.fake import DAY_MS, E8, START_MS, run, table


def test_a_pair_is_one_entry_and_both_counts_under_both_reactions() -> None:
    rows = [
        run("hold", 0), run("hold", 1), run("hold", 0, side="short"),
        run("deleverage", 0, reaction="intrabar"), run("deleverage", 0, reaction="next_open"),
        run("deleverage", 1, reaction="intrabar"), run("post-all", 0, side="short"),
    ]  # fmt: skip
    groups = {(p.strategy, p.reaction): len(p) for p in pair_up(table(rows))}
    assert groups == {
        ("hold", "intrabar"): 3, ("hold", "next_open"): 3,
        ("deleverage", "intrabar"): 2, ("deleverage", "next_open"): 1,
        ("post-all", "intrabar"): 1, ("post-all", "next_open"): 1,
    }  # fmt: skip


def test_both_sides_of_a_pair_are_the_same_entry() -> None:
    rows = [run(s, d, leverage=x) for s in ("hold", "a") for d in (2, 0, 1) for x in (20.0, 5.0)]
    pairs = pair_up(table(rows))[2]
    for key in ("entry_ms", "leverage", "side", "symbol"):
        assert pairs.baseline[key].tolist() == pairs.treated[key].tolist()
    assert pairs.baseline["strategy"].tolist() == ["hold"] * 6
    assert pairs.treated["strategy"].tolist() == ["a"] * 6


def test_refused_on_either_side_is_in_no_pair() -> None:
    refused = {"exit_reason": "refused", "refusal": "leverage_cap", "exit_ms": None}
    rows = [run("hold", 0, **refused), run("a", 0), run("hold", 1), run("a", 1, **refused), run("hold", 2), run("a", 2)]
    pairs = pair_up(table(rows))
    assert [len(p) for p in pairs] == [2, 2, 1, 1]
    assert pairs[2].treated["entry_ms"].tolist() == [START_MS + 2 * DAY_MS]


def test_a_pair_is_decided_at_its_first_liquidation_else_at_the_exit_of_the_baseline() -> None:
    rows = [
        run("hold", 0, liquidation_ms=START_MS + 5), run("a", 0, liquidation_ms=START_MS + 3),
        run("hold", 1), run("a", 1, liquidation_ms=START_MS + DAY_MS + 7),
        run("hold", 2), run("a", 2, exit_reason="closed", exit_ms=START_MS + 2 * DAY_MS + 1),
    ]  # fmt: skip
    pairs = pair_up(table(rows))[2]
    assert pairs.decided_ms.tolist() == [START_MS + 3, START_MS + DAY_MS + 7, START_MS + 32 * DAY_MS]
    assert pairs.treated["liquidation_ms"].tolist()[2] == NEVER


def test_the_cost_of_capital_is_charged_while_a_run_is_open() -> None:
    year = 365 * DAY_MS
    rows = [run("hold", 0, exit_ms=START_MS + year), run("a", 0, exit_ms=START_MS + year // 2, exit_reason="closed")]
    assert pair_up(table(rows), 0.10)[2].difference_e8.tolist() == [500 * E8]  # 10 % of 10,000, for half a year less


def test_without_a_baseline_there_is_nothing_to_compare() -> None:
    with pytest.raises(DataError, match="no run of the baseline"):
        pair_up(table([run("a", 0)]))


def test_two_runs_of_one_entry_are_our_own_fault() -> None:
    with pytest.raises(InvariantError, match="two runs of one entry"):
        pair_up(table([run("hold", 0), run("a", 0), run("a", 0, reaction="intrabar")]))
