"""No signal looks ahead: what it said at a moment is the same whatever came later, at every interval."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.data.manifest import EVENT
from backtest.data.store import Lake
from backtest.signals.compute import resolve
from backtest.signals.inputs import Known
from backtest.signals.registry import SIGNALS
from backtest.signals.spec import Signal, SignalSpec
from backtest.units import DAY_MS, HOUR_MS, MINUTE_MS

from .history import FAR, FUNDING, KLINES, START, VIX, ask, bars, published, put, settlements, twin, without

DAYS = 420
# At a close, a minute after one, inside a bar, and in the hole that follows.
CUTS = (
    START + 400 * DAY_MS,
    START + 380 * DAY_MS + MINUTE_MS,
    START + 391 * DAY_MS + 7 * HOUR_MS + 13,
    START + 399 * DAY_MS + 30 * HOUR_MS,
)
HOLES = (5, 6, 24 * 30 + 3, 24 * 400 + 4)
INTERVALS = ("1h", "4h", "1d")
SQL = "SELECT available_ms, close AS value FROM klines WHERE symbol = $symbol ORDER BY 1"
GIVEN: dict[str, dict[str, object]] = {"sql": {"query": SQL}}  # what has no default
OF_SERIES = {"price": "cboe/VIX", "stale_days": 30.0}
ASKED = [(name, i) for name, kind in SIGNALS.items() for i in (INTERVALS if kind.interval != EVENT else (EVENT,))]


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Lake:
    """Give three symbols with holes, one of them listed late, funding with a missed settlement, and a series."""
    lake = Lake(tmp_path_factory.mktemp("history"))
    put(lake, KLINES, without(bars(24 * DAYS), *HOLES))
    put(lake, KLINES._replace(symbol="ETHUSDT"), without(bars(24 * DAYS, seed=2), 24 * 200))
    put(lake, KLINES._replace(symbol="XRPUSDT"), bars(24 * 300, seed=3, start_ms=START + 100 * DAY_MS))
    put(lake, FUNDING, without(settlements(3 * DAYS), 100, 3 * 390))
    return put(lake, VIX, without(published(DAYS), 50, *range(60, 75)))


@pytest.fixture(scope="module")
def twins(history, tmp_path_factory) -> list[tuple[int, Lake]]:
    """Give the history as it was at each cut, and with all that came later changed."""
    made = []
    for known_ms in CUTS:
        for change in (0.0, 1.37):
            made.append((known_ms, twin(history, tmp_path_factory.mktemp("twin"), known_ms, change)))
    return made


def at(signal: Signal, times_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Give the values that hold at moments."""
    row = np.searchsorted(signal.available_ms, times_ms, side="right") - 1
    return np.where(row >= 0, signal.value[np.maximum(row, 0)], np.nan)


@pytest.mark.parametrize(("use", "interval"), ASKED)
def test_what_came_later_changes_nothing(history, twins, use: str, interval: str) -> None:
    whole = ask(history, use, interval, **GIVEN.get(use, {}))
    known = whole.value[~np.isnan(whole.value)]
    assert len(np.unique(known)) > 1, "says nothing that could change"
    for known_ms, lake in twins:
        other = ask(lake, use, interval, **GIVEN.get(use, {}))
        moments = np.union1d(whole.available_ms, other.available_ms)
        moments = moments[moments <= known_ms]
        assert len(moments) > 10
        assert np.array_equal(at(whole, moments), at(other, moments), equal_nan=True)


@pytest.mark.parametrize(("use", "interval"), ASKED)
def test_to_stop_earlier_is_to_know_less_and_nothing_else(history, use: str, interval: str) -> None:
    whole = ask(history, use, interval, **GIVEN.get(use, {}))
    for known_ms in CUTS:
        part = ask(history, use, interval, stop_ms=known_ms + 1, **GIVEN.get(use, {}))
        assert (part.available_ms <= known_ms).all()
        moments = whole.available_ms[whole.available_ms <= known_ms]
        assert np.array_equal(at(whole, moments), at(part, moments), equal_nan=True)


@pytest.mark.parametrize("use", SIGNALS)
def test_every_prefix_of_the_rows_gives_the_same_values(history, use: str) -> None:
    kind, interval, p = resolve(SignalSpec("asked", use, params=tuple(GIVEN.get(use, {}).items())))
    rows = kind.reads.read(Known("", history, "binance", "BTCUSDT", interval, FAR), p)
    values = np.asarray(kind(rows, p), np.float64)

    @settings(max_examples=15)
    @given(st.integers(1, len(rows)))
    def same(count: int) -> None:
        assert np.array_equal(np.asarray(kind(rows.iloc[:count], p)), values[:count], equal_nan=True)

    same()


@pytest.mark.parametrize("use", ["rsi", "macd_cross", "drawdown"])
def test_what_was_published_later_changes_nothing(history, twins, use: str) -> None:
    whole = ask(history, use, **OF_SERIES)
    assert len(np.unique(whole.value[~np.isnan(whole.value)])) > 1
    for known_ms, lake in twins:
        other = ask(lake, use, **OF_SERIES)
        moments = whole.available_ms[whole.available_ms <= known_ms]
        assert np.array_equal(at(whole, moments), at(other, moments), equal_nan=True)


def test_a_signal_that_looks_ahead_would_be_caught(history, twins) -> None:
    """The comparison is able to fail: it does for the drawdown of one bar later."""
    whole = ask(history, "drawdown", "1h")
    early = Signal(whole.available_ms - HOUR_MS, whole.value)
    known_ms, lake = twins[1]
    other = ask(lake, "drawdown", "1h")
    other = Signal(other.available_ms - HOUR_MS, other.value)
    moments = early.available_ms[early.available_ms <= known_ms]
    assert not np.array_equal(at(early, moments), at(other, moments), equal_nan=True)
