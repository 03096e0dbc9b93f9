"""What signals are made of: closed bars, as they were known before a moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from backtest.data.join import read_bars
from backtest.data.manifest import Dataset
from backtest.data.store import Lake
from backtest.signals.spec import Floats, Ints
from backtest.units import duration_ms

if TYPE_CHECKING:
    import pandas as pd

TABLES = {"last": "klines", "mark": "mark_price", "index": "index_price"}


@dataclass(slots=True)
class Known:
    """The lake as it was known before `stop_ms`, for a signal of one symbol; notes every dataset that was read."""

    lake: Lake
    venue: str
    symbol: str
    interval: str
    stop_ms: int
    datasets: set[Dataset] = field(default_factory=set)

    def bars(self, price: str = "last", symbol: str = "") -> pd.DataFrame:
        """Give the closed bars, indexed by the time at which each closed and was known.

        Missing bars are rows of NaN, and so is the first one that is missing at the end: what a signal made of bars
        says ends with them. Raises `CoverageError` where the lake has no bars that fit.
        """
        wanted = Dataset(self.venue, TABLES[price], symbol or self.symbol, self.interval)
        found = read_bars(self.lake, wanted, None, self.stop_ms)
        self.datasets.add(found.dataset)
        interval_ms = duration_ms(self.interval)
        closed = found.time_ms + interval_ms < self.stop_ms
        open_ms = found.time_ms[closed]
        columns = dict(zip(found.prices._fields, found.prices, strict=True))
        if found.quote_volume is not None:
            columns["quote_volume"] = found.quote_volume
        grid_ms, place = _grid(open_ms, interval_ms, self.stop_ms)
        spread = {}
        for name, column in columns.items():
            spread[name] = np.full(len(grid_ms), np.nan)
            spread[name][place] = column[closed]
        return indexed(grid_ms + interval_ms, spread)


def _grid(open_ms: Ints, interval_ms: int, stop_ms: int) -> tuple[Ints, Ints]:
    """Give the opens at which there should be a bar, up to one after the last, and the places of those that are."""
    if not len(open_ms):
        return open_ms, open_ms
    place = (open_ms - open_ms[0]) // interval_ms
    grid_ms = open_ms[0] + interval_ms * np.arange(place[-1] + 2)
    return grid_ms[grid_ms + interval_ms < stop_ms], place


def indexed(available_ms: Ints, columns: dict[str, Floats]) -> pd.DataFrame:
    """Give columns as a frame indexed by `available`, UTC."""
    import pandas as pd

    return pd.DataFrame(columns, index=pd.DatetimeIndex(available_ms.astype("M8[ms]"), name="available", tz="UTC"))


def available_ms(frame: pd.DataFrame) -> Ints:
    """Give the times of a frame's rows as epoch milliseconds."""
    import pandas as pd

    return np.asarray(pd.DatetimeIndex(frame.index).as_unit("ms").asi8, np.int64)
