"""Regimes and extremes: volatility, drawdown, funding and series against bands, or against their own past.

What is compared with the past is compared with the past alone: a border is a quantile of the values up to then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.data.manifest import EVENT
from backtest.signals.indicators import bar_count, levels_conflict, rounded
from backtest.signals.inputs import CLOSE, SERIES, SETTLEMENTS
from backtest.signals.kinds import signal
from backtest.signals.settings import number, numbers, whole
from backtest.signals.spec import Floats
from backtest.units import DAY_MS

if TYPE_CHECKING:
    import pandas as pd

YEAR_MS = 365 * DAY_MS
_SIDES = "+1 above, -1 below, 0"


_VOLATILITY: dict[str, Any] = {"window": bar_count(30, "returns of which the deviation is taken", low=3)}
_HISTORY = whole(250, low=30, high=100_000, help="values of the past that a border needs")


@signal(interval="1d", unit="% a year", **_VOLATILITY)
def volatility(bars: pd.DataFrame, p: Any) -> Floats:
    """Give the realised volatility of `window` returns, in per cent a year of 365 days.

    100 x sqrt(bars a year) x standard deviation (n - 1) of ln(close / close before); not known where the window has a
    hole.
    """
    import vectorbt as vbt

    close = bars["close"]
    deviation = vbt.MSTD.run(np.log(close).diff(), window=p.window, ddof=1).mstd.to_numpy(np.float64)
    return np.asarray(100 * np.sqrt(YEAR_MS / p.interval_ms) * deviation, np.float64)


@signal(
    interval="1d",
    unit="borders passed, 0 calm",
    **_VOLATILITY,
    borders=numbers((100 / 3, 200 / 3), low=1, high=99, help="per cent of the past under each border"),
    history=_HISTORY,
)
def volatility_regime(bars: pd.DataFrame, p: Any) -> Floats:
    """Give how many of `borders`, quantiles of the volatility so far, the present one lies above: 0 is calm."""
    import pandas as pd

    present = pd.Series(volatility(bars, p))
    past = present.expanding(min_periods=p.history)
    return _place(present, [past.quantile(share / 100) for share in p.borders])


@signal(interval="1d", unit="%", reads=CLOSE)
def drawdown(bars: pd.DataFrame, p: Any) -> Floats:
    """Give by how many per cent the close is under the highest close so far."""
    import vectorbt  # noqa: F401  registers the accessor

    return np.asarray(-100 * bars["close"].vbt.drawdown(), np.float64)


@signal(interval=EVENT, unit="basis points", reads=SETTLEMENTS)
def funding(stamps: pd.DataFrame, p: Any) -> Floats:
    """Give the rate of the last settlement in basis points, as it was paid."""
    return 10_000 * stamps["rate"].to_numpy(np.float64)


@signal(
    interval=EVENT,
    unit=_SIDES,
    reads=SETTLEMENTS,
    tail=number(5, low=0.1, high=50, help="per cent of the past that is extreme, on each side"),
    history=_HISTORY,
)
def funding_extreme(stamps: pd.DataFrame, p: Any) -> Floats:
    """Give +1 while the last rate is above, -1 while it is below all but `tail` per cent of those before; else 0."""
    rate = stamps["rate"]
    past = rate.shift(1).expanding(min_periods=p.history)
    return _sides(rate, past.quantile(p.tail / 100), past.quantile(1 - p.tail / 100))


@signal(
    interval=EVENT,
    unit=_SIDES,
    reads=SETTLEMENTS,
    conflict=levels_conflict,
    low=number(-1, low=-400, high=400, help="basis points a settlement"),
    high=number(5, low=-400, high=400, help="basis points a settlement"),
)
def funding_beyond(stamps: pd.DataFrame, p: Any) -> Floats:
    """Give +1 while the last rate is above `high`, -1 while it is below `low`, in basis points; else 0."""
    rate = 10_000 * stamps["rate"]
    return _sides(rate, 0 * rate + p.low, 0 * rate + p.high)


@signal(interval=EVENT, unit="of the series", reads=SERIES)
def series_value(rows: pd.DataFrame, p: Any) -> Floats:
    """Give the newest published value."""
    return rows["value"].to_numpy(np.float64)


@signal(
    interval=EVENT,
    unit="edges reached",
    reads=SERIES,
    edges=numbers((15, 20, 28), low=-1e9, high=1e9, help="in the unit of the series"),
)
def series_band(rows: pd.DataFrame, p: Any) -> Floats:
    """Give how many of `edges` the newest published value has reached."""
    value = rounded(series_value(rows, p))
    return np.where(np.isnan(value), np.nan, np.searchsorted(p.edges, value, side="right"))


def _sides(value: pd.Series, low: pd.Series, high: pd.Series) -> Floats:
    """Give +1 above `high`, -1 below `low`, else 0; not known where one of them is not."""
    at, under, over = (rounded(column.to_numpy(np.float64)) for column in (value, low, high))
    side = np.where(at > over, 1.0, np.where(at < under, -1.0, 0.0))
    return np.where(np.isnan(at + under + over), np.nan, side)


def _place(value: pd.Series, borders: list[pd.Series]) -> Floats:
    """Give above how many borders a value lies; not known where one of them is not."""
    at = rounded(value.to_numpy(np.float64))
    over = [rounded(border.to_numpy(np.float64)) for border in borders]
    place = np.sum([at > border for border in over], axis=0).astype(np.float64)
    return np.where(np.isnan(at + np.sum(over, axis=0)), np.nan, place)
