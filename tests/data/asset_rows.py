"""Marks of a valued asset to import, to damage and to read, for tests."""

from __future__ import annotations

import pyarrow as pa

from backtest.data.manifest import Dataset, Source
from backtest.data.store import Lake, Piece
from backtest.units import HOUR_MS

START = 1_609_459_200_000  # 2021-01-01
PUT = Dataset("deribit", "asset_marks", "BTC-PUT", "1h")
NAMES = ("time", "open", "high", "low", "close", "initial", "maintenance")
Row = tuple[float, ...]


def marks(hours: int = 6, **wrong: float) -> list[Row]:
    """Give clean hours of marks; `wrong` replaces figures of the third."""
    rows = [(START + n * HOUR_MS, 100.0 + n, 110.5, 0.0, 101.0 + n, 30.0, 20.0) for n in range(hours)]
    rows[2] = tuple(wrong.get(name, value) for name, value in zip(NAMES, rows[2], strict=True))
    return rows


def stored(lake: Lake, rows: list[Row], dataset: Dataset = PUT) -> Lake:
    """Write rows past the import, so that what reads them must look for itself."""
    columns = [*zip(*rows, strict=True), [row[0] + HOUR_MS for row in rows]]
    schema = dataset.schema.arrow()
    frame = pa.table([pa.array(c, f.type, safe=False) for c, f in zip(columns, schema, strict=True)], schema=schema)
    lake.merge([Piece(dataset, frame, Source("marks.csv", "0" * 64))])
    return lake
