"""Announced events: their times in UTC, what was known of them when, and the windows around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.data.calendar import (
    Event,
    after_times,
    before_times,
    in_window,
    kinds,
    known_events,
    require_coverage,
    windows,
)
from backtest.errors import CoverageError, DataError
from backtest.units import DAY_MS, HOUR_MS, time_ms, time_text

FOREVER = np.iinfo(np.int64).max


def due(kind: str, event_id: str, as_of: str = "2100-01-01") -> str | None:
    (event,) = [event for event in known_events(kind, time_ms(as_of)) if event.event_id == event_id]
    return None if event.scheduled_ms is None else time_text(event.scheduled_ms)


@pytest.mark.parametrize(
    ("event_id", "utc"),
    [
        ("fomc-2012-12-12", "2012-12-12 17:30"),
        ("fomc-2013-01-30", "2013-01-30 19:15"),
        ("fomc-2013-03-20", "2013-03-20 18:00"),
        ("fomc-2024-03-20", "2024-03-20 18:00"),
        ("fomc-2024-12-18", "2024-12-18 19:00"),
        ("fomc-2020-03-03", "2020-03-03 15:00"),
        ("fomc-2020-03-15", "2020-03-15 21:00"),
        ("cpi-2024-01", "2024-02-13 13:30"),
        ("cpi-2024-02", "2024-03-12 12:30"),
        ("cpi-2025-11", "2025-12-18 13:30"),
        ("cpi-2025-10", None),
        ("cpi-2025-09", "2025-10-24 12:30"),
    ],
)
def test_the_time_of_an_event_follows_the_clocks_of_new_york(event_id: str, utc: str | None) -> None:
    assert due(event_id.partition("-")[0], event_id) == utc


@pytest.mark.parametrize("day", ["2020-03-03T15:00", "2020-03-15T21:00"])
def test_what_nobody_expected_has_no_time_before_it(day: str) -> None:
    events, at = known_events("fomc"), time_ms(day)
    assert not in_window(events, at - 1, 24 * HOUR_MS, 2 * HOUR_MS)
    assert not in_window(events, at - HOUR_MS, 24 * HOUR_MS, 2 * HOUR_MS)
    assert in_window(events, at, 24 * HOUR_MS, 2 * HOUR_MS)
    assert in_window(events, at + 2 * HOUR_MS, 24 * HOUR_MS, 2 * HOUR_MS)
    starts = before_times(events, 24 * HOUR_MS)
    assert not ((starts > at - DAY_MS) & (starts <= at)).any()
    assert at + 2 * HOUR_MS in after_times(events, 2 * HOUR_MS)


def test_a_date_is_in_force_until_it_was_moved() -> None:
    """A rule armed for 10 December, as seen before 21 November, is right; after it, wrong."""
    old, new = "2025-12-10 13:30", "2025-12-18 13:30"
    assert due("cpi", "cpi-2025-11", "2025-11-20") == old
    assert due("cpi", "cpi-2025-11", "2025-11-22") == new
    assert due("cpi", "cpi-2025-10", "2025-11-20") == "2025-11-13 13:30"
    assert due("cpi", "cpi-2025-10", "2025-11-22") is None
    events = known_events("cpi")
    seen_before = [event for event in events if event.known_ms < time_ms("2025-11-21")]
    assert in_window(seen_before, time_ms(old), 12 * HOUR_MS, HOUR_MS)
    assert not in_window(events, time_ms(old), 12 * HOUR_MS, HOUR_MS)
    assert in_window(events, time_ms(new), 12 * HOUR_MS, HOUR_MS)
    assert time_ms(old) + HOUR_MS not in after_times(events, HOUR_MS)
    assert time_ms(new) + HOUR_MS in after_times(events, HOUR_MS)


def test_a_meeting_that_another_took_the_place_of_is_cancelled() -> None:
    events = known_events("fomc")
    assert due("fomc", "fomc-2020-03-18", "2020-03-15") == "2020-03-18 18:00"
    assert not in_window(events, time_ms("2020-03-18T18:00"), 24 * HOUR_MS, 2 * HOUR_MS)


def test_what_was_known_tells_nothing_of_later() -> None:
    at = time_ms("2024-03-20T17:59")
    before = {event.event_id: event for event in known_events("fomc", at)}
    after = {event.event_id: event for event in known_events("fomc", at + 60_000)}
    assert (before["fomc-2024-03-20"].status, before["fomc-2024-03-20"].actual_ms) == ("scheduled", None)
    assert (after["fomc-2024-03-20"].status, after["fomc-2024-03-20"].actual_ms) == ("released", at + 60_000)
    assert all(event.known_ms <= at for event in before.values())
    assert "fomc-2025-01-29" not in before  # its schedule was published in August


def test_the_calendars_are_whole() -> None:
    """Eight meetings a year with a statement, one CPI release a month; every row says where it is from."""
    meetings = [event.event_id[5:9] for event in known_events("fomc", FOREVER) if event.status != "unscheduled"]
    assert {year: meetings.count(year) for year in meetings} == {str(year): 8 for year in range(2012, 2028)}
    months = [event.period for event in known_events("cpi", FOREVER)]
    assert sorted(months) == [str(np.datetime64("2017-12") + k) for k in range(12 * 9)]
    for kind in kinds():
        for event in known_events(kind):
            assert event.source
            if event.scheduled_ms is not None:
                minutes = (event.scheduled_ms // 60_000) % (24 * 60)
                assert 12 * 60 <= minutes <= 21 * 60, event  # no time of day was mistaken for UTC
            if event.status == "scheduled":
                assert event.knowledge in ("announced", "year before")


def test_a_range_without_calendar_is_refused() -> None:
    events = known_events("cpi")
    require_coverage("cpi", events, time_ms("2018-01-01T05:00"), time_ms("2026-12-10T13:30"))
    with pytest.raises(CoverageError, match="covers 2018-01-01 05:00 to 2026-12-10 13:30, not 2017-01-01"):
        require_coverage("cpi", events, time_ms("2017-01-01"), time_ms("2020-01-01"))
    with pytest.raises(CoverageError, match="to 2027-02-01"):
        require_coverage("cpi", events, time_ms("2026-01-01"), time_ms("2027-02-01"))
    with pytest.raises(
        DataError, match=r'"cpl": is not there; did you mean "cpi"\? Else: backtest data import-calendar'
    ):
        known_events("cpl")


def event(name: str, at: int | None, known: int, status: str = "scheduled") -> Event:
    return Event(name, "made", "", status, at, known, None, "UTC", "announced", "made")


def test_windows_that_touch_are_one() -> None:
    near = [event("a", 100, 0), event("b", 116, 0), event("c", 140, 0)]
    found = windows(near, 10, 5)
    assert [found.first_ms.tolist(), found.last_ms.tolist()] == [[90, 130], [121, 145]]
    assert found.hold(np.array([89, 90, 121, 122, 130, 145, 146])).tolist() == [
        False, True, True, False, True, True, False,
    ]  # fmt: skip
    assert not windows([], 10, 5).hold(np.array([0, 1])).any()


def test_an_event_that_becomes_known_late_begins_then() -> None:
    late = [event("a", 100, 95)]
    assert before_times(late, 10).tolist() == [95]
    assert not in_window(late, 94, 10, 5)
    assert before_times([event("a", 100, 100, "unscheduled")], 10).tolist() == []


def test_a_date_that_is_said_again_stands_on() -> None:
    again = [event("a", 100, 0), event("a", 100, 95), event("a", 100, 99, "released")]
    assert before_times(again, 10).tolist() == [90]
    assert windows(again, 10, 5).last_ms.tolist() == [105]


def test_an_event_moved_inside_its_window_ends_it() -> None:
    moved = [event("a", 100, 0), event("a", 200, 96, "delayed")]
    assert [windows(moved, 10, 5).first_ms.tolist(), windows(moved, 10, 5).last_ms.tolist()] == [[90, 190], [95, 205]]
    assert before_times(moved, 10).tolist() == [90, 190]
    assert after_times(moved, 5).tolist() == [205]
    cancelled = [event("a", 100, 0), event("a", None, 96, "cancelled")]
    assert after_times(cancelled, 0).tolist() == []
    assert windows(cancelled, 10, 5).last_ms.tolist() == [95]


statements = st.lists(
    st.builds(
        event,
        st.sampled_from("abc"),
        st.one_of(st.none(), st.integers(0, 60)),
        st.integers(0, 60),
    ),
    max_size=6,
    unique_by=lambda one: (one.event_id, one.known_ms),
)


@given(statements, st.integers(0, 20), st.integers(0, 20))
def test_windows_are_what_the_rule_says_at_every_time(some: list[Event], before: int, after: int) -> None:
    """At t: is there an event whose newest statement known at t puts t within its window?"""
    times = np.arange(-25, 90)
    inside = []
    for t in times:
        newest = {one.event_id: one for one in sorted(some, key=lambda one: one.known_ms) if one.known_ms <= t}
        inside.append(
            any(
                one.scheduled_ms is not None and one.scheduled_ms - before <= t <= one.scheduled_ms + after
                for one in newest.values()
            )
        )
    assert windows(some, before, after).hold(times).tolist() == inside


@given(statements, st.integers(0, 20), st.integers(0, 60))
def test_no_statement_changes_what_came_before_it(some: list[Event], around: int, cut: int) -> None:
    """Prefix invariance: statements that became known after a time change no window and no wake up to it."""
    known = [one for one in some if one.known_ms <= cut]
    times = np.arange(-25, cut + 1)
    assert windows(known, around, around).hold(times).tolist() == windows(some, around, around).hold(times).tolist()
    for find in (before_times, after_times):
        early = [t for t in find(known, around) if t <= cut]
        assert early == [t for t in find(some, around) if t <= cut]


def test_as_of_gives_the_newest_statement_of_each_event() -> None:
    for at in (time_ms("2020-03-10"), time_ms("2025-11-30")):
        found = known_events("cpi", at)
        assert len({one.event_id for one in found}) == len(found)
        every = [one for one in known_events("cpi") if one.known_ms <= at]
        for one in found:
            assert one.known_ms == max(other.known_ms for other in every if other.event_id == one.event_id)
