"""What an interrupted call leaves: the finished jobs of a study as readable tables, for the next call to go on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backtest.data.disk import sha256_file, write_atomic
from backtest.errors import IntegrityError
from backtest.schema import RESULT_TABLES
from backtest.study.archive import FORMAT, MANIFEST, ParquetSink
from backtest.study.jobs import Job

INTERRUPTED = ".interrupted"
Key = tuple[str, str, str]  # symbol, strategy, reaction


@dataclass(slots=True)
class Tracked:
    """A sink that remembers which jobs are complete in the files behind it, and their rows by table."""

    sink: ParquetSink
    finished: list[tuple[Key, dict[str, int]]] = field(default_factory=list)

    def write(self, outcomes: pa.Table, ledger: dict[str, pa.Table]) -> None:
        """Append a job's outcomes and kept rows."""
        self.sink.write(outcomes, ledger)
        symbol, strategy, reaction = (outcomes[name][0].as_py() for name in ("symbol", "strategy", "reaction"))
        rows = {name: len(table) for name, table in {"outcomes": outcomes, **ledger}.items()}
        self.finished.append(((symbol, strategy, reaction), rows))


@contextmanager
def kept_when_interrupted(staging: Path, tracked: Tracked, decided_by: Mapping[str, str], jobs: int) -> Iterator[None]:
    """On Ctrl-C, close the files and put them aside with a manifest that says what of `jobs` is finished in them."""
    try:
        yield
    except KeyboardInterrupt:
        if not tracked.finished:
            raise
        tracked.sink.close()
        content = {
            "format": FORMAT,
            "interrupted": True,
            "decided_by": dict(decided_by),
            "jobs": jobs,
            "finished": [[list(key), rows] for key, rows in tracked.finished],
            "files": {f"{name}.parquet": sha256_file(staging / f"{name}.parquet") for name in RESULT_TABLES},
        }
        write_atomic(staging / MANIFEST, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
        shutil.rmtree(staging.with_name(INTERRUPTED), ignore_errors=True)
        staging.rename(staging.with_name(INTERRUPTED))
        raise


@dataclass(frozen=True, slots=True)
class Finished:
    """The finished jobs of an interrupted call: where the rows of each begin in each table, and how many there are."""

    folder: Path
    places: Mapping[Key, Mapping[str, tuple[int, int]]]

    def has(self, symbol: str, job: Job) -> bool:
        """Tell whether a job is complete."""
        return (symbol, job.strategy, job.reaction) in self.places

    def tables(self, symbol: str, job: Job) -> tuple[pa.Table, dict[str, pa.Table]]:
        """Read a job's outcomes, and its kept rows by table."""
        place = self.places[symbol, job.strategy, job.reaction]
        tables = {name: _rows(self.folder / f"{name}.parquet", *place[name]) for name in RESULT_TABLES}
        return tables.pop("outcomes"), tables


def _rows(path: Path, first: int, count: int) -> pa.Table:
    """Read rows of a file, by the row groups that hold them."""
    with pq.ParquetFile(path) as file:
        start, groups, skipped = 0, [], 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if stop <= first:
                skipped = stop
            elif start < first + count:
                groups.append(group)
            start = stop
        return file.read_row_groups(groups).slice(first - skipped, count).combine_chunks()


def interrupted(folder: Path) -> Mapping[str, Any] | None:
    """Read what an interrupted call said it left in a folder of results; None where there was none."""
    path = folder / INTERRUPTED / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def finished_before(folder: Path, decided_by: Mapping[str, str]) -> Finished | None:
    """Give the finished jobs of an interrupted call of the very same study; None where there are none.

    Raises IntegrityError for files that are not what was left.
    """
    content = interrupted(folder)
    if content is None or content["format"] != FORMAT or content["decided_by"] != dict(decided_by):
        return None
    for name, sha256 in content["files"].items():
        path = folder / INTERRUPTED / name
        if not path.is_file() or sha256_file(path) != sha256:
            raise IntegrityError.at(path, "is not what the interrupted call left", f"remove {path.parent}")
    places: dict[Key, dict[str, tuple[int, int]]] = {}
    before = dict.fromkeys(RESULT_TABLES, 0)
    for (symbol, strategy, reaction), rows in content["finished"]:
        places[symbol, strategy, reaction] = {name: (before[name], rows[name]) for name in RESULT_TABLES}
        before = {name: before[name] + rows[name] for name in RESULT_TABLES}
    return Finished(folder / INTERRUPTED, places)
