"""Tables over parts of the pairs: breakdowns, crash windows, swept values, other assumptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from backtest.analysis.breakdown import Part
from backtest.analysis.effects import Counts
from backtest.analysis.pairs import BASELINE
from backtest.analysis.sweep import Sweep
from backtest.analysis.timing import is_twin
from backtest.report.grid import (
    LOW,
    Cell,
    Column,
    Grid,
    figure_cell,
    heat,
    name_cell,
    pair_cell,
    points,
    text_cell,
    two_digits,
)
from backtest.report.model import Summary
from backtest.report.text import MISSING, number, parameter


def part_grid(name: str, caption: str, parts: Sequence[Part], summary: Summary) -> Grid:
    """Give liquidated runs in per cent of the pairs, a row for each strategy (no twins) and a column for each part."""
    columns = [Column("Strategy", numeric=False)]
    columns += [
        Column(one.value, f"% of {number(one.rows[0].intrabar.pairs)}", f"{one.dimension}: {one.value}")
        for one in parts
    ]
    rows = []
    for i, first in enumerate(parts[0].rows):
        if is_twin(first.strategy):
            continue
        cells = [_liquidated_pct(one.rows[i].intrabar, one.rows[i].next_open) for one in parts]
        rows.append((name_cell(first.strategy, first.strategy in summary.controls), *cells))
    return Grid(name, caption, tuple(columns), tuple(rows))


def _liquidated_pct(intrabar: Counts, next_open: Counts) -> Cell:
    cell = pair_cell(intrabar.liquidated_pct, next_open.liquidated_pct, lambda pct: number(pct, 1))
    return replace(cell, kind=heat(None if cell.value == LOW else float(cell.value)))


def count_grid(name: str, caption: str, parts: Sequence[Part], summary: Summary) -> Grid:
    """Give liquidated runs as counts, a row for each strategy and a column for each part."""
    columns = (Column("Strategy", numeric=False), *(Column(one.value, "runs", one.dimension) for one in parts))
    rows = []
    for i, first in enumerate(parts[0].rows):
        pairs = [(one.rows[i].intrabar.liquidated, one.rows[i].next_open.liquidated) for one in parts]
        cells = (pair_cell(a, b, number) for a, b in pairs)
        rows.append((name_cell(first.strategy, first.strategy in summary.controls), *cells))
    return Grid(name, caption, columns, tuple(rows))


def sweep_grid(order: int, sweep: Sweep, summary: Summary) -> Grid:
    """Lay a sweep out: the last parameter across, the others down; liquidated, per cent of the pairs."""
    down = list(dict.fromkeys(values[:-1] for values, _ in sweep.points))
    across = list(dict.fromkeys(values[-1] for values, _ in sweep.points))
    at = {values: summary.named(name) for values, name in sweep.points}
    rows = []
    for head in down:
        row = [text_cell(", ".join(parameter(value) for value in head) or sweep.name)]
        for value in across:
            one = at.get((*head, value))
            row.append(_liquidated_pct(one.intrabar, one.next_open) if one else text_cell(MISSING))
        rows.append(tuple(row))
    columns = (
        Column(", ".join(sweep.parameters[:-1]) or "Strategy", numeric=False),
        *(Column(f"{sweep.parameters[-1]} {parameter(value)}", "% liquidated") for value in across),
    )
    return Grid(
        f"sweep-{order}", f"Liquidated, % of pairs, over the swept values of {sweep.name}.", columns, tuple(rows)
    )


_SENSITIVITY: tuple[tuple[Column, Callable[[Counts], float | None], Callable[[float | None], str]], ...] = (
    (Column("Pairs"), lambda r: r.pairs, number),
    (Column("Liquidated", "% of pairs"), lambda r: r.liquidated_pct, two_digits),
    (Column("Avoided", "pairs"), lambda r: r.avoided, number),
    (Column("Exited", "pairs"), lambda r: r.exited, number),
    (Column("Caused", "pairs"), lambda r: r.caused, number),
    (Column("Cost", "% of capital"), lambda r: r.running_cost_pct, two_digits),
    (Column("Exposure", "% kept"), lambda r: r.exposure_kept, points),
)


def sensitivity_grid(parts: Sequence[Part], summary: Summary) -> Grid:
    """Give the comparison under each assumption, for hold and then for each strategy of the study."""
    shown = [one.name for one in summary.strategies if one.name == BASELINE or not one.control]
    rows = []
    for name in shown:
        for one in parts:
            row = next(row for row in one.rows if row.strategy == name)
            cells = [pair_cell(read(row.intrabar), read(row.next_open), write) for _, read, write in _SENSITIVITY]
            saved = figure_cell(row.saved, number(row.saved))
            rows.append((text_cell(name), text_cell(one.value), *cells[:3], saved, *cells[3:]))
    columns = [column for column, _, _ in _SENSITIVITY]
    titles = (Column("Strategy", numeric=False), Column("Assumption", numeric=False))
    saved_column = Column("Saved", "pairs", "avoided under both reactions")
    caption = "The same comparison under other assumptions; two figures are intrabar / next open."
    return Grid("sensitivity", caption, (*titles, *columns[:3], saved_column, *columns[3:]), tuple(rows))
