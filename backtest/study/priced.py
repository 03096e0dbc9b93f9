"""Marks of an option that no vendor delivered: priced from the bars and the volatility that a lake holds.

They are a model, and say so: the asset's venue is `model`, and the source that the manifest keeps is how it was priced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from backtest.data.disk import sha256_bytes
from backtest.data.join import Bars, read_bars
from backtest.data.manifest import Dataset, Source
from backtest.data.published import newest_values, series_dataset
from backtest.data.store import Lake, MergeResult, Piece
from backtest.errors import CoverageError, DataError, Problem
from backtest.pricing.options import Floats, realised_volatility
from backtest.pricing.rolled import Series, option_marks
from backtest.schema import ASSET_MARKS
from backtest.units import DAY_MS, duration_ms, duration_text

VENUE = "model"
# A published volatility is not known any more after this: a week without one is a hole.
STALE_MS = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class Volatility:
    """Where an option's volatility comes from: a series of the lake in per cent, or the mark's own last returns.

    `factor` multiplies either: what is implied was mostly more than what was realised before.
    """

    series: str | None = None
    realised_ms: int | None = None
    factor: float = 1.0

    def __str__(self) -> str:
        told = self.series or f"realised over {duration_text(self.realised_ms or 0)}"
        return told if self.factor == 1.0 else f"{self.factor:g} × {told}"


def make_asset(
    lake: Lake,
    name: str,
    underlying: Dataset,
    series: Series,
    volatility: Volatility,
    *,
    start_ms: int | None,
    stop_ms: int,
    replace: bool = False,
) -> MergeResult:
    """Price a series from mark bars over a half-open range and store it as the asset `name`.

    `underlying` names the mark bars and so the length of the asset's. The volatility of a bar is what was known at its
    open.

    Errors: `CoverageError` where bars or volatility are missing; `DataError` where the asset is there already.
    """
    dataset = Dataset(VENUE, ASSET_MARKS.name, name, underlying.interval).check()
    if dataset in lake.datasets() and not replace:
        remedy = "take another name, or let the new marks replace the old ones (--replace)"
        raise DataError(Problem(str(dataset), "is in the lake already", remedy))
    bars = read_bars(lake, underlying, None, stop_ms)
    known = _known(lake, volatility, bars, duration_ms(underlying.interval))
    first = 0 if start_ms is None else int(np.searchsorted(bars.time_ms, start_ms))
    if first == len(bars.time_ms):
        raise CoverageError(Problem(str(underlying), "has no bar in this range", "see what is there: backtest data ls"))
    mark = tuple(column[first:] for column in bars.prices)
    time_ms = bars.time_ms[first:]
    bar, *columns = option_marks(time_ms, mark, known[first:], series, duration_ms(underlying.interval))
    open_ms = time_ms[bar]
    available_ms = open_ms + duration_ms(underlying.interval)
    frame = pa.table([pa.array(column) for column in (open_ms, *columns, available_ms)], schema=dataset.schema.arrow())
    content = b"".join(np.ascontiguousarray(column).tobytes() for column in (open_ms, *columns))
    source = Source(_told(underlying, series, volatility), sha256_bytes(content))
    if replace:
        lake.drop(dataset)
    (result,) = lake.merge([Piece(dataset, frame, source)])
    return result


def _known(lake: Lake, volatility: Volatility, bars: Bars, interval_ms: int) -> Floats:
    """Give the volatility a year, as a fraction, that was known at each bar's open; NaN where none was."""
    if volatility.realised_ms is not None:
        known = realised_volatility(bars.prices.close, interval_ms, volatility.realised_ms // interval_ms)
        return known * volatility.factor
    values = newest_values(lake.read(series_dataset(volatility.series or "")))
    place = np.searchsorted(values.known_ms, bars.time_ms, side="right") - 1
    age_ms = bars.time_ms - values.known_ms[np.maximum(place, 0)]
    fresh = (place >= 0) & (age_ms <= STALE_MS)
    found: Floats = np.where(fresh, values.value[np.maximum(place, 0)] / 100.0, np.nan) * volatility.factor
    return found


def _told(underlying: Dataset, series: Series, volatility: Volatility) -> str:
    rolled = "" if series.roll_ms is None else f", rolled every {duration_text(series.roll_ms)}"
    cost = f" at a cost of {100 * series.roll_cost:g} %" if series.roll_cost else ""
    skew = f", skew {series.skew:g}" if series.skew else ""
    many = "" if series.contracts == 1.0 else f"{series.contracts:g} contracts a unit: "
    return (
        f"{many}{series.right} on {underlying.venue} {underlying.symbol} at {series.moneyness:g} of the mark for "
        f"{duration_text(series.tenor_ms)}{rolled}{cost}, volatility {volatility}{skew}"
    )
