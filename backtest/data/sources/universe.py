"""Parquet files of many symbols: a `symbol` column, `timestamp` in ms, then kline, funding or open-interest columns.

Open interest becomes two series a symbol, in coin and in quote: `BTCUSDT.open_interest`, `BTCUSDT.open_interest_value`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backtest.data.sources import generic
from backtest.data.sources.columns import parquet_names
from backtest.data.sources.rows import PRICE_COLUMNS, ImportOptions, Rows

_ALSO_KNOWN = {"available_ms": "timestamp"}
_OPEN_INTEREST = ("sum_open_interest", "sum_open_interest_value")


def recognises(path: Path) -> bool:
    """Say whether a file is Parquet with the columns of a universe file."""
    return path.suffix == ".parquet" and _table(path) is not None


def read(path: Path, options: ImportOptions) -> list[Rows]:
    """Read one file, one dataset a symbol."""
    table = options.table or _table(path)
    if table != "series":
        return generic.read(path, replace(options, table=table))
    return [
        replace(rows, dataset=rows.dataset._replace(symbol=f"{rows.dataset.symbol}.{column.removeprefix('sum_')}"))
        for column in _OPEN_INTEREST
        for rows in generic.read(path, replace(options, table=table, columns=_ALSO_KNOWN | {"value": column}))
    ]


def _table(path: Path) -> str | None:
    names = set(parquet_names(path))
    if not names >= {"symbol", "timestamp"}:
        return None
    if names >= set(PRICE_COLUMNS):
        return "klines"
    if names >= set(_OPEN_INTEREST):
        return "series"
    return "funding_rate" if "funding_rate" in names else None
