"""Any CSV, Parquet or feather file: the user says what it is, columns are mapped by name.

Columns are found by the table's own names and a few that the field uses; a map names all others. A `symbol` column
makes one dataset of each symbol in the file.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from backtest.data import detect
from backtest.data.calendar_files import clock_ms, clock_of
from backtest.data.detect import Ints
from backtest.data.manifest import EVENT, Dataset
from backtest.data.sources.archive import read_gzip, read_member, read_plain
from backtest.data.sources.columns import (
    as_floats,
    as_times,
    header_of,
    parquet_names,
    pick,
    read_csv,
    read_feather,
    read_parquet,
)
from backtest.data.sources.rows import MARGIN_COLUMNS, ImportOptions, Rows
from backtest.errors import DataError, Problem, UsageError, did_you_mean
from backtest.schema import INTERVAL_TABLES, LAKE_TABLES, Table
from backtest.units import DAY_MS, duration_text, time_text

Loader = Callable[[Sequence[str]], pa.Table]

# Names that the field gives to columns, lower case, without spaces and underscores.
_ALSO = {
    "time": ("opentimems", "opentime", "fundingtimems", "fundingtime", "timems", "timestamp", "date"),
    "trade_count": ("trades", "count"),
    "funding_rate": ("rate",),
}
_UNIT_MS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


def recognises(path: Path) -> bool:
    """Say that no file is recognised by itself: the user names it and says what it is."""
    return False


def read(path: Path, options: ImportOptions) -> list[Rows]:
    """Read one file as the options say. Raises `UsageError` for what they leave out, `DataError` for the file."""
    table = _said(path, options)
    names, load = open_table(path, options.header)
    columns = _columns(path, table, names, options)
    data = load(list(dict.fromkeys(own for own in columns.values() if own in names)))
    if not data.num_rows:
        raise DataError(Problem(path.name, "has column names and no rows"))
    time, unit = as_times(path.name, columns["time"], data[columns["time"]], options.time_unit)
    values = {
        name: as_floats(path.name, own, data[own]) if own in names else np.full(len(time), float(own))
        for name, own in columns.items()
        if name not in ("time", "symbol", "available_ms")
    }
    if "available_ms" in columns:
        own = columns["available_ms"]
        known, known_unit = as_times(path.name, own, data[own], options.time_unit)
        known_ms = (known * _UNIT_MS[known_unit]).astype(np.int64) - options.utc_offset_ms
        values["available_ms"] = _at_clock(path, own, known_ms, options).astype(np.float64)
    rows = Rows(path, Dataset(options.venue or "", table.name, options.symbol or "", EVENT), time, values, unit)
    split = _by_symbol(rows, data[columns["symbol"]]) if "symbol" in columns else [rows]
    if table.name not in INTERVAL_TABLES:
        return split
    interval = options.interval or _interval(path, split, unit)
    return [replace(part, dataset=part.dataset._replace(interval=interval).check()) for part in split]


def taken(path: Path, options: ImportOptions) -> list[str]:
    """Say which column of a file each column of its table is read from, or which number stands in every row of it."""
    names, _ = open_table(path, options.header)
    found = _columns(path, _said(path, options), names, options)
    return [
        name if name == own else f"{name} from {own}" if own in names else f"{name} = {own}"
        for name, own in found.items()
    ]


def _at_clock(path: Path, column: str, known_ms: Ints, options: ImportOptions) -> Ints:
    """Turn days into the moments of a release clock on them, where the options name one."""
    if options.available_at is None:
        return known_ms
    if odd := np.flatnonzero(known_ms % DAY_MS).tolist():
        what = f"{column} is {time_text(int(known_ms[odd[0]]))}, no day that a clock time could be added to"
        raise DataError(Problem(f"{path.name} row {odd[0] + 1}", what, "leave out the clock time (--clock)"))
    zone, utc = options.zone or ZoneInfo("America/New_York"), ZoneInfo("UTC")
    days, place = np.unique(known_ms, return_inverse=True)
    shown = [dt.datetime.combine(clock_of(int(day), utc), options.available_at) for day in days]
    moments = [clock_ms(local, zone) for local in shown]
    return np.array(moments, np.int64)[place]


def _said(path: Path, options: ImportOptions) -> Table:
    wanted = {"table": options.table, "venue": options.venue}
    problems = [
        Problem(path.name, f"does not say its {what}", f"name the {what} (--{what})")
        for what, said in wanted.items()
        if not said
    ]
    if options.table and options.table not in LAKE_TABLES:
        problems.append(Problem(path.name, f"no table {options.table!r}", did_you_mean(options.table, LAKE_TABLES)))
    if problems:
        raise UsageError(*problems)
    return LAKE_TABLES[options.table or ""]


def open_table(path: Path, header: Sequence[str] | None) -> tuple[list[str], Loader]:
    """Give a file's column names, or those of `header` where it has none, and what loads the wanted ones."""
    if path.suffix == ".parquet":
        return parquet_names(path), lambda wanted: read_parquet(path, wanted)
    if path.suffix == ".feather":
        table = read_feather(path)
        return table.column_names, table.select
    if path.suffix == ".zip":
        content = read_member(path, None)
    elif path.suffixes[-2:] == [".csv", ".gz"]:
        content = read_gzip(path)
    elif path.suffix == ".csv":
        content = read_plain(path)
    else:
        raise UsageError(Problem(path.name, "is not a CSV, Parquet, feather, zip or csv.gz file"))
    _check_text(path, content)

    def load(wanted: Sequence[str]) -> pa.Table:
        return read_csv(path.name, content, header, dict.fromkeys(wanted), header=header is None)

    return list(header or header_of(content)), load


def _check_text(path: Path, content: bytes) -> None:
    """Refuse what has no column names to look for."""
    if not content.strip():
        raise DataError(Problem(path.name, "is empty", "fetch the file again from its source"))
    try:
        content.partition(b"\n")[0].decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(Problem(path.name, "is not UTF-8 text", "save it as UTF-8")) from None


def _columns(path: Path, table: Table, names: Sequence[str], options: ImportOptions) -> dict[str, str]:
    """Settle which column of the file each column of the table comes from."""
    own = [name for name in table.names if name not in table.key]
    also, given = _ALSO, options.columns
    if table.name == "asset_marks":  # what other tables call a symbol is an asset here
        also = _ALSO | {"symbol": ("asset",)}
        given = {"symbol" if name == "asset" else name: column for name, column in given.items()}
    known = ("time", "symbol", *own, *(("available_ms",) if table.name == "series" else ()))
    needed = ["time", *(column.name for column in table.columns if column.name in own and not column.null)]
    problems = [
        Problem(path.name, f"the map names {name!r}, which {table.name} does not have", did_you_mean(name, known))
        for name in given
        if name not in known
    ]
    found = {
        name: column if name in table.names and _is_number(column) else pick(path.name, column, names)
        for name, column in given.items()
    }
    plain = {re.sub(r"[ _]", "", name).lower(): name for name in reversed(names)}
    for name in known:
        spellings = (re.sub("_", "", name), *also.get(name, ()))
        match = next((plain[spelling] for spelling in spellings if spelling in plain), None)
        if name not in found and match is not None and not (name == "symbol" and options.symbol):
            found[name] = match
    if table.name != "series":
        needed.remove("available_ms")
        found.pop("available_ms", None)
    elif "available_ms" in needed:
        needed.remove("available_ms")
    if table.name == "asset_marks":  # what is paid in full needs no margin
        found |= {name: "0" for name in MARGIN_COLUMNS if name not in found}
    if "symbol" not in found and not options.symbol:
        problems.append(
            Problem(
                path.name,
                "does not say its symbol",
                "name the symbol (--symbol), or map it to a column (--map symbol=…)",
            )
        )
    problems += [
        Problem(path.name, f"has no column for {name}", f"map {name} to one of: {', '.join(names)}")
        for name in needed
        if name not in found
    ]
    if problems:
        raise DataError(*problems)
    return found


def _is_number(text: str) -> bool:
    """Say whether a map gives a value and not the name of a column."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _by_symbol(rows: Rows, symbols: pa.ChunkedArray) -> list[Rows]:
    codes = symbols.combine_chunks().dictionary_encode()
    order = np.argsort(codes.indices.to_numpy(), kind="stable")
    borders = np.flatnonzero(np.diff(codes.indices.to_numpy()[order])) + 1
    parts = []
    for index in np.split(order, borders):
        name = str(symbols[int(index[0])])
        plain = name if rows.dataset.table in ("series", "asset_marks") else re.sub(r"[-/]", "", name.split(":")[0])
        parts.append(rows.take(index, symbol=plain))
    return parts


def _interval(path: Path, parts: Sequence[Rows], unit: str) -> str:
    step = detect.usual_step(max((part.time for part in parts), key=len))
    if not step:
        raise UsageError(Problem(path.name, "has too few rows to show its interval", "name the interval (--interval)"))
    return duration_text(int(step * _UNIT_MS[unit]))
