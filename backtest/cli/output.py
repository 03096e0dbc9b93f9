"""What the commands share: tables, JSON, problems, progress, and common options."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backtest.errors import Problem

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PLAIN_WIDTH = 200  # columns of a table that goes to a file or a pipe
PLAIN_SECONDS = 10.0  # between two progress lines where there is no terminal

LakeFolder = Annotated[
    Path,
    typer.Option("--lake", envvar="BACKTEST_LAKE", help="Folder of the market data (Parquet)."),
]
LAKE = Path("datasets/lake")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]

_JUSTIFY: dict[str, Literal["left", "right"]] = {"l": "left", "r": "right"}

Report = Callable[[int, int], None]  # work done, work in all


def console(*, error: bool = False) -> Console:
    """Give the console for results (stdout) or for progress and problems (stderr)."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else PLAIN_WIDTH)


def say(text: str) -> None:
    """Print a line of result."""
    print(text)


def say_json(value: object) -> None:
    """Print JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def note(text: str) -> None:
    """Print a remark to stderr: it is no part of the result."""
    print(text, file=sys.stderr)


def print_problems(problems: Iterable[Problem]) -> None:
    """Print problems to stderr, each on one line."""
    for problem in problems:
        note("error: " + " ".join(str(problem).split()))


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, align: str = "lr", title: str | None = None
) -> None:
    """Print a table; `align` has "l" or "r" for each column, its last letter counts for all that follow."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify=_JUSTIFY[align[min(place, len(align) - 1)]], overflow="fold")
    for row in rows:
        # Text, not markup: a name from a file may hold brackets.
        table.add_row(*(Text(_cell(value)) for value in row))
    console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


@contextmanager
def progress(label: str, unit: str) -> Iterator[Report]:
    """Show how far long work is: a bar with an ETA on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        bars, report = progress_bar(label, unit)
        with bars:
            yield report
    else:
        yield progress_lines(label, unit)


def progress_bar(label: str, unit: str) -> tuple[Progress, Report]:
    """Give a bar with count, rate and time left, not yet shown, and the function that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    bars = Progress(*columns, console=console(error=True), transient=True)
    task = bars.add_task(label, total=None, rate="")

    def report(done: int, total: int) -> None:
        bars.update(task, completed=done, total=total, rate=_rate(done, started, unit))

    return bars, report


def progress_lines(label: str, unit: str) -> Report:
    """Give a function that prints count, rate and time left, a line now and then."""
    started = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= PLAIN_SECONDS:
            last = now
            left = f", {(now - started) * (total - done) / done:,.0f} s left" if 0 < done < total else ""
            note(f"{label}: {done:,} of {total:,} {unit}, {_rate(done, started, unit)}{left}")

    return report


def _rate(done: int, started: float, unit: str) -> str:
    return f"{done / max(time.monotonic() - started, 1e-3):,.0f} {unit}/s"
