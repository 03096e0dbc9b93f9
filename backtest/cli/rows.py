"""Arrow tables as text: for a person, as CSV, as JSON, or as Parquet bytes; printed, or in a file."""

from __future__ import annotations

import io
import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.output import note, print_table, say
from backtest.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


class Form(StrEnum):
    """How rows are written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


FormOption = Annotated[
    Form | None, typer.Option("--format", help="How to print it; default: by the name of --out, else table.")
]
OutOption = Annotated[Path | None, typer.Option(help="Write a file (.csv, .json, .parquet) instead.")]


def give_rows(rows: pa.Table, form: Form | None, out: Path | None, last: int | None = None) -> None:
    """Print rows, or write them to a file; a table for a person shows the `last` of them only."""
    form = form or _form_of(out)
    if form is Form.table and out is None:
        hidden = 0 if last is None else max(0, len(rows) - last)
        print_rows(rows.slice(hidden))
        if hidden:
            note(f"the last {last} of {len(rows):,} rows; all of them: --out FILE.csv, or --format csv")
    elif out is None and form is Form.parquet:
        raise UsageError.at("--format parquet", "cannot be printed", "name a file with --out")
    elif out is None:
        say(encoded(rows, form.value).decode().rstrip("\n"))
    else:
        from backtest.data.disk import write_atomic

        write_atomic(out, encoded(rows, form.value))
        note(f"{rows.num_rows:,} rows in {out}")


def _form_of(out: Path | None) -> Form:
    if out is None:
        return Form.table
    try:
        return Form(out.suffix.removeprefix("."))
    except ValueError:
        raise UsageError.at(
            out, "does not say its form", "end it in .csv, .json or .parquet, or give --format"
        ) from None


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
