"""What signals are made of: closed bars, settlements and published series, as they were known before a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from backtest.data.join import FUNDING_MAX_MS, read_bars
from backtest.data.manifest import EVENT, Dataset
from backtest.data.published import Values, first_prints, newest_values, series_dataset
from backtest.data.store import Lake
from backtest.errors import CoverageError
from backtest.signals.settings import Setting, choice, number, price_or_series, series
from backtest.signals.spec import Floats, Ints
from backtest.units import DAY_MS, MINUTE_MS, duration_ms
from backtest.venues.symbols import is_delivery

if TYPE_CHECKING:
    import pandas as pd

FUNDING_STALE_MS = FUNDING_MAX_MS + MINUTE_MS  # stamps are some ms off
PRICES = {"last": "klines", "mark": "mark_price", "index": "index_price"}


@dataclass(slots=True)
class Known:
    """The lake as it was known before `stop_ms`, for the signal `name` of one symbol; notes what datasets are read."""

    name: str
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
        wanted = Dataset(self.venue, PRICES[price], symbol or self.symbol, self.interval)
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

    def closes_of(self, price: str, stale_days: float) -> pd.DataFrame:
        """Give the column `close`: of the bars of a price, or of a series each period's value as first published."""
        if "/" not in price:
            return self.bars(price)[["close"]]
        return self._series(price, first_prints, "close", stale_days)

    def closes(self) -> pd.DataFrame:
        """Give the closes of every perpetual of the venue that the lake has bars of, a column each.

        Rows are as of `bars`, from the first bar of any symbol on. Raises `CoverageError` where there are none.
        """
        import pandas as pd

        interval_ms = duration_ms(self.interval)
        symbols = {
            held.symbol
            for held in self.lake.datasets()
            if held[:2] == (self.venue, "klines") and not is_delivery(held.symbol)
            if interval_ms % duration_ms(held.interval) == 0
        }
        if not symbols:
            where = f"{self.venue} klines {self.interval}"
            raise CoverageError.at(self.lake.root, f"has no {where}", "import bars of many symbols, this fine or finer")
        closes = pd.concat({symbol: self.bars(symbol=symbol)["close"] for symbol in sorted(symbols)}, axis=1, sort=True)
        return closes.resample(pd.Timedelta(interval_ms, "ms"), origin="start").asfreq() if len(closes) else closes

    def settlements(self) -> pd.DataFrame:
        """Give the funding rates that were settled, by stamp; unknown once one must have been missed."""
        dataset = Dataset(self.venue, "funding_rate", self.symbol, EVENT)
        rows = self.lake.read(dataset, None, self.stop_ms, ["funding_rate", "available_ms"])
        values = Values(rows["available_ms"].to_numpy(), rows["funding_rate"].to_numpy())
        return self._until_stale(dataset, values, "rate", FUNDING_STALE_MS)

    def series(self, name: str, stale_days: float) -> pd.DataFrame:
        """Give the newest values of a series, venue/symbol, as they were published; unknown once one is stale."""
        return self._series(name, newest_values, "value", stale_days)

    def _series(self, name: str, taken: Callable[[pa.Table], Values], column: str, stale_days: float) -> pd.DataFrame:
        dataset = series_dataset(name)
        return self._until_stale(dataset, taken(self.lake.read(dataset)), column, int(stale_days * DAY_MS))

    def _until_stale(self, dataset: Dataset, values: Values, name: str, stale_ms: int) -> pd.DataFrame:
        """Give what was known before the stop, the last of each moment, and a row of NaN where a value grows stale."""
        self.datasets.add(dataset)
        last = np.append(np.diff(values.known_ms) > 0, True) & (values.known_ms < self.stop_ms)
        times, column = values.known_ms[last], values.value[last]
        late = np.flatnonzero(np.diff(np.append(times, self.stop_ms)) > stale_ms)
        return indexed(np.insert(times, late + 1, times[late] + stale_ms), {name: np.insert(column, late + 1, np.nan)})


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


# --- what a kind of signal can ask for -----------------------------------------------------------------------------


class Input(NamedTuple):
    """Rows that a signal is made of: how they are read, and the parameters of that."""

    read: Callable[[Known, Any], pd.DataFrame]
    settings: dict[str, Setting]


PRICE = {"price": choice("last", list(PRICES), help="which price's bars")}
SERIES_NAME = series("cboe/VIX", help="in the lake")
STALE = {"stale_days": number(7, low=0.1, high=4000, help="days after which a published value is not known any more")}
_OR_SERIES = {"price": price_or_series("last", PRICES, help="whose closes: a price's bars, or a series of the lake")}
CLOSE = Input(lambda known, p: known.closes_of(p.price, p.stale_days), _OR_SERIES | STALE)
BARS = Input(lambda known, p: known.bars(p.price), PRICE)
CLOSES = Input(lambda known, p: known.closes(), {})
SETTLEMENTS = Input(lambda known, p: known.settlements(), {})
SERIES = Input(lambda known, p: known.series(p.series, p.stale_days), {"series": SERIES_NAME} | STALE)
