"""A table before it is drawn: columns, cells, and the value that sorts each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backtest.report.text import MISSING, number, two

LOW = -1e300  # sorts a missing figure below all others


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, the value that sorts it, a class for its looks, and the id in the page that it leads to."""

    text: str
    value: float | str
    kind: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: title, unit, what it means, and whether it holds numbers."""

    title: str
    unit: str = ""
    help: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Grid:
    """A table ready to be drawn; `name` is fixed and unique in a report."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def text_cell(text: str, kind: str = "") -> Cell:
    """Give a cell that sorts by its text."""
    return Cell(text, text, kind)


def figure_cell(value: float | None, text: str, kind: str = "") -> Cell:
    """Give a cell that sorts by a value; a missing one is the lowest."""
    return Cell(text, LOW if value is None else value, kind)


def pair_cell(
    intrabar: float | None, next_open: float | None, write: Callable[[float | None], str], worst: bool = True
) -> Cell:
    """Show a figure under both reactions, sorted by the larger, or by the smaller where less is worse."""
    known = [value for value in (intrabar, next_open) if value is not None]
    pick = max if worst else min
    return Cell(two(write(intrabar), write(next_open)), pick(known) if known else LOW)


def points(fraction: float | None) -> str:
    """Write a fraction in per cent, without the sign."""
    return number(None if fraction is None else 100.0 * fraction)


def two_digits(value: float | None) -> str:
    """Write a number with two decimals."""
    return number(value, 2)


def name_cell(name: str, control: bool) -> Cell:
    """Give the cell of a strategy's name."""
    return text_cell(name, "control" if control else "")


def heat(worst_pct: float | None) -> str:
    """Give the class of a shaded cell."""
    return "" if worst_pct is None else f"heat-{round(worst_pct / 10)}"


def plain_grid(name: str, caption: str, rows: Sequence[Mapping[str, object]]) -> Grid:
    """Give a table of rows with the same keys; keys become titles."""
    keys = list(rows[0]) if rows else []
    numeric = {key: all(isinstance(row.get(key), int | float) for row in rows) for key in keys}
    columns = tuple(Column(key.replace("_", " ").capitalize(), numeric=numeric[key]) for key in keys)
    return Grid(name, caption, columns, tuple(tuple(_plain(row.get(key)) for key in keys) for row in rows))


def _plain(value: object) -> Cell:
    if isinstance(value, bool) or value is None:
        return text_cell({True: "yes", False: "no", None: MISSING}[value])
    if isinstance(value, int | float):
        return Cell(number(value, 0 if float(value).is_integer() else 2), value)
    return text_cell(str(value))
