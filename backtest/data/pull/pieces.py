"""From what a source delivered to rows that the lake takes, by the same checks as for any file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backtest.data.disk import sha256_bytes, sha256_file
from backtest.data.imports import read_file
from backtest.data.manifest import Dataset, Source
from backtest.data.sources.rows import ImportOptions, Rows, settle, to_frame, validate
from backtest.data.store import Piece
from backtest.errors import DataError


def piece_of_file(path: Path, options: ImportOptions) -> Piece:
    """Read a file that holds one dataset. Raises `DataError` with all that is wrong in it."""
    return _checked(read_file(path, options)[0], options, Source(path.name, sha256_file(path)))


def piece_of_records(
    dataset: Dataset,
    name: str,
    columns: Sequence[str],
    records: Mapping[int, Sequence[str]],
    *,
    available_after_ms: int | None = None,
) -> Piece | None:
    """Take records by time, each with the text of its columns; empty text is a missing value. None without records."""
    if not records:
        return None
    times = sorted(records)
    cells = [[float(cell) if cell else np.nan for cell in records[time]] for time in times]
    values = dict(zip(columns, np.array(cells, np.float64).T.copy(), strict=True))
    content = json.dumps([[time, *records[time]] for time in times], separators=(",", ":")).encode()
    options = ImportOptions(available_after_ms=available_after_ms)
    settled, problems = settle(Rows(Path(name), dataset, np.array(times, np.int64), values), options)
    if problems:
        raise DataError(*problems)
    return _checked(settled, options, Source(name, sha256_bytes(content)))


def _checked(rows: Rows, options: ImportOptions, source: Source) -> Piece:
    problems = validate(rows)
    if problems:
        raise DataError(*problems)
    return Piece(rows.dataset, to_frame(rows, options), source)
