"""Stress markets from real history: blocks of days drawn anew, or chosen windows with larger moves.

Mark and last price of a bar go through one and the same linear map, so which of them lies higher, and every bar's own
order of prices, stay as they were. Funding goes with its bars, at its rate. Volume in quote follows the close.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from backtest.data.detect import PRICE_MAX, PRICE_MIN, Floats, Ints, Prices, settlement_minute
from backtest.data.finer import with_finer
from backtest.data.join import GapPolicy, Joined, join_bars
from backtest.data.store import Lake
from backtest.errors import Problem, StudyError
from backtest.units import DAY_MS, MINUTE_MS, duration_ms, time_text


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Draw blocks of whole days from the range, with replacement, and string them together.

    All symbols of one range get the same days. Each block is scaled as a whole: its first mark open becomes the close
    before it.
    """

    block_ms: int
    seed: int


@dataclass(frozen=True, slots=True)
class ScaledWindows:
    """Make every move inside the windows `scale_e2` / 100 times as large.

    A price p becomes p0 + (p - p0) x scale, where p0 is the window's first mark open; what comes after the window goes
    on from where it ends. Windows are (from, to) in ms, `to` exclusive, in order and apart.
    """

    windows: tuple[tuple[int, int], ...]
    scale_e2: int


Resample = Bootstrap | ScaledWindows


class Cut(NamedTuple):
    """A stretch of history, half-open, and how much later it is played."""

    start_ms: int
    stop_ms: int
    shift_ms: int


def read_market(
    lake: Lake,
    venue: str,
    symbol: str,
    interval: str,
    start_ms: int,
    stop_ms: int,
    gap_policy: GapPolicy,
    resample: Resample | None = None,
    finer: Sequence[str] = (),
    within_ms: Collection[int] | None = None,
) -> Joined:
    """Read and join the half-open range as `join_bars` does, and make the stress market of it that is asked for.

    Of real history, `finer` bars stand where they fill others, of those that open `within_ms` if that is given.

    Raises `StudyError` where the history cannot give that market.
    """
    joined = join_bars(lake, venue, symbol, interval, start_ms, stop_ms, gap_policy)
    if isinstance(resample, Bootstrap):
        joined = bootstrapped(joined, resample, symbol, start_ms, stop_ms, duration_ms(interval))
    elif resample is not None:
        joined = with_scaled_windows(joined, resample)
    if resample is not None:
        _check_range(joined, symbol)
        return joined
    return with_finer(lake, venue, symbol, joined, finer, stop_ms, within_ms)


def draw(spec: Bootstrap, start_ms: int, stop_ms: int) -> list[Cut]:
    """Draw the blocks that fill a range: the same for all symbols."""
    block_days, days = spec.block_ms // DAY_MS, (stop_ms - start_ms) // DAY_MS
    count = -(-(stop_ms - start_ms) // spec.block_ms)
    firsts = np.random.Generator(np.random.PCG64(spec.seed)).integers(0, days - block_days + 1, count)
    cuts = []
    for number, day in enumerate(firsts.tolist()):
        from_ms, at_ms = start_ms + day * DAY_MS, start_ms + number * spec.block_ms
        cuts.append(Cut(from_ms, from_ms + min(spec.block_ms, stop_ms - at_ms), at_ms - from_ms))
    return cuts


def bootstrapped(joined: Joined, spec: Bootstrap, symbol: str, start_ms: int, stop_ms: int, interval_ms: int) -> Joined:
    """Give the history with its days drawn anew. Raises `StudyError` where it does not cover the whole range."""
    first_ms, last_ms = int(joined.time_ms[0]), int(joined.time_ms[-1])
    if first_ms > start_ms or last_ms + interval_ms < stop_ms:
        covered = f"{symbol} has bars from {time_text(first_ms)} to {time_text(last_ms)} only"
        raise StudyError.at("market.resample", covered, "a bootstrap draws from the whole range: start and stop inside")
    cuts = draw(spec, start_ms, stop_ms)
    rows = [np.arange(*np.searchsorted(joined.time_ms, cut[:2])) for cut in cuts]
    stamps = settlement_minute(joined.funding_ms) * MINUTE_MS
    stamp_rows = [np.arange(*np.searchsorted(stamps, cut[:2])) for cut in cuts]
    factor = np.repeat(list(_levels(joined.mark, rows)), [len(block) for block in rows])
    taken, taken_stamps = np.concatenate(rows), np.concatenate(stamp_rows)
    return replace(
        joined,
        time_ms=joined.time_ms[taken] + _shifts(cuts, rows),
        close_ms=joined.close_ms[taken] + _shifts(cuts, rows),
        last=Prices(*(column[taken] * factor for column in joined.last)),
        mark=Prices(*(column[taken] * factor for column in joined.mark)),
        quote_volume=joined.quote_volume[taken] * factor,
        funding_ms=joined.funding_ms[taken_stamps] + _shifts(cuts, stamp_rows),
        funding_rate=joined.funding_rate[taken_stamps],
        holes=tuple(hole for cut in cuts for hole in _holes_of(joined, cut)),
    )


def _levels(mark: Prices, rows: list[Ints]) -> Iterator[float]:
    """Give each block's factor: the first begins at history's own level, the others where the one before ended."""
    close = float(mark.open[0])
    for block in rows:
        factor = close / float(mark.open[block[0]]) if len(block) else 1.0
        yield factor
        close = float(mark.close[block[-1]]) * factor if len(block) else close


def _shifts(cuts: list[Cut], rows: list[Ints]) -> Ints:
    return np.repeat(np.array([cut.shift_ms for cut in cuts], np.int64), [len(block) for block in rows])


def _holes_of(joined: Joined, cut: Cut) -> Iterator[tuple[int, int]]:
    for first, last in joined.holes:
        first, last = max(first, cut.start_ms), min(last, cut.stop_ms - 1)
        if first <= last:
            yield first + cut.shift_ms, last + cut.shift_ms


def with_scaled_windows(joined: Joined, spec: ScaledWindows) -> Joined:
    """Give the history with larger moves inside the windows."""
    scale = spec.scale_e2 / 100
    factor, offset, level = np.ones(len(joined.time_ms)), np.zeros(len(joined.time_ms)), 1.0
    for from_ms, to_ms in spec.windows:
        first, stop = np.searchsorted(joined.time_ms, (from_ms, to_ms))
        if first == stop:
            where = f"{time_text(from_ms)} to {time_text(to_ms)}"
            raise StudyError.at("market.resample", f"there is no bar in its window {where}", "choose another window")
        start, end = float(joined.mark.open[first]), float(joined.mark.close[stop - 1])
        factor[first:stop], offset[first:stop] = level * scale, level * start * (1 - scale)
        level *= (start + (end - start) * scale) / end
        factor[stop:] = level
    close = joined.last.close * factor + offset
    return replace(
        joined,
        last=Prices(*(column * factor + offset for column in joined.last)),
        mark=Prices(*(column * factor + offset for column in joined.mark)),
        quote_volume=joined.quote_volume * (close / joined.last.close),
    )


def _check_range(joined: Joined, symbol: str) -> None:
    """Refuse a market with a price that no market can have."""
    both: tuple[Floats, ...] = (joined.mark.low, joined.last.low)
    lowest = np.minimum(*both)
    highest = np.maximum(joined.mark.high, joined.last.high)
    wrong = np.flatnonzero(~((lowest >= PRICE_MIN) & (highest < PRICE_MAX)))
    if wrong.size:
        at = time_text(int(joined.time_ms[wrong[0]]))
        what = f"{symbol} would reach {lowest[wrong[0]]:.6g} at {at}, which is no price"
        raise StudyError(Problem("market.resample", what, "take a smaller scale, other windows or another seed"))
