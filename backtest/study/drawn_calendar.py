"""The calendar of a strategy's twin: for each kind of event that its rules wait for, as many drawn by lot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from backtest.engine.compiled import Rules
from backtest.engine.plan import AFTER_EVENT, BEFORE_EVENT
from backtest.study.config import Study
from backtest.study.random_windows import random_events

Calendar = Callable[[str], Sequence[Any]]  # all that was said of a kind of event, as `data.calendar.Event`
_random_events = cache(random_events)  # a study asks for the same draw for each symbol and replay


def drawn_calendar(study: Study, rules: Rules, calendar: Calendar) -> Calendar:
    """Give the calendar in which a kind's events are drawn anew, with the windows that the rules have around them.

    A window reaches from the longest lead to the longest lag at which one of the rules is woken. Equal studies, equal
    draws. Raises `StudyError` where the study's range has too few free days.
    """

    def drawn(kind: str) -> Sequence[Any]:
        return _random_events(
            tuple(calendar(kind)),
            seed=study.seed,
            start_ms=study.market.start_ms,
            stop_ms=study.market.stop_ms,
            before_ms=_longest_ms(rules, kind, BEFORE_EVENT),
            after_ms=_longest_ms(rules, kind, AFTER_EVENT),
        )

    return drawn


def _longest_ms(rules: Rules, kind: str, wake_kind: int) -> int:
    wakes = zip(rules.wake_kind.tolist(), rules.wake_name, rules.wake_value.tolist(), strict=True)
    return max((ms for wake, name, ms in wakes if (wake, name) == (wake_kind, kind)), default=0)
