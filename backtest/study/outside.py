"""Signals and events as a replay takes them: step functions of time, and spans in which dated wakes call.

An event is what was said of it: a later statement takes the place of an earlier one from the moment it was known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from backtest.engine.feed import Spans, Steps

Ints = npt.NDArray[np.int64]
FOREVER = int(np.iinfo(np.int64).max)


class Statement(Protocol):
    """What was said of an event: when it is due (None: it is cancelled), and since when that was known."""

    @property
    def event_id(self) -> str: ...

    @property
    def scheduled_ms(self) -> int | None: ...

    @property
    def known_ms(self) -> int: ...


class Standings(NamedTuple):
    """Dates of events, each as it stood from `since_ms` until, not including, `until_ms`."""

    due_ms: Ints  # (n,)
    since_ms: Ints
    until_ms: Ints


def standings(statements: Iterable[Statement]) -> Standings:
    """Give every date that ever stood; one that was said again stands on."""
    rows: list[tuple[int, int, int]] = []
    standing: dict[str, tuple[int, int]] = {}
    for said in sorted(statements, key=lambda statement: statement.known_ms):
        present = standing.get(said.event_id)
        if present is not None and present[0] != said.scheduled_ms:
            rows.append((*standing.pop(said.event_id), said.known_ms))
        if said.scheduled_ms is not None:
            standing.setdefault(said.event_id, (said.scheduled_ms, said.known_ms))
    rows += [(*present, FOREVER) for present in standing.values()]
    table = np.array(sorted(row for row in rows if row[1] < row[2]), np.int64).reshape(-1, 3)
    return Standings(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())


def before_spans(dates: Standings, lead_ms: int) -> Spans:
    """Give the spans in which an event is nearer than a lead and known to be."""
    return _spans(np.maximum(dates.due_ms - lead_ms, dates.since_ms), np.minimum(dates.due_ms, dates.until_ms))


def after_spans(dates: Standings, lag_ms: int) -> Spans:
    """Give the spans in which an event lies a lag back or more and is known to have been."""
    return _spans(np.maximum(dates.due_ms + lag_ms, dates.since_ms), dates.until_ms)


def _spans(first: Ints, stop: Ints) -> Spans:
    return Spans(first[first < stop], stop[first < stop])


def event_times(dates: Standings, *, coming: bool) -> Steps:
    """Give the time of the next event, or of the last one, as it was known at each time; NaN where there is none."""
    moments = np.unique(np.concatenate(dates))
    moments = moments[moments < FOREVER]
    value = np.full(len(moments), np.nan)
    for place, now in enumerate(moments.tolist()):
        stands = (dates.since_ms <= now) & (now < dates.until_ms)
        due = dates.due_ms[stands & ((dates.due_ms > now) if coming else (dates.due_ms <= now))]
        if len(due):
            value[place] = due.min() if coming else due.max()
    return Steps(moments, value)


class Outside:
    """What a replay is told from outside its market, each part asked for once; `engine.feed.Outside`."""

    def __init__(self, signals: Callable[[str], Steps], statements: Callable[[str], Iterable[Statement]]) -> None:
        self.signal = cache(signals)
        self.statements = cache(lambda kind: tuple(statements(kind)))
        self._standings = cache(lambda kind: standings(self.statements(kind)))

    def before(self, kind: str, lead_ms: int) -> Spans:
        return before_spans(self._standings(kind), lead_ms)

    def after(self, kind: str, lag_ms: int) -> Spans:
        return after_spans(self._standings(kind), lag_ms)

    def next_event(self, kind: str) -> Steps:
        return event_times(self._standings(kind), coming=True)

    def last_event(self, kind: str) -> Steps:
        return event_times(self._standings(kind), coming=False)
