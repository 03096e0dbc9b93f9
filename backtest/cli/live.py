"""What a person sees while a study is replayed: runs, rate, time left, and liquidations by strategy so far."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backtest.cli.output import Report, console, progress_bar, progress_lines

if TYPE_CHECKING:
    from rich.table import Table

Tally = Callable[[str, str, int, int], None]  # strategy, reaction, runs, liquidated runs
Counts = dict[tuple[str, str], tuple[int, int]]


@contextmanager
def live_replay(unit: str = "runs") -> Iterator[tuple[Report, Tally]]:
    """Show a replay, counted in `unit`: a bar over a growing table on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield progress_lines("replay", unit), lambda strategy, reaction, runs, liquidated: None
        return
    from rich.console import Group
    from rich.live import Live

    bars, report = progress_bar("replay", unit)
    counts: Counts = {}
    with Live(bars, console=console(error=True), transient=True) as shown:

        def tally(strategy: str, reaction: str, runs: int, liquidated: int) -> None:
            before = counts.get((strategy, reaction), (0, 0))
            counts[strategy, reaction] = before[0] + runs, before[1] + liquidated
            shown.update(Group(bars, running_table(counts)))

        yield report, tally


def running_table(counts: Mapping[tuple[str, str], tuple[int, int]]) -> Table:
    """Give the liquidations by strategy so far, in the order in which they are replayed."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("strategy", "reaction", "runs", "liquidated", "%"):
        table.add_column(heading, justify="left" if heading in ("strategy", "reaction") else "right")
    for (strategy, reaction), (runs, lost) in counts.items():
        share = f"{100 * lost / runs:.1f}" if runs else "–"
        table.add_row(Text(strategy), reaction.replace("_", " "), f"{runs:,}", f"{lost:,}", share)
    return table
