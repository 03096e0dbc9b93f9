"""MACD, RSI and ATR: equal to TA-Lib, and defined where TA-Lib is not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import talib

from backtest.data.imports import ImportOptions, import_file
from backtest.data.store import Lake
from backtest.signals import indicators
from backtest.signals.inputs import Known

from .history import FAR, KLINES, ask, bars, of_closes, put, without

MACD = SimpleNamespace(fast=12, slow=26, signal=9)
WILDER = SimpleNamespace(window=14)
SETTLED = 600  # from this bar on, where the averages began makes no difference


def frame(columns) -> pd.DataFrame:
    return pd.DataFrame({name: np.asarray(columns[name], np.float64) for name in ("open", "high", "low", "close")})


def assert_equals_talib(rows: pd.DataFrame) -> None:
    high, low, close = (rows[name].to_numpy() for name in ("high", "low", "close"))
    _, _, histogram = talib.MACD(close, 12, 26, 9)
    pairs = {
        "macd": (indicators.macd_histogram(rows, MACD), histogram),
        "rsi": (indicators.rsi(rows, WILDER), talib.RSI(close, 14)),
        "atr": (indicators.atr(rows, WILDER), talib.ATR(high, low, close, 14)),
    }
    for name, (ours, theirs) in pairs.items():
        assert np.abs(ours - theirs)[SETTLED:].max() < 1e-9, name
        early = np.abs(ours - theirs)[indicators.WARM_UP_BARS :] / np.abs(theirs[indicators.WARM_UP_BARS :]).max()
        assert early.max() < 1e-5, name
        assert np.isnan(ours[: indicators.WARM_UP_BARS]).all(), name
    crosses = np.flatnonzero((histogram[1:] > 0) != (histogram[:-1] > 0)) + 1
    ours = np.flatnonzero(indicators.macd_cross(rows, MACD) == 1)
    theirs = crosses[(crosses > indicators.WARM_UP_BARS) & (histogram[crosses] > 0)]
    assert ours.tolist() == theirs.tolist()
    assert len(ours) > 10


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_they_equal_talib_on_random_walks(seed: int) -> None:
    assert_equals_talib(frame(bars(3000, seed)))


@pytest.mark.real
def test_they_equal_talib_on_the_history_of_btc(real_data, tmp_path) -> None:
    file = real_data / "binance-usdm-freqtrade" / "full-history-1h" / "BTC_USDT_USDT-1h-futures.feather"
    import_file(Lake(tmp_path), file, ImportOptions(venue="binance"))
    for interval, count in (("1h", 58_623), ("4h", 14_655), ("1d", 2_442)):
        rows = Known("", Lake(tmp_path), "binance", "BTCUSDT", interval, FAR).bars().dropna()
        assert len(rows) == count
        assert_equals_talib(rows)


def test_published_values_are_reproduced() -> None:
    """A sine with a trend, whose TA-Lib values and crosses are known: repeated until the start is forgotten."""
    t = np.arange(1000)
    rows = frame(of_closes(100 + 10 * np.sin(2 * np.pi * t / 20) + 0.1 * t))
    cross = indicators.macd_cross(rows, MACD)
    up, down = np.flatnonzero(cross == 1), np.flatnonzero(cross == -1)
    # Known: up at 40, 61, 81, 101, down at 51, 71, 91, 111, so every 20 bars from there.
    assert up.tolist() == list(range(261, 1000, 20))
    assert down.tolist() == list(range(251, 1000, 20))


def test_a_flat_market_has_an_rsi_of_50_and_no_range() -> None:
    rows = frame(of_closes(np.full(400, 100.0)))
    assert (indicators.rsi(rows, WILDER)[250:] == 50).all()
    assert (indicators.atr(rows, WILDER)[250:] == 0).all()
    assert (indicators.macd_cross(rows, MACD)[251:] == 0).all()


@pytest.mark.parametrize(("last", "cross"), [(101.0, 1), (99.0, -1)])
def test_from_nothing_is_a_cross_too(last: float, cross: int) -> None:
    """The histogram of a flat market is 0, neither above nor below."""
    found = indicators.macd_cross(frame(of_closes([*np.full(300, 100.0), last, last])), MACD)
    assert found[298:].tolist() == [0, 0, cross, 0]


def test_an_rsi_of_rises_alone_is_100_and_of_falls_alone_0() -> None:
    assert (indicators.rsi(frame(of_closes(np.arange(1.0, 400))), WILDER)[250:] == 100).all()
    assert (indicators.rsi(frame(of_closes(np.arange(400.0, 1, -1))), WILDER)[250:] == 0).all()


def test_an_extreme_is_its_entry_alone() -> None:
    closes = np.concatenate((100 + np.resize([0.0, 1.0], 300), np.arange(100.0, 80, -1), np.arange(80.0, 130, 1)))
    rows = frame(of_closes(closes))
    levels = SimpleNamespace(window=14, low=30.0, high=70.0)
    strength, entered = indicators.rsi(rows, levels), indicators.rsi_extreme(rows, levels)
    (fell,), (rose,) = np.flatnonzero(entered == -1), np.flatnonzero(entered == 1)
    assert strength[fell] <= 30 < strength[fell - 1]
    assert strength[rose] >= 70 > strength[rose - 1]
    assert strength[fell + 1] < 30, "still extreme, and says so no more"


def test_a_hole_starts_the_recursion_anew(tmp_path) -> None:
    columns = bars(700)
    signal = ask(put(Lake(tmp_path), KLINES, without(columns, 300)), "rsi", "1h")
    assert len(signal.value) == 701
    known = ~np.isnan(signal.value)
    assert known[250:300].all()
    assert not known[300:551].any()
    assert known[551:700].all()
    after = {name: column[301:] for name, column in columns.items()}
    assert np.array_equal(signal.value[551:700], indicators.rounded(indicators.rsi(frame(after), WILDER)[250:]))


def test_a_longer_window_warms_up_longer() -> None:
    values: npt.NDArray[np.float64] = indicators.rsi(frame(bars(1000)), SimpleNamespace(window=50))
    assert np.isnan(values[:850]).all()
    assert not np.isnan(values[850:]).any()
