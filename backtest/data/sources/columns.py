"""Text and Arrow columns to numbers and epoch times; cells that do not fit are reported by row, all at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from backtest.data.detect import Floats, Ints
from backtest.errors import DataError, Problem, did_you_mean

MAX_CELLS = 1 << 28
_EMPTY = ["", "NaN", "nan", "NA", "null", "None", "."]
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


def read_csv(
    file: str,
    content: bytes,
    names: Sequence[str] | None,
    types: Mapping[str, pa.DataType | None],
    *,
    header: bool = True,
) -> pa.Table:
    """Read the columns that `types` names from CSV text.

    `names` replaces the file's own names, or stands in where it has none (`header` false). Raises `DataError` for a
    column that is not there, and for every column with cells that are not of its type. A type None is found out.
    """
    read = pyarrow.csv.ReadOptions(
        column_names=names, skip_rows=int(header and names is not None), autogenerate_column_names=False
    )

    def convert(types: Mapping[str, pa.DataType | None]) -> pa.Table:
        return pyarrow.csv.read_csv(
            pa.py_buffer(content),
            read,
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: type_ for name, type_ in types.items() if type_ is not None},
                include_columns=list(types),
                null_values=_EMPTY,
                strings_can_be_null=True,
            ),
        )

    try:
        return convert(types)
    except KeyError as error:
        raise DataError(Problem(file, f"has no column {error}")) from None
    except pa.ArrowInvalid as error:
        try:
            text = convert(dict.fromkeys(types, pa.string()))
        except pa.ArrowInvalid:
            raise DataError(Problem(file, f"is not sound CSV text: {str(error)[:200]}")) from None
    wrong = [_not_numbers(file, name, text[name]) for name, type_ in types.items() if type_ is not None]
    raise DataError(*[problem for problem in wrong if problem] or [Problem(file, "holds numbers out of range")])


def read_feather(path: Path) -> pa.Table:
    """Read a feather file. Raises `DataError` where it is none."""
    try:
        return pyarrow.feather.read_table(path, memory_map=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(Problem(path.name, f"is not a sound feather file ({error})")) from None


def parquet_names(path: Path) -> list[str]:
    """Give the column names of a Parquet file. Raises `DataError` where it is none."""
    try:
        names: list[str] = pyarrow.parquet.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(Problem(path.name, f"is not a sound Parquet file ({error})")) from None
    return names


def read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read columns of a Parquet file. Raises `DataError` where its pages are damaged, or it is too large."""
    try:
        rows = pyarrow.parquet.read_metadata(path).num_rows
        if rows * len(columns) > MAX_CELLS:
            raise DataError(Problem(path.name, f"holds {rows} rows, more than can be taken at once", "split the file"))
        return pyarrow.parquet.read_table(path, columns=list(columns), partitioning=None)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(Problem(path.name, f"is not a sound Parquet file ({error})")) from None


def read_json_rows(path: Path) -> object:
    """Read a JSON file. Raises `DataError` where it is none."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(Problem(path.name, f"is not sound JSON ({type(error).__name__})")) from None


def header_of(content: bytes) -> list[str]:
    """Give the column names in the first line of CSV text."""
    first = content[: content.find(b"\n")] if b"\n" in content else content
    return [name.strip().strip('"') for name in first.decode("utf-8-sig", "replace").strip().split(",")]


def pick(file: str, wanted: str, names: Sequence[str]) -> str:
    """Find a column by name. Raises `DataError` with the near match where it is not there."""
    if wanted not in names:
        raise DataError(Problem(file, f"has no column {wanted!r}", did_you_mean(wanted, names)))
    return wanted


def as_floats(file: str, name: str, column: pa.ChunkedArray) -> Floats:
    """Give a column as doubles, NaN where it is empty."""
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        raise DataError(_not_numbers(file, name, column) or Problem(file, f"column {name} is not numbers")) from None
    values: Floats = numbers.to_numpy().astype(np.float64)
    return values


def as_times(file: str, name: str, column: pa.ChunkedArray, unit: str | None) -> tuple[Ints, str]:
    """Give a time column as raw epoch integers with their unit.

    Timestamps and dates carry their own; text is read as ISO, or by `unit` where that is a pattern with `%`. Whole
    numbers are in `unit`, milliseconds where none is given.
    """
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0]) + 1
        raise DataError(Problem(f"{file} row {row}", f"{name} is empty ({column.null_count} rows)"))
    if unit is not None and "%" in unit:
        column = column.cast(pa.string())
    kind = column.type
    if pa.types.is_integer(kind):
        return column.cast(pa.int64()).to_numpy(), unit or "ms"
    if pa.types.is_floating(kind):
        values = column.to_numpy()
        if (values % 1 != 0).any():
            row = int(np.flatnonzero(values % 1)[0]) + 1
            raise DataError(Problem(f"{file} row {row}", f"{name} {values[row - 1]} is not a whole number"))
        return values.astype(np.int64), unit or "ms"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = _parse_times(file, name, column.cast(pa.string()), unit)
    elif not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise DataError(Problem(file, f"{name} is {kind}, not a time"))
    return column.cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy(), "ms"


def _parse_times(file: str, name: str, text: pa.ChunkedArray, unit: str | None) -> pa.ChunkedArray:
    if unit is not None and "%" in unit:
        parsed = pc.strptime(text, format=unit, unit="ms", error_is_null=True)
        if parsed.null_count:
            row = int(np.flatnonzero(parsed.is_null().to_numpy())[0])
            raise DataError(Problem(f"{file} row {row + 1}", f"{name} {text[row]} is not of the form {unit}"))
        return parsed
    for type_ in (pa.timestamp("ms"), pa.timestamp("ms", "UTC")):
        try:
            return text.cast(type_)
        except pa.ArrowInvalid:
            continue
    like_iso = pc.match_substring_regex(text, r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?$").to_numpy()
    row = int(np.argmin(like_iso))
    raise DataError(
        Problem(
            f"{file} row {row + 1}",
            f"{name} {text[row]} is not an ISO time",
            'give its pattern (--time-unit), such as "%m/%d/%Y"',
        )
    )


def _not_numbers(file: str, name: str, text: pa.ChunkedArray) -> Problem | None:
    fits = pc.match_substring_regex(text.cast(pa.string()), _NUMBER)
    wrong = np.flatnonzero(~pc.fill_null(fits, True).to_numpy())
    if not wrong.size:
        return None
    count = f" ({wrong.size} rows)" if wrong.size > 1 else ""
    return Problem(f"{file} row {wrong[0] + 1}", f"{name} {str(text[int(wrong[0])])[:40]!r} is not a number{count}")
