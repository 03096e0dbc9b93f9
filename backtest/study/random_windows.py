"""Random windows: made events in place of a calendar's, to tell skill from holding less.

A rule that steps aside before events holds less, and so is liquidated less, whatever the events are. Its control steps
aside as often and as long, at the same time of day and on the same weekday, in weeks drawn by lot in which nothing was
due.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from backtest.data.calendar import Event, Windows, windows
from backtest.data.calendar_files import clock_ms, clock_of
from backtest.errors import StudyError
from backtest.units import DAY_MS

Ints = npt.NDArray[np.int64]
WEEK_MS = 7 * DAY_MS


def random_events(
    events: Sequence[Event], *, seed: int, start_ms: int, stop_ms: int, before_ms: int, after_ms: int
) -> tuple[Event, ...]:
    """Draw as many events as really took place, each at the clock time and on the weekday of one of them.

    Counted are the events due from `start_ms` to `stop_ms` that had not been moved or cancelled by then. A made event
    is known as long before as its model was, so what came unexpected comes unexpected. Its window, `before_ms` before
    to `after_ms` after it, lies in the range and touches neither a real window nor a made one. Equal arguments, equal
    events.

    Raises `StudyError` where the range has too few free days.
    """
    real = windows(events, before_ms, after_ms)
    kinds = "/".join(sorted({event.kind for event in events}))
    lot = np.random.Generator(np.random.PCG64([seed, zlib.crc32(kinds.encode())]))
    taken = real
    made: list[Event] = []
    for model in _that_took_place(events, start_ms, stop_ms):
        times = np.array(list(_same_clock(model, start_ms + before_ms, stop_ms - after_ms)), np.int64)
        free = times[~_touches(taken, times - before_ms, times + after_ms)]
        if not len(free):
            what = f"{model.event_id} finds no free day for its control"
            raise StudyError.at(f"random windows of {kinds}", what, "take a longer study, or shorter windows")
        drawn = int(lot.choice(free))
        made.append(_moved(model, drawn, seed))
        taken = windows([*events, *made], before_ms, after_ms)
    return tuple(sorted(made, key=lambda event: (event.known_ms, event.event_id)))


def _that_took_place(events: Sequence[Event], start_ms: int, stop_ms: int) -> Iterator[Event]:
    """Give, by time due, what was first said of the date on which each event came, or was still expected."""
    known = sorted(events, key=lambda event: (event.known_ms, event.event_id))
    first: dict[tuple[str, int], Event] = {}
    for event in known:
        if event.scheduled_ms is not None and start_ms <= event.scheduled_ms < stop_ms:
            first.setdefault((event.event_id, event.scheduled_ms), event)
    for (name, due), event in sorted(first.items(), key=lambda item: (item[0][1], item[0][0])):
        *_, newest = (other for other in known if other.event_id == name and other.known_ms <= due)
        if newest.scheduled_ms == due:
            yield event


def _same_clock(model: Event, first_ms: int, stop_ms: int) -> Iterator[int]:
    """Give the moments of the model's weekday and clock time in a range; a week whose clocks skip it has none."""
    assert model.scheduled_ms is not None
    zone = ZoneInfo(model.zone)
    local = clock_of(model.scheduled_ms, zone)
    weeks = range((first_ms - model.scheduled_ms) // WEEK_MS - 1, (stop_ms - model.scheduled_ms) // WEEK_MS + 2)
    for week in weeks:
        try:
            moment = clock_ms(local + dt.timedelta(weeks=week), zone)
        except ValueError:
            continue
        if first_ms <= moment < stop_ms:
            yield moment


def _touches(taken: Windows, first_ms: Ints, last_ms: Ints) -> npt.NDArray[np.bool_]:
    """Say of each stretch, both ends included, whether a window has a moment in common with it."""
    place = np.searchsorted(taken.first_ms, last_ms, side="right") - 1
    return (place >= 0) & (np.append(taken.last_ms, 0)[place] >= first_ms)


def _moved(model: Event, due_ms: int, seed: int) -> Event:
    assert model.scheduled_ms is not None
    return replace(
        model,
        event_id=f"{model.event_id}~random",
        scheduled_ms=due_ms,
        known_ms=due_ms - (model.scheduled_ms - model.known_ms),
        actual_ms=None,
        source=f"drawn by lot, seed {seed}",
    )
