"""The rule author's API: `rule`, `param`, the wakes and the verbs. Plain Python, compiled elsewhere with equal results.

>>> @rule(wake=buffer_below("trigger"), trigger=param(0.5, low=0.0, high=1.0, help="buffer at which to act"))
... def halve(state, p):
...     return reduce(0.5)
>>> halve.name, halve.wakes[0].kind
('halve', 'buffer_below')
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from backtest.errors import Problem, RuleError, did_you_mean
from backtest.schema import TARGETS, VERBS

Wish = tuple[int, float, int]

# --- verbs ---------------------------------------------------------------------------------------------------------

HOLD: Wish = (VERBS.index("hold"), 0.0, 0)
SOURCES = ("reserve", "free")
DISTANCE_UNITS = ("bps", "atr")
SIGNALS_MAX = 8  # that one rule reads
EVENTS_MAX = 4


def reduce(share: float, put_back: bool = False) -> Wish:
    """Close a share of the open quantity; `put_back` returns what the closing frees to the position."""
    return (1, float(share), 1 if put_back else 0)


def increase(share: float) -> Wish:
    """Add a share of the open quantity, with margin from the free balance."""
    return (2, float(share), 0)


def close() -> Wish:
    """Close the whole position."""
    return (3, 0.0, 0)


def move_margin(amount: float, source: str = "reserve") -> Wish:
    """Add margin in quote from "reserve" or "free"; a negative amount takes margin back."""
    return (4, float(amount), SOURCES.index(source))


def set_leverage(leverage: float) -> Wish:
    """Set another leverage."""
    return (5, float(leverage), 0)


def trade(layer: str, share: float) -> Wish:
    """Add to a hedge, or reduce it (negative), by a share of the core: "opposite", "inverse", "other", or an "asset".

    "opposite" is the other side of the same contract in hedge mode, "inverse" the coin-margined contract, "other"
    another symbol; "asset" to "asset4" are valued assets, such as options, whose `size_by` says what a share of 1 is.
    The study says which of them it has; `state.layer_share` says how large they are.
    """
    return (6, float(share), TARGETS.index(layer))


# --- wakes ---------------------------------------------------------------------------------------------------------


class Wake(NamedTuple):
    """One reason to call a rule.

    `value` is a number, or the name of the parameter that holds it; `name` the signal or the kind of event it is about.
    """

    kind: str
    value: float | str | None = None
    name: str = ""


class Wakes(tuple[Wake, ...]):
    """Reasons to call a rule, joined with `|`."""

    def __or__(self, other: Wakes) -> Wakes:
        return Wakes((*self, *other))


def buffer_below(limit: float | str) -> Wakes:
    """Wake while (equity - maintenance) / (initial - maintenance) <= limit."""
    return Wakes((Wake("buffer_below", limit),))


def margin_ratio_above(limit: float | str) -> Wakes:
    """Wake while maintenance / equity >= limit (0.80 leaves about 0.1 % of price)."""
    return Wakes((Wake("margin_ratio_above", limit),))


def headroom_below(limit_quote: float | str) -> Wakes:
    """Wake while equity - maintenance <= limit, in quote."""
    return Wakes((Wake("headroom_below", limit_quote),))


def liq_distance_below(limit: float | str, unit: str = "bps", atr: str = "atr_14_1d") -> Wakes:
    """Wake while the position would be liquidated if the mark went `limit` against it.

    In hundredths of a per cent of the mark ("bps"), or in true ranges ("atr") as the signal `atr` knows them now.
    """
    if unit not in DISTANCE_UNITS:
        raise RuleError.at("liq_distance_below", f'unit "{unit}"', did_you_mean(unit, DISTANCE_UNITS))
    return Wakes((Wake(f"liq_{unit}_below", limit, atr if unit == "atr" else ""),))


def signal(name: str) -> Wakes:
    """Wake at the first bar open at or after each time a signal takes another value that is not 0."""
    return Wakes((Wake("signal", None, name),))


def before_event(kind: str, lead: str) -> Wakes:
    """Wake at the first bar open at or after event - lead, such as before_event("fomc", "24h").

    As the calendar was known then. `lead` is a duration, or the name of a parameter in hours.
    """
    return Wakes((Wake("before_event", _hours(lead), kind),))


def after_event(kind: str, lag: str) -> Wakes:
    """Wake at the first bar open at or after event + lag, such as after_event("cpi", "1h").

    `lag` is a duration, or the name of a parameter in hours.
    """
    return Wakes((Wake("after_event", _hours(lag), kind),))


def _hours(text: str) -> float | str:
    """Give a duration in hours; what does not begin with a digit is the name of a parameter."""
    from backtest.units import HOUR_MS, duration_ms

    return duration_ms(text) / HOUR_MS if text[:1].isdigit() else text


def every(period: str) -> Wakes:
    """Wake at the first bar open at or after entry + k periods, such as every("1h")."""
    from backtest.units import duration_ms

    return Wakes((Wake("every", float(duration_ms(period))),))


def every_bar() -> Wakes:
    """Wake at every bar open after the entry bar."""
    return Wakes((Wake("every_bar"),))


def on_fill() -> Wakes:
    """Wake after the entry fill and after fills that rules made at the open before."""
    return Wakes((Wake("on_fill"),))


def on_funding() -> Wakes:
    """Wake after funding was settled."""
    return Wakes((Wake("on_funding"),))


def on_arrival() -> Wakes:
    """Wake when a transfer with latency arrives."""
    return Wakes((Wake("on_arrival"),))


# --- rules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a rule: its default, limits and meaning. A bool default makes a switch."""

    default: float | bool
    low: float
    high: float
    help: str

    @property
    def is_switch(self) -> bool:
        return isinstance(self.default, bool)


def param(default: float | bool, *, low: float = 0.0, high: float = 1.0, help: str) -> Param:
    """Declare a parameter with its limits and one line of help that names the unit."""
    return Param(default, float(low), float(high), help)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as its author wrote it."""

    name: str
    function: Callable[[Any, Any], Wish]
    wakes: Wakes
    params: dict[str, Param]
    doc: str
    path: str = ""
    signals: tuple[str, ...] = ()  # whose values it reads in state.signals
    events: tuple[str, ...] = ()  # whose times it reads in state.hours_to_event and state.hours_since_event

    def values(self, given: dict[str, Any], where: str = "") -> dict[str, float | bool]:
        """Complete and check parameters, all problems at once.

        Raises RuleError for an unknown name, a wrong type or a value outside the limits.
        """
        place = where or f'rule "{self.name}"'
        problems = []
        values: dict[str, float | bool] = {name: p.default for name, p in self.params.items()}
        for name, value in given.items():
            p = self.params.get(name)
            if p is None:
                problems.append(Problem(place, f'no parameter "{name}"', did_you_mean(name, self.params)))
            elif p.is_switch != isinstance(value, bool) or not isinstance(value, (int, float)):
                kind = "true or false" if p.is_switch else "a number"
                problems.append(Problem(place, f"{name} = {value!r}", f"give {kind} ({p.help})"))
            elif not p.is_switch and not p.low <= value <= p.high:
                problems.append(
                    Problem(place, f"{name} = {value} is out of range", f"{p.low:g} to {p.high:g} ({p.help})")
                )
            else:
                values[name] = value if p.is_switch else float(value)
        if problems:
            raise RuleError(*problems)
        return values


NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
NAME_FORM = "use lower-case letters, digits and _"


def rule(
    *, wake: Wakes, signals: tuple[str, ...] = (), events: tuple[str, ...] = (), **params: Param
) -> Callable[[Callable[[Any, Any], Wish]], Rule]:
    """Turn a function (state, p) -> verb into a rule.

    `state.signals[i]` is the value, known now, of the i-th of `signals`; `state.hours_to_event[i]` and
    `state.hours_since_event[i]` count to the next and from the last of the i-th kind of `events`.
    """

    def decorate(function: Callable[[Any, Any], Wish]) -> Rule:
        module_doc = function.__globals__.get("__doc__") or ""
        doc = (function.__doc__ or module_doc).strip().split("\n")[0]
        path = function.__code__.co_filename
        problems = [
            Problem(path, f'wake {w.kind}("{w.value}") names no parameter', did_you_mean(w.value, params))
            for w in wake
            if isinstance(w.value, str) and w.value not in params
        ]
        named = (("signal", signals, SIGNALS_MAX), ("event", events, EVENTS_MAX))
        for what, names, most in named:
            if len(names) > most:
                problems.append(Problem(path, f"reads {len(names)} {what}s", f"at most {most} in one rule"))
        wanted = (*signals, *events, *(w.name for w in wake if w.name))
        problems += [Problem(path, f'"{n}" is no name', NAME_FORM) for n in wanted if not NAME.fullmatch(n)]
        if not NAME.fullmatch(function.__name__):
            problems.append(Problem(path, f'rule name "{function.__name__}"', NAME_FORM))
        if problems:
            raise RuleError(*problems)
        return Rule(function.__name__, function, wake, dict(params), doc, path, tuple(signals), tuple(events))

    return decorate
