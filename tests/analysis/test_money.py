"""A chain of runs as one account: growth, drawdown, IRR, and vectorbt's statistics."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.analysis.money import YEAR_MS, Money, account, irr
from backtest.units import DAY_MS, HOUR_MS


def money(
    equity: list[float], coin: list[float], start_ms: int = 0, flows: tuple[tuple[int, float], ...] = ()
) -> Money:
    time_ms = start_ms + np.arange(len(equity)) * HOUR_MS
    return Money(time_ms, np.array(equity), np.array(coin), flows or ((start_ms, -1.0), (int(time_ms[-1]), 1.0)))


def test_each_run_goes_on_with_what_the_one_before_left() -> None:
    runs = [money([100.0, 120.0, 60.0], [10.0, 11.0, 8.0]), money([100.0, 150.0], [8.0, 9.0], start_ms=5 * HOUR_MS)]
    one = account(runs)
    assert one.growth.tolist() == pytest.approx([1.0, 1.2, 0.6, 0.9])
    assert one.time_ms.tolist() == [0, HOUR_MS, 2 * HOUR_MS, 6 * HOUR_MS]
    assert (one.runs, one.total, one.max_drawdown) == (2, pytest.approx(-0.1), pytest.approx(-0.5))
    assert one.drawdown.tolist() == pytest.approx([0.0, 0.0, -0.5, -0.25])


def test_a_run_that_moves_twice_as_far_as_the_coin_has_a_beta_of_two() -> None:
    moves = np.random.default_rng(2).normal(0.0, 0.01, 400)
    coin, equity = (np.concatenate([[100.0], 100.0 * np.cumprod(1 + x * moves)]).tolist() for x in (1.0, 2.0))
    one = account([money(equity, coin)])
    assert one.beta == pytest.approx(2.0)
    assert one.volatility == pytest.approx(np.std(2.0 * moves, ddof=1) * np.sqrt(24 * 365), rel=1e-6)
    sharpe = np.mean(2.0 * moves) / np.std(2.0 * moves, ddof=1) * np.sqrt(24 * 365)
    assert one.sharpe == pytest.approx(sharpe, rel=1e-6)


def test_a_ratio_without_a_figure_is_none() -> None:
    one = account([money([100.0, 100.0, 100.0], [10.0, 11.0, 12.0])])
    assert (one.sharpe, one.sortino, one.calmar) == (None, None, None)


def test_irr_weighs_each_flow_by_its_day() -> None:
    # 100 in, 50 more after half a year, 170 back after a year: 100 g + 50 g^(1/2) = 170
    rate = irr([(0, -100.0), (YEAR_MS // 2, -50.0), (YEAR_MS, 170.0)])
    assert rate is not None
    assert 100 * (1 + rate) + 50 * (1 + rate) ** 0.5 == pytest.approx(170.0)
    assert irr([(0, -100.0), (YEAR_MS, 50.0)]) == pytest.approx(-0.5)


def test_irr_of_a_total_loss_and_of_nothing() -> None:
    assert irr([(0, -100.0), (30 * DAY_MS, 0.0)]) == -1.0
    assert irr([(0, 100.0), (30 * DAY_MS, 100.0)]) is None


def test_the_irr_is_that_of_the_median_run() -> None:
    ends = (0.0, 104.0, 200.0)
    runs = [
        money([100.0, 100.0], [1.0, 1.0], start_ms=k * YEAR_MS, flows=((0, -100.0), (YEAR_MS, end)))
        for k, end in enumerate(ends)
    ]
    assert account(runs).irr == pytest.approx(0.04)
