"""What is known of signals and events at a time, straight from their rows: nothing is laid out in advance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

HOUR_MS = 3_600_000


class Reading(NamedTuple):
    """A signal's value, known from `available_ms` on."""

    available_ms: int
    value: float


class Statement(NamedTuple):
    """What was said of an event at `known_ms`: when it is due, or (None) that it will not be."""

    event: str
    due_ms: int | None
    known_ms: int


Readings = tuple[Reading, ...]
Statements = tuple[Statement, ...]


class Standing(NamedTuple):
    """An event as it stands at some time: when it is due, and since when just that was said."""

    due_ms: int
    since_ms: int


class Outside:
    """Signals by name and statements by kind of event, each in the order in which they became known."""

    def __init__(self, signals: Mapping[str, Readings], events: Mapping[str, Statements]) -> None:
        self._signals = signals
        self._events = events

    def value(self, name: str, time_ms: int) -> float:
        """Give the newest value of a signal that is known; NaN before the first."""
        known = [reading.value for reading in self._signals[name] if reading.available_ms <= time_ms]
        return known[-1] if known else math.nan

    def fires(self, name: str, after_ms: int, to_ms: int) -> bool:
        """Say whether a signal took another value, not 0, after a time and up to another."""
        before = self._signals[name][0].value if self._signals[name] else math.nan
        for reading in self._signals[name]:
            changed = not math.isnan(reading.value) and reading.value not in (0.0, before)
            if changed and after_ms < reading.available_ms <= to_ms:
                return True
            before = reading.value
        return False

    def standing(self, kind: str, time_ms: int) -> Iterator[Standing]:
        """Give every event of a kind as it stands at a time."""
        said: dict[str, Standing | None] = {}
        for event, due_ms, known_ms in self._events[kind]:
            if known_ms > time_ms:
                continue
            present = said.get(event)
            if due_ms is None:
                said[event] = None
            elif present is None or present.due_ms != due_ms:
                said[event] = Standing(due_ms, known_ms)
        return (standing for standing in said.values() if standing is not None)

    def comes_near(self, kind: str, lead_ms: int, after_ms: int, to_ms: int) -> bool:
        """Say whether an event, as it stands now, came nearer than a lead after a time and up to now."""
        return any(
            after_ms < max(event.due_ms - lead_ms, event.since_ms) <= to_ms < event.due_ms
            for event in self.standing(kind, to_ms)
        )

    def has_passed(self, kind: str, lag_ms: int, after_ms: int, to_ms: int) -> bool:
        """Say whether an event, as it stands now, became a lag old after a time and up to now."""
        return any(
            after_ms < max(event.due_ms + lag_ms, event.since_ms) <= to_ms for event in self.standing(kind, to_ms)
        )

    def hours_to(self, kind: str, time_ms: int) -> float:
        """Give the hours to the next event."""
        coming = [event.due_ms for event in self.standing(kind, time_ms) if event.due_ms > time_ms]
        return (min(coming) - time_ms) / HOUR_MS if coming else math.inf

    def hours_since(self, kind: str, time_ms: int) -> float:
        """Give the hours since the last event."""
        gone = [event.due_ms for event in self.standing(kind, time_ms) if event.due_ms <= time_ms]
        return (time_ms - max(gone)) / HOUR_MS if gone else math.inf
