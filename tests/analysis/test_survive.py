"""Margin to survive, and the layout of sweeps."""

from __future__ import annotations

import pytest

from backtest.analysis.pairs import pair_up
from backtest.analysis.survive import margin_to_survive
from backtest.analysis.sweep import sweeps
from tests.analysis.fake import E8, START_MS, run, table


def test_the_extra_margin_is_a_quantile_of_what_liquidated_runs_lacked() -> None:
    # Notional 50,000 at 10 times: 5,000 posted. Ten runs lacked 50, 100, … 500: 1 % to 10 %.
    rows = [
        run("hold", d, liquidation_ms=START_MS + 40 * 86_400_000, margin_to_survive_e8=50 * (d + 1) * E8)
        for d in range(10)
    ]
    rows.append(run("hold", 11))
    (row,) = margin_to_survive(pair_up(table(rows))[0].treated)
    assert (row.side, row.leverage, row.liquidated) == ("long", 10.0, 10)
    assert row.needed_pct == pytest.approx((3.0, 5.0, 8.0, 9.0))


def test_a_sweep_is_laid_out_over_what_differs() -> None:
    def strategy(name: str, trigger: float, step: float, base: str | None = "d") -> dict[str, object]:
        rules = [{"use": "deleverage", "trigger": trigger, "step": step, "put_back": True}]
        return {"name": name, "rules": rules} | ({"base_name": base} if base else {})

    group = [
        strategy("d-1", 0.25, 0.1),
        strategy("d-2", 0.5, 0.1),
        strategy("d-3", 0.25, 0.2),
        strategy("x", 0.1, 0.1, None),
    ]
    (sweep,) = sweeps(group)
    assert (sweep.name, sweep.parameters) == ("d", ("deleverage.trigger", "deleverage.step"))
    assert sweep.points == (((0.25, 0.1), "d-1"), ((0.5, 0.1), "d-2"), ((0.25, 0.2), "d-3"))


def test_a_rule_used_twice_is_told_apart() -> None:
    two = [
        {
            "name": f"t-{i}",
            "base_name": "t",
            "rules": [{"use": "exit", "trigger": 0.1}, {"use": "exit", "trigger": value}],
        }
        for i, value in enumerate((0.2, 0.3))
    ]
    assert sweeps(two)[0].parameters == ("2 exit.trigger",)
