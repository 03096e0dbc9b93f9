"""Parquet files of many symbols: a `symbol` column, `timestamp` in ms, then raw kline or funding columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backtest.data.sources import generic
from backtest.data.sources.columns import parquet_names
from backtest.data.sources.rows import PRICE_COLUMNS, ImportOptions, Rows


def recognises(path: Path) -> bool:
    """Say whether a file is Parquet with the columns of a universe file."""
    return path.suffix == ".parquet" and _table(path) is not None


def read(path: Path, options: ImportOptions) -> list[Rows]:
    """Read one file, one dataset a symbol."""
    return generic.read(path, replace(options, table=options.table or _table(path)))


def _table(path: Path) -> str | None:
    names = set(parquet_names(path))
    if not names >= {"symbol", "timestamp"}:
        return None
    if names >= set(PRICE_COLUMNS):
        return "klines"
    return "funding_rate" if "funding_rate" in names else None
