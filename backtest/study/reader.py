"""Read the tables of a config file, noting every problem instead of stopping at the first.

A `Section` is one table. Each key is read with a converter, a function from the raw value to the typed one that raises
`BadValueError` when it cannot. A value that could not be read is never used: `Section.ok` guards what compares several
keys, and `finish` ends the parse if there was any problem.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TypeVar, cast

from backtest.errors import Problem, StudyError, did_you_mean
from backtest.units import DAY_MS, duration_ms, duration_text, time_ms, to_e8

T = TypeVar("T")
Convert = Callable[[object], T]
LONGEST_MS = 36_500 * DAY_MS

# Keys that belong to the form of a study, but have no effect yet: refused, so that nobody believes they work.
LATER = frozenset(
    {
        "asset_marks",
        "calendar",
        "joint",
        "path",
        "position_mode",
        "signals",
    }
)


class _Required:
    """The default of a key that must be given."""


REQUIRED = _Required()


class BadValueError(ValueError):
    """A raw value that a converter refuses: what is wrong with it, and the remedy."""

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what)


class Section:
    """One table of a config file: its place, its raw keys, and the problems of the whole file."""

    def __init__(self, file: str, place: str, raw: Mapping[str, object] | None, problems: list[Problem]) -> None:
        self._file = file
        self._place = place
        self._raw = raw if raw is not None else {}
        self._absent = raw is None
        self._problems = problems
        self._known: list[str] = []
        self._missing: list[str] = []
        self._children: list[Section] = []
        self.ok = not self._absent

    def problem(self, key: str, what: str, remedy: str = "") -> None:
        """Note a problem at a key of this table."""
        self.ok = False
        self._problems.append(Problem(f"{self._file}: {self._at(key)}", what, remedy))

    def get(self, key: str, convert: Convert[T], default: T | _Required = REQUIRED) -> T:
        """Read one key."""
        self._known.append(key)
        if key in self._raw:
            try:
                return convert(self._raw[key])
            except BadValueError as bad:
                self.problem(key, bad.what, bad.remedy)
        elif isinstance(default, _Required):
            self._missing.append(key)
            self.ok = False
        else:
            return default
        return cast(T, None)  # never used: the problem ends the parse

    def has(self, key: str) -> bool:
        """Say whether the file gives a key; a key that is asked for is known."""
        self._known.append(key)
        return key in self._raw

    def fill(self, defaults: Mapping[str, object]) -> None:
        """Take values for keys that the file leaves out."""
        self._raw = {**defaults, **self._raw}

    def many(self, key: str, convert: Convert[T], default: tuple[T, ...] | _Required = REQUIRED) -> tuple[T, ...]:
        """Read one value or a list of values, each once."""
        return self.get(key, lambda raw: _each(raw, convert), default)

    def table(self, key: str, *, required: bool) -> Section:
        """Open a table inside this one."""
        raw = self.get(key, _mapping, cast("Mapping[str, object]", REQUIRED if required else {}))
        return self._child(self._at(key), raw)

    def tables(self, key: str, *, required: bool = False, most: int = 1_000_000) -> list[Section]:
        """Open a list of tables, of one to `most` where it is required; places count from 1."""

        def convert(raw: object) -> tuple[Mapping[str, object], ...]:
            if not isinstance(raw, (list, tuple)):
                raise BadValueError(f"is {show(raw)}, not a list of tables", "write [[...]] or [{ ... }]")
            if required and not 1 <= len(raw) <= most:
                raise BadValueError(f"holds {len(raw)} tables", f"give 1 to {most}")
            return tuple(_mapping(row) for row in raw)

        rows = self.get(key, convert, cast("tuple[Mapping[str, object], ...]", REQUIRED if required else ()))
        return [self._child(f"{self._at(key)}[{n}]", row) for n, row in enumerate(rows or (), 1)]

    def rest(self) -> dict[str, object]:
        """Take every key not read so far, except what looks like a misspelt required key."""
        misspelt = {self._near(key) for key in self._missing}
        rest = {key: value for key, value in self._raw.items() if key not in self._known and key not in misspelt}
        self._known.extend(rest)
        return rest

    def finish(self) -> None:
        """Note missing and unknown keys here and below; raise all problems of the file.

        Errors: `StudyError` with every problem found.
        """
        self._note_keys()
        if self._problems:
            raise StudyError(*self._problems)

    def _note_keys(self) -> None:
        misspelt = {self._near(key): key for key in self._missing}
        for key in self._raw:
            if key in self._known:
                continue
            if key in LATER:
                self.problem(key, "is not supported yet", "take it out")
            elif key in misspelt:
                self.problem(key, "is not a key here", f'did you mean "{misspelt[key]}"?')
            else:
                self.problem(key, "is not a key here", did_you_mean(key, self._known))
        for key in self._missing:
            if self._near(key) is None and not self._absent:
                self.problem(key, "is missing", "add it")
        for child in self._children:
            child._note_keys()

    def _near(self, key: str) -> str | None:
        unknown = [name for name in self._raw if name not in self._known]
        near = difflib.get_close_matches(key, unknown, n=1, cutoff=0.6)
        return near[0] if near else None

    def _child(self, place: str, raw: Mapping[str, object] | None) -> Section:
        child = Section(self._file, place, raw, self._problems)
        self._children.append(child)
        return child

    def _at(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key


def show(value: object) -> str:
    """Write a raw value as it stands in the file, for a message."""
    match value:
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
        case Decimal() | dt.date() | dt.time():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False, default=str)


def text(pattern: str, meaning: str, example: str) -> Convert[str]:
    """Read text that matches a pattern."""

    def convert(raw: object) -> str:
        if not isinstance(raw, str) or re.fullmatch(pattern, raw) is None:
            raise BadValueError(f"is {show(raw)}, not {meaning}", f"write it like {example}")
        return raw

    return convert


def choice(*names: str, later: tuple[str, ...] = ()) -> Convert[str]:
    """Read one of a few words."""

    def convert(raw: object) -> str:
        if raw in later:
            raise BadValueError(
                f"{show(raw)} is not supported yet", "choose " + " or ".join(f'"{name}"' for name in names)
            )
        if not isinstance(raw, str) or raw not in names:
            raise BadValueError(f"is {show(raw)}, which is none of the choices", did_you_mean(str(raw), names))
        return raw

    return convert


def switch(raw: object) -> bool:
    """Read true or false."""
    if not isinstance(raw, bool):
        raise BadValueError(f"is {show(raw)}, neither true nor false")
    return raw


def whole(low: int, high: int) -> Convert[int]:
    """Read a whole number from `low` to `high`."""

    def convert(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise BadValueError(f"is {show(raw)}, not a whole number")
        if not low <= raw <= high:
            raise BadValueError(f"is {raw}, out of range", f"take {low} to {high}")
        return raw

    return convert


def scaled(scale_e8: int, low: str, high: str, *, above: bool = False) -> Convert[int]:
    """Read a decimal number as an integer at 1e-8 of `scale_e8` / 1e8, from `low` (or above it) to `high`.

    A per cent has the scale 1_000_000, a basis point 10_000.
    """

    def convert(raw: object) -> int:
        value = _decimal(raw)
        if not Decimal(low) <= value <= Decimal(high) or (above and value == Decimal(low)):
            raise BadValueError(f"is {show(raw)}, out of range", f"take {'more than ' if above else ''}{low} to {high}")
        exact = value * scale_e8
        if exact != exact.to_integral_value():
            raise BadValueError(
                f"is {show(raw)}, which has too many decimals", f"take multiples of {1 / Decimal(scale_e8):f}"
            )
        return int(exact)

    return convert


def money(high: str) -> Convert[int]:
    """Read an amount of money above zero as `_e8`: text or a whole number, never a float."""

    def convert(raw: object) -> int:
        if isinstance(raw, (float, Decimal)):
            raise BadValueError(f"is {show(raw)}, a float; money is exact", f'write it as text: "{show(raw)}"')
        value = _decimal(raw)
        if not 0 < value <= Decimal(high):
            raise BadValueError(f"is {show(raw)}, out of range", f"take more than 0 to {high}")
        try:
            return to_e8(value)
        except ValueError:
            raise BadValueError(f"is {show(raw)}, which has more than 8 decimals") from None

    return convert


def duration(low_ms: int) -> Convert[int]:
    """Read a duration such as "30d" as milliseconds, at least `low_ms` and at most a hundred years."""

    def convert(raw: object) -> int:
        try:
            ms = duration_ms(raw if isinstance(raw, str) else "")
        except ValueError:
            raise BadValueError(f"is {show(raw)}, not a duration", 'write it as "30d", "8h" or "2m"') from None
        if ms < low_ms:
            raise BadValueError(f"is {show(raw)}, too short", f"take {duration_text(low_ms)} or more")
        if ms > LONGEST_MS:
            raise BadValueError(f"is {show(raw)}, too long", f"take {duration_text(LONGEST_MS)} or less")
        return ms

    return convert


def moment(raw: object) -> int:
    """Read a UTC date or time as epoch milliseconds."""
    try:
        ms = time_ms(raw if isinstance(raw, (str, dt.date)) else "")
    except ValueError:
        remedy = "write it as 2021-05-19 or 2021-05-19T12:00:00"
        raise BadValueError(f"is {show(raw)}, not a UTC date or time", remedy) from None
    if ms % 1000:
        raise BadValueError(f"is {show(raw)}, not a whole second", "take the fraction off")
    return ms


def word_or(word: str, convert: Convert[T]) -> Convert[T | None]:
    """Read a word that stands for no value (None), or what `convert` reads."""

    def either(raw: object) -> T | None:
        if raw == word:
            return None
        try:
            return convert(raw)
        except BadValueError as bad:
            raise BadValueError(bad.what, bad.remedy or f'write a number or "{word}"') from None

    return either


def _decimal(raw: object) -> Decimal:
    """Take a number exactly: a float (a study made in Python) stands for its shortest decimal text."""
    if not isinstance(raw, bool) and isinstance(raw, (int, float, str, Decimal)):
        try:
            value = Decimal(repr(raw) if isinstance(raw, float) else raw)
        except InvalidOperation:
            value = Decimal("nan")
        if value.is_finite():
            return value
    raise BadValueError(f"is {show(raw)}, not a number")


def _each(raw: object, convert: Convert[T]) -> tuple[T, ...]:
    values = tuple(convert(item) for item in (raw if isinstance(raw, (list, tuple)) else [raw]))
    if not values:
        raise BadValueError("is an empty list", "give one value or more")
    if len(set(values)) < len(values):
        raise BadValueError("has a value twice", "take one of them out")
    return values


def _mapping(raw: object) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise BadValueError(f"is {show(raw)}, not a table")
    return raw
