"""A signal as a SQL query over the lake: checked rows of `available_ms` and `value`, from what was known by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backtest.data.manifest import EVENT
from backtest.data.sql import query, tables_named
from backtest.errors import Problem, SignalError, UsageError, did_you_mean
from backtest.signals.indicators import rounded
from backtest.signals.inputs import Input, Known, available_ms, indexed
from backtest.signals.kinds import signal
from backtest.signals.settings import text
from backtest.signals.spec import Floats
from backtest.signals.user import cuts, refuse_change, refuse_endless
from backtest.units import time_text

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("available_ms", "value")


def _read(known: Known, p: Any) -> pd.DataFrame:
    """Ask once for all, and again at some moments for what was known by then."""
    rows = _rows(known, p.query, known.stop_ms)
    tables = tables_named(p.query)
    known.datasets |= {dataset for dataset in known.lake.datasets() if dataset.table in tables}
    whole = rows["value"]
    for count in cuts(len(rows)):
        last = rows.index[count - 1]
        known_ms = int(available_ms(rows)[count - 1])
        part = _rows(known, p.query, known_ms + 1)["value"]
        moments = whole.index[:count].union(part.index[part.index <= last])
        then, now = (held.reindex(moments, method="ffill").to_numpy(np.float64) for held in (part, whole))
        refuse_change(known.name, available_ms(moments.to_frame()), now, then, known_ms)
    return rows


def _rows(known: Known, sql: str, before_ms: int) -> pd.DataFrame:
    names = {"venue": known.venue, "symbol": known.symbol}
    try:
        table = query(known.lake.root, sql, params=names, before_ms=before_ms)
    except UsageError as error:
        raise SignalError(*(Problem(known.name, problem.what, problem.remedy) for problem in error.problems)) from None
    return _checked(table, known.name, before_ms)


def _checked(table: pa.Table, where: str, before_ms: int) -> pd.DataFrame:
    """Check columns, their types and the order of times."""
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise SignalError(
            *(Problem(where, f"gives no column {name}", did_you_mean(name, table.column_names)) for name in missing)
        )
    times = table["available_ms"]
    if not pa.types.is_integer(times.type) or times.null_count:
        raise SignalError.at(where, f"available_ms is {times.type}", "give whole milliseconds, none of them null")
    try:
        values = rounded(table["value"].cast(pa.float64()).fill_null(np.nan).to_numpy())
    except pa.ArrowException:
        raise SignalError.at(where, f"value is {table['value'].type}", "give numbers") from None
    column = times.to_numpy().astype(np.int64)
    wrong = np.flatnonzero(np.diff(column) <= 0)
    if wrong.size:
        at = time_text(int(column[wrong[0] + 1]))
        raise SignalError.at(
            where, f"times do not ascend: row {wrong[0] + 2}, {at}", "ORDER BY available_ms, one row each"
        )
    refuse_endless(where, column, values)
    inside = column < before_ms
    return indexed(column[inside], {"value": values[inside]})


def _no_query(p: Any) -> str:
    return "" if p.query.strip() else "has no query"


_QUERY = text(help="one SELECT that gives available_ms and value; $venue and $symbol stand for what is asked of")


@signal(interval=EVENT, unit="of the query", reads=Input(_read, {"query": _QUERY}), conflict=_no_query)
def sql(rows: pd.DataFrame, p: Any) -> Floats:
    """Give what a SELECT over the lake's tables gives, from rows that were available by then alone."""
    return rows["value"].to_numpy(np.float64)
