"""A tape as the kernel reads it: four arrays of records, so that one bar is one cache line."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from backtest.schema import Tape


def _record(*names: str) -> np.dtype[Any]:
    return np.dtype((np.record, [(name, "i8") for name in names]))


BAR = _record(
    "time_ms",
    "trade_open_e8",
    "trade_close_e8",
    "mark_open_e8",
    "mark_high_e8",
    "mark_low_e8",
    "close_ms",
    "open_sum_e8",
)
BLOCK = _record("low_e8", "high_e8")
# The last three repeat what the segment's bars say, so that passing a whole segment reads one record.
SEGMENT = _record(
    "start", "low_e8", "high_e8", "table", "funding_e8", "taker_e8", "time_ms", "mark_open_e8", "open_sum_e8"
)
TIER = _record("cap_e8", "rate_e8", "deduction_e8", "max_leverage_e2", "count")


class Tiered(Protocol):
    """A market as the margin formulas read it."""

    @property
    def tiers(self) -> Any: ...  # (tables, rows) TIER


class Market(NamedTuple):
    """The records of `schema.Tape`. The last segment is a sentinel that starts after the last bar."""

    interval_ms: int
    bars: Any  # (n,) BAR
    blocks: Any  # (b,) BLOCK
    segments: Any  # (s + 1,) SEGMENT
    tiers: Any  # (tables, rows) TIER


def market_of(tape: Tape) -> Market:
    """Lay a tape out as records."""
    bars = np.empty(len(tape.time_ms), BAR)
    for name in BAR.names or ():
        bars[name] = getattr(tape, name)
    blocks = np.empty(len(tape.block_low_e8), BLOCK)
    blocks["low_e8"], blocks["high_e8"] = tape.block_low_e8, tape.block_high_e8
    segments = np.zeros(len(tape.segment_start), SEGMENT)
    segments["start"] = tape.segment_start
    for name in ("low_e8", "high_e8", "table", "funding_e8", "taker_e8"):
        segments[name][:-1] = getattr(tape, f"segment_{name}")
    segments["time_ms"][:-1] = tape.time_ms[tape.segment_start[:-1]]
    segments["mark_open_e8"][:-1] = tape.mark_open_e8[tape.segment_start[:-1]]
    segments["open_sum_e8"][:-1] = tape.open_sum_e8[tape.segment_start[1:] - 1]
    tiers = np.zeros(tape.tier_cap_e8.shape, TIER)
    for name in ("cap_e8", "rate_e8", "deduction_e8", "max_leverage_e2"):
        tiers[name] = getattr(tape, f"tier_{name}")
    tiers["count"] = tape.tier_count[:, None]
    return Market(int(tape.interval_ms), bars, blocks, segments, tiers)
