"""Cumulative incidence, against hand arithmetic and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.analysis.pairs import columns
from backtest.analysis.survival import aalen_johansen, by_leverage_and_holding, holding_days, incidence
from tests.analysis.fake import DAY_MS, START_MS, run, table


def test_incidence_by_hand() -> None:
    # five watched: liquidated at 1, closed at 2, censored at 2, liquidated at 3, censored at 4
    curve = aalen_johansen(np.array([1, 2, 2, 3, 4]), np.array([1, 2, 0, 1, 0]))
    assert curve.time_ms.tolist() == [1, 2, 3, 4]
    # 1/5; then survival 4/5 x 3/4 = 3/5; at 3 two are watched: 3/5 x 1/2
    assert curve.liquidated.tolist() == pytest.approx([0.2, 0.2, 0.5, 0.5])
    assert curve.closed.tolist() == pytest.approx([0.0, 0.2, 0.2, 0.2])
    assert [curve.at(t) for t in (0, 1, 2, 3, 99)] == pytest.approx([0.0, 0.2, 0.2, 0.5, 0.5])


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 2)), min_size=2, max_size=40))
@settings(deadline=None, max_examples=50)
def test_incidence_agrees_with_statsmodels(rows: list[tuple[int, int]]) -> None:
    from statsmodels.duration.survfunc import CumIncidenceRight

    rows = [*rows, (3, 1), (5, 2), (13, 0)]  # both events occur, and one run outlives them all
    time, event = np.array([t for t, _ in rows]), np.array([e for _, e in rows])
    other = CumIncidenceRight(time, event)
    mine = aalen_johansen(time, event)
    for row, curve in zip(other.cinc, (mine.liquidated, mine.closed), strict=True):
        picked = [np.concatenate([[0.0], curve])[np.searchsorted(mine.time_ms, t, side="right")] for t in other.times]
        assert row.tolist() == pytest.approx(picked)


def test_chances_never_pass_one() -> None:
    random = np.random.default_rng(1)
    curve = aalen_johansen(random.integers(1, 50, 400), random.integers(0, 3, 400))
    assert (np.diff(curve.liquidated) >= 0).all()
    assert curve.liquidated[-1] + curve.closed[-1] <= 1 + 1e-12


def test_a_partial_liquidation_counts_at_its_first_breach() -> None:
    rows = [run("hold", 0, liquidation_ms=START_MS + 5, exit_reason="horizon", exit_ms=START_MS + 99), run("hold", 1)]
    curve = incidence(columns(table(rows)))
    assert curve.at(4) == 0.0
    assert curve.at(5) == 0.5


def test_holding_table_by_side_and_leverage() -> None:
    day = START_MS + DAY_MS
    rows = [
        run("hold", 0, side="long", liquidation_ms=day), run("hold", 1, side="long"),
        run("hold", 0, side="short"), run("hold", 0, side="long", leverage=20.0, liquidation_ms=START_MS + 3 * DAY_MS),
    ]  # fmt: skip
    table_rows = by_leverage_and_holding(columns(table(rows)), (1, 3))
    assert [(r.side, r.leverage, r.runs, r.liquidated, r.probability) for r in table_rows] == [
        ("long", 10.0, 2, 1, (0.5, 0.5)),
        ("long", 20.0, 1, 1, (0.0, 1.0)),
        ("short", 10.0, 1, 0, (0.0, 0.0)),
        ("both", 10.0, 3, 1, (pytest.approx(1 / 3), pytest.approx(1 / 3))),
        ("both", 20.0, 1, 1, (0.0, 1.0)),
    ]


def test_data_that_ends_early_is_no_survival() -> None:
    # one of two is watched for one day only: the other dies on day two, so the chance by day two is 1, not 1/2
    rows = [
        run("hold", 0, exit_reason="data_end", exit_ms=START_MS + DAY_MS),
        run("hold", 1, liquidation_ms=START_MS + 3 * DAY_MS),
    ]
    assert incidence(columns(table(rows))).at(2 * DAY_MS) == 1.0


def test_holding_times_end_at_the_horizon() -> None:
    assert holding_days(30 * DAY_MS) == (1, 3, 7, 14, 30)
    assert holding_days(DAY_MS // 2) == (1,)
