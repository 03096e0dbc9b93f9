"""Indicators of closed bars, by vectorbt with the settings that agree with TA-Lib: MACD, RSI, ATR.

vectorbt starts a moving average at its first bar, TA-Lib at the mean of the first n. The difference dies out: for the
usual windows it is under 1e-5 at the first bar that is given here, the 251st, and under 1e-9 from bar 600 on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.signals.inputs import CLOSE
from backtest.signals.kinds import signal
from backtest.signals.settings import Setting, number, whole
from backtest.signals.spec import Floats

# vectorbt hands lists to functions that numba compiles at their first call
warnings.filterwarnings("ignore", r"\s*Encountered the use of a type that is scheduled for deprecation")

if TYPE_CHECKING:
    import pandas as pd

WARM_UP_BARS = 250
CROSS = "+1 up, -1 down, 0"
# Time constants after which a start is forgotten: what is left is exp(-17), about 4e-8.
_TIME_CONSTANTS = 17


def bar_count(default: int, help: str, low: int = 2) -> Setting:
    """Declare a number of bars."""
    return whole(default, low=low, high=1000, help=f"{help}, in bars")


def levels_conflict(p: Any) -> str:
    """Say that `low` is not under `high`, where it is not."""
    return "" if p.low < p.high else f"low = {p.low:g} is not under high = {p.high:g}"


def _macd_conflict(p: Any) -> str:
    return "" if p.fast < p.slow else f"fast = {p.fast} is not under slow = {p.slow}"


_WILDER: dict[str, Any] = {"window": bar_count(14, "Wilder's average")}
_MACD: dict[str, Any] = {
    "fast": bar_count(12, "fast EMA"),
    "slow": bar_count(26, "slow EMA"),
    "signal": bar_count(9, "EMA of the difference"),
}


@signal(interval="1d", unit="quote", reads=CLOSE, conflict=_macd_conflict, **_MACD)
def macd_histogram(bars: pd.DataFrame, p: Any) -> Floats:
    """Give EMA(fast) - EMA(slow) less its own EMA(signal), in quote."""
    import vectorbt as vbt

    def histogram(run: pd.DataFrame) -> Floats:
        windows = {"fast_window": p.fast, "slow_window": p.slow, "signal_window": p.signal}
        return _array(vbt.MACD.run(run["close"], **windows, macd_ewm=True, signal_ewm=True).hist)

    # An EMA of n bars has a time constant of n / 2.
    return by_run(bars, _warm_up(max(p.slow, p.signal) / 2), histogram)


@signal(interval="1d", unit=CROSS, reads=CLOSE, conflict=_macd_conflict, **_MACD)
def macd_cross(bars: pd.DataFrame, p: Any) -> Floats:
    """Give +1 at the close at which the histogram turned positive, -1 where it turned negative, else 0."""
    histogram = macd_histogram(bars, p)
    before = _before(histogram)
    crossed = np.where((histogram > 0) & (before <= 0), 1.0, np.where((histogram < 0) & (before >= 0), -1.0, 0.0))
    return np.where(np.isnan(histogram) | np.isnan(before), np.nan, crossed)


@signal(interval="1d", unit="0 to 100", reads=CLOSE, **_WILDER)
def rsi(bars: pd.DataFrame, p: Any) -> Floats:
    """Give Wilder's RSI, 0 to 100; 50 where no close differs from the one before."""
    import vectorbt as vbt

    def strength(run: pd.DataFrame) -> Floats:
        values = _array(vbt.RSI.run(run["close"], window=_wilder_span(p.window), ewm=True).rsi)
        return np.where(np.isnan(values), 50.0, values)  # no gain over no loss

    return by_run(bars, _warm_up(p.window), strength)


@signal(
    interval="1d",
    unit=CROSS,
    reads=CLOSE,
    conflict=levels_conflict,
    **_WILDER,
    low=number(30, low=0, high=100, help="RSI that is extreme when it falls there"),
    high=number(70, low=0, high=100, help="RSI that is extreme when it rises there"),
)
def rsi_extreme(bars: pd.DataFrame, p: Any) -> Floats:
    """Give -1 at the close at which the RSI fell to `low` or under, +1 where it rose to `high` or above, else 0."""
    strength = rounded(rsi(bars, p))
    before = _before(strength)
    fell, rose = (strength <= p.low) & (before > p.low), (strength >= p.high) & (before < p.high)
    entered = np.where(fell, -1.0, np.where(rose, 1.0, 0.0))
    return np.where(np.isnan(strength) | np.isnan(before), np.nan, entered)


@signal(interval="1d", unit="quote", **_WILDER)
def atr(bars: pd.DataFrame, p: Any) -> Floats:
    """Give Wilder's average true range, in quote."""
    import vectorbt as vbt

    def true_range(run: pd.DataFrame) -> Floats:
        found = vbt.ATR.run(run["high"], run["low"], run["close"], window=_wilder_span(p.window), ewm=True)
        return _array(found.atr)

    return by_run(bars, _warm_up(p.window), true_range)


def by_run(bars: pd.DataFrame, warm_up: int, function: Callable[[pd.DataFrame], Floats]) -> Floats:
    """Apply a function to every unbroken run of bars by itself; the first `warm_up` values of a run are not known.

    Nothing is carried over a hole: a recursion that met one would remember it for ever.
    """
    values = np.full(len(bars), np.nan)
    there = np.concatenate(([False], bars["close"].notna().to_numpy(), [False]))
    for first, stop in np.flatnonzero(np.diff(there)).reshape(-1, 2):
        if stop - first > warm_up:
            values[first + warm_up : stop] = function(bars.iloc[first:stop])[warm_up:]
    return values


def rounded(values: Floats) -> Floats:
    """Round to nine significant digits: what decides must not hang on the last bit.

    >>> rounded(np.array([1234.56789012, 0.1 + 0.2])).tolist()
    [1234.56789, 0.3]
    """
    return np.array([float(f"{value:.9g}") for value in values.tolist()], np.float64) + 0.0


def _wilder_span(window: int) -> int:
    return 2 * window - 1  # the span of an EMA whose weight is Wilder's, 1 / window


def _warm_up(time_constant: float) -> int:
    return max(WARM_UP_BARS, int(_TIME_CONSTANTS * time_constant))


def _before(values: Floats) -> Floats:
    return np.concatenate(([np.nan], values[:-1]))


def _array(values: Any) -> Floats:
    return np.asarray(values, np.float64)
