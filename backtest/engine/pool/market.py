"""The tapes of several instruments on one clock, as the pool kernel reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from backtest.engine.market import BLOCK, TIER
from backtest.errors import DataError
from backtest.schema import BLOCK_BARS, AssetTape, Tape
from backtest.units import E8


def _record(*names: str) -> np.dtype[Any]:
    return np.dtype((np.record, [(name, "i8") for name in names]))


_PRICES = ("trade_open_e8", "trade_close_e8", "mark_open_e8", "mark_high_e8", "mark_low_e8", "mark_close_e8")
POOL_BAR = _record(*_PRICES, "open_sum_e8")
# The last three are those of a valued asset: margins of one unit, and the largest quantity; 0 while it is not listed.
POOL_SEGMENT = _record(
    "low_e8", "high_e8", "table", "funding_e8", "taker_e8", "initial_e8", "maintenance_e8", "qty_max_e8"
)
# Four assets at any of their prices, twice that in a fill, and their margins add up to less than 9e10.
VALUE_MAX_E16 = 10**26
NO_TIERS = np.zeros((1, 1), TIER)
NO_TIERS["cap_e8"], NO_TIERS["count"] = np.iinfo(np.int64).max, 1


class PoolMarket(NamedTuple):
    """Instruments side by side; only bars that all of them have. The last segment start is the number of bars.

    Valued assets are the last `asset_count` instruments; they share a tier table without an end that asks for nothing.
    A table's number counts over the tables of all instruments. `open_sum_e8` of an inverse instrument counts
    intervals (1e8 each): its notional is its quantity.
    """

    interval_ms: int
    times_ms: Any  # (n,) int64
    closes_ms: Any  # (n,) int64
    bars: Any  # (n, i) POOL_BAR
    blocks: Any  # (b, i) BLOCK
    starts: Any  # (s + 1,) int64
    segments: Any  # (s, i) POOL_SEGMENT
    tiers: Any  # (tables, rows) TIER
    inverse: Any  # (i,) int64: 1 inverse, 0 linear
    asset_count: int


def pool_market(
    tapes: Sequence[Tape], inverse: Sequence[bool], *, assets: Sequence[AssetTape] = (), sync: bool = False
) -> PoolMarket:
    """Lay tapes out side by side, and valued assets over their common bars.

    `sync`: extremes are those of open and close, the only marks that are then visited. Errors: DataError where the
    tapes have no bar in common, or one in common that differs in length.
    """
    times = reduce(np.intersect1d, [tape.time_ms for tape in tapes])
    if not len(times):
        raise DataError.at("pool", "the instruments have no bar in common", "take a range in which all were traded")
    interval_ms, closes_ms = int(tapes[0].interval_ms), tapes[0].close_ms[np.searchsorted(tapes[0].time_ms, times)]
    if any(asset.interval_ms != interval_ms or (closes_ms - times != interval_ms).any() for asset in assets):
        raise DataError.at("pool", "valued assets and tapes differ in interval", "take bars of one length")
    bars = np.zeros((len(times), len(tapes) + len(assets)), POOL_BAR)
    first_table, tables = 0, []
    events = [_events(tape, times) for tape in tapes]
    valued = [_terms_by_bar(asset, times) for asset in assets]
    starts = np.unique(np.concatenate([[0], *(bar for bar, *_ in events), *map(_changes, valued)]))
    segments = np.zeros((len(starts), bars.shape[1]), POOL_SEGMENT)
    for i, tape in enumerate(tapes):
        rows = np.searchsorted(tape.time_ms, times)
        if tape.interval_ms != interval_ms or not np.array_equal(tape.close_ms[rows], closes_ms):
            raise DataError.at("pool", "the tapes differ in interval", "take bars of one length")
        for name in _PRICES:
            bars[name][:, i] = getattr(tape, name)[rows]
        bar, table, taker, funding = events[i]
        last = np.searchsorted(bar, starts, side="right") - 1
        segments["table"][:, i], segments["taker_e8"][:, i] = table[last] + first_table, taker[last]
        begins = bar[last] == starts
        segments["funding_e8"][begins, i] = funding[last[begins]]
        tables.append(_tiers(tape))
        first_table += len(tape.tier_count)
    for i, (asset, terms) in enumerate(zip(assets, valued, strict=True), len(tapes)):
        _lay_marks(asset, times, bars[:, i])
        segments[:, i] = terms[starts]
        segments["table"][:, i] = first_table
    if assets:
        tables.append(NO_TIERS)
    if sync:
        opens, closes = bars["mark_open_e8"], bars["mark_close_e8"]
        bars["mark_low_e8"], bars["mark_high_e8"] = np.minimum(opens, closes), np.maximum(opens, closes)
    for name, take in (("low_e8", np.minimum), ("high_e8", np.maximum)):
        segments[name] = take.reduceat(bars[f"mark_{name}"], starts, axis=0)
    _sum_opens(bars[:, : len(tapes)], (closes_ms - times) // interval_ms, starts, inverse)
    return PoolMarket(
        interval_ms=interval_ms,
        times_ms=times.astype(np.int64),
        closes_ms=closes_ms.astype(np.int64),
        bars=bars,
        blocks=_blocks(bars),
        starts=np.append(starts, len(times)).astype(np.int64),
        segments=segments,
        tiers=_stacked(tables),
        inverse=np.array([*inverse, *[False] * len(assets)], np.int64),
        asset_count=len(assets),
    )


def _events(tape: Tape, times: Any) -> tuple[Any, Any, Any, Any]:
    """Give the common bars at which a tape's segments begin, with table, fee and the funding due there."""
    bar = np.searchsorted(times, tape.time_ms[tape.segment_start[:-1]])
    inside = bar < len(times)
    bar, first = np.unique(bar[inside], return_index=True)
    last = np.append(first[1:], int(inside.sum())) - 1
    funding = np.add.reduceat(tape.segment_funding_e8[inside], first)
    return bar, tape.segment_table[inside][last], tape.segment_taker_e8[inside][last], funding


# --- valued assets ---------------------------------------------------------------------------------------------------


def _rows_at(asset: AssetTape, times: Any) -> tuple[Any, Any]:
    """Give an asset's last row at or before each bar (-1: none), and whether it is listed there."""
    row = np.searchsorted(asset.time_ms, times, side="right") - 1
    return row, (row >= 0) & (times < asset.time_ms[-1] + asset.interval_ms)


def _terms_by_bar(asset: AssetTape, times: Any) -> Any:
    """Give what a segment of an asset says, as it is at each bar: its fee, and while it is listed its margins."""
    row, listed = _rows_at(asset, times)
    terms = np.zeros(len(times), POOL_SEGMENT)
    terms["taker_e8"] = asset.taker_e8
    for name in ("initial_e8", "maintenance_e8"):
        terms[name][listed] = getattr(asset, name)[row[listed]]
    dearest = max(E8, *(int(values.max()) for values in (asset.high_e8, asset.initial_e8, asset.maintenance_e8)))
    terms["qty_max_e8"][listed] = (VALUE_MAX_E16 - 1) // dearest
    return terms


def _changes(terms: Any) -> Any:
    """Give the bars at which an asset is listed, changes its margins or ends."""
    return np.flatnonzero(terms[1:] != terms[:-1]) + 1


def _lay_marks(asset: AssetTape, times: Any, bars: Any) -> None:
    """Write the marks of an asset: where it has no row, and after its end, its last close; before its first row 0."""
    row, _ = _rows_at(asset, times)
    known = row >= 0
    own = known & (asset.time_ms[row] == times)
    for name in ("open", "high", "low", "close"):
        bars[f"mark_{name}_e8"][known] = asset.close_e8[row[known]]
        bars[f"mark_{name}_e8"][own] = getattr(asset, f"{name}_e8")[row[own]]
    bars["trade_open_e8"], bars["trade_close_e8"] = bars["mark_open_e8"], bars["mark_close_e8"]


# --- what is looked up -----------------------------------------------------------------------------------------------


def _sum_opens(bars: Any, intervals: Any, starts: Any, inverse: Sequence[bool]) -> None:
    """Sum mark open x intervals from each segment's first bar on."""
    opens = np.where(np.array(inverse, bool), E8, bars["mark_open_e8"]) * intervals[:, None]
    stops = np.append(starts[1:], len(bars))
    for start, stop in zip(starts, stops, strict=True):
        bars["open_sum_e8"][start:stop] = np.cumsum(opens[start:stop], axis=0)


def _blocks(bars: Any) -> Any:
    firsts = np.arange(0, len(bars), BLOCK_BARS)
    blocks = np.empty((len(firsts), bars.shape[1]), BLOCK)
    blocks["low_e8"] = np.minimum.reduceat(bars["mark_low_e8"], firsts, axis=0)
    blocks["high_e8"] = np.maximum.reduceat(bars["mark_high_e8"], firsts, axis=0)
    return blocks


def _tiers(tape: Tape) -> Any:
    tiers = np.zeros(tape.tier_cap_e8.shape, TIER)
    for name in ("cap_e8", "rate_e8", "deduction_e8", "max_leverage_e2"):
        tiers[name] = getattr(tape, f"tier_{name}")
    tiers["count"] = tape.tier_count[:, None]
    return tiers


def _stacked(tables: Sequence[Any]) -> Any:
    """Put the tables of all instruments under one another."""
    rows = max(tiers.shape[1] for tiers in tables)
    stacked = np.zeros((sum(len(tiers) for tiers in tables), rows), TIER)
    first = 0
    for tiers in tables:
        stacked[first : first + len(tiers), : tiers.shape[1]] = tiers
        stacked["count"][first : first + len(tiers)] = tiers["count"][:, :1]
        first += len(tiers)
    return stacked
