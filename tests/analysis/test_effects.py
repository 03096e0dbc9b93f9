"""Effects and costs, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.analysis.effects import count, exact_sum, saved_counts
from backtest.analysis.pairs import pair_up
from tests.analysis.fake import DAY_MS, E8, START_MS, run, table


def at(day: float) -> int:
    return START_MS + int(day * DAY_MS)


def dead(day: float, **values: object) -> dict[str, object]:
    """Say that a run was liquidated on a day of the study."""
    return {"liquidation_ms": at(day)} | values


ROWS = [
    # day 0: avoided; strategy ends 300 above the baseline
    run("hold", 0, **dead(3), equity_end_e8=5_000 * E8),
    run("a", 0, qty_at_baseline_liquidation_e8=E8 // 2, equity_end_e8=5_300 * E8),
    # day 1: exited, one unit under half of the entry quantity
    run("hold", 1, **dead(4), equity_end_e8=5_000 * E8),
    run("a", 1, qty_at_baseline_liquidation_e8=E8 // 2 - 1, equity_end_e8=7_000 * E8),
    # day 2: delayed
    run("hold", 2, **dead(5), equity_end_e8=5_000 * E8),
    run("a", 2, **dead(6), qty_at_baseline_liquidation_e8=E8, equity_end_e8=4_900 * E8),
    # day 3: hastened
    run("hold", 3, **dead(7), equity_end_e8=5_000 * E8),
    run("a", 3, **dead(6), equity_end_e8=5_000 * E8),
    # day 4: both at the same moment: neither
    run("hold", 4, **dead(8), equity_end_e8=5_000 * E8),
    run("a", 4, **dead(8), equity_end_e8=5_000 * E8),
    # day 5: caused
    run("hold", 5, equity_end_e8=11_000 * E8),
    run("a", 5, **dead(9), equity_end_e8=5_000 * E8),
    # day 6: nothing happens, costs 20
    run("hold", 6, equity_end_e8=10_500 * E8),
    run("a", 6, equity_end_e8=10_480 * E8),
]


def test_each_pair_has_one_effect() -> None:
    counts = count(pair_up(table(ROWS))[2])
    assert counts.pairs == 7
    assert counts.baseline_liquidated == 5
    assert counts.liquidated == 4
    effects = (counts.avoided, counts.exited, counts.delayed, counts.hastened, counts.caused)
    assert effects == (1, 1, 1, 1, 1)


def test_cost_is_over_pairs_whose_baseline_lived_and_benefit_over_the_others() -> None:
    counts = count(pair_up(table(ROWS))[2])
    assert counts.running_cost_quote == (6_000 + 20) / 2
    assert counts.benefit_quote == (300 + 2_000 - 100 + 0 + 0) / 5
    assert counts.cost_per_avoided_quote == 6_020
    assert counts.running_cost_pct == pytest.approx(30.1)
    assert counts.benefit_pct == pytest.approx(4.4)


def test_no_avoided_liquidation_has_no_price() -> None:
    counts = count(pair_up(table([run("hold", 0), run("a", 0, equity_end_e8=9_000 * E8)]))[2])
    assert counts.running_cost_quote == 1_000
    assert counts.cost_per_avoided_quote is None
    assert counts.benefit_quote is None


def test_half_of_the_entry_is_measured_at_the_baseline_quantity() -> None:
    smaller = {"entry_qty_e8": E8 // 4, "qty_at_baseline_liquidation_e8": E8 // 4}
    counts = count(pair_up(table([run("hold", 0, **dead(1)), run("smaller-25", 0, **smaller)]))[2])
    assert (counts.avoided, counts.exited) == (0, 1)


def test_exposure_kept_is_a_ratio_of_sums() -> None:
    hours = "notional_hours_paired_e2", "baseline_notional_hours_paired_e2"
    rows = [
        run("hold", 0), run("a", 0, **dict(zip(hours, (300, 400), strict=True))),
        run("hold", 1), run("a", 1, **dict(zip(hours, (0, 200), strict=True))),
    ]  # fmt: skip
    assert count(pair_up(table(rows))[2]).exposure_kept == 0.5


def test_saved_means_avoided_under_both_reactions() -> None:
    held = {"qty_at_baseline_liquidation_e8": E8}
    rows = [run("hold", d, **dead(d + 1)) for d in range(3)]
    rows += [run("a", d, reaction="intrabar", **held) for d in range(3)]
    rows += [run("a", 0, reaction="next_open", **held), run("a", 1, reaction="next_open", **dead(2))]
    rows += [run("a", 2, reaction="next_open", qty_at_baseline_liquidation_e8=1)]
    groups = pair_up(table(rows))
    assert [count(p).avoided for p in groups[2:]] == [3, 1]
    assert saved_counts(groups) == {"hold": 0, "a": 1}


def test_sums_are_exact_beyond_64_bits() -> None:
    values = np.array([2**62, 2**62, 2**62, -3, -(2**61)], dtype=np.int64)
    assert exact_sum(values) == 3 * 2**62 - 3 - 2**61
