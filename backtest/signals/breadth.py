"""Breadth: how many perpetuals of a venue rose, counted at each close over those that were listed then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.signals.indicators import bar_count
from backtest.signals.inputs import CLOSE, CLOSES, Input, Known
from backtest.signals.kinds import signal
from backtest.signals.settings import series, whole
from backtest.signals.spec import Floats

if TYPE_CHECKING:
    import pandas as pd


_LEAST: dict[str, Any] = {"least": whole(2, low=1, high=1000, help="symbols that must be listed")}


@signal(interval="1d", unit="%", reads=CLOSES, **_LEAST)
def breadth(closes: pd.DataFrame, p: Any) -> Floats:
    """Give 100 x (advancers - decliners) / (advancers + decliners), per cent.

    A symbol counts where it has this close and the one before. Not known under `least` of them, nor where none moved.
    """
    up, down, listed = _counts(closes)
    moved = np.where(up + down > 0, up + down, np.nan)
    return np.where(listed >= p.least, 100 * (up - down) / moved, np.nan)


@signal(interval="1d", unit="symbols", reads=CLOSES, **_LEAST)
def ad_line(closes: pd.DataFrame, p: Any) -> Floats:
    """Give the sum of advancers - decliners of all closes so far; not known under `least` symbols."""
    up, down, listed = _counts(closes)
    enough = listed >= p.least
    return np.where(enough, np.cumsum(np.where(enough, up - down, 0)), np.nan)


def _close_and_line(known: Known, p: Any) -> pd.DataFrame:
    """Give the closes beside the line as it was known at each: of a series, else of the venue's own perpetuals."""
    import pandas as pd

    bars = known.closes_of(p.price, p.stale_days)
    if p.series:
        line = known.series(p.series, p.stale_days)["value"]
    else:
        closes = known.closes()
        line = pd.Series(ad_line(closes, p), closes.index)
    return bars.assign(line=line.reindex(bars.index, method="ffill"))


_LINE = series("", help="a line in the lake; without it that of the venue's perpetuals")


@signal(
    interval="1d",
    unit="1 or 0",
    reads=Input(_close_and_line, {"series": _LINE} | CLOSE.settings | _LEAST),
    window=bar_count(60, "closes of which the highest counts"),
    closes=bar_count(5, "closes at which the line must be under its highest", low=1),
)
def ad_divergence(rows: pd.DataFrame, p: Any) -> Floats:
    """Give 1 where the close is the highest of `window` and breadth does not confirm it, else 0.

    Not confirmed: at each of the last `closes` closes the line was under its own highest of `window`.
    """
    import vectorbt  # noqa: F401  registers the accessor

    high = rows.vbt.rolling_max(p.window, minp=p.window)
    below = (rows["line"] < high["line"]).astype(np.float64).where(high["line"].notna())
    unconfirmed = below.rolling(p.closes).min()
    found = (rows["close"] == high["close"]) & (unconfirmed == 1)
    known = high["close"].notna() & unconfirmed.notna()
    return np.asarray(found.astype(np.float64).where(known), np.float64)


def _counts(closes: pd.DataFrame) -> tuple[Floats, Floats, Floats]:
    """Give, at each close, how many symbols rose, how many fell, and how many could have done either."""
    change = np.diff(closes.to_numpy(np.float64), axis=0, prepend=np.nan)
    return tuple(np.sum(what, axis=1).astype(np.float64) for what in (change > 0, change < 0, ~np.isnan(change)))
