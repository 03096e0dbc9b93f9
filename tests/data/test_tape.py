"""The tape: exact prices, segments where events are, funding at the right open."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.data.exact import floats_to_e8
from backtest.data.tape import INT64_MAX, place_funding, tape_from_arrays
from backtest.errors import CoverageError, DataError, InvariantError
from backtest.schema import BLOCK_BARS, Tape
from backtest.units import E8, HOUR_MS, MINUTE_MS, float_to_e8


class Tier(NamedTuple):
    floor_e8: int
    cap_e8: int | None
    rate_e8: int
    deduction_e8: int
    max_leverage_e2: int | None


@dataclass(frozen=True)
class Table:
    symbol: str
    first_ms: int
    last_ms: int
    tiers: tuple[Tier, ...]
    source: str = "test"


ONE_TIER = Table("X", 0, 0, (Tier(0, None, 400_000, 0, 12_500),))
START = 1_600_000_000_000 // HOUR_MS * HOUR_MS


def make(
    n=100, funding=(), tiers=(ONE_TIER,), fees=((0, 50_000),), interval_ms=HOUR_MS, seed=1, close_ms=None, **changes
) -> Tape:
    random = np.random.default_rng(seed)
    opening = random.integers(90 * E8, 110 * E8, n)
    close = random.integers(90 * E8, 110 * E8, n)
    columns = {
        "time_ms": START + interval_ms * np.arange(n),
        "trade_open_e8": random.integers(90 * E8, 110 * E8, n),
        "trade_close_e8": random.integers(90 * E8, 110 * E8, n),
        "mark_open_e8": opening,
        "mark_high_e8": np.maximum(opening, close) + random.integers(0, E8, n),
        "mark_low_e8": np.minimum(opening, close) - random.integers(0, E8, n),
        "mark_close_e8": close,
    }
    return tape_from_arrays(
        interval_ms,
        *{**columns, **changes}.values(),
        funding=funding,
        tiers=tiers,
        taker_fee_steps=fees,
        close_ms=close_ms,
    )


@given(st.floats(1e-12, 9e10) | st.integers(0, 10**17).map(lambda units: (units + 0.5) / E8))
@settings(max_examples=500)
def test_prices_are_rounded_half_even_on_the_exact_binary_value(value):
    assert floats_to_e8([value]).tolist() == [float_to_e8(value)]


def test_multiplying_alone_would_round_wrongly():
    """The fast product is wrong for this value, so the exact path is really taken."""
    value = 3_141_592_653.589793
    assert int(np.rint(value * E8)) != float_to_e8(value)
    assert floats_to_e8([value, 0.1]).tolist() == [float_to_e8(value), 10_000_000]


def test_every_array_is_int64_contiguous_and_read_only():
    tape = make(funding=[(START + 8 * HOUR_MS, 10_000)])
    for array in tape[1:]:
        assert array.dtype == np.int64
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array.flat[0] = 1


def test_the_callers_arrays_stay_writable():
    time_ms = START + HOUR_MS * np.arange(100)
    make(time_ms=time_ms)
    time_ms[0] += 1


def test_a_segment_starts_at_bar_0_at_funding_at_a_tier_change_and_at_a_fee_change():
    change = Table("X", START + 40 * HOUR_MS + 1, 0, (Tier(0, 5, 1, 0, None), Tier(5, None, 2, 3, 500)))
    tape = make(
        funding=[(START + 8 * HOUR_MS, 10_000), (START + 16 * HOUR_MS, 0)],
        tiers=(change, ONE_TIER),
        fees=[(0, 40_000), (START + 60 * HOUR_MS, 50_000)],
    )
    assert tape.segment_start.tolist() == [0, 8, 16, 41, 60, 100]
    assert tape.segment_funding_e8.tolist() == [0, 10_000, 0, 0, 0]
    assert tape.segment_table.tolist() == [0, 0, 0, 1, 1]
    assert tape.segment_taker_e8.tolist() == [40_000, 40_000, 40_000, 40_000, 50_000]
    assert tape.tier_count.tolist() == [1, 2]
    assert tape.tier_cap_e8.tolist() == [[INT64_MAX, INT64_MAX], [5, INT64_MAX]]
    assert tape.tier_rate_e8[1].tolist() == [1, 2]
    assert tape.tier_deduction_e8[1].tolist() == [0, 3]
    assert tape.tier_max_leverage_e2[1].tolist() == [0, 500]


def test_before_the_first_tier_table_the_first_is_in_force():
    later = Table("X", START + 900 * HOUR_MS, 0, ONE_TIER.tiers)
    assert make(tiers=(later,)).segment_table.tolist() == [0]


@given(st.integers(1, 200), st.sets(st.integers(0, 199)), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_extremes_and_sums_are_those_of_the_bars(n, bars, seed):
    funding = [(START + bar * HOUR_MS, 1) for bar in bars]
    tape = make(n, funding=funding, seed=seed)
    starts = tape.segment_start.tolist()
    assert starts == [*sorted({0, *(bar for bar in bars if bar < n)}), n]
    for s, (first, stop) in enumerate(pairwise(starts)):
        assert tape.segment_low_e8[s] == tape.mark_low_e8[first:stop].min()
        assert tape.segment_high_e8[s] == tape.mark_high_e8[first:stop].max()
        assert tape.open_sum_e8[first:stop].tolist() == np.cumsum(tape.mark_open_e8[first:stop]).tolist()
    for b in range(0, n, BLOCK_BARS):
        assert tape.block_low_e8[b // BLOCK_BARS] == tape.mark_low_e8[b : b + BLOCK_BARS].min()
        assert tape.block_high_e8[b // BLOCK_BARS] == tape.mark_high_e8[b : b + BLOCK_BARS].max()


def test_a_sum_that_would_leave_int64_cuts_the_segment():
    huge = np.full(7, 4 * 10**18)
    tape = make(7, mark_open_e8=huge, mark_high_e8=huge, mark_low_e8=huge, mark_close_e8=huge)
    assert tape.segment_start.tolist() == [0, 2, 4, 6, 7]
    assert tape.open_sum_e8.tolist() == [4 * 10**18, 8 * 10**18] * 3 + [4 * 10**18]


def test_a_sum_counts_each_open_by_its_length_and_no_bar_may_reach_into_the_next():
    lengths = np.array([4, 1, 1, 2, 4]) * 15 * MINUTE_MS
    opens = START + np.cumsum(lengths) - lengths
    tape = make(5, interval_ms=15 * MINUTE_MS, time_ms=opens, close_ms=opens + lengths)
    assert tape.close_ms.tolist() == (opens + lengths).tolist()
    assert tape.open_sum_e8.tolist() == np.cumsum(tape.mark_open_e8 * lengths // (15 * MINUTE_MS)).tolist()
    with pytest.raises(DataError, match="opens before the bar before it has closed"):
        make(5, interval_ms=15 * MINUTE_MS, time_ms=opens, close_ms=opens + 2 * lengths)
    huge = dict.fromkeys(("mark_open_e8", "mark_high_e8", "mark_low_e8", "mark_close_e8"), np.full(5, 4 * 10**18))
    with pytest.raises(DataError, match="differ less in length"):
        make(5, interval_ms=15 * MINUTE_MS, time_ms=opens, close_ms=opens + lengths, **huge)


@pytest.mark.parametrize(
    ("offset_ms", "bar", "moved"),
    [
        (0, 5, 0),
        (29, 5, 0),
        (-10, 5, 0),
        (60_000, 5, 0),
        (-60_000, 5, 0),
        (60_001, 6, 1),
        (-60_001, 5, 1),
        (HOUR_MS // 2, 6, 1),
    ],
)
def test_a_stamp_within_a_minute_belongs_to_that_open_and_another_to_the_next(offset_ms, bar, moved):
    time_ms = START + HOUR_MS * np.arange(10)
    bars, used, count = place_funding(time_ms, np.array([time_ms[5] + offset_ms]))
    assert (bars.tolist(), used.tolist(), count) == ([bar], [True], moved)


def test_on_minute_bars_a_stamp_belongs_to_the_nearest_open():
    time_ms = START + MINUTE_MS * np.arange(10)
    bars, _, moved = place_funding(time_ms, time_ms[5] + np.array([-29_999, 29, 30_000, 30_001]))
    assert (bars.tolist(), moved) == ([5, 5, 5, 6], 0)


def test_a_stamp_in_a_hole_settles_at_the_first_open_after_it():
    time_ms = START + HOUR_MS * np.array([0, 1, 2, 9, 10])
    bars, _, moved = place_funding(time_ms, time_ms[0] + HOUR_MS * np.array([1, 8]))
    assert (bars.tolist(), moved) == ([1, 3], 1)


def test_stamps_outside_the_bars_are_left_out():
    time_ms = START + HOUR_MS * np.arange(10)
    bars, used, moved = place_funding(time_ms, np.array([START - HOUR_MS, START - 5, START + 10 * HOUR_MS]))
    assert (bars.tolist(), used.tolist(), moved) == ([0], [False, True, False], 0)


def test_stamps_on_one_open_add_up():
    time_ms = START + HOUR_MS * np.concatenate((np.arange(5), np.arange(9, 104)))
    tape = make(100, time_ms=time_ms, funding=[(START + h * HOUR_MS, 7) for h in (6, 7, 8)])
    assert tape.segment_start.tolist() == [0, 5, 100]
    assert tape.segment_funding_e8.tolist() == [0, 21]


def test_bars_longer_than_the_shortest_funding_interval_are_refused():
    hourly = [(START + h * HOUR_MS + 13 * (h % 2), 1) for h in range(9)]
    make(funding=hourly)
    with pytest.raises(CoverageError, match="sooner than one 4h bar"):
        make(funding=hourly, interval_ms=4 * HOUR_MS)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"time_ms": START + HOUR_MS * np.r_[0:50, 49:99]}, "does not open after"),
        ({"mark_low_e8": np.full(100, 200 * E8)}, "mark leaves its own high or low"),
        ({"trade_open_e8": np.zeros(100, np.int64)}, "trade open must be over 0"),
    ],
)
def test_bars_that_contradict_themselves_are_refused(changes, text):
    with pytest.raises(DataError, match=text):
        make(**changes)


def test_floats_are_refused_where_exact_integers_belong():
    with pytest.raises(InvariantError, match="integers"):
        make(trade_open_e8=np.full(100, 1.5))


def test_a_tape_without_tiers_or_fees_is_refused_with_both_problems():
    with pytest.raises(CoverageError, match=r"(?s)tiers.*taker fee"):
        make(tiers=(), fees=())


def test_an_empty_tape_is_refused():
    with pytest.raises(CoverageError, match="no bar"):
        make(0)
