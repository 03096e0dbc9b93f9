"""An option followed bar by bar as one asset: one contract until it expires, or always a fresh one, rolled.

What is known at a bar's open prices the whole bar: volatility, strike and expiry stay through it. The mark's extremes
then bound the option's: a put is dearest at the lowest mark with the time left at the open, and cheapest at the highest
mark with the time left at the close; a call the other way round. No path inside the bar leaves these bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from backtest.errors import CoverageError, Problem
from backtest.pricing.options import YEAR_MS, Floats, Ints, Right, black_76, written_margins
from backtest.units import time_text

DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Series:
    """What is followed: a put or a call struck at a share of the mark at its listing, for so long.

    With `roll_ms` the holder sells it after that time and buys the next one for all that the sale gave, less
    `roll_cost` of it. One unit begins as so many `contracts`: many, where rolling is to leave a price that 8 decimals
    show. `skew` lifts the volatility of strikes under the
    mark: σ(K) = σ (1 − skew ln(K/F)), F at the listing; strikes over it are priced at σ.
    """

    right: Right
    moneyness: float
    tenor_ms: int
    roll_ms: int | None = None
    skew: float = 0.0
    roll_cost: float = 0.0
    contracts: float = 1.0


class Marks(NamedTuple):
    """Bars of an asset in natural units, as columns of `asset_marks`, and the bars they stand for."""

    bar: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    initial_margin: Floats
    maintenance_margin: Floats


def option_marks(
    time_ms: Ints, mark: tuple[Floats, ...], volatility: Floats, series: Series, interval_ms: int
) -> Marks:
    """Price a series over bars of the mark: open, high, low, close.

    `volatility` is a fraction a year, as it was known at each bar's open.

    Errors: `CoverageError` where the volatility of a bar is not known or no price is left that 8 decimals could show.
    """
    open, high, low, close = mark
    listed = _listings(time_ms, series)
    last = len(time_ms) if series.roll_ms is not None else int(np.searchsorted(time_ms, time_ms[0] + series.tenor_ms))
    bar = np.arange(last)
    unknown = np.flatnonzero(~(volatility[:last] > 0.0))
    if unknown.size:
        where = time_text(int(time_ms[unknown[0]]))
        raise CoverageError(Problem(where, "no volatility is known at this bar", "begin later, or import more of it"))
    period = np.searchsorted(listed, bar, side="right") - 1
    strike = series.moneyness * open[listed]
    smile = 1.0 - series.skew * min(np.log(series.moneyness), 0.0)
    expiry_ms = time_ms[listed] + series.tenor_ms

    def price(forward: Floats, at_ms: Ints, of: Ints, bars: Ints) -> Floats:
        years = np.maximum(expiry_ms[of] - at_ms, 0) / YEAR_MS
        return black_76(series.right, forward, strike[of], smile * volatility[bars], years)

    rolled = listed[1:]
    before = price(open[rolled], time_ms[rolled], np.arange(len(rolled)), rolled)
    after = price(open[rolled], time_ms[rolled], np.arange(1, len(listed)), rolled)
    kept = np.cumprod(before * (1.0 - series.roll_cost) / after)
    held = series.contracts * np.concatenate(([1.0], kept))[period]
    closed_ms = time_ms[:last] + interval_ms
    dear, cheap = (low, high) if series.right == "put" else (high, low)
    value = {
        "open": price(open[:last], time_ms[:last], period, bar),
        "close": price(close[:last], closed_ms, period, bar),
        "dear": price(dear[:last], time_ms[:last], period, bar),
        "cheap": price(cheap[:last], closed_ms, period, bar),
    }
    needs = written_margins(series.right, open[:last], strike[period], value["open"])
    columns = (value["open"], value["dear"], value["cheap"], value["close"], *needs)
    marks = Marks(bar, *(np.round(column * held, DECIMALS) for column in columns))
    _refuse_dust(marks, time_ms, series)
    return marks


def _listings(time_ms: Ints, series: Series) -> Ints:
    """Give the bars at which a contract is listed: the first, and of a rolled one the first of each period."""
    if series.roll_ms is None:
        return np.zeros(1, np.int64)
    period = (time_ms - time_ms[0]) // series.roll_ms
    return np.flatnonzero(np.diff(period, prepend=-1)).astype(np.int64)


def _refuse_dust(marks: Marks, time_ms: Ints, series: Series) -> None:
    """Refuse a rolled asset that has lost so much that its price has fewer than 4 digits left."""
    dust = np.flatnonzero(marks.open < 1e-4) if series.roll_ms is not None else np.empty(0, np.int64)
    if dust.size:
        what = f"rolling left a price of {marks.open[dust[0]]:.8f}, too little for 8 decimals"
        remedy = "begin with more contracts a unit, take a longer tenor or a shorter range: each roll pays time value"
        raise CoverageError(Problem(time_text(int(time_ms[dust[0]])), what, remedy))
