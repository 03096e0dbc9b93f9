"""Define a kind of signal: a function of what was known, with parameters. Shipped ones and a user's own alike.

>>> from backtest.signals import signal, whole
>>> @signal(interval="1d", window=whole(20, low=2, high=500, help="bars"))
... def above_mean(bars, p):
...     "Tell by how much the close is above its mean, in quote."
...     return bars["close"] - bars["close"].rolling(p.window).mean()
>>> above_mean.name, above_mean.help
('above_mean', 'Tell by how much the close is above its mean, in quote.')
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from backtest.data.manifest import EVENT
from backtest.engine.rules import NAME, Param
from backtest.errors import Problem, SignalError
from backtest.signals.inputs import BARS, Input
from backtest.signals.settings import Setting, number, read_settings
from backtest.signals.spec import SignalSpec
from backtest.units import duration_ms

if TYPE_CHECKING:
    import pandas as pd

Function = Callable[[Any, Any], Any]


def _no_conflict(p: Any) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a signal is made: `function(rows, p)` gives one value for each row that `reads` gives.

    `conflict` says what is wrong between parameters that are each within their limits; nothing where it is empty.
    """

    name: str
    help: str
    unit: str
    interval: str
    reads: Input
    function: Function
    settings: dict[str, Setting]
    conflict: Callable[[Any], str] = _no_conflict
    path: str = ""

    def __call__(self, rows: pd.DataFrame, p: Any) -> Any:
        """Call the function."""
        return self.function(rows, p)

    def resolve(self, spec: SignalSpec) -> tuple[str, SimpleNamespace]:
        """Give the interval and all parameters that a spec of this kind asks for; `p.interval_ms` is that of bars.

        Raises `SignalError` with everything that is wrong with them.
        """
        where = f'signal "{spec.name}"'
        interval = spec.interval or self.interval
        problems = self._interval_problems(interval, where)
        try:
            p = read_settings(self.settings, dict(spec.params), where)
        except SignalError as error:
            raise SignalError(*problems, *error.problems) from None
        if wrong := self.conflict(p):
            problems.append(Problem(where, wrong, f"see: backtest signals {self.name}"))
        if problems:
            raise SignalError(*problems)
        p.interval_ms = 0 if interval == EVENT else duration_ms(interval)
        return interval, p

    def _interval_problems(self, interval: str, where: str) -> list[Problem]:
        if interval == self.interval:
            return []
        if EVENT in (interval, self.interval):
            remedy = f'leave it out, or write "{self.interval}"'
            return [Problem(where, f'interval "{interval}" does not fit {self.name}', remedy)]
        try:
            wrong = duration_ms(interval) <= 0
        except ValueError:
            wrong = True
        return [Problem(where, f'interval "{interval}" is none', 'write one such as "1h" or "1d"')] if wrong else []


def signal(
    *,
    interval: str,
    unit: str = "",
    reads: Input = BARS,
    conflict: Callable[[Any], str] = _no_conflict,
    **settings: Any,
) -> Callable[[Function], Kind]:
    """Turn a function (rows, p) -> one value for each row into a kind of signal.

    `rows` is a pandas DataFrame indexed by the time at which each row was known; a missing bar is a row of NaN. The
    value of a row may use this row and those before, none after. `interval` is the default one, "event" where `reads`
    are no bars. All else are parameters: `number`, `whole`, `numbers`, `choice`, `series`, or a rule's `param`.
    """

    def decorate(function: Function) -> Kind:
        path = function.__code__.co_filename
        if not NAME.fullmatch(function.__name__):
            raise SignalError.at(path, f'signal name "{function.__name__}"', "use lower-case letters, digits and _")
        text = (function.__doc__ or function.__globals__.get("__doc__") or "").strip()
        own = {name: _setting(name, given, path) for name, given in settings.items()}
        return Kind(
            function.__name__,
            " ".join(text.split("\n\n")[0].split()),
            unit,
            interval,
            reads,
            function,
            own | reads.settings,
            conflict,
            path,
        )

    return decorate


def _setting(name: str, given: object, path: str) -> Setting:
    """Take a setting, or the `param` of a rule."""
    if name == "interval_ms":
        raise SignalError.at(path, "interval_ms is the name of the interval", "take another name for the parameter")
    if isinstance(given, Setting):
        return given
    if not isinstance(given, Param) or given.is_switch:
        raise SignalError.at(path, f"{name} = {given!r} is no parameter", "declare it with number, whole or choice")
    return number(given.default, low=given.low, high=given.high, help=given.help)
