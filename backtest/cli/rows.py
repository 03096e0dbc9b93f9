"""Arrow tables as text: for a person, as CSV, as JSON, or as Parquet bytes."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING

from backtest.cli.output import print_table

if TYPE_CHECKING:
    import pyarrow as pa


def print_rows(rows: pa.Table) -> None:
    """Print a table, text to the left and numbers to the right."""
    import pyarrow as pa

    numeric = [pa.types.is_integer(f.type) or pa.types.is_floating(f.type) for f in rows.schema]
    columns = [[_shown(value) for value in column.to_pylist()] for column in rows.columns]
    align = "".join("r" if number else "l" for number in numeric)
    print_table(rows.column_names, zip(*columns, strict=True), align=align or "l")


def encoded(rows: pa.Table, form: str) -> bytes:
    """Write rows as "csv", "json" (a list of objects, null for NaN) or "parquet"."""
    if form == "json":
        records = [{name: _plain(value) for name, value in row.items()} for row in rows.to_pylist()]
        return (json.dumps(records, indent=2, ensure_ascii=False, default=str) + "\n").encode()
    sink = io.BytesIO()
    if form == "csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(rows, sink)
    else:
        import pyarrow.parquet

        pyarrow.parquet.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


def _shown(value: object) -> object:
    """Write a float by its shortest text; what the table does with other values stays as it is."""
    return f"{value:.12g}" if isinstance(value, float) else value


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
