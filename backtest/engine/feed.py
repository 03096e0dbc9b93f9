"""The feed: what reaches the rules from outside the market, signals and events, laid out on the bars of a tape.

A row of the feed is in force from its bar on. A signal gives a row where its value changes; a dated wake gives a row
where it calls. All of it is laid out before the replay, which only walks along: nothing is looked up by time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from backtest.engine.cells import RULES_MAX, WAKES_MAX
from backtest.engine.plan import (
    AFTER_EVENT,
    BEFORE_EVENT,
    FEED_ROW,
    LAST_EVENT,
    LIQ_ATR_BELOW,
    NEXT_EVENT,
    SIGNAL,
    SLOTS,
)

Ints = npt.NDArray[np.int64]


class Steps(NamedTuple):
    """A step function of time: from `available_ms[i]` on, its value is known to be `value[i]` (NaN: unknown)."""

    available_ms: Ints  # (n,) ascending
    value: npt.NDArray[np.float64]  # (n,)


class Spans(NamedTuple):
    """Times at which to call: at the first bar open at or after `from_ms[i]`, if that is before `until_ms[i]`."""

    from_ms: Ints  # (n,)
    until_ms: Ints  # (n,)


class Outside(Protocol):
    """Where a feed is taken from: signals by name, events by kind. Times of events are values in milliseconds."""

    def signal(self, name: str) -> Steps: ...

    def before(self, kind: str, lead_ms: int) -> Spans: ...

    def after(self, kind: str, lag_ms: int) -> Spans: ...

    def next_event(self, kind: str) -> Steps: ...

    def last_event(self, kind: str) -> Steps: ...


class Feed(NamedTuple):
    """The rows of all wakes and slots of a strategy, end to end, and where those of each begin and end."""

    rows: Any  # (r,) records of FEED_ROW
    wake_rows: Ints  # (WAKES_MAX, 2)
    slot_rows: Ints  # (RULES_MAX, SLOTS, 2)


def value_rows(steps: Steps, time_ms: Ints) -> Any:
    """Give a row for each bar at which another value is known: the newest of those that became known since the last.

    >>> rows = value_rows(Steps(np.array([5, 10, 11]), np.array([1.0, 2.0, 3.0])), np.array([0, 10, 20]))
    >>> rows["bars"].tolist(), rows["amount"].tolist()
    ([1, 2], [2.0, 3.0])
    """
    bar = np.searchsorted(time_ms, steps.available_ms)
    newest = np.append(bar[1:] != bar[:-1], True)[: len(bar)] & (bar < len(time_ms))
    return _rows(bar[newest], steps.value[newest])


def firing_rows(steps: Steps, time_ms: Ints) -> Any:
    """Give a row for each bar before which a signal took another value that is neither 0 nor unknown.

    The first row of a signal has none before it, so it is no change.

    >>> rows = firing_rows(Steps(np.arange(4), np.array([1.0, np.nan, 1.0, -1.0])), np.arange(10))
    >>> rows["bars"].tolist(), rows["amount"].tolist()
    ([2, 3], [1.0, -1.0])
    """
    before = np.concatenate((steps.value[:1], steps.value[:-1]))
    fires = (steps.value != 0.0) & ~np.isnan(steps.value) & (steps.value != before)
    return value_rows(Steps(steps.available_ms[fires], steps.value[fires]), time_ms)


def span_rows(spans: Spans, time_ms: Ints) -> Any:
    """Give a row for each bar that is the first in a span.

    >>> span_rows(Spans(np.array([5, 11]), np.array([20, 15])), np.array([0, 10, 20]))["bars"].tolist()
    [1]
    """
    bar = np.searchsorted(time_ms, spans.from_ms)
    inside = bar < len(time_ms)
    inside[inside] = time_ms[bar[inside]] < spans.until_ms[inside]
    chosen = np.unique(bar[inside])
    return _rows(chosen, np.zeros(len(chosen)))


def _rows(bar: npt.NDArray[Any], value: npt.NDArray[np.float64]) -> Any:
    rows = np.zeros(len(bar), FEED_ROW)
    rows["bars"], rows["amount"] = bar, value
    return rows


class _Layout:
    """Puts rows end to end."""

    def __init__(self, time_ms: Ints) -> None:
        self.time_ms = time_ms
        self.parts: list[Any] = [np.zeros(0, FEED_ROW)]
        self.length = 0

    def add(self, rows: Any) -> tuple[int, int]:
        self.parts.append(rows)
        self.length += len(rows)
        return self.length - len(rows), self.length


def lay_out(
    wakes: Iterable[tuple[int, str, int]],
    reads: Iterable[tuple[tuple[str, ...], tuple[str, ...]]],
    time_ms: Ints,
    outside: Outside,
) -> Feed:
    """Lay out the wakes (kind, name, milliseconds) and what each rule reads (signals, events) on bars."""
    layout = _Layout(time_ms)
    feed = Feed(None, np.zeros((WAKES_MAX, 2), np.int64), np.zeros((RULES_MAX, SLOTS, 2), np.int64))
    for wake, (kind, name, ms) in enumerate(wakes):
        if kind == LIQ_ATR_BELOW:
            feed.wake_rows[wake] = layout.add(value_rows(outside.signal(name), time_ms))
        elif kind == SIGNAL:
            feed.wake_rows[wake] = layout.add(firing_rows(outside.signal(name), time_ms))
        elif kind == BEFORE_EVENT:
            feed.wake_rows[wake] = layout.add(span_rows(outside.before(name, ms), time_ms))
        elif kind == AFTER_EVENT:
            feed.wake_rows[wake] = layout.add(span_rows(outside.after(name, ms), time_ms))
    for rule, (signals, events) in enumerate(reads):
        for k, name in enumerate(signals):
            feed.slot_rows[rule, k] = layout.add(value_rows(outside.signal(name), time_ms))
        for k, kind_of_event in enumerate(events):
            coming, gone = outside.next_event(kind_of_event), outside.last_event(kind_of_event)
            feed.slot_rows[rule, NEXT_EVENT + k] = layout.add(value_rows(coming, time_ms))
            feed.slot_rows[rule, LAST_EVENT + k] = layout.add(value_rows(gone, time_ms))
    return feed._replace(rows=np.concatenate(layout.parts).astype(FEED_ROW))


NO_FEED = lay_out((), (), np.zeros(0, np.int64), None)  # type: ignore[arg-type]
