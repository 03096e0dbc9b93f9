"""The manifest: what the lake holds, file by file, with the SHA-256 that each file must have.

A stored file is named by its own hash. A crash between writing files and writing the manifest therefore leaves the
old manifest with all of its files, and at most files that no manifest lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from backtest.data.disk import sha256_bytes, write_atomic
from backtest.errors import IntegrityError, Problem, UsageError, did_you_mean
from backtest.schema import INTERVAL_TABLES, LAKE_TABLES, Table
from backtest.units import MINUTE_MS, duration_ms

MANIFEST = "manifest.json"
FORMAT = 1
# The partition value for tables that are not bars.
EVENT = "event"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Dataset(NamedTuple):
    """One dataset of the lake: everything that shares a folder above the years."""

    venue: str
    table: str
    symbol: str
    interval: str  # of the bars; "event" for funding and series

    def __str__(self) -> str:
        return f"{self.venue} {self.table} {self.symbol} {self.interval}"

    @property
    def schema(self) -> Table:
        return LAKE_TABLES[self.table]

    @property
    def interval_ms(self) -> int | None:
        """Length of a bar; None for tables that are not bars."""
        return None if self.interval == EVENT else duration_ms(self.interval)

    def folder(self, year: int) -> str:
        return f"venue={self.venue}/table={self.table}/symbol={self.symbol}/interval={self.interval}/year={year}"

    def check(self) -> Dataset:
        """Refuse a name that cannot be a folder, an unknown table and an interval that does not fit the table."""
        problems = [
            Problem(str(self), f"{value!r} cannot name a {field}", "use letters, digits, dot, dash and underscore")
            for field, value in self._asdict().items()
            if not _NAME.fullmatch(value)
        ]
        if self.table not in LAKE_TABLES:
            problems.append(Problem(str(self), f"no table {self.table!r}", did_you_mean(self.table, LAKE_TABLES)))
        elif (self.interval == EVENT) == (self.table in INTERVAL_TABLES):
            problems.append(Problem(str(self), f"interval {self.interval!r} does not fit table {self.table}"))
        elif self.interval != EVENT:
            try:
                duration_ms(self.interval)
            except ValueError as error:
                problems.append(Problem(str(self), str(error)))
        if problems:
            raise UsageError(*problems)
        return self


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """Where rows came from: a file and its hash; `published` where the venue states that hash and it was compared."""

    name: str
    sha256: str
    published: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True, order=True)
class SourceRows(Source):
    """The part of a stored file that one source delivered."""

    rows: int
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Correction:
    """What one source changed of a stored column: `before` and `after` are the first of the `rows` values."""

    column: str
    first_ms: int
    rows: int
    before: float
    after: float
    source: str
    sha256: str
    against: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored file; corrections in the order in which they were made."""

    dataset: Dataset
    year: int
    sha256: str
    rows: int
    first_ms: int
    last_ms: int
    sources: tuple[SourceRows, ...]
    corrections: tuple[Correction, ...] = ()

    @property
    def path(self) -> str:
        """Path inside the lake; the name is the beginning of the file's own hash."""
        return f"{self.dataset.folder(self.year)}/{self.sha256[:16]}.parquet"

    def sources_at(self, time_ms: int) -> list[SourceRows]:
        """List the sources whose rows span a time, to the minute."""
        return [s for s in self.sources if s.first_ms - MINUTE_MS <= time_ms <= s.last_ms + MINUTE_MS]


def manifest_version(root: Path) -> tuple[int, ...] | None:
    """Tell one manifest from another without reading it; None where there is none."""
    try:
        stat = (root / MANIFEST).stat()
    except FileNotFoundError:
        return None
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)


def read_manifest(root: Path) -> list[Entry]:
    """Read the manifest of a lake; a lake without one is empty.

    Raises `IntegrityError` where it is not JSON or not what its own hash says.
    """
    path = root / MANIFEST
    if not path.exists():
        return []
    try:
        document = json.loads(path.read_bytes())
        files, sha256, format_ = document["files"], document["sha256"], document["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"cannot be read ({type(error).__name__})") from None
    if format_ != FORMAT:
        raise _damaged(path, f"has format {format_!r}, wanted {FORMAT}")
    if sha256 != _files_hash(files):
        raise _damaged(path, "is not what its own hash says")
    return [
        Entry(
            Dataset(*(file.pop(field) for field in Dataset._fields)),
            sources=tuple(SourceRows(**source) for source in file.pop("sources")),
            corrections=tuple(Correction(**row) for row in file.pop("corrections", ())),
            **file,
        )
        for file in files
    ]


def write_manifest(root: Path, entries: Iterable[Entry]) -> None:
    """Write the manifest atomically; equal entries give equal bytes."""
    files = [
        {**entry.dataset._asdict(), **{k: v for k, v in asdict(entry).items() if k != "dataset"}}
        for entry in sorted(entries, key=lambda entry: (entry.dataset, entry.year))
    ]
    document = {"format": FORMAT, "sha256": _files_hash(files), "files": files}
    write_atomic(root / MANIFEST, (json.dumps(document, indent=1) + "\n").encode())


def entries_hash(entries: Sequence[Entry]) -> str:
    """Hash what decides a result: datasets, years and file hashes, not where the rows came from."""
    listed = sorted((*entry.dataset, entry.year, entry.sha256) for entry in entries)
    return sha256_bytes(json.dumps(listed, separators=(",", ":")).encode())


def _files_hash(files: object) -> str:
    return sha256_bytes(json.dumps(files, sort_keys=True, separators=(",", ":")).encode())


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(Problem(str(path), what, "restore it from a copy, or build the lake again from its sources"))
