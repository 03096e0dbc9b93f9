"""Announced events, such as FOMC statements and CPI releases, as they were known at each moment.

A calendar is a list of statements about events. Each says when an event is due and since when that was known; a later
statement about the same event takes its place from then on. So a date that was moved on 21 November is in force until
21 November, and a decision that nobody expected has no time before it.

A *window* is the time around an event in which a rule may know of it: `before_ms` to `after_ms` around the time due,
both ends included, cut to the time in which the statement was in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from backtest.data.calendar_files import Event, calendar_file, kinds, read_calendar
from backtest.data.detect import Ints
from backtest.errors import CoverageError, DataError, did_you_mean
from backtest.units import time_text

__all__ = [
    "Event",
    "Statement",
    "Windows",
    "after_times",
    "before_times",
    "in_force",
    "in_window",
    "kinds",
    "known_events",
    "require_coverage",
    "windows",
]

_FOREVER = int(np.iinfo(np.int64).max)


class Statement(Protocol):
    """What was said of an event: when it is due (None: it is cancelled), and since when that was known."""

    @property
    def event_id(self) -> str: ...

    @property
    def scheduled_ms(self) -> int | None: ...

    @property
    def known_ms(self) -> int: ...


class Windows(NamedTuple):
    """Times in order that do not touch; window i lasts from `first_ms[i]` to `last_ms[i]`, both included."""

    first_ms: Ints  # (n,)
    last_ms: Ints  # (n,)

    def hold(self, time_ms: Ints) -> npt.NDArray[np.bool_]:
        """Say of each time, (m,), whether it lies in a window."""
        place = np.searchsorted(self.first_ms, time_ms, side="right") - 1
        return (place >= 0) & (time_ms <= np.append(self.last_ms, -_FOREVER)[place])


def known_events(kind: str, as_of_ms: int | None = None, *, lake: Path | None = None) -> tuple[Event, ...]:
    """Give what was known of a kind of event at a time: the newest statement about each event, by time due.

    Without a time: every statement there ever was, in the order in which they became known. Cancelled events are told
    too, without a time due. A calendar in the lake goes before the one that comes along.

    >>> [(event.status, event.known_ms) for event in known_events("cpi") if event.period == "2025-10"]
    [('scheduled', 1735707600000), ('cancelled', 1763743020000)]

    Raises `DataError` for a kind without a calendar, and with every problem of a calendar that is not sound.
    """
    path = calendar_file(kind, lake)
    if path is None:
        remedy = f"{did_you_mean(kind, kinds(lake))} Else: backtest data import-calendar FILE --kind {kind}"
        raise DataError.at(f'calendar "{kind}"', "is not there", remedy)
    statements = read_calendar(path)
    if as_of_ms is None:
        return statements
    newest = {event.event_id: event for event in statements if event.known_ms <= as_of_ms}
    return tuple(sorted(newest.values(), key=lambda event: (event.scheduled_ms or event.known_ms, event.event_id)))


def require_coverage(kind: str, events: Sequence[Event], start_ms: int, stop_ms: int) -> None:
    """Refuse a range in which a calendar says nothing because it begins later or ends earlier.

    Raises `CoverageError`: no event is then no sign that there was none.
    """
    due = [event.scheduled_ms for event in events if event.scheduled_ms is not None]
    first, last = min(event.known_ms for event in events), max(due)
    if start_ms < first or stop_ms > last:
        raise CoverageError.at(
            f'calendar "{kind}"',
            f"covers {time_text(first)} to {time_text(last)}, not {time_text(start_ms)} to {time_text(stop_ms)}",
            "shorten the study, or import a calendar of its own",
        )


def windows(events: Sequence[Event], before_ms: int, after_ms: int) -> Windows:
    """Join the windows of events into times that do not touch.

    >>> event = Event("e", "fomc", "2024-03-20", "scheduled", 100, 0, None, "UTC", "announced", "")
    >>> windows([event], 10, 5)
    Windows(first_ms=array([90]), last_ms=array([105]))
    """
    spans = ((max(due - before_ms, known), min(due + after_ms, until - 1)) for due, known, until in in_force(events))
    joined: list[tuple[int, int]] = []
    for first, last in sorted(span for span in spans if span[0] <= span[1]):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    both = np.array(joined, np.int64).reshape(-1, 2)
    return Windows(both[:, 0].copy(), both[:, 1].copy())


def in_window(events: Sequence[Event], time_ms: int, before_ms: int, after_ms: int) -> bool:
    """Say whether a time lies in the window of an event that was known then.

    >>> event = Event("e", "fomc", "2020-03", "unscheduled", 100, 100, 100, "UTC", "at release", "")
    >>> in_window([event], 95, 10, 5), in_window([event], 100, 10, 5)
    (False, True)
    """
    return bool(windows(events, before_ms, after_ms).hold(np.array([time_ms]))[0])


def before_times(events: Sequence[Event], before_ms: int) -> Ints:
    """Give the moments at which events come nearer than `before_ms`, in order: then, or when they became known.

    An event that was not known before it happened has none; neither has one that was moved or cancelled by then.
    """
    starts = {
        start for due, known, until in in_force(events) if (start := max(due - before_ms, known)) < min(due, until)
    }
    return np.array(sorted(starts), np.int64)


def after_times(events: Sequence[Event], after_ms: int) -> Ints:
    """Give the moments that lie `after_ms` after events that by then had not been moved or cancelled, in order."""
    times = {due + after_ms for due, known, until in in_force(events) if known <= due + after_ms < until}
    return np.array(sorted(times), np.int64)


def in_force(events: Iterable[Statement]) -> Iterator[tuple[int, int, int]]:
    """Give every date that stood: the time due, since when it was known, and when another took its place.

    A date that is said again, as when the event was released, stands on.
    """
    standing: dict[str, tuple[int | None, int]] = {}
    for event in sorted(events, key=lambda event: event.known_ms):
        due, known = standing.get(event.event_id, (None, 0))
        if due == event.scheduled_ms:
            continue
        if due is not None:
            yield due, known, event.known_ms
        standing[event.event_id] = event.scheduled_ms, event.known_ms
    yield from ((due, known, _FOREVER) for due, known in standing.values() if due is not None)
