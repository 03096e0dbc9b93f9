"""Breakdowns, crash windows, sensitivity and the Pareto front."""

from __future__ import annotations

import dataclasses

from backtest.analysis.breakdown import Window, breakdowns, crash_windows, sensitivity
from backtest.analysis.effects import Counts, count
from backtest.analysis.frontier import frontier
from backtest.analysis.pairs import pair_up
from tests.analysis import fake
from tests.analysis.fake import DAY_MS, START_MS, run, table


def test_the_parts_of_a_dimension_add_up_to_the_whole() -> None:
    groups = pair_up(fake.outcomes(150, seed=5, symbols=("BTCUSDT", "ETHUSDT")))
    whole = {(p.strategy, p.reaction): count(p) for p in groups}
    parts = breakdowns(groups)
    assert {part.dimension for part in parts} == {"side", "leverage", "symbol", "tier fidelity"}
    for dimension in ("side", "leverage", "symbol", "tier fidelity"):
        for i, name in enumerate(dict.fromkeys(p.strategy for p in groups)):
            rows = [part.rows[i] for part in parts if part.dimension == dimension]
            assert {row.strategy for row in rows} == {name}
            for field in ("pairs", "liquidated", "avoided", "exited", "caused", "baseline_liquidated"):
                assert sum(getattr(row.next_open, field) for row in rows) == getattr(whole[name, "next_open"], field)


def test_years_are_of_the_entry_and_leverages_have_a_sign() -> None:
    rows = [run(s, d, leverage=x) for s in ("hold", "a") for d, x in ((0, 5.0), (365.9, 20.0), (366, 5.0))]
    parts = breakdowns(pair_up(table(rows)))
    assert [(p.value, p.rows[1].intrabar.pairs) for p in parts if p.dimension == "entry year"] == [
        ("2020", 2),
        ("2021", 1),
    ]
    assert [p.value for p in parts if p.dimension == "leverage"] == ["5×", "20×"]


def test_a_crash_window_holds_what_was_liquidated_in_it() -> None:
    windows = (Window("one", START_MS + DAY_MS, START_MS + 2 * DAY_MS), Window("quiet", 0, 1))
    rows = [
        run("hold", 0, liquidation_ms=START_MS + DAY_MS), run("a", 0),
        run("hold", 0.5), run("a", 0.5, liquidation_ms=START_MS + 2 * DAY_MS - 1),
        run("hold", 0.6, liquidation_ms=START_MS + 2 * DAY_MS), run("a", 0.6),
    ]  # fmt: skip
    parts = crash_windows(pair_up(table(rows)), windows)
    assert [part.value for part in parts] == ["one"]
    mine = parts[0].rows[1].intrabar
    assert (mine.pairs, mine.baseline_liquidated, mine.liquidated) == (2, 1, 1)


def test_sensitivity_leaves_out_what_it_says_and_adds_other_replays() -> None:
    rows = [
        run("hold", 0), run("a", 0, near_gap=True), run("hold", 1), run("a", 1),
        run("hold", 2), run("a", 2, liquidation_ms=START_MS + 3 * DAY_MS, certainty="possible"),
    ]  # fmt: skip
    parts = sensitivity(pair_up(table(rows)), [("tiers: next", pair_up(table(rows[2:4])))])
    pairs = {part.value: part.rows[1].intrabar.pairs for part in parts}
    assert pairs == {
        "as stated": 3,
        "certain liquidations only": 2,
        "without runs near a data gap": 2,
        "tiers: next": 1,
    }


def test_the_front_holds_what_nothing_beats_at_the_worse_reaction() -> None:
    first = count(pair_up(table([run("hold", 0), run("a", 0)]))[2])

    def at(name: str, liquidated: int, cost: float, kept: float) -> Counts:
        return dataclasses.replace(
            first, strategy=name, pairs=100, liquidated=liquidated, running_cost_quote=cost, exposure_kept=kept
        )

    rows = [
        at("hold", 50, 0.0, 1.0), at("good", 20, 100.0, 0.9), at("worse", 25, 100.0, 0.9), at("small", 10, 300.0, 0.3),
        at("late", 5, 0.0, 1.0), at("late", 60, 0.0, 1.0),
    ]  # fmt: skip
    points = {point.strategy: point for point in frontier(rows)}
    assert {name for name, point in points.items() if point.on_front} == {"hold", "good", "small"}
    assert points["late"].liquidated_pct == 60.0
    assert points["good"].running_cost_pct == 1.0


def test_a_strategy_without_a_cost_is_on_no_front() -> None:
    rows = [run("hold", 0, liquidation_ms=START_MS + 5), run("a", 0)]
    assert frontier([count(pair) for pair in pair_up(table(rows))]) == []
