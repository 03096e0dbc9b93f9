"""Signals and events as a replay takes them: step functions of time, and spans in which dated wakes call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.data.calendar import Statement, in_force, known_events, require_coverage
from backtest.data.store import Lake
from backtest.engine.compiled import Rules
from backtest.engine.feed import Spans, Steps
from backtest.errors import StudyError
from backtest.signals.compute import compute
from backtest.signals.spec import SignalSpec
from backtest.study.config import Study
from backtest.study.regime import as_signal, parts_by_signal
from backtest.study.regime_steps import Market

Ints = npt.NDArray[np.int64]
FOREVER = int(np.iinfo(np.int64).max)


class Standings(NamedTuple):
    """Dates of events, each as it stood from `since_ms` until, not including, `until_ms`."""

    due_ms: Ints  # (n,)
    since_ms: Ints
    until_ms: Ints


def standings(statements: Iterable[Statement]) -> Standings:
    """Give every date that ever stood, by time due."""
    table = np.array(sorted(in_force(statements)), np.int64).reshape(-1, 3)
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

    def __init__(self, signals: Callable[[str], Steps], statements: Callable[[str], Sequence[Statement]]) -> None:
        self.signal = cache(signals)
        self.statements = cache(statements)
        self._standings = cache(lambda kind: standings(self.statements(kind)))

    def before(self, kind: str, lead_ms: int) -> Spans:
        return before_spans(self._standings(kind), lead_ms)

    def after(self, kind: str, lag_ms: int) -> Spans:
        return after_spans(self._standings(kind), lag_ms)

    def next_event(self, kind: str) -> Steps:
        return event_times(self._standings(kind), coming=True)

    def last_event(self, kind: str) -> Steps:
        return event_times(self._standings(kind), coming=False)


def outside_of(study: Study, lake: Lake, symbol: str) -> Outside:
    """Give the signals of a study's symbol, and the calendars: those of the lake, else those that come along.

    Signals are computed when they are asked for. Raises `SignalError`, `CoverageError` and `DataError` then.
    """
    market, own = study.market, {spec.name for spec in study.signals}
    parts = parts_by_signal(study.regimes)

    def signals(name: str) -> Steps:
        _refuse_stress(study, f'signal "{name}"')
        if name in parts and name not in own:
            place = as_signal(parts[name], lake, Market(market.venue, symbol), market.start_ms, market.stop_ms)
            return Steps(place.available_ms, place.value)
        found = compute(
            signal_named(study, name),
            lake,
            venue=market.venue,
            symbol=symbol,
            start_ms=market.start_ms,
            stop_ms=market.stop_ms,
        )
        return Steps(found.available_ms, found.value)

    def statements(kind: str) -> Sequence[Statement]:
        _refuse_stress(study, f'calendar "{kind}"')
        events = known_events(kind, lake=lake.root)
        require_coverage(kind, events, market.start_ms, market.stop_ms)
        return events

    return Outside(signals, statements)


def signal_named(study: Study, name: str) -> SignalSpec:
    """Give the signal that the study calls so, else the preset of that name."""
    return next((spec for spec in study.signals if spec.name == name), SignalSpec(name, use=name))


def _refuse_stress(study: Study, what: str) -> None:
    if study.market.resample is not None:
        raise StudyError.at("market.resample", f"leaves nothing of {what}", "take out the rules that wait for it")


def told(outside: Outside, rules: Iterable[Rules], more: Iterable[str] = ()) -> dict[str, Any]:
    """Give what decides of all that rules are told: a hash of each signal's rows, and every statement of a calendar."""
    used = [one for one in rules if one.needs_feed]
    signals = sorted({*more, *(name for one in used for name in one.signals)})
    kinds = sorted({kind for one in used for kind in one.events})
    hashed = {}
    for name in signals:
        steps = outside.signal(name)
        hashed[name] = hashlib.sha256(steps.available_ms.tobytes() + steps.value.tobytes()).hexdigest()
    said = {kind: [[s.event_id, s.scheduled_ms, s.known_ms] for s in outside.statements(kind)] for kind in kinds}
    return {"signals": hashed, "events": said}
