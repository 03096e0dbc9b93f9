"""Joining tables of the lake: last-price bars and mark bars of one symbol at common opens, and the holes in them.

Bars finer than asked for are aggregated, coarser ones refused. Nothing is filled in, unless the policy asks for index
prices where mark is missing; such bars count as holes all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from backtest.data import detect
from backtest.data.detect import Floats, Ints, Prices
from backtest.data.manifest import EVENT, Dataset
from backtest.data.store import Lake
from backtest.errors import CoverageError, Problem
from backtest.units import HOUR_MS, MINUTE_MS, duration_ms, time_text

GapPolicy = Literal["error", "flag", "mark-from-index"]
# Longest time between settlements of the venues: binance-rules and bybit-rules know 1, 2, 4 and 8 hours.
FUNDING_MAX_MS = 8 * HOUR_MS


class Refined(NamedTuple):
    """What finer bars did to a history: how many of the bars there were they replaced, and why others stayed."""

    interval: str  # of the finer bars
    bars: int
    replaced: int
    first_ms: int | None  # open of the first replaced bar
    last_ms: int | None  # open of the last one
    missing: int  # stayed, for finer rows of them are missing
    disagreed: int  # stayed, for the finer rows join to another bar


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one table: opens and prices in natural units; `quote_volume` of klines only."""

    dataset: Dataset
    time_ms: Ints
    prices: Prices
    quote_volume: Floats | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """Last price and mark at the opens that both have, the funding stamps of that range, and what is missing."""

    time_ms: Ints
    close_ms: Ints
    last: Prices
    mark: Prices
    quote_volume: Floats
    funding_ms: Ints
    funding_rate: Floats
    holes: tuple[tuple[int, int], ...]  # first and last missing open
    datasets: tuple[Dataset, ...]
    refined: tuple[Refined, ...] = ()  # what finer bars replaced


def join_bars(
    lake: Lake, venue: str, symbol: str, interval: str, start_ms: int, stop_ms: int, gap_policy: GapPolicy
) -> Joined:
    """Read and join the half-open range. Raises `CoverageError` for a missing table, and for holes under "error"."""
    last = read_bars(lake, Dataset(venue, "klines", symbol, interval), start_ms, stop_ms)
    mark = read_bars(lake, Dataset(venue, "mark_price", symbol, interval), start_ms, stop_ms)
    interval_ms = duration_ms(interval)
    filled = np.empty(0, np.int64)
    datasets = [last.dataset, mark.dataset]
    if gap_policy == "mark-from-index":
        index = read_bars(lake, mark.dataset._replace(table="index_price", interval=interval), start_ms, stop_ms)
        mark, filled = _filled(mark, index)
        datasets.append(index.dataset)
    last, mark = common_bars(last, mark)
    time_ms = last.time_ms
    if not len(time_ms):
        where = f"{venue} {symbol} {interval} from {time_text(start_ms)} to {time_text(stop_ms)}"
        raise CoverageError(Problem(where, "has no bar with both mark and last price", "see what the lake covers"))
    funding = Dataset(venue, "funding_rate", symbol, EVENT)
    # A stamp up to a minute before the first open still belongs to it.
    rates = lake.read(funding, int(time_ms[0]) - MINUTE_MS, int(time_ms[-1]) + interval_ms, ["funding_rate"])
    stamps = rates["funding_time_ms"].to_numpy()
    known = np.setdiff1d(time_ms, filled, assume_unique=True) if filled.size else time_ms
    holes = [*zip(*(edge.tolist() for edge in detect.gaps(known, interval_ms)), strict=True)]
    holes = sorted(holes + _funding_holes(stamps, int(time_ms[0]), int(time_ms[-1])))
    if holes and gap_policy == "error":
        raise CoverageError(*_hole_problems(f"{venue} {symbol} {interval}", holes))
    return Joined(
        time_ms,
        time_ms + interval_ms,
        last.prices,
        mark.prices,
        last.quote_volume if last.quote_volume is not None else np.full(len(time_ms), np.nan),
        stamps,
        rates["funding_rate"].to_numpy(),
        tuple(holes),
        (*datasets, funding),
    )


def common_bars(last: Bars, mark: Bars) -> tuple[Bars, Bars]:
    """Keep the bars whose opens both have."""
    if np.array_equal(last.time_ms, mark.time_ms):
        return last, mark
    return _both(last, mark), _both(mark, last)


def has_bars(lake: Lake, wanted: Dataset) -> bool:
    """Tell whether a lake holds bars of an interval, or finer ones that join to them."""
    return bool(_that_fit(lake.datasets(), wanted))


def _that_fit(held: Sequence[Dataset], wanted: Dataset) -> list[Dataset]:
    """Give the datasets whose bars are of the wanted interval or join to it."""
    others = [dataset for dataset in held if dataset._replace(interval=wanted.interval) == wanted]
    return [one for one in others if duration_ms(wanted.interval) % duration_ms(one.interval) == 0]


def _both(bars: Bars, others: Bars) -> Bars:
    """Keep the bars whose opens the others have too."""
    keep = np.isin(bars.time_ms, others.time_ms, assume_unique=True)
    volume = None if bars.quote_volume is None else bars.quote_volume[keep]
    return Bars(bars.dataset, bars.time_ms[keep], Prices(*(column[keep] for column in bars.prices)), volume)


def read_bars(lake: Lake, wanted: Dataset, start_ms: int | None, stop_ms: int) -> Bars:
    """Read the bars that open in the half-open range, joined from finer ones where the lake has no such bars.

    A bar of which a part is missing is left out. Raises `CoverageError` where the lake has nothing that fits.
    """
    dataset = _finest_that_fits(lake, wanted)
    volumes = ["volume", "quote_volume"] if wanted.table == "klines" else []
    table = lake.read(dataset, start_ms, stop_ms, [*Prices._fields, *volumes])
    time_ms = table["open_time_ms"].to_numpy()
    prices = Prices(*(table[name].to_numpy() for name in Prices._fields))
    quote_volume = None
    if volumes:
        traded = table["quote_volume"].to_numpy()
        # Where the source gives base volume only, its value at the close stands in: reports use it, decisions do not.
        quote_volume = np.where(np.isnan(traded), table["volume"].to_numpy() * prices.close, traded)
    if dataset == wanted or not len(time_ms):
        return Bars(dataset, time_ms, prices, quote_volume)
    interval_ms, finer_ms = duration_ms(wanted.interval), duration_ms(dataset.interval)
    joined_ms, joined, volume = detect.aggregate(time_ms, prices, interval_ms, interval_ms // finer_ms, quote_volume)
    return Bars(dataset, joined_ms, joined, volume)


def _finest_that_fits(lake: Lake, wanted: Dataset) -> Dataset:
    """Give the dataset of the wanted interval, else the coarsest finer one that divides it."""
    fitting = _that_fit(lake.datasets(), wanted)
    if fitting:
        return max(fitting, key=lambda d: duration_ms(d.interval))
    held = [d for d in lake.datasets() if d._replace(interval=wanted.interval) == wanted]
    if held:
        there = ", ".join(d.interval for d in held)
        raise CoverageError(
            Problem(str(wanted), f"only coarser bars are there: {there}", "use that interval, or import finer bars")
        )
    lake.read(wanted)  # says what is missing, and what has a similar name
    raise AssertionError("unreachable")


def _filled(mark: Bars, index: Bars) -> tuple[Bars, Ints]:
    """Give mark bars with index bars in their holes, and the opens of those; nothing before or after the mark bars."""
    if not len(mark.time_ms):
        return mark, mark.time_ms
    inside = (index.time_ms > mark.time_ms[0]) & (index.time_ms < mark.time_ms[-1])
    new = inside & ~np.isin(index.time_ms, mark.time_ms, assume_unique=True)
    time_ms = np.concatenate((mark.time_ms, index.time_ms[new]))
    order = np.argsort(time_ms, kind="stable")
    pairs = zip(mark.prices, index.prices, strict=True)
    prices = Prices(*(np.concatenate((own, other[new]))[order] for own, other in pairs))
    return Bars(mark.dataset, time_ms[order], prices), index.time_ms[new]


def _funding_holes(stamp_ms: Ints, first_ms: int, last_ms: int) -> list[tuple[int, int]]:
    """Give the stretches of the range in which a settlement must have been and none is there."""
    late = detect.funding_holes(stamp_ms)
    holes = [(int(stamp_ms[row - 1]) + 1, int(stamp_ms[row]) - 1) for row in late]
    first = int(stamp_ms[0]) if len(stamp_ms) else last_ms
    last = int(stamp_ms[-1]) if len(stamp_ms) else last_ms
    if first - first_ms > FUNDING_MAX_MS + MINUTE_MS:
        holes.append((first_ms, first - 1))
    if last_ms - last > FUNDING_MAX_MS + MINUTE_MS:
        holes.append((last + 1, last_ms))
    return holes


def _hole_problems(where: str, holes: list[tuple[int, int]]) -> list[Problem]:
    shown = [
        Problem(f"{where} {time_text(first)}", f"rows are missing until {time_text(last)}") for first, last in holes[:5]
    ]
    count = f"{len(holes)} hole{'s' if len(holes) > 1 else ''} in bars or funding"
    remedy = 'import what is missing, or set gaps = "flag"; every hole: backtest data sql "SELECT * FROM gaps"'
    return [*shown, Problem(where, count, remedy)]
