"""The tape: market data of one symbol as the exact integer arrays that a replay reads.

In: bars of last price and mark, funding stamps, dated tier tables, dated taker fees. Out: `schema.Tape`.
Natural units become int64 at 1e-8 here, once. The order of the rows is asserted, never assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.data.cache import cache_key, load_arrays, save_arrays
from backtest.data.detect import Floats, settlement_minute
from backtest.data.exact import floats_to_e8
from backtest.data.join import GapPolicy, Refined
from backtest.data.manifest import Dataset, Entry
from backtest.data.resample import Resample, read_market
from backtest.data.store import Lake
from backtest.errors import CoverageError, DataError, InvariantError, Problem
from backtest.schema import BLOCK_BARS, Tape
from backtest.units import E8, MINUTE_MS, PRICE_MAX_E8, duration_ms, duration_text, time_text

if TYPE_CHECKING:
    from backtest.schema import Int64Array
    from backtest.venues.tiers import TierTable

INT64_MAX = np.iinfo(np.int64).max
# A funding stamp this close to a bar's open belongs to that open: venues stamp some ms off the hour.
FUNDING_REACH_MS = MINUTE_MS


@dataclass(frozen=True, slots=True)
class TapeResult:
    """A tape, and what a report must say about the data under it.

    A hole is given by its first and last missing open; holes in mark, last price and funding are listed together. They
    are holes between bars of the interval that was asked for, whatever finer ones stand in place of these.
    """

    tape: Tape
    interval_ms: int  # that was asked for
    holes: tuple[tuple[int, int], ...]
    funding_ms: Int64Array  # the venue's own stamps that settle on the tape
    funding_moved: int  # stamps that settle at another open than their own
    quote_volume: Floats  # (n,) traded in each bar, in quote
    entries: tuple[Entry, ...]  # the stored files that were read
    refined: tuple[Refined, ...] = ()  # what each kind of finer bars replaced

    @property
    def filled_ms(self) -> Int64Array:
        """The opens of the bars in whose place finer ones stand."""
        opens = self.tape.time_ms[self.tape.close_ms - self.tape.time_ms < self.interval_ms]
        return np.unique(opens - (opens - self.tape.time_ms[0]) % self.interval_ms)


def build_tape(
    lake: Lake,
    *,
    venue: str,
    symbol: str,
    interval: str,
    start_ms: int,
    stop_ms: int,
    tiers: Sequence[TierTable],
    taker_fee_steps: Sequence[tuple[int, int]],
    gap_policy: GapPolicy = "error",
    resample: Resample | None = None,
    finer: Sequence[str] = (),
    within_ms: Sequence[int] | None = None,
    cache: Path | None = None,
) -> TapeResult:
    """Build the tape of one symbol over a half-open range of the lake, or of a stress market made from it.

    A bar is on the tape only where mark and last price both have it; where the lake has all of it in `finer` bars (see
    data/finer.py), these are; with `within_ms`, only of bars that open at these times.

    Raises `CoverageError` where a table is missing, where bars are too coarse, and for holes under the policy "error".
    With a `cache` folder, a tape made before from the same files by the same code is read back instead.
    """
    wanted = (venue, symbol, interval, start_ms, stop_ms, gap_policy, resample, tuple(finer), within_ms)
    if cache is None:
        return _build(lake, *wanted, tiers, taker_fee_steps)
    held = [dataset for dataset in lake.datasets() if (dataset.venue, dataset.symbol) == (venue, symbol)]
    files = lake.manifest_hash(held, start_ms, stop_ms)
    path = cache / f"{cache_key(files, wanted, tuple(tiers), tuple(taker_fee_steps))}.tape"
    kept = load_arrays(path)
    if kept is None:
        result = _build(lake, *wanted, tiers, taker_fee_steps)
        save_arrays(path, *_packed(result))
        return result
    return _unpacked(lake, start_ms, stop_ms, *kept)


def _build(
    lake: Lake,
    venue: str,
    symbol: str,
    interval: str,
    start_ms: int,
    stop_ms: int,
    gap_policy: GapPolicy,
    resample: Resample | None,
    finer: tuple[str, ...],
    within_ms: Sequence[int] | None,
    tiers: Sequence[TierTable],
    taker_fee_steps: Sequence[tuple[int, int]],
) -> TapeResult:
    span = (start_ms, stop_ms)
    joined = read_market(lake, venue, symbol, interval, *span, gap_policy, resample, finer, within_ms)
    rate_e8 = floats_to_e8(joined.funding_rate)
    tape = tape_from_arrays(
        int((joined.close_ms - joined.time_ms).min()),
        joined.time_ms,
        floats_to_e8(joined.last.open),
        floats_to_e8(joined.last.close),
        floats_to_e8(joined.mark.open),
        floats_to_e8(joined.mark.high),
        floats_to_e8(joined.mark.low),
        floats_to_e8(joined.mark.close),
        list(zip(joined.funding_ms.tolist(), rate_e8.tolist(), strict=True)),
        tiers,
        taker_fee_steps,
        joined.close_ms,
    )
    _, used, moved = place_funding(joined.time_ms, joined.funding_ms)
    entries = tuple(lake.entries(joined.datasets, start_ms, stop_ms))
    funding_ms = joined.funding_ms[used]
    return TapeResult(
        tape, duration_ms(interval), joined.holes, funding_ms, moved, joined.quote_volume, entries, joined.refined
    )


def _packed(result: TapeResult) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    arrays = result.tape._asdict() | {"funding_ms": result.funding_ms, "quote_volume": result.quote_volume}
    facts = {
        "shortest_ms": arrays.pop("interval_ms"),
        "interval_ms": result.interval_ms,
        "refined": result.refined,
        "holes": result.holes,
        "funding_moved": result.funding_moved,
        "datasets": sorted({entry.dataset for entry in result.entries}),
    }
    return arrays, facts


def _unpacked(
    lake: Lake, start_ms: int, stop_ms: int, arrays: dict[str, npt.NDArray[Any]], facts: dict[str, Any]
) -> TapeResult:
    funding_ms, quote_volume = arrays.pop("funding_ms"), arrays.pop("quote_volume")
    return TapeResult(
        Tape(interval_ms=facts["shortest_ms"], **arrays),
        facts["interval_ms"],
        tuple((first, last) for first, last in facts["holes"]),
        funding_ms,
        facts["funding_moved"],
        quote_volume,
        tuple(lake.entries([Dataset(*names) for names in facts["datasets"]], start_ms, stop_ms)),
        tuple(Refined(*said) for said in facts["refined"]),
    )


def tape_from_arrays(
    interval_ms: int,
    time_ms: npt.ArrayLike,
    trade_open_e8: npt.ArrayLike,
    trade_close_e8: npt.ArrayLike,
    mark_open_e8: npt.ArrayLike,
    mark_high_e8: npt.ArrayLike,
    mark_low_e8: npt.ArrayLike,
    mark_close_e8: npt.ArrayLike,
    funding: Sequence[tuple[int, int]],
    tiers: Sequence[TierTable],
    taker_fee_steps: Sequence[tuple[int, int]],
    close_ms: npt.ArrayLike | None = None,
) -> Tape:
    """Lay bars, funding, tiers and fees out as a tape.

    `funding` is `(time_ms, rate_e8)`; stamps before the first bar or after the last have no open to settle at and are
    left out. `taker_fee_steps` is `(from_ms, rate_e8)`. A tier table and a fee rate are in force from their first
    time on; before the first, the first. Rates of stamps that fall on one open are added. `close_ms` says when each bar
    closes, where not all are `interval_ms` long, the shortest that there are.

    Raises `DataError` for bars that contradict themselves, `CoverageError` where no tier table or fee is given or a
    bar is longer than the shortest funding interval.
    """
    time = _int64(time_ms)
    close = time + interval_ms if close_ms is None else _int64(close_ms)
    prices = {
        "trade_open": _int64(trade_open_e8),
        "trade_close": _int64(trade_close_e8),
        "mark_open": _int64(mark_open_e8),
        "mark_high": _int64(mark_high_e8),
        "mark_low": _int64(mark_low_e8),
        "mark_close": _int64(mark_close_e8),
    }
    _check_bars(interval_ms, time, close, {name.replace("_", " "): price for name, price in prices.items()})
    _check_steps(tiers, taker_fee_steps)
    stamp_ms, rate_e8 = _in_order(funding)
    bar, used, _ = place_funding(time, stamp_ms)
    check_bar_length((close - time)[bar], stamp_ms[used])
    tables = sorted(tiers, key=lambda table: table.first_ms)
    fee_from_ms, fee_e8 = _in_order(taker_fee_steps)
    table_in_force = _in_force(np.array([table.first_ms for table in tables], np.int64), time)
    fee_in_force = _in_force(fee_from_ms, time)
    weighted_e8 = _weighted(prices["mark_open"], (close - time) // interval_ms)
    start = _segment_starts(weighted_e8, bar, table_in_force, fee_in_force)
    funding_e8 = np.zeros(len(time), np.int64)
    np.add.at(funding_e8, bar, rate_e8[used])
    low, high = prices["mark_low"], prices["mark_high"]
    block = np.arange(0, len(time), BLOCK_BARS)
    arrays = {
        "time_ms": time,
        "close_ms": close,
        **{f"{name}_e8": price for name, price in prices.items()},
        "open_sum_e8": _sum_within(weighted_e8, start),
        "block_low_e8": np.minimum.reduceat(low, block),
        "block_high_e8": np.maximum.reduceat(high, block),
        "segment_start": np.append(start, len(time)),
        "segment_low_e8": np.minimum.reduceat(low, start),
        "segment_high_e8": np.maximum.reduceat(high, start),
        "segment_table": table_in_force[start],
        "segment_funding_e8": funding_e8[start],
        "segment_taker_e8": fee_e8[fee_in_force[start]],
        **dict(zip(TIER_ARRAYS, _tier_arrays(tables), strict=True)),
    }
    return Tape(interval_ms, **{name: _frozen(array) for name, array in arrays.items()})


TIER_ARRAYS = ("tier_cap_e8", "tier_rate_e8", "tier_deduction_e8", "tier_max_leverage_e2", "tier_count")


def _weighted(mark_open: Int64Array, intervals: Int64Array) -> Int64Array:
    """Multiply each mark open with the length of its bar."""
    if int(mark_open.max()) * int(intervals.max()) > INT64_MAX:
        what = "the highest mark times the longest bar, counted in the shortest, is no 64-bit number"
        raise DataError.at("tape", what, "take bars that differ less in length")
    return mark_open * intervals


def _segment_starts(weighted_e8: Int64Array, funded: Int64Array, table: Int64Array, fee: Int64Array) -> Int64Array:
    """Give the bars at which a segment begins: funding, a change of tier table or fee, and the first bar."""
    # A sum of opens must stay inside int64, so a segment is cut before it could leave it.
    cuts = np.arange(0, len(weighted_e8), INT64_MAX // int(weighted_e8.max()))
    changes = [np.flatnonzero(np.diff(steps)) + 1 for steps in (table, fee)]
    return np.unique(np.concatenate((cuts, funded, *changes))).astype(np.int64)


def place_funding(time_ms: Int64Array, stamp_ms: Int64Array) -> tuple[Int64Array, npt.NDArray[np.bool_], int]:
    """Give each funding stamp the bar at whose open it settles.

    A stamp within 60 s of an open belongs to the nearest open (the earlier of two); one further off goes to the first
    open after it. Returns the bar of each stamp used, which stamps those are, and how many of them went to another
    open than their own.
    """
    after = np.searchsorted(time_ms, stamp_ms)  # first open at or after the stamp
    last = len(time_ms) - 1
    to_next = np.where(after <= last, time_ms[np.minimum(after, last)] - stamp_ms, INT64_MAX)
    to_previous = np.where(after > 0, stamp_ms - time_ms[np.maximum(after, 1) - 1], INT64_MAX)
    back = (to_previous <= FUNDING_REACH_MS) & (to_previous <= to_next)
    moved = ~back & (to_next > FUNDING_REACH_MS) & (after > 0) & (after <= last)
    used = back | (to_next <= FUNDING_REACH_MS) | moved
    return (after - back)[used].astype(np.int64), used, int(moved.sum())


def check_bar_length(length_ms: Int64Array, stamp_ms: Int64Array) -> None:
    """Refuse bars that are longer than the time from the funding stamp that settles at their open to the next one."""
    if len(stamp_ms) < 2:
        return
    spare_ms = np.diff(settlement_minute(stamp_ms)) * MINUTE_MS - length_ms[:-1]
    shortest = int(np.argmin(spare_ms))
    if spare_ms[shortest] < 0:
        raise CoverageError(
            Problem(
                f"funding at {time_text(int(stamp_ms[shortest + 1]))}",
                f"follows the stamp before it sooner than one {duration_text(int(length_ms[shortest]))} bar",
                "use bars no longer than the shortest funding interval",
            )
        )


def _int64(values: npt.ArrayLike) -> Int64Array:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise InvariantError(Problem("tape", f"wants one-dimensional integers, was {array.dtype} {array.shape}"))
    return np.ascontiguousarray(array, dtype=np.int64)


def _frozen(array: Int64Array) -> Int64Array:
    view = np.ascontiguousarray(array, dtype=np.int64).view()
    view.setflags(write=False)
    return view


def _in_order(steps: Sequence[tuple[int, int]]) -> tuple[Int64Array, Int64Array]:
    pairs = np.array(sorted(steps), np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def _in_force(from_ms: Int64Array, time_ms: Int64Array) -> Int64Array:
    newest = np.searchsorted(from_ms, time_ms, side="right") - 1
    return np.maximum(newest, 0).astype(np.int64)


def _sum_within(values: Int64Array, start: Int64Array) -> Int64Array:
    # The running sum over the whole tape may wrap; differences inside a segment are right all the same.
    total = np.cumsum(values)
    before = np.repeat(total[start] - values[start], np.diff(np.append(start, len(values))))
    return total - before


def _tier_arrays(tables: Sequence[TierTable]) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array, Int64Array]:
    shape = (len(tables), max(len(table.tiers) for table in tables))
    caps = np.full(shape, INT64_MAX, np.int64)
    rates, deductions, leverages = (np.zeros(shape, np.int64) for _ in range(3))
    for row, table in enumerate(tables):
        for column, tier in enumerate(table.tiers):
            caps[row, column] = INT64_MAX if tier.cap_e8 is None else tier.cap_e8
            rates[row, column] = tier.rate_e8
            deductions[row, column] = tier.deduction_e8
            leverages[row, column] = tier.max_leverage_e2 or 0
    return caps, rates, deductions, leverages, np.array([len(table.tiers) for table in tables], np.int64)


def _check_bars(interval_ms: int, time: Int64Array, close: Int64Array, prices: dict[str, Int64Array]) -> None:
    if len(time) == 0:
        raise CoverageError(Problem("tape", "has no bar with both mark and last price", "import the missing table"))
    if any(len(column) != len(time) for column in (close, *prices.values())):
        raise InvariantError(Problem("tape", "columns differ in length"))
    problems = []
    disorder = np.flatnonzero(np.diff(time) <= 0)
    if disorder.size:
        at = time_text(int(time[disorder[0] + 1]), seconds=True)
        problems.append(Problem(f"bar at {at}", "does not open after the bar before it"))
    if interval_ms <= 0:
        problems.append(Problem("tape", f"interval must be positive, was {interval_ms} ms"))
    elif ((close <= time) | ((close - time) % interval_ms != 0)).any():
        problems.append(Problem("tape", f"a bar's length is no multiple of {duration_text(interval_ms)}"))
    elif not disorder.size and (close[:-1] > time[1:]).any():
        at = time_text(int(time[int(np.argmax(close[:-1] > time[1:])) + 1]), seconds=True)
        problems.append(Problem(f"bar at {at}", "opens before the bar before it has closed"))
    for name, price in prices.items():
        wrong = np.flatnonzero((price <= 0) | (price >= PRICE_MAX_E8))
        if wrong.size:
            at = time_text(int(time[wrong[0]]))
            problems.append(Problem(f"bar at {at}", f"{name} must be over 0 and under {PRICE_MAX_E8 // E8}"))
    low = np.minimum(prices["mark open"], prices["mark close"])
    high = np.maximum(prices["mark open"], prices["mark close"])
    wrong = np.flatnonzero((prices["mark low"] > low) | (prices["mark high"] < high))
    if wrong.size:
        problems.append(Problem(f"bar at {time_text(int(time[wrong[0]]))}", "mark leaves its own high or low"))
    if problems:
        raise DataError(*problems)


def _check_steps(tiers: Sequence[TierTable], taker_fee_steps: Sequence[tuple[int, int]]) -> None:
    problems = []
    if not tiers or any(not table.tiers for table in tiers):
        problems.append(Problem("tiers", "no tier table covers the symbol", "add a dated tier table"))
    if not taker_fee_steps:
        problems.append(Problem("taker fee", "no rate is given", "give at least one (from_ms, rate_e8)"))
    for name, firsts in (
        ("tiers", sorted(table.first_ms for table in tiers)),
        ("taker fee", sorted(step[0] for step in taker_fee_steps)),
    ):
        twice = [first for first, following in pairwise(firsts) if first == following]
        problems += [Problem(name, f"two come into force at {time_text(first)}") for first in twice]
    if problems:
        raise CoverageError(*problems)
