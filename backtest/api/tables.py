"""Result tables as pandas, in natural units, and what their columns mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.data.sql import SCALES
from backtest.errors import UsageError, did_you_mean
from backtest.schema import RESULT_TABLES, Table
from backtest.study.accounts import ACCOUNT_TABLES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TIME = "_ms"


def result_table(name: str) -> Table:
    """Give the form of a result table; UsageError with the nearest name where there is none."""
    tables = RESULT_TABLES | ACCOUNT_TABLES
    if name not in tables:
        raise UsageError.at(name, "is no table of results", did_you_mean(name, tables))
    return tables[name]


def natural(column: str) -> tuple[str, int]:
    """Give the natural name of a column, and what its integers are divided by (1: nothing).

    >>> natural("equity_end_e8"), natural("entry_ms"), natural("side")
    (('equity_end', 100000000), ('entry', 1), ('side', 1))
    """
    for suffix, scale in SCALES.items():
        if column.endswith(suffix):
            return column.removesuffix(suffix), scale
    return column.removesuffix(TIME), 1


def frame(table: pa.Table, name: str) -> pd.DataFrame:
    """Give a result table as pandas: `_e8`, `_e2` and `_ppm` as numbers in natural units, `_ms` as UTC timestamps.

    A missing number is NaN, a missing time NaT. Exact integers are in the Arrow table.
    """
    import pandas as pd

    columns = {}
    for column in result_table(name).names:
        short, scale = natural(column)
        values = table[column].to_pandas()
        if column.endswith(TIME):
            values = pd.to_datetime(values, unit="ms", utc=True)
        columns[short] = values / scale if scale > 1 else values
    return pd.DataFrame(columns)


def columns(name: str) -> pd.DataFrame:
    """Describe a result table: each column in pandas, its exact twin in Arrow, and its meaning.

    >>> columns("fills").loc["price"].tolist()
    ['price_e8', 'number', 'fill price, slippage included']
    """
    import pandas as pd

    words = {"int64": "whole number", "float64": "number", "text": "text", "bool": "true or false"}
    rows = []
    for column in result_table(name).columns:
        short, scale = natural(column.name)
        kind = "UTC time" if column.name.endswith(TIME) else "number" if scale > 1 else words[column.type]
        rows.append((short, column.name, kind, column.help + ("; may be missing" if column.null else "")))
    return pd.DataFrame(rows, columns=["column", "arrow", "kind", "meaning"]).set_index("column")
