"""Merging rows by key: what agrees becomes one row, what disagrees is reported, nothing is invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.data.detect import settlement_minute
from backtest.schema import Table

Array = npt.NDArray[np.int64]
# Columns that hold a venue's stamp, some ms off the minute it speaks of.
STAMPS = {"funding_rate": ("funding_time_ms", "available_ms")}


@dataclass(frozen=True, slots=True)
class Conflict:
    """The first time at which two parts give different values in a column, and how many of their rows do."""

    column: str
    time_ms: int
    first_part: int
    second_part: int
    first_value: object
    second_value: object
    rows: int


def merge_rows(table: Table, parts: Sequence[pa.Table]) -> tuple[pa.Table, list[Conflict]]:
    """Merge tables of one schema into one, sorted by the table's key, without repeated keys.

    For equal keys the first part's value wins; a missing value is filled from a later part that knows it. A conflict
    is listed for each column and two parts whose known values differ. Funding stamps in one minute are one settlement,
    of which the latest stamp is kept: some sources cut the venue's milliseconds off.
    """
    rows = pa.concat_tables(parts).combine_chunks()
    part = np.repeat(np.arange(len(parts)), [len(rows_of_part) for rows_of_part in parts])
    keys = [rows[name].to_numpy() for name in table.key]
    stamps = STAMPS.get(table.name, ())
    if stamps:
        keys = [settlement_minute(keys[0])]
    if strictly_increasing(keys):
        return rows, []
    order = np.lexsort((part, *reversed(keys)))
    rows, part = rows.take(pa.array(order)).combine_chunks(), part[order]
    repeated = np.ones(len(rows), bool)
    repeated[:1] = False
    for key in keys:
        in_order = key[order]
        repeated[1:] &= in_order[1:] == in_order[:-1]
    group = np.cumsum(~repeated) - 1

    columns, conflicts = [], []
    for name in table.names:
        if name in stamps:
            columns.append(pa.array(np.maximum.reduceat(rows[name].to_numpy(), np.flatnonzero(~repeated))))
            continue
        first, differs = _first_known(rows[name], group)
        lead = first[group[differs]]
        for one, other in np.unique(np.stack((part[lead], part[differs])), axis=1).T.tolist():
            of_pair = np.flatnonzero((part[lead] == one) & (part[differs] == other))
            row = int(differs[of_pair[0]])
            values = (rows[name][int(lead[of_pair[0]])].as_py(), rows[name][row].as_py())
            count = len(np.unique(group[differs[of_pair]]))
            conflicts.append(Conflict(name, rows[table.key[0]][row].as_py(), one, other, *values, count))
        columns.append(rows[name].take(pa.array(first, mask=first < 0)))
    return pa.table(columns, schema=table.arrow()).combine_chunks(), conflicts


def _first_known(column: pa.ChunkedArray, group: Array) -> tuple[Array, Array]:
    """Give the first row with a value of each group (-1 without one), and the rows that differ from it."""
    known = np.flatnonzero(column.is_valid().to_numpy())
    of = group[known]
    leads = np.ones(len(of), bool)
    leads[1:] = of[1:] != of[:-1]
    first = np.full(int(group[-1]) + 1, -1)
    first[of[leads]] = known[leads]
    values = column.fill_null(0).to_numpy()
    return first, known[values[known] != values[first[of]]]


def strictly_increasing(keys: Sequence[Array]) -> bool:
    """Say whether rows are in the order of their key columns, none repeated."""
    equal = np.ones(max(len(keys[0]) - 1, 0), bool)
    greater = ~equal
    for key in keys:
        greater |= equal & (key[1:] > key[:-1])
        equal &= key[1:] == key[:-1]
    return bool(greater.all())
