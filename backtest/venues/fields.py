"""Read values out of JSON objects and collect what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeVar

from backtest.errors import Problem, did_you_mean
from backtest.venues.exact import text, to_fraction

Missing = TypeVar("Missing")


class Fields:
    """Reads fields of one JSON object and its parts; each fault becomes one problem, and the value None."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self.problems: list[Problem] = []

    def fault(self, where: str, what: str, remedy: str = "") -> Missing | None:
        """Note a problem, and give None in place of the value."""
        self.problems.append(Problem(where, what, remedy))
        return None

    def keys(self, where: str, row: Mapping[str, Any], known: Sequence[str]) -> None:
        """Note every key that is not known."""
        for key in row:
            if key not in known:
                self.fault(f"{where}.{key}", "unknown key", did_you_mean(str(key), known))

    def objects(self, key: str, *, quiet: bool = False) -> list[tuple[str, Mapping[str, Any]]]:
        """Give the objects of a list with their places; `quiet` where a fault is noted elsewhere."""
        rows = self.content.get(key)
        if rows is None:
            return []
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            if not quiet:
                self.fault(f"account.{key}", "is not a list of objects")
            return []
        return [(f"{key}[{number}]", row) for number, row in enumerate(rows)]

    def name(self, where: str, row: Mapping[str, Any], key: str) -> str | None:
        """Read a text that must be there."""
        value = row.get(key)
        if not isinstance(value, str) or not value.strip():
            return self.fault(f"{where}.{key}", "is missing" if value is None else f"is {value!r}, not a name")
        return value.strip()

    def word(
        self, where: str, row: Mapping[str, Any], key: str, known: Sequence[str], missing: str | None = None
    ) -> str | None:
        """Read one of the known words; `missing` stands for an absent one."""
        value = row.get(key)
        if value is None and missing is not None:
            return missing
        if value is None:
            return self.fault(f"{where}.{key}", "is missing", "known: " + ", ".join(known))
        if value not in known:
            return self.fault(f"{where}.{key}", f"unknown value {value!r}", did_you_mean(str(value), known))
        return str(value)

    def flag(self, where: str, row: Mapping[str, Any], key: str) -> bool:
        """Read true or false; false where it is absent."""
        value = row.get(key)
        if value is not None and not isinstance(value, bool):
            self.fault(f"{where}.{key}", f"is {value!r}; write true or false")
        return value is True

    def whole(self, where: str, row: Mapping[str, Any], key: str, known: range) -> int:
        """Read a whole number of a range; its first where it is absent."""
        value = row.get(key)
        if value is None:
            return known.start
        if isinstance(value, bool) or not isinstance(value, int) or value not in known:
            self.fault(f"{where}.{key}", f"is {value!r}; write a number from {known.start} to {known.stop - 1}")
            return known.start
        return value

    def number(
        self,
        where: str,
        row: Mapping[str, Any],
        key: str,
        *,
        above: Fraction | None = None,
        least: Fraction | None = None,
        most: Fraction | None = None,
        missing: Fraction | None = None,
        optional: bool = False,
    ) -> Fraction | None:
        """Read a decimal number; `missing` stands for an absent one, `optional` allows None."""
        value = row.get(key)
        if value is None:
            return missing if missing is not None or optional else self.fault(f"{where}.{key}", "is missing")
        return self.value(f"{where}.{key}", value, above=above, least=least, most=most)

    def value(
        self,
        where: str,
        value: object,
        *,
        above: Fraction | None = None,
        least: Fraction | None = None,
        most: Fraction | None = None,
    ) -> Fraction | None:
        """Check one decimal number."""
        try:
            number = to_fraction(value)
        except ValueError as error:
            return self.fault(where, str(error))
        if above is not None and number <= above:
            return self.fault(where, f"{value} is not above {text(above)}")
        if least is not None and number < least:
            return self.fault(where, f"{value} is below {text(least)}")
        if most is not None and number > most:
            return self.fault(where, f"{value} is above {text(most)}")
        return number

    def quiet(self, value: object, missing: Any) -> Any:
        """Read a value that is reported elsewhere if it is wrong."""
        try:
            return missing if value is None else to_fraction(value)
        except ValueError:
            return missing
