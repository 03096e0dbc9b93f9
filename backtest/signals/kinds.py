"""A kind of signal: what it reads, the function that makes values of it, and its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from backtest.errors import Problem, SignalError
from backtest.signals.inputs import Known
from backtest.signals.settings import Setting, read_settings
from backtest.signals.spec import SignalSpec
from backtest.units import duration_ms

if TYPE_CHECKING:
    import pandas as pd

EVENT = "event"  # the interval of what comes when it comes: settlements, publications


@dataclass(frozen=True, slots=True)
class Kind:
    """How a signal is made: `function(read(known, p), p)` gives one value for each row that was read.

    `conflict` says what is wrong between parameters that are each within their limits; nothing where it is empty.
    """

    name: str
    help: str
    unit: str
    interval: str
    read: Callable[[Known, Any], pd.DataFrame]
    function: Callable[[pd.DataFrame, Any], Any]
    settings: dict[str, Setting] = field(default_factory=dict)
    conflict: Callable[[Any], str] = lambda p: ""
    path: str = ""

    def resolve(self, spec: SignalSpec) -> tuple[str, SimpleNamespace]:
        """Give the interval and all parameters that a spec of this kind asks for.

        Raises `SignalError` with everything that is wrong with them.
        """
        where = f'signal "{spec.name}"'
        problems = list(self._interval_problems(spec.interval, where))
        p = SimpleNamespace()
        try:
            p = read_settings(self.settings, dict(spec.params), where)
        except SignalError as error:
            problems += error.problems
        else:
            if wrong := self.conflict(p):
                problems.append(Problem(where, wrong, f"see: backtest signals {self.name}"))
        if problems:
            raise SignalError(*problems)
        return spec.interval or self.interval, p

    def _interval_problems(self, interval: str, where: str) -> list[Problem]:
        if interval in ("", self.interval):
            return []
        if EVENT in (interval, self.interval):
            remedy = f'leave it out, or write "{self.interval}"'
            return [Problem(where, f'interval "{interval}" does not fit {self.name}', remedy)]
        try:
            wrong = duration_ms(interval) <= 0
        except ValueError:
            wrong = True
        return [Problem(where, f'interval "{interval}" is none', 'write one such as "1h" or "1d"')] if wrong else []
