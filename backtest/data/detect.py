"""Detectors: what can be wrong with rows of market data. Pure functions over arrays; each gives the rows at fault.

Times are epoch milliseconds unless a function says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.units import DAY_MS, MINUTE_MS, PRICE_MAX_E8

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Prices(NamedTuple):
    """The four prices of bars, each (n,)."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats


_FIRST_MONDAY_MS = 4 * DAY_MS  # 1970-01-05
PRICE_MAX = PRICE_MAX_E8 / 1e8
PRICE_MIN = 1e-8
UNITS = ("s", "ms", "us", "ns")
# Epoch seconds, milliseconds, microseconds and nanoseconds of 1973 to 5138 do not overlap.
_UNIT_FROM = np.array([10**11, 10**14, 10**17])
# Ratio of a jump that is a change of scale: 10, give or take what a price does in a bar.
_SCALE_LOW, _SCALE_HIGH = 7.5, 13.0


def time_units(raw: Ints) -> Ints:
    """Give for each raw epoch number the unit that it must be in, as an index into `UNITS`."""
    return np.searchsorted(_UNIT_FROM, np.abs(raw), side="right").astype(np.int64)


def settlement_minute(stamp_ms: Ints) -> Ints:
    """Minutes since 1970 of the settlements that stamps belong to: stamps are some ms off the minute."""
    return (stamp_ms + MINUTE_MS // 2) // MINUTE_MS


def out_of_order(time_ms: Ints) -> Ints:
    """Rows that are earlier than the row before them."""
    return np.flatnonzero(np.diff(time_ms) < 0) + 1


def repeated(time_ms: Ints) -> Ints:
    """Rows whose time an earlier row has already, sorted or not."""
    order = np.argsort(time_ms, kind="stable")
    again = np.flatnonzero(np.diff(time_ms[order]) == 0) + 1
    return np.sort(order[again])


def gaps(time_ms: Ints, interval_ms: int) -> tuple[Ints, Ints]:
    """Holes between bars in order: first and last missing open of each hole."""
    after = np.flatnonzero(np.diff(time_ms) > interval_ms)
    last = time_ms[after + 1] - interval_ms
    return time_ms[after] + interval_ms, np.maximum(last, time_ms[after] + 1)


def off_grid(time_ms: Ints, interval_ms: int) -> Ints:
    """Bars that do not open a whole number of intervals after most of the others."""
    phase = time_ms % interval_ms
    values, counts = np.unique(phase, return_counts=True)
    return np.flatnonzero(phase != values[np.argmax(counts)])


def usual_step(time_ms: Ints) -> int | None:
    """The most frequent distance between rows; None for fewer than two."""
    if len(time_ms) < 2:
        return None
    steps, counts = np.unique(np.diff(np.sort(time_ms)), return_counts=True)
    return int(steps[np.argmax(counts)])


def ohlc_contradictions(bars: Prices) -> Ints:
    """Bars whose open or close lies outside low to high."""
    body_high, body_low = np.maximum(bars.open, bars.close), np.minimum(bars.open, bars.close)
    return np.flatnonzero((bars.high < body_high) | (bars.low > body_low))


def bad_prices(price: Floats) -> Ints:
    """Prices that are missing, not positive, or outside what is exact at 1e-8."""
    return np.flatnonzero(~((price >= PRICE_MIN) & (price < PRICE_MAX)))


def bad_values(value: Floats) -> Ints:
    """Marks and margins of a valued asset that are missing, negative, or outside what is exact at 1e-8."""
    return np.flatnonzero(~((value >= 0) & (value < PRICE_MAX)))


def too_many_decimals(value: Floats) -> Ints:
    """Values that are no multiple of 1e-8; from 9e7 on no double can show it."""
    return np.flatnonzero((np.rint(value * 1e8) / 1e8 != value) & (np.abs(value) < 9e7))


def bad_numbers(values: Floats, limit: float) -> Ints:
    """Values that are missing, not finite, or at least `limit` in size."""
    return np.flatnonzero(~(np.abs(values) < limit))


def flat_bars(bars: Prices, volume: Floats) -> Ints:
    """Bars without any trade: no volume, one price. Venues write them in outages."""
    flat = (bars.high == bars.low) & (bars.open == bars.close) & (bars.open == bars.high)
    return np.flatnonzero((volume == 0) & flat)


def scale_jumps(first: Floats, last: Floats) -> Ints:
    """Rows that begin about ten times higher or lower than the row before ended: a change of scale, not of price."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(np.log10(first[1:] / last[:-1]))
    return np.flatnonzero((ratio > np.log10(_SCALE_LOW)) & (ratio < np.log10(_SCALE_HIGH))) + 1


def funding_interval_changes(stamp_ms: Ints) -> tuple[Ints, Ints, Ints]:
    """Where the time between stamps changes for good: the row, minutes before, minutes after.

    Distances are taken to the minute. One odd distance is a hole, not a change.
    """
    minutes = np.diff(settlement_minute(stamp_ms))
    if len(minutes) < 3:
        empty = np.empty(0, np.int64)
        return empty, empty, empty
    settled = np.flatnonzero(minutes[1:] == minutes[:-1])  # distances that the next one confirms
    changed = np.flatnonzero(np.diff(minutes[settled])) + 1
    row = settled[changed]
    return row.astype(np.int64), minutes[settled[changed - 1]], minutes[row]


def funding_holes(stamp_ms: Ints) -> Ints:
    """Stamps that come later than both neighbours' distances say: one or more settlements are missing before them."""
    minutes = np.diff(settlement_minute(stamp_ms))
    if len(minutes) < 2:
        return np.empty(0, np.int64)
    before = np.concatenate((minutes[1:2], minutes[:-1]))
    after = np.concatenate((minutes[1:], minutes[-2:-1]))
    return np.flatnonzero((minutes > before) & (minutes > after)) + 1


def last_bar_may_be_open(time_ms: Ints, interval_ms: int) -> bool:
    """Whether nothing shows that the last bar had closed when the file was made.

    Complete archives end with a UTC day; a file that ends inside one, or has daily bars, was cut at its making.
    """
    return interval_ms >= DAY_MS or bool((int(time_ms[-1]) + interval_ms) % DAY_MS)


def trade_bars(
    time_ms: Ints, price: Floats, qty: Floats, trades: Ints, interval_ms: int
) -> tuple[Ints, Prices, dict[str, Floats]]:
    """Join trades, in order, into bars; an interval without a trade gives no bar. Also volume, its value, and count."""
    bucket = time_ms // interval_ms
    first = np.flatnonzero(np.diff(bucket, prepend=bucket[:1] - 1))
    last = np.append(first[1:], len(bucket)) - 1
    bars = Prices(price[first], np.maximum.reduceat(price, first), np.minimum.reduceat(price, first), price[last])
    sums = {"volume": qty, "quote_volume": qty * price, "trade_count": trades.astype(np.float64)}
    return bucket[first] * interval_ms, bars, {name: np.add.reduceat(column, first) for name, column in sums.items()}


def aggregate(
    time_ms: Ints, bars: Prices, interval_ms: int, parts: int, volume: Floats | None = None
) -> tuple[Ints, Prices, Floats | None]:
    """Join finer bars into bars of `interval_ms`; only those of which all `parts` are there.

    Bars begin at multiples of the interval since 1970, those of whole weeks on Mondays, as the venues' do.
    """
    origin_ms = _FIRST_MONDAY_MS if interval_ms % (7 * DAY_MS) == 0 else 0
    bucket = (time_ms - origin_ms) // interval_ms
    first = np.flatnonzero(np.diff(bucket, prepend=bucket[:1] - 1))
    count = np.diff(np.append(first, len(bucket)))
    whole = count == parts
    joined = Prices(
        bars.open[first][whole],
        np.maximum.reduceat(bars.high, first)[whole],
        np.minimum.reduceat(bars.low, first)[whole],
        bars.close[first + count - 1][whole],
    )
    total = None if volume is None else np.add.reduceat(volume, first)[whole]
    return bucket[first][whole] * interval_ms + origin_ms, joined, total
