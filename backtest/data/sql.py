"""Ask the lake and a report in SQL: one SELECT over views with plain names in natural units.

Defence in depth, not a sandbox: access to files is cut off once the views stand, nothing can be written, attached,
installed or unlocked, and only a single SELECT runs. SQL from strangers still needs a sandbox of the operating system.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from backtest.data.disk import sha256_file
from backtest.data.ledger import VIEWS, view
from backtest.data.manifest import Dataset, Entry
from backtest.data.store import Lake
from backtest.errors import IntegrityError, Problem, UsageError
from backtest.schema import LAKE_TABLES, RESULT_TABLES

# Suffix of an exact column, and what its integers are divided by to give natural units.
SCALES = {"_e8": 100_000_000, "_e2": 100, "_ppm": 1_000_000}
_LOCKS = (
    "SET enable_external_access = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)


def query(
    lake_root: Path,
    sql: str,
    report_dir: Path | None = None,
    *,
    params: Mapping[str, str] | None = None,
    before_ms: int | None = None,
) -> pa.Table:
    """Run one SELECT over the lake's tables, the gap ledger's (`ledger.VIEWS`), and a report's.

    Every stored file of a table that the SQL names is checked against its SHA-256 first. A column `x_ms` is also there
    as the UTC timestamp `x`, an exact column such as `x_e8` also in natural units as `x`. `params` are the values of
    `$name` in the SQL. With `before_ms` there are only the lake's tables, and of them what was available before then.

    Raises `UsageError` for anything but one SELECT and for SQL that DuckDB does not take, `IntegrityError` for a file
    that is not what the manifest says.

    >>> query(Path("lake"), "SELECT symbol, max(high) FROM mark_price GROUP BY symbol")  # doctest: +SKIP
    """
    lake = Lake(lake_root)
    with duckdb.connect() as database:
        try:
            statements = database.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise UsageError(Problem("SQL", "is not one SELECT", "write one SELECT"))
            names = _table_names(database, sql)
            if before_ms is not None:
                _refuse_undated(names)
            paths = [path for name in names for path in _make_view(database, lake, report_dir, name, before_ms)]
            listed = ", ".join(_text(path) for path in paths)
            database.execute(f"SET allowed_paths = [{listed}]")
            for lock in _LOCKS:
                database.execute(lock)
            # DuckDB wants a value for what the SQL names and for nothing else.
            given = {name: value for name, value in (params or {}).items() if name in statements[0].named_parameters}
            return database.sql(sql, params=given or None).to_arrow_table()
        except duckdb.Error as error:
            known = ", ".join((*LAKE_TABLES, *VIEWS, *(RESULT_TABLES if report_dir else ())))
            raise UsageError(Problem("SQL", " ".join(str(error).split()), f"tables: {known}")) from None


def tables_named(sql: str) -> list[str]:
    """List the lake's tables that a SELECT names. Raises `UsageError` for what is no SELECT."""
    with duckdb.connect() as database:
        return [name for name in _table_names(database, sql) if name in LAKE_TABLES]


def _refuse_undated(names: Iterable[str]) -> None:
    """Refuse what says nothing of when it was known."""
    if undated := [name for name in names if name in VIEWS]:
        what = f"{', '.join(undated)} do not say when they were known"
        raise UsageError(Problem("SQL", what, f"tables: {', '.join(LAKE_TABLES)}"))


def _table_names(database: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """List the tables that a SELECT names, off its parse tree: nothing is bound yet, so any kind of join is fine."""
    (tree,) = database.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0]
    document = json.loads(tree)
    if document["error"]:
        raise UsageError(Problem("SQL", document["error_message"], "write one SELECT"))
    names: set[str] = set()
    nodes = [document["statements"]]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict) and node.get("type") == "BASE_TABLE":
            names.add(node["table_name"])
        nodes += node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return sorted(names)


def _make_view(
    database: duckdb.DuckDBPyConnection, lake: Lake, report_dir: Path | None, name: str, before_ms: int | None
) -> list[Path]:
    """Make the view of a name that the program knows; give the files that it reads."""
    if name in VIEWS:
        rows = view(lake, name)
        database.register(f"{name}_rows", rows)
        columns = [part for column in rows.column_names for part in _natural(column)]
        database.execute(f"CREATE VIEW {name} AS SELECT {', '.join(columns)} FROM {name}_rows")
        return []
    if name in LAKE_TABLES:
        table = LAKE_TABLES[name]
        paths = [lake.verified(entry) for dataset in lake.datasets() for entry in _entries(lake, dataset, name)]
        selected = ["venue", "symbol", "interval"]
        if name == "asset_marks":
            selected.append("symbol AS asset")
        typed = "hive_types = {'venue': VARCHAR, 'symbol': VARCHAR, 'interval': VARCHAR}"
    elif name in RESULT_TABLES and report_dir is not None:
        table = RESULT_TABLES[name]
        path = report_dir / f"{name}.parquet"
        if not path.is_file():
            raise IntegrityError.at(path, "is not there", "name the folder of a finished study")
        paths = [path]
        _check_report(report_dir, paths)
        selected, typed = [], "hive_partitioning = false"
    else:
        return []  # a name of the SQL itself, or unknown: DuckDB says so
    if not paths:
        fields = [pa.field(column, pa.string()) for column in ("venue", "symbol", "interval")]
        database.register("nothing", pa.schema([*fields, *table.arrow()]).empty_table())
        source = "nothing"
    else:
        source = f"read_parquet([{', '.join(_text(path.resolve()) for path in paths)}], {typed})"
    columns = [*selected, *(part for column in table.names for part in _natural(column))]
    known = "" if before_ms is None else f" WHERE available_ms < {int(before_ms)}"
    database.execute(f"CREATE VIEW {name} AS SELECT {', '.join(columns)} FROM {source}{known}")
    return [path.resolve() for path in paths]


def _check_report(report_dir: Path, paths: list[Path]) -> None:
    """Compare a report's tables with the hashes in its manifest, where it has one."""
    manifest = report_dir / "manifest.json"
    if not manifest.is_file():
        return
    try:
        listed = {name: file["sha256"] for name, file in json.loads(manifest.read_bytes())["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError.at(manifest, "cannot be read", "run the study again") from None
    for path in paths:
        if listed.get(path.name) != sha256_file(path):
            raise IntegrityError.at(path, "does not have the SHA-256 that its manifest lists", "run the study again")


def _natural(column: str) -> Iterator[str]:
    yield f'"{column}"'
    for suffix, scale in SCALES.items():
        if column.endswith(suffix):
            yield f"{column} / {scale} AS {column.removesuffix(suffix)}"
    if column.endswith("_ms"):
        yield f'make_timestamp_ms({column}) AS "{column.removesuffix("_ms")}"'


def _entries(lake: Lake, dataset: Dataset, table: str) -> list[Entry]:
    return lake.entries([dataset]) if dataset.table == table else []


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
