"""The lake: market data as Parquet files under Hive partitions, listed and hashed in a manifest.

`venue=/table=/symbol=/interval=/year=/<hash>.parquet`, zstd with page checksums. A file is checked against its
SHA-256 before its rows are used. Writing is safe against a kill at any moment: new files first, then the manifest in
one rename, then old files go; whatever no manifest lists is swept before the next write.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.data.detect import settlement_minute
from backtest.data.disk import TEMPORARY_PREFIX, locked, remove_file, sha256_bytes, sha256_file, write_atomic
from backtest.data.manifest import (
    Correction,
    Dataset,
    Entry,
    Source,
    SourceRows,
    entries_hash,
    manifest_version,
    read_manifest,
    write_manifest,
)
from backtest.data.merge import STAMPS, Conflict, merge_rows, strictly_increasing
from backtest.errors import CoverageError, DataError, IntegrityError, InvariantError, Problem, did_you_mean
from backtest.units import MINUTE_MS, time_text

ROW_GROUP_ROWS = 131_072
_STORED_NAME = re.compile(r"[0-9a-f]{16}\.parquet")


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one dataset from one source, sorted by the table's key."""

    dataset: Dataset
    frame: pa.Table
    source: Source


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a merge did to one dataset."""

    dataset: Dataset
    rows_read: int
    rows_added: int
    rows_replaced: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the lake holds of one dataset, from the manifest alone."""

    dataset: Dataset
    first_ms: int
    last_ms: int
    rows: int
    missing: int | None  # bars between first and last that are not there; None where rows are not bars
    files: int
    sources: tuple[str, ...]


class _Plan(NamedTuple):
    """What a merge will do to one stored file; `content` is None where its bytes stay."""

    entry: Entry
    content: bytes | None
    problems: list[Problem]
    rows_added: int
    rows_replaced: int


class Lake:
    """Market data in one folder.

    >>> lake = Lake(Path("datasets/lake"))
    >>> frame = lake.read(Dataset("binance", "mark_price", "BTCUSDT", "1h"))  # doctest: +SKIP
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._known: tuple[object, dict[Dataset, list[Entry]]] = (None, {})

    # --- reading ---------------------------------------------------------------------------------------------------

    def entries(
        self, datasets: Iterable[Dataset] | None = None, start_ms: int | None = None, stop_ms: int | None = None
    ) -> list[Entry]:
        """List stored files, of the given datasets and the half-open range where given."""
        known = self._manifest()
        return [
            entry
            for dataset in sorted(known if datasets is None else set(datasets))
            for entry in known.get(dataset, ())
            if (start_ms is None or entry.last_ms >= start_ms) and (stop_ms is None or entry.first_ms < stop_ms)
        ]

    def _manifest(self) -> dict[Dataset, list[Entry]]:
        # The manifest is replaced whole, so a file that is still the same one need not be read again.
        version = manifest_version(self.root)
        if version is None or version != self._known[0]:
            listed: dict[Dataset, list[Entry]] = {}
            for entry in read_manifest(self.root):
                listed.setdefault(entry.dataset, []).append(entry)
            self._known = (version, listed)
        return self._known[1]

    def datasets(self) -> list[Dataset]:
        """List the datasets that the lake holds, sorted."""
        return sorted(self._manifest())

    def coverage(self) -> list[Coverage]:
        """Say what is there, dataset by dataset."""
        return [_coverage(dataset, entries) for dataset, entries in sorted(self._manifest().items())]

    def manifest_hash(
        self, datasets: Iterable[Dataset], start_ms: int | None = None, stop_ms: int | None = None
    ) -> str:
        """Hash the manifest entries of these datasets: changes exactly when a file that a study reads changes."""
        return entries_hash(self.entries(datasets, start_ms, stop_ms))

    def read(
        self,
        dataset: Dataset,
        start_ms: int | None = None,
        stop_ms: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Read rows of a dataset in the half-open range, in the order of the table's key; all columns, or some.

        Raises `CoverageError` where the lake has nothing of the dataset, `IntegrityError` where a file is not what
        the manifest says.
        """
        if not self.entries([dataset]):
            raise self._absent(dataset)
        table = dataset.schema
        schema = table.arrow()
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in dict.fromkeys((*table.key, *columns))])
        bounds = [(">=", start_ms), ("<", stop_ms)]
        where = " AND ".join(f"{table.key[0]} {sign} {int(bound)}" for sign, bound in bounds if bound is not None)
        paths = [str(self.verified(entry)) for entry in self.entries([dataset], start_ms, stop_ms)]
        if not paths:
            return schema.empty_table()
        query = (
            f"SELECT {', '.join(schema.names)} FROM read_parquet(?, hive_partitioning = false) "
            f"WHERE {where or 'true'} ORDER BY {', '.join(table.key)}"
        )
        rows = _database(os.getpid()).cursor().sql(query, params=[paths]).to_arrow_table()
        return _in_key_order(dataset, rows.cast(schema))

    def verified(self, entry: Entry) -> Path:
        """Give the path of a stored file after checking its SHA-256."""
        path = self.root / entry.path
        remedy = f"remove the dataset and import again: {', '.join(source.name for source in entry.sources)}"
        if not path.is_file():
            raise IntegrityError(Problem(str(path), "is listed in the manifest but missing", remedy))
        if sha256_file(path) != entry.sha256:
            raise IntegrityError(Problem(str(path), "does not have the SHA-256 that the manifest lists", remedy))
        return path

    def strays(self) -> list[Path]:
        """List files under the lake that the manifest does not know: leftovers of a crash, or foreign."""
        known = {self.root / entry.path for entry in self.entries()}
        return sorted(path for path in self.root.glob("venue=*/**/*") if path.is_file() and path not in known)

    # --- writing ---------------------------------------------------------------------------------------------------

    def merge(self, pieces: Sequence[Piece], *, replace_rows: bool = False) -> list[MergeResult]:
        """Merge rows into the lake, all of them or none.

        Rows already there are left alone; a value that was missing is filled from a source that has it. Rows that
        disagree raise `DataError` naming both sources, unless `replace_rows` lets the new ones win.
        """
        by_file: dict[tuple[Dataset, int], list[Piece]] = {}
        for piece in pieces:
            piece.dataset.check()
            for year, part in _by_year(piece):
                by_file.setdefault((piece.dataset, year), []).append(part)
        with self._writing() as entries:
            plans = {key: self._plan(entries.get(key), key[1], parts, replace_rows) for key, parts in by_file.items()}
            problems = [problem for plan in plans.values() for problem in plan.problems]
            if problems:
                raise DataError(*problems)
            for plan in plans.values():
                if plan.content is not None:
                    write_atomic(self.root / plan.entry.path, plan.content)
            self._commit(entries | {key: plan.entry for key, plan in plans.items()})
        return _results(pieces, plans)

    def drop(self, dataset: Dataset) -> None:
        """Remove a dataset."""
        with self._writing() as entries:
            self._commit({key: entry for key, entry in entries.items() if entry.dataset != dataset})

    def _commit(self, entries: dict[tuple[Dataset, int], Entry]) -> None:
        write_manifest(self.root, entries.values())
        self._sweep()

    def _absent(self, dataset: Dataset) -> CoverageError:
        names = [str(held) for held in self.datasets() if held.table == dataset.table]
        remedy = did_you_mean(str(dataset), names) if names else "import it: backtest data import FILES"
        return CoverageError(Problem(str(self.root), f"has no {dataset}", remedy))

    @contextmanager
    def _writing(self) -> Iterator[dict[tuple[Dataset, int], Entry]]:
        """Let one writer in, clean up after a killed one, and hand over the entries by dataset and year."""
        with locked(self.root):
            self._sweep()
            yield {(entry.dataset, entry.year): entry for entry in self.entries()}

    def _sweep(self) -> None:
        for path in [*self.strays(), *self.root.glob(f"{TEMPORARY_PREFIX}*")]:
            if path.name.startswith(TEMPORARY_PREFIX) or _STORED_NAME.fullmatch(path.name):
                remove_file(path, self.root)

    def _plan(self, held: Entry | None, year: int, pieces: Sequence[Piece], replace_rows: bool) -> _Plan:
        dataset = pieces[0].dataset
        parts: list[Entry | Piece] = list(pieces)
        if held is not None:
            stored = _in_key_order(dataset, pq.read_table(self.verified(held), partitioning=None))
            parts.insert(len(parts) if replace_rows else 0, held)
        frames = [stored if isinstance(part, Entry) else part.frame for part in parts]
        merged, conflicts = merge_rows(dataset.schema, frames)
        # Where new rows may replace stored ones, the stored part comes last and its values give way.
        given_way = [c for c in conflicts if replace_rows and parts[c.second_part] is held]
        problems = [_disagreement(c, parts) for c in conflicts if c not in given_way]
        sources = _sources(held, pieces)
        counts = (len(merged) - (held.rows if held else 0), max((c.rows for c in given_way), default=0))
        if held is not None and merged.equals(stored):
            return _Plan(replace(held, sources=sources), None, problems, *counts)
        content = _parquet_bytes(merged)
        time = merged[dataset.schema.key[0]]
        span = (len(merged), time[0].as_py(), time[-1].as_py())
        corrections = (held.corrections if held else ()) + tuple(_correction(c, parts) for c in given_way)
        entry = Entry(dataset, year, sha256_bytes(content), *span, sources, corrections)
        return _Plan(entry, content, problems, *counts)


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    # One for each process: opening one takes longer than most reads, and threads do not survive a fork.
    return duckdb.connect()


def _results(pieces: Sequence[Piece], plans: Mapping[tuple[Dataset, int], _Plan]) -> list[MergeResult]:
    results = []
    for dataset in dict.fromkeys(piece.dataset for piece in pieces):
        files = [plan for key, plan in plans.items() if key[0] == dataset]
        frames = [piece.frame for piece in pieces if piece.dataset == dataset]
        results.append(
            MergeResult(
                dataset,
                rows_read=sum(len(frame) for frame in frames),
                rows_added=sum(plan.rows_added for plan in files),
                rows_replaced=sum(plan.rows_replaced for plan in files),
            )
        )
    return results


def _by_year(piece: Piece) -> Iterator[tuple[int, Piece]]:
    frame = _in_key_order(piece.dataset, piece.frame.cast(piece.dataset.schema.arrow()))
    time = frame[piece.dataset.schema.key[0]].to_numpy()
    if piece.dataset.table in STAMPS:
        time = settlement_minute(time) * MINUTE_MS
    years = time.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64) + 1970
    borders = [0, *(np.flatnonzero(np.diff(years)) + 1).tolist(), len(years)]
    for first, stop in pairwise(borders):
        if stop > first:
            yield int(years[first]), replace(piece, frame=frame.slice(first, stop - first))


def _parquet_bytes(frame: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(
        frame,
        sink,
        compression="zstd",
        use_dictionary=False,
        row_group_size=ROW_GROUP_ROWS,
        write_page_checksum=True,
        store_schema=False,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _in_key_order(dataset: Dataset, rows: pa.Table) -> pa.Table:
    if not strictly_increasing([rows[name].to_numpy() for name in dataset.schema.key]):
        raise InvariantError(Problem(str(dataset), f"rows are not in the order of {', '.join(dataset.schema.key)}"))
    return rows


def _sources(held: Entry | None, slices: Sequence[Piece]) -> tuple[SourceRows, ...]:
    known = {(source.name, source.sha256): source for source in (held.sources if held else ())}
    for piece in slices:
        time = piece.frame[piece.dataset.schema.key[0]]
        key = (piece.source.name, piece.source.sha256)
        span = (len(piece.frame), time[0].as_py(), time[-1].as_py())
        known[key] = SourceRows(*key, *span, published=piece.source.published)
    return tuple(sorted(known.values()))


def _disagreement(conflict: Conflict, parts: Sequence[Entry | Piece]) -> Problem:
    def source(part: Entry | Piece) -> str:
        return " or ".join(f"{source.name} ({source.sha256[:8]})" for source in _sources_of(part, conflict.time_ms))

    return Problem(
        f"{source(parts[conflict.second_part])} against {source(parts[conflict.first_part])}",
        f"{parts[0].dataset} disagree in {conflict.rows} rows, first at {time_text(conflict.time_ms)}: "
        f"{conflict.column} {conflict.second_value} against {conflict.first_value}",
        "import only one of them, or let the new rows replace the stored ones",
    )


def _correction(conflict: Conflict, parts: Sequence[Entry | Piece]) -> Correction:
    """Say what a new part, which comes first, changed of the stored one."""
    (new,) = _sources_of(parts[conflict.first_part], conflict.time_ms)
    old = sorted({source.name for source in _sources_of(parts[conflict.second_part], conflict.time_ms)})
    values = (float(str(conflict.second_value)), float(str(conflict.first_value)))
    return Correction(conflict.column, conflict.time_ms, conflict.rows, *values, new.name, new.sha256, " or ".join(old))


def _sources_of(part: Entry | Piece, time_ms: int) -> Sequence[Source]:
    return (part.source,) if isinstance(part, Piece) else part.sources_at(time_ms)


def _coverage(dataset: Dataset, entries: Sequence[Entry]) -> Coverage:
    first_ms = min(entry.first_ms for entry in entries)
    last_ms = max(entry.last_ms for entry in entries)
    rows = sum(entry.rows for entry in entries)
    bar_ms = dataset.interval_ms
    return Coverage(
        dataset,
        first_ms,
        last_ms,
        rows,
        None if bar_ms is None else (last_ms - first_ms) // bar_ms + 1 - rows,
        len(entries),
        tuple(sorted({source.name for entry in entries for source in entry.sources})),
    )
