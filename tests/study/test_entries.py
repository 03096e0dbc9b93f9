"""Entries: when they are, what each carries, and how well its tiers and data are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.data.tape import tape_from_arrays
from backtest.engine.plan import NONE
from backtest.errors import StudyError
from backtest.schema import TIER_FIDELITY, Tape
from backtest.study.config import Study
from backtest.study.entries import Entries, contracts, fidelities, near_gap, schedule
from backtest.units import DAY_MS, E8, HOUR_MS, time_ms
from backtest.venues.contracts import contract_at
from backtest.venues.tiers import Tier, TierTable, fidelity, tier_tables

from .small import hour_ms, small_study

LADDER = (Tier(0, None, E8 // 200, 0, 12_500),)


def flat_tape(first_ms: int, hours: int, without: tuple[int, ...] = ()) -> Tape:
    """Give a tape of one price, without some of its hours."""
    time = first_ms + HOUR_MS * np.setdiff1d(np.arange(hours), without)
    price = np.full(len(time), 20_000 * E8)
    tables = [TierTable("BTCUSDT", first_ms, first_ms, LADDER, "test")]
    return tape_from_arrays(HOUR_MS, time, *[price] * 6, [], tables, [(first_ms, 40_000)])


def entries(study: Study, tape: Tape) -> Entries:
    return schedule(study, "BTCUSDT", tape)


def times(laid: Entries) -> list[int]:
    return sorted(set(laid.rows["entry_ms"].tolist()))


def test_entries_begin_at_the_first_midnight_from_which_there_are_bars() -> None:
    tape = flat_tape(hour_ms(5), 24 * 10)  # the data begin at 05:00
    assert times(entries(small_study(entries={"every": "24h"}), tape)) == [hour_ms(24 * day) for day in range(1, 11)]


def test_entries_begin_at_the_first_midnight_not_before_start() -> None:
    tape = flat_tape(hour_ms(0), 24 * 10)
    for start, day in (("2023-01-03", 2), ("2023-01-03T00:01", 3), ("2023-01-02T23:59", 2)):
        assert times(entries(small_study(market={"start": start}), tape))[0] == hour_ms(24 * day)


@pytest.mark.parametrize(("every", "count"), [("1h", 48), ("7h", 7), ("24h", 2), ("48h", 1)])
def test_entries_are_counted_from_the_first_and_none_is_at_the_stop(every: str, count: int) -> None:
    tape = flat_tape(hour_ms(0), 24 * 10)
    study = small_study(market={"stop": "2023-01-03"}, entries={"every": every, "horizon": "1d"})
    found = times(entries(study, tape))
    assert len(found) == count
    assert found == [found[0] + (found[1] - found[0]) * place if place else found[0] for place in range(count)]
    assert found[-1] < time_ms("2023-01-03")


def test_each_time_has_every_side_and_leverage_and_a_name_a_person_can_read() -> None:
    laid = entries(small_study(entries={"leverage": [2.5, 20]}), flat_tape(hour_ms(0), 24 * 10))
    assert laid.labels[:4] == [
        "BTCUSDT/2023-01-01T0000/long/2.5x",
        "BTCUSDT/2023-01-01T0000/long/20x",
        "BTCUSDT/2023-01-01T0000/short/2.5x",
        "BTCUSDT/2023-01-01T0000/short/20x",
    ]
    assert len(set(laid.labels)) == len(laid.labels) == len(laid.rows)
    first = laid.rows[:4]
    assert first["side"].tolist() == [1, 1, -1, -1]
    assert first["leverage_e2"].tolist() == [250, 2000, 250, 2000]


def test_an_entry_carries_its_bar_its_exit_and_its_margin() -> None:
    study = small_study(study={"capital": "8_000"}, entries={"margin_share": 0.25, "horizon": "2d"})
    tape = flat_tape(hour_ms(0), 24 * 10)
    for row in entries(study, tape).rows:
        assert tape.time_ms[row["entry_bar"]] == row["entry_ms"]
        exit_ms = row["entry_ms"] + 2 * DAY_MS
        assert row["exit_bar"] == (exit_ms - hour_ms(0)) // HOUR_MS
        assert (row["capital_e8"], row["posted_e8"], row["sizing_margin_e8"]) == (8_000 * E8, 2_000 * E8, 2_000 * E8)
        segment = row["entry_segment"]
        assert tape.segment_start[segment] <= row["entry_bar"] < tape.segment_start[segment + 1]


def test_an_entry_without_a_bar_is_kept_and_an_exit_without_one_is_at_the_next() -> None:
    tape = flat_tape(hour_ms(0), 24 * 10, without=(120,))
    laid = entries(small_study(entries={"every": "120h", "horizon": "5d"}), tape)
    first, second = laid.rows[0], laid.rows[4]
    assert (first["entry_bar"], second["entry_bar"]) == (0, NONE)
    assert tape.time_ms[first["exit_bar"]] == hour_ms(121)


def test_a_range_without_an_entry_is_an_error() -> None:
    with pytest.raises(StudyError, match="no entry fits"):
        entries(small_study(), flat_tape(hour_ms(1), 20))


def test_each_entry_has_the_contract_of_its_day() -> None:
    days = np.array([time_ms(f"{year}-06-01") for year in range(2020, 2026)])
    steps = contracts("binance", "BTCUSDT", days)
    for day in days.tolist():
        known = contract_at("binance", "BTCUSDT", day)
        in_force = [contract for from_ms, contract in steps if from_ms <= day][-1]
        assert (in_force.qty_step_e8, in_force.min_notional_e8) == (known.qty_step_e8, known.min_notional_e8)


# --- what is known of a run ----------------------------------------------------------------------------------------

BTC = tier_tables("binance", "BTCUSDT", "as-of")
moments = st.integers(time_ms("2019-09-01"), time_ms("2027-01-01"))


@given(st.lists(st.tuples(moments, st.integers(0, 400 * DAY_MS)), min_size=1, max_size=20))
def test_fidelity_of_many_runs_is_the_fidelity_of_each(spans: list[tuple[int, int]]) -> None:
    start = np.array([first for first, _ in spans])
    end = start + np.array([length for _, length in spans])
    for mode in ("as-of", "current"):
        found = [TIER_FIDELITY[rank] for rank in fidelities(BTC, start, end, mode).tolist()]
        assert found == [fidelity(BTC, a, b, mode) for a, b in zip(start.tolist(), end.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2020-03-01", "2020-03-31", "extrapolated"),
        ("2023-04-01", "2023-04-30", "exact"),
        ("2023-07-10", "2023-08-09", "bounded"),
        ("2030-01-01", "2030-01-31", "current"),
    ],
)
def test_fidelity_by_date(first: str, last: str, expected: str) -> None:
    found = fidelities(BTC, np.array([time_ms(first)]), np.array([time_ms(last)]), "as-of")
    assert TIER_FIDELITY[found[0]] == expected


holes_of = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 40)), max_size=6)


@given(holes_of, st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), min_size=1, max_size=10))
def test_a_run_is_near_a_gap_if_one_overlaps_it_or_the_day_before(
    holes: list[tuple[int, int]], spans: list[tuple[int, int]]
) -> None:
    gaps = tuple((hour_ms(first), hour_ms(first + length)) for first, length in holes)
    start = np.array([hour_ms(first) for first, _ in spans])
    end = start + HOUR_MS * np.array([length for _, length in spans])
    expected = [
        any(first <= b and last >= a - DAY_MS for first, last in gaps)
        for a, b in zip(start.tolist(), end.tolist(), strict=True)
    ]
    assert near_gap(gaps, start, end).tolist() == expected
