"""The marks of a valued asset, out of the lake, as the exact integers that a replay reads (`schema.AssetTape`).

Only bars of the length that is asked for are taken. Finer marks cannot be joined (the margins in force inside a bar
would be lost), coarser ones not split (what was in between is not known), so both are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from backtest.data import detect
from backtest.data.detect import Floats, Prices
from backtest.data.exact import floats_to_e8
from backtest.data.manifest import Dataset, Entry
from backtest.data.sources.rows import MARGIN_COLUMNS
from backtest.data.store import Lake
from backtest.errors import CoverageError, DataError, Problem, did_you_mean
from backtest.schema import ASSET_MARKS, AssetTape
from backtest.units import duration_ms, duration_text, time_text

TABLE = ASSET_MARKS.name


@dataclass(frozen=True, slots=True)
class AssetResult:
    """The tape of an asset, and what a report must say about the data under it."""

    tape: AssetTape
    dataset: Dataset
    holes: tuple[tuple[int, int], ...]  # first and last missing open inside the range
    entries: tuple[Entry, ...]  # the stored files that were read


def build_asset(lake: Lake, name: str, *, interval_ms: int, start_ms: int, stop_ms: int, taker_e8: int) -> AssetResult:
    """Read the marks of an asset that decide over a half-open range.

    `name` is that of the asset, or `venue/asset` where several venues have one so named. The last row before the range
    and the first one after it are read too: they say what stands in for a hole that reaches over its edge.

    Errors: `CoverageError` where the lake has no such asset, several, or only bars of another length or another range;
    `DataError` for rows that cannot be marks, each with its file and time.
    """
    dataset = find_asset(lake, name, interval_ms)
    frame = lake.read(dataset)
    time_ms = frame["time_ms"].to_numpy()
    if time_ms[0] >= stop_ms or time_ms[-1] + interval_ms <= start_ms:
        span = f"{time_text(int(time_ms[0]))} to {time_text(int(time_ms[-1]) + interval_ms)}"
        what = f"has marks from {span} only, none from {time_text(start_ms)} to {time_text(stop_ms)}"
        raise CoverageError(Problem(str(dataset), what, "take another range, or import marks of this one"))
    first = max(int(np.searchsorted(time_ms, start_ms, side="right")) - 1, 0)
    stop = int(np.searchsorted(time_ms, stop_ms)) + 1
    frame, time_ms = frame.slice(first, stop - first), time_ms[first:stop]
    if problems := list(_problems(lake, dataset, frame)):
        raise DataError(*problems)
    prices = {column: floats_to_e8(frame[column].to_numpy()) for column in (*Prices._fields, *MARGIN_COLUMNS)}
    tape = AssetTape(
        name=dataset.symbol,
        interval_ms=interval_ms,
        taker_e8=taker_e8,
        time_ms=time_ms,
        open_e8=prices["open"],
        high_e8=prices["high"],
        low_e8=prices["low"],
        close_e8=prices["close"],
        initial_e8=prices["initial_margin"],
        maintenance_e8=prices["maintenance_margin"],
    )
    edges = zip(*(edge.tolist() for edge in detect.gaps(time_ms, interval_ms)), strict=True)
    holes = tuple((since, until) for since, until in edges if since < stop_ms and until >= start_ms)
    return AssetResult(tape, dataset, holes, tuple(lake.entries([dataset])))


def find_asset(lake: Lake, name: str, interval_ms: int) -> Dataset:
    """Find the one dataset that an asset's name and a bar's length mean. Raises `CoverageError` where there is not one.

    >>> find_asset(Lake("lake"), "deribit/BTC-PUT", 3_600_000)  # doctest: +SKIP
    """
    venue, _, asset = name.rpartition("/")
    held = [one for one in lake.datasets() if one.table == TABLE]
    named = [one for one in held if one.symbol == asset and venue in ("", one.venue)]
    if not named:
        known = sorted({one.symbol for one in held})
        remedy = f"import its marks: backtest data import FILE --table {TABLE}"
        raise CoverageError(
            Problem(str(lake.root), f"has no asset {name!r}", did_you_mean(asset, known) if known else remedy)
        )
    fits = [one for one in named if one.interval_ms == interval_ms]
    if not fits:
        there = ", ".join(one.interval for one in named)
        what = f"has marks every {there} only, and bars of {duration_text(interval_ms)} are replayed"
        remedy = f"import marks of {duration_text(interval_ms)}, or replay bars of {named[0].interval}"
        raise CoverageError(Problem(f"{TABLE} {name}", what, remedy))
    if len(fits) > 1:
        of_venues = " or ".join(f'"{one.venue}/{asset}"' for one in fits)
        raise CoverageError(Problem(f"{TABLE} {name}", "is there of several venues", f"name one of them: {of_venues}"))
    return fits[0]


def _problems(lake: Lake, dataset: Dataset, frame: pa.Table) -> Iterator[Problem]:
    """List what keeps rows from being marks: one problem for each kind of defect, at its first row."""
    time_ms = frame["time_ms"].to_numpy()
    values: dict[str, Floats] = {name: frame[name].to_numpy() for name in (*Prices._fields, *MARGIN_COLUMNS)}

    def problem(rows: detect.Ints, what: str) -> Problem:
        at = int(time_ms[rows[0]])
        files = lake.entries([dataset], at, at + 1)
        count = f" ({rows.size} rows)" if rows.size > 1 else ""
        where = f"{dataset} {time_text(at)} ({files[0].path})"
        return Problem(where, what + count, "correct the source and import it again with --replace")

    interval_ms = duration_ms(dataset.interval)
    if (odd := np.flatnonzero(time_ms % interval_ms)).size:
        yield problem(odd, f"does not open on the {dataset.interval} grid")
    for name, column in values.items():
        if (bad := detect.bad_values(column)).size:
            yield problem(bad, f"{name} is {column[bad[0]]}, not 0 or more and under 9e10")
    if (wrong := detect.ohlc_contradictions(Prices(*(values[name] for name in Prices._fields)))).size:
        yield problem(wrong, "the bar contradicts itself: open or close lies outside of low to high")
    initial, maintenance = (values[name] for name in MARGIN_COLUMNS)
    if (over := np.flatnonzero(maintenance > initial)).size:
        yield problem(over, f"maintenance_margin {maintenance[over[0]]} is over initial_margin {initial[over[0]]}")
