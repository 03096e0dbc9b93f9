"""Random windows: as many as there were events, at their clock times and weekdays, away from all of them."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from backtest.data.calendar import Event, after_times, before_times, known_events, windows
from backtest.data.calendar_files import clock_of
from backtest.errors import StudyError
from backtest.study.random_windows import random_events
from backtest.units import DAY_MS, HOUR_MS, time_ms, time_text

START, STOP = time_ms("2020-01-01"), time_ms("2026-05-01")
WIDTH = {"fomc": (24 * HOUR_MS, 2 * HOUR_MS), "cpi": (12 * HOUR_MS, HOUR_MS)}
NEW_YORK = ZoneInfo("America/New_York")


def drawn(kind: str, seed: int = 1, start: int = START, stop: int = STOP):
    before, after = WIDTH[kind]
    events = known_events(kind)
    return events, random_events(events, seed=seed, start_ms=start, stop_ms=stop, before_ms=before, after_ms=after)


def clocks(times: list[int]) -> list[tuple[int, dt.time]]:
    local = [clock_of(time, NEW_YORK) for time in times]
    return sorted((moment.weekday(), moment.time()) for moment in local)


@pytest.mark.parametrize("kind", WIDTH)
def test_there_are_as_many_at_the_same_times_of_day_and_weekdays(kind: str) -> None:
    events, made = drawn(kind)
    due = after_times(events, 0)  # what was in force when it was due
    real = due[(due >= START) & (due < STOP)].tolist()
    assert len(made) == len(real) == {"fomc": 52, "cpi": 76}[kind]
    assert clocks([event.scheduled_ms for event in made]) == clocks(real)


@pytest.mark.parametrize("kind", WIDTH)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_window_touches_a_real_one_or_another(kind: str, seed: int) -> None:
    events, made = drawn(kind, seed)
    real, lot = windows(events, *WIDTH[kind]), windows(made, *WIDTH[kind])
    for event in made:
        alone = windows([event], *WIDTH[kind])
        assert alone.first_ms[0] >= START
        assert alone.last_ms[0] < STOP
    assert len(lot.first_ms) == len(made)  # none was joined with another
    first = np.concatenate([real.first_ms, lot.first_ms])
    last = np.concatenate([real.last_ms, lot.last_ms])
    order = np.argsort(first)
    assert (first[order][1:] > last[order][:-1]).all()


def test_the_draw_depends_on_the_seed_alone() -> None:
    assert drawn("fomc", 1)[1] == drawn("fomc", 1)[1]
    assert drawn("fomc", 1)[1] != drawn("fomc", 2)[1]


def test_what_came_unexpected_comes_unexpected() -> None:
    made = drawn("fomc")[1]
    unexpected = [event for event in made if event.status == "unscheduled"]
    assert len(unexpected) == 2
    assert all(event.known_ms == event.scheduled_ms for event in unexpected)
    assert len(before_times(made, 24 * HOUR_MS)) == len(made) - 2
    longest = max(event.scheduled_ms - event.known_ms for event in made)
    assert longest <= 2 * 365 * DAY_MS  # as the schedule of 2026 was published in August 2024


def test_a_date_that_was_moved_is_no_event() -> None:
    """Of the five dates told for that autumn, three were in force when they came."""
    made = drawn("cpi", start=time_ms("2025-09-20"), stop=time_ms("2026-01-01"))[1]
    assert sorted(event.event_id for event in made) == [
        "cpi-2025-09~random",
        "cpi-2025-10~random",
        "cpi-2025-11~random",
    ]


def test_a_range_that_is_too_short_is_refused() -> None:
    with pytest.raises(StudyError, match="random windows of cpi: cpi-2024-01 finds no free day"):
        drawn("cpi", start=time_ms("2024-02-12"), stop=time_ms("2024-02-15"))


def only(due: str, *, before: int, after: int, start: str, stop: str) -> set[str]:
    """Draw the control of one event with twenty seeds; give the days drawn."""
    event = Event("e", "made", "", "scheduled", time_ms(due), 0, None, "UTC", "announced", "made")
    days: set[str] = set()
    for seed in range(20):
        (made,) = random_events(
            [event], seed=seed, start_ms=time_ms(start), stop_ms=time_ms(stop), before_ms=before, after_ms=after
        )
        assert made.scheduled_ms is not None
        days.add(time_text(made.scheduled_ms))
    return days


def test_a_window_lies_in_the_range() -> None:
    """Of the Mondays around 2024-01-15 12:00, those whose window the range cuts are never drawn."""
    drawn_days = only(
        "2024-01-15T12:00", before=HOUR_MS, after=2 * HOUR_MS, start="2024-01-01T11:00", stop="2024-02-05T14:00"
    )
    assert drawn_days == {"2024-01-01 12:00", "2024-01-08 12:00", "2024-01-22 12:00", "2024-01-29 12:00"}
    drawn_days = only(
        "2024-01-15T12:00", before=HOUR_MS, after=2 * HOUR_MS, start="2024-01-01T11:01", stop="2024-02-05T14:01"
    )
    assert drawn_days == {"2024-01-08 12:00", "2024-01-22 12:00", "2024-01-29 12:00", "2024-02-05 12:00"}


def test_windows_that_meet_in_one_moment_touch() -> None:
    week = {"before": 7 * DAY_MS, "after": 0}
    assert only("2024-01-15T12:00", **week, start="2023-12-20", stop="2024-01-30") == {
        "2024-01-01 12:00",
        "2024-01-29 12:00",
    }
