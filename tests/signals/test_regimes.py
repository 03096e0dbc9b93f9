"""Volatility, drawdown, funding and series: their numbers, their borders, and what is not known."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.data.store import Lake
from backtest.errors import CoverageError
from backtest.signals.inputs import FUNDING_STALE_MS
from backtest.units import DAY_MS, HOUR_MS

from .history import FUNDING, KLINES, START, VIX, ask, bars, of_closes, put, settlements, without

DAILY = KLINES._replace(interval="1d")


def test_volatility_is_the_deviation_of_log_returns_by_the_year(tmp_path) -> None:
    closes = bars(60)["close"]
    signal = ask(put(Lake(tmp_path), DAILY, of_closes(closes)), "volatility", window=20)
    expected = 100 * np.sqrt(365) * np.log(closes[1:] / closes[:-1])[19:39].std(ddof=1)
    assert signal.value[39] == pytest.approx(expected, rel=1e-8)
    assert np.isnan(signal.value[:20]).all()


def test_a_year_has_more_bars_where_they_are_shorter(tmp_path) -> None:
    hourly = ask(put(Lake(tmp_path / "h"), KLINES, of_closes(bars(60)["close"], HOUR_MS)), "volatility", "1h")
    daily = ask(put(Lake(tmp_path / "d"), DAILY, of_closes(bars(60)["close"])), "volatility")
    assert np.allclose(hourly.value, daily.value * np.sqrt(24), rtol=1e-8, equal_nan=True)


def test_volatility_is_not_known_while_its_window_has_a_hole(tmp_path) -> None:
    signal = ask(put(Lake(tmp_path), DAILY, without(of_closes(bars(100)["close"]), 50)), "volatility", window=10)
    unknown = np.flatnonzero(np.isnan(signal.value))
    assert unknown.tolist() == [*range(10), *range(50, 61), 100]


def test_regimes_are_parted_by_the_past_alone(tmp_path) -> None:
    """A calm year, a wild one, and one in between: each is judged by what had been until then."""
    random = np.random.default_rng(5)
    steps = np.concatenate([random.normal(0, size, 365) for size in (0.01, 0.05, 0.02)])
    lake = put(Lake(tmp_path), DAILY, of_closes(100 * np.exp(np.cumsum(steps))))
    regime = ask(lake, "volatility_regime").value
    assert np.isnan(regime[: 30 + 249]).all()
    assert not np.isnan(regime[30 + 249 : -1]).any()
    assert (regime[420:500] == 2).all()
    assert (regime[800:900] == 1).all()


def test_drawdown_is_from_the_highest_close_so_far(tmp_path) -> None:
    signal = ask(put(Lake(tmp_path), DAILY, of_closes([100, 80, 90, 120, 60])), "drawdown")
    assert signal.value[:5].tolist() == [0, 20, 10, 0, 50]


def test_funding_is_known_at_its_stamp(tmp_path) -> None:
    rates = settlements(9) | {"funding_rate": np.array([1, -2, 3, 4, 5, 6, 7, 8, 9]) * 1e-4}
    signal = ask(put(Lake(tmp_path), FUNDING, rates), "funding")
    assert signal.available_ms[:9].tolist() == rates["funding_time_ms"].tolist()
    assert signal.value[:9].tolist() == [1, -2, 3, 4, 5, 6, 7, 8, 9]


def test_a_missed_settlement_makes_funding_unknown(tmp_path) -> None:
    signal = ask(put(Lake(tmp_path), FUNDING, without(settlements(10), 4)), "funding")
    assert np.flatnonzero(np.isnan(signal.value)).tolist() == [4, 10]
    assert signal.available_ms[4] - signal.available_ms[3] == FUNDING_STALE_MS


def test_funding_is_extreme_against_the_settlements_before_it(tmp_path) -> None:
    rate = np.resize([1e-4, 2e-4], 120).copy()
    rate[100], rate[110], rate[111] = 3e-4, 0.5e-4, 2e-4
    lake = put(Lake(tmp_path), FUNDING, settlements(120) | {"funding_rate": rate})
    signal = ask(lake, "funding_extreme", history=50)
    assert np.isnan(signal.value[:50]).all(), "the fiftieth before it is the first that counts"
    assert np.flatnonzero(signal.value == 1).tolist() == [100]
    assert np.flatnonzero(signal.value == -1).tolist() == [110]
    assert set(signal.value[50:120]) == {-1.0, 0.0, 1.0}


def test_funding_beyond_levels_in_basis_points(tmp_path) -> None:
    lake = put(Lake(tmp_path), FUNDING, settlements(4) | {"funding_rate": np.array([5e-4, 6e-4, -1e-4, -2e-4])})
    assert ask(lake, "funding_beyond").value[:4].tolist() == [0, 1, 0, -1]
    assert ask(lake, "funding_beyond", high=5.5, low=-3).value[:4].tolist() == [0, 1, 0, 0]


def test_a_series_is_known_when_it_was_published(tmp_path) -> None:
    days = START + DAY_MS * np.arange(4)
    rows = {"time_ms": days, "value": np.array([14.99, 15, 20, 40.0]), "available_ms": days + 21 * HOUR_MS}
    lake = put(Lake(tmp_path), VIX, rows)
    value, band = ask(lake, "series_value"), ask(lake, "series_band")
    assert value.available_ms.tolist() == [*rows["available_ms"], rows["available_ms"][-1] + 7 * DAY_MS]
    assert value.value[:4].tolist() == [14.99, 15, 20, 40]
    assert band.value[:4].tolist() == [0, 1, 2, 3]
    assert np.isnan(band.value[4])
    assert band.datasets == (VIX,)


def test_a_late_revision_of_an_older_period_changes_nothing(tmp_path) -> None:
    month = 30 * DAY_MS
    period = START + month * np.array([0, 0, 1])
    rows = {"time_ms": period, "value": np.array([1.0, 9.0, 2.0]), "available_ms": START + month * np.array([1, 3, 2])}
    signal = ask(put(Lake(tmp_path), VIX, rows), "series_value", stale_days=90)
    assert signal.value[:2].tolist() == [1, 2]
    assert len(signal.value) == 3


def test_two_values_of_one_moment_are_the_last_of_them(tmp_path) -> None:
    rows = {"time_ms": START + DAY_MS * np.arange(3), "value": np.array([1.0, 2.0, 3.0])}
    lake = put(Lake(tmp_path), VIX, rows | {"available_ms": np.full(3, START + 5 * DAY_MS)})
    assert ask(lake, "series_value").value[:1].tolist() == [3]


def test_a_series_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(CoverageError, match="VVIX"):
        ask(put(Lake(tmp_path), KLINES, bars(10)), "series_value", series="cboe/VVIX")
