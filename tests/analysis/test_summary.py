"""The summary row: rates, counts by kind, p-values over strategies; and its independence of row order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from backtest.analysis.inference import Calendar, holm
from backtest.analysis.pairs import pair_up
from backtest.analysis.summary import Comparison, compare
from tests.analysis import fake
from tests.analysis.fake import DAY_MS, E8, START_MS, run, table

CALENDAR = Calendar(START_MS, 60 * DAY_MS)


def compared(outcomes: pa.Table) -> dict[tuple[str, str], Comparison]:
    return {(row.strategy, row.reaction): row for row in compare(pair_up(outcomes), CALENDAR, seed=1)}


def test_kinds_of_liquidation() -> None:
    rows = [run("hold", d) for d in range(4)] + [
        run("a", 0, liquidation_ms=START_MS + 9),
        run("a", 1, liquidation_ms=START_MS + DAY_MS + 9, certainty="possible"),
        run("a", 2, liquidation_ms=START_MS + 2 * DAY_MS + 9, exit_reason="horizon", partial=True),
        run("a", 3, layer_liquidations=2),
    ]
    row = compared(table(rows))["a", "intrabar"]
    assert (row.liquidated, row.liquidated_full, row.liquidated_partial) == (3, 2, 1)
    assert (row.liquidated_certain, row.liquidated_possible) == (2, 1)
    assert row.layer_liquidations == 2
    assert row.fewer_liquidations_pct == -75.0


def test_rates_are_per_thousand_days_and_shrinking_does_not_lower_the_second() -> None:
    # Two runs of 30 and 10 days; notional-hours 1,000 x 720 h and 500 x 240 h on an entry of 1,000: 30 + 5 full days.
    notional = {"entry_notional_e8": 1_000 * E8}
    rows = [
        run("hold", 0, **notional), run("hold", 1, **notional),
        run("a", 0, notional_hours_e2=1_000 * 720 * 100, **notional),
        run("a", 1, notional_hours_e2=500 * 240 * 100, liquidation_ms=START_MS + 11 * DAY_MS, **notional),
    ]  # fmt: skip
    row = compared(table(rows))["a", "next_open"]
    assert row.position_days == 40.0
    assert row.full_exposure_days == pytest.approx(35.0)
    assert row.liquidations_per_1000_position_days == 25.0
    assert row.liquidations_per_1000_full_exposure_days == pytest.approx(1000 / 35)


def test_sums_and_means_by_hand() -> None:
    rows = [run("hold", d) for d in range(2)] + [
        run(
            "a", 0, fees_e8=3 * E8, funding_e8=-E8, slippage_e8=E8 // 2, margin_added_e8=100 * E8, actions=2, refused=1
        ),
        run("a", 1, fees_e8=E8, funding_e8=4 * E8, slippage_e8=0, margin_added_e8=0, actions=1),
    ]
    row = compared(table(rows))["a", "intrabar"]
    assert (row.fees_quote, row.funding_quote, row.slippage_quote) == (4.0, 3.0, 0.5)
    assert (row.margin_added_mean_quote, row.actions, row.actions_refused) == (50.0, 3, 1)


def test_p_is_adjusted_over_the_strategies_of_a_reaction() -> None:
    rows = compared(fake.outcomes(120, seed=4))
    for reaction in ("intrabar", "next_open"):
        tested = [row for (name, r), row in rows.items() if r == reaction and name != "hold"]
        assert [row.p_holm for row in tested] == holm([row.p for row in tested])
    assert rows["hold", "intrabar"].p == 1.0


def test_nothing_depends_on_the_order_of_rows() -> None:
    outcomes = fake.outcomes(60, seed=2)
    shuffled = outcomes.take(pa.array(np.random.default_rng(1).permutation(outcomes.num_rows)))
    assert compare(pair_up(outcomes), CALENDAR, 1) == compare(pair_up(shuffled), CALENDAR, 1)


def test_intervals_hold_the_estimate() -> None:
    row = compared(fake.outcomes(300, seed=3))["deleverage-0.5", "intrabar"]
    assert row.fewer_liquidations_low_pct is not None
    assert row.fewer_liquidations_high_pct is not None
    assert row.running_cost_low_quote is not None
    assert row.running_cost_high_quote is not None
    assert row.fewer_liquidations_low_pct <= row.fewer_liquidations_pct <= row.fewer_liquidations_high_pct
    assert row.running_cost_low_quote <= row.running_cost_quote <= row.running_cost_high_quote
