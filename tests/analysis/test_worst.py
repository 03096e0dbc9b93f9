"""The list of worst runs."""

from __future__ import annotations

from backtest.analysis.pairs import pair_up
from backtest.analysis.worst import worst_runs
from tests.analysis.fake import DAY_MS, E8, START_MS, run, table


def test_the_largest_shortfall_comes_first_and_a_run_comes_once() -> None:
    rows = [run("hold", d, equity_end_e8=11_000 * E8) for d in range(4)] + [
        run("a", 0, equity_end_e8=10_000 * E8),
        run("a", 1, equity_end_e8=5_000 * E8, liquidation_ms=START_MS + 2 * DAY_MS),
        run("a", 2, equity_end_e8=11_000 * E8),
        run("b", 3, equity_end_e8=9_000 * E8, reaction="intrabar"),
        run("b", 3, equity_end_e8=8_000 * E8, reaction="next_open"),
    ]
    found = worst_runs(pair_up(table(rows))[2:], limit=3)
    assert [(one.strategy, one.effect, one.difference_quote) for one in found] == [
        ("a", "caused", -6_000.0), ("b", "", -3_000.0), ("a", "", -1_000.0),
    ]  # fmt: skip
    assert [one.run_id.rsplit("/", 1)[1] for one in found] == ["both", "next_open", "both"]
    assert len(worst_runs(pair_up(table(rows))[2:], limit=9)) == 3
