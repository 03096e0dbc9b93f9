"""Finer bars in place of coarse ones, where a lake holds them whole and they say the same.

A coarse bar is replaced where every finer bar of mark and of last price inside it is there, and these join to the same
open, high, low and close of mark and open and close of last price: all that a replay takes of a bar. Elsewhere it
stays. So a position that nothing touches sees the same extremes, fills and closes either way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from backtest.data.detect import Floats, Ints, Prices
from backtest.data.exact import floats_to_e8
from backtest.data.join import Bars, Joined, Refined, common_bars, has_bars, read_bars
from backtest.data.manifest import Dataset
from backtest.data.store import Lake
from backtest.units import duration_ms


@dataclass(frozen=True, slots=True)
class Sheet:
    """Bars of mark and last price at the same opens."""

    time_ms: Ints
    close_ms: Ints
    last: Prices
    mark: Prices
    quote_volume: Floats

    def only(self, rows: npt.NDArray[np.bool_]) -> Sheet:
        """Give some of the rows."""
        last, mark = (Prices(*(column[rows] for column in prices)) for prices in (self.last, self.mark))
        return Sheet(self.time_ms[rows], self.close_ms[rows], last, mark, self.quote_volume[rows])

    def with_others(self, other: Sheet) -> Sheet:
        """Give the rows of both in the order of time."""
        order = np.argsort(np.concatenate((self.time_ms, other.time_ms)), kind="stable")

        def joined(mine: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> Floats:
            return np.concatenate((mine, theirs))[order]

        return Sheet(
            np.concatenate((self.time_ms, other.time_ms))[order],
            np.concatenate((self.close_ms, other.close_ms))[order],
            Prices(*map(joined, self.last, other.last)),
            Prices(*map(joined, self.mark, other.mark)),
            joined(self.quote_volume, other.quote_volume),
        )


def with_finer(
    lake: Lake,
    venue: str,
    symbol: str,
    joined: Joined,
    intervals: Sequence[str],
    stop_ms: int,
    within_ms: Collection[int] | None = None,
) -> Joined:
    """Put finer bars in place of those that they fill before a time.

    `intervals`: the coarsest first, each divides the one before. `within_ms`: only of bars that open at these times.
    """
    for interval in intervals:
        joined = _refined(lake, venue, symbol, joined, interval, stop_ms, within_ms)
    return joined


def _refined(
    lake: Lake,
    venue: str,
    symbol: str,
    joined: Joined,
    interval: str,
    stop_ms: int,
    within_ms: Collection[int] | None,
) -> Joined:
    wanted = [Dataset(venue, table, symbol, interval) for table in ("klines", "mark_price")]
    coarse = Sheet(joined.time_ms, joined.close_ms, joined.last, joined.mark, joined.quote_volume)
    if not all(has_bars(lake, one) for one in wanted):
        said = Refined(interval, len(coarse.time_ms), 0, None, None, len(coarse.time_ms), 0)
        return replace(joined, refined=(*joined.refined, said))
    last, mark = common_bars(*(read_bars(lake, one, int(joined.time_ms[0]), stop_ms) for one in wanted))
    fine, parent, whole = _inside(coarse, last, mark, duration_ms(interval))
    equal = np.zeros(len(whole), bool)
    equal[whole] = _joins_to(fine.only(whole[parent]), coarse.only(whole))
    taken = equal if within_ms is None else equal & np.isin(coarse.time_ms, list(within_ms))
    opens = coarse.time_ms[taken]
    bars = coarse.only(~taken).with_others(fine.only(taken[parent]))
    said = Refined(
        interval,
        len(whole),
        len(opens),
        int(opens[0]) if len(opens) else None,
        int(opens[-1]) if len(opens) else None,
        int((~whole).sum()),
        int((whole & ~equal).sum()),
    )
    return replace(
        joined,
        time_ms=bars.time_ms,
        close_ms=bars.close_ms,
        last=bars.last,
        mark=bars.mark,
        quote_volume=bars.quote_volume,
        datasets=tuple(dict.fromkeys((*joined.datasets, last.dataset, mark.dataset))),
        refined=(*joined.refined, said),
    )


def _inside(coarse: Sheet, last: Bars, mark: Bars, length_ms: int) -> tuple[Sheet, Ints, npt.NDArray[np.bool_]]:
    """Give the finer bars that lie in coarse ones, the coarse bar of each, and which coarse bars have all of theirs."""
    parent = np.searchsorted(coarse.time_ms, last.time_ms, side="right") - 1
    fits = (last.time_ms + length_ms <= coarse.close_ms[parent]) & (
        (last.time_ms - coarse.time_ms[parent]) % length_ms == 0
    )
    volume = np.full(len(last.time_ms), np.nan) if last.quote_volume is None else last.quote_volume
    fine = Sheet(last.time_ms, last.time_ms + length_ms, last.prices, mark.prices, volume).only(fits)
    parent = parent[fits]
    parts = np.bincount(parent, minlength=len(coarse.time_ms))
    lengths_ms = coarse.close_ms - coarse.time_ms
    return fine, parent, (parts * length_ms == lengths_ms) & (lengths_ms > length_ms)


def _joins_to(fine: Sheet, coarse: Sheet) -> npt.NDArray[np.bool_]:
    """Tell which coarse bars their finer ones, all of which are there, join to: exactly, at 1e-8."""
    if not len(coarse.time_ms):
        return np.zeros(0, bool)
    first = np.searchsorted(fine.time_ms, coarse.time_ms)
    last = np.append(first[1:], len(fine.time_ms)) - 1
    pairs = (
        (fine.mark.open[first], coarse.mark.open),
        (np.maximum.reduceat(fine.mark.high, first), coarse.mark.high),
        (np.minimum.reduceat(fine.mark.low, first), coarse.mark.low),
        (fine.mark.close[last], coarse.mark.close),
        (fine.last.open[first], coarse.last.open),
        (fine.last.close[last], coarse.last.close),
    )
    equal = [floats_to_e8(ours) == floats_to_e8(theirs) for ours, theirs in pairs]
    return np.asarray(np.logical_and.reduce(equal))
