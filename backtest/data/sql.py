"""Ask the lake and a report in SQL: one SELECT over views with plain names in natural units.

Defence in depth, not a sandbox: access to files is cut off once the views stand, nothing can be written, attached,
installed or unlocked, and only a single SELECT runs. SQL from strangers still needs a sandbox of the operating system.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import duckdb
import pyarrow as pa

from backtest.data import detect
from backtest.data.manifest import Dataset, Entry
from backtest.data.store import Lake
from backtest.errors import Problem, UsageError
from backtest.schema import BAR_TABLES, LAKE_TABLES, RESULT_TABLES
from backtest.units import duration_ms

# Suffix of an exact column, and what its integers are divided by to give natural units.
SCALES = {"_e8": 100_000_000, "_e2": 100, "_ppm": 1_000_000}
# Views that are made from the manifest and the bars, not read from one table.
CATALOGUE = ("coverage", "gaps", "sources")
_LOCKS = (
    "SET enable_external_access = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)


def query(lake_root: Path, sql: str, report_dir: Path | None = None) -> pa.Table:
    """Run one SELECT over the lake's tables, `coverage`, `gaps` and `sources`, and over a report's tables.

    Every stored file of a table that the SQL names is checked against its SHA-256 first. A column `x_ms` is also there
    as the UTC timestamp `x`, an exact column such as `x_e8` also in natural units as `x`.

    Raises `UsageError` for anything but one SELECT and for SQL that DuckDB does not take, `IntegrityError` for a file
    that is not what the manifest says.

    >>> query(Path("lake"), "SELECT symbol, max(high) FROM mark_price GROUP BY symbol")  # doctest: +SKIP
    """
    lake = Lake(lake_root)
    with duckdb.connect() as database:
        try:
            statements = database.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise UsageError(Problem("SQL", f"is {len(statements)} statements or no SELECT", "write one SELECT"))
            names = database.get_table_names(sql)
            paths = [path for name in names for path in _make_view(database, lake, report_dir, name)]
            listed = ", ".join(_text(path) for path in paths)
            database.execute(f"SET allowed_paths = [{listed}]")
            for lock in _LOCKS:
                database.execute(lock)
            return database.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            known = ", ".join((*LAKE_TABLES, *CATALOGUE, *(RESULT_TABLES if report_dir else ())))
            raise UsageError(Problem("SQL", " ".join(str(error).split()), f"tables: {known}")) from None


def _make_view(database: duckdb.DuckDBPyConnection, lake: Lake, report_dir: Path | None, name: str) -> list[Path]:
    """Make the view of a name that the program knows; give the files that it reads."""
    if name in CATALOGUE:
        rows = _catalogue(lake, name)
        database.register(f"{name}_rows", rows)
        columns = [part for column in rows.column_names for part in _natural(column)]
        database.execute(f"CREATE VIEW {name} AS SELECT {', '.join(columns)} FROM {name}_rows")
        return []
    if name in LAKE_TABLES:
        table = LAKE_TABLES[name]
        paths = [lake.verified(entry) for dataset in lake.datasets() for entry in _entries(lake, dataset, name)]
        selected = ["venue", "symbol", "interval"]
        typed = "hive_types = {'venue': VARCHAR, 'symbol': VARCHAR, 'interval': VARCHAR}"
    elif name in RESULT_TABLES and report_dir is not None:
        table = RESULT_TABLES[name]
        paths = [path] if (path := report_dir / f"{name}.parquet").is_file() else []
        selected, typed = [], "hive_partitioning = false"
    else:
        return []  # a name of the SQL itself, or unknown: DuckDB says so
    if not paths:
        fields = [pa.field(column, pa.string()) for column in selected]
        database.register("nothing", pa.schema([*fields, *table.arrow()]).empty_table())
        source = "nothing"
    else:
        source = f"read_parquet([{', '.join(_text(path.resolve()) for path in paths)}], {typed})"
    columns = [*selected, *(part for column in table.names for part in _natural(column))]
    database.execute(f"CREATE VIEW {name} AS SELECT {', '.join(columns)} FROM {source}")
    return [path.resolve() for path in paths]


def _natural(column: str) -> Iterator[str]:
    yield f'"{column}"'
    for suffix, scale in SCALES.items():
        if column.endswith(suffix):
            yield f"{column} / {scale} AS {column.removesuffix(suffix)}"
    if column.endswith("_ms"):
        yield f'make_timestamp_ms({column}) AS "{column.removesuffix("_ms")}"'


def _entries(lake: Lake, dataset: Dataset, table: str) -> list[Entry]:
    return lake.entries([dataset]) if dataset.table == table else []


def _catalogue(lake: Lake, name: str) -> pa.Table:
    if name == "coverage":
        rows = [
            _named(c.dataset)
            | {"first_ms": c.first_ms, "last_ms": c.last_ms, "rows": c.rows, "missing": c.missing, "files": c.files}
            for c in lake.coverage()
        ]
    elif name == "sources":
        rows = [
            _named(entry.dataset) | {"year": entry.year} | asdict(source)
            for entry in lake.entries()
            for source in entry.sources
        ]
    else:
        rows = [row for dataset in lake.datasets() for row in _gaps(lake, dataset)]
    return pa.Table.from_pylist(rows, schema=_CATALOGUE_SCHEMAS[name])


def _gaps(lake: Lake, dataset: Dataset) -> Iterator[dict[str, object]]:
    if dataset.table not in BAR_TABLES:
        return
    interval_ms = duration_ms(dataset.interval)
    first, last = detect.gaps(lake.read(dataset, columns=[])["open_time_ms"].to_numpy(), interval_ms)
    for start, stop in zip(first.tolist(), last.tolist(), strict=True):
        yield _named(dataset) | {"first_ms": start, "last_ms": stop, "bars": (stop - start) // interval_ms + 1}


def _named(dataset: Dataset) -> dict[str, object]:
    return {
        "venue": dataset.venue,
        "table_name": dataset.table,
        "symbol": dataset.symbol,
        "interval": dataset.interval,
    }


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


_NAMED = [(name, pa.string()) for name in ("venue", "table_name", "symbol", "interval")]
_SPAN = [("first_ms", pa.int64()), ("last_ms", pa.int64())]
_CATALOGUE_SCHEMAS = {
    "coverage": pa.schema([*_NAMED, *_SPAN, *((name, pa.int64()) for name in ("rows", "missing", "files"))]),
    "gaps": pa.schema([*_NAMED, *_SPAN, ("bars", pa.int64())]),
    "sources": pa.schema(
        [*_NAMED, ("year", pa.int64()), ("name", pa.string()), ("sha256", pa.string()), ("rows", pa.int64()), *_SPAN]
    ),
}
