"""From what a source delivered to rows that the lake takes: each file or answer checked whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backtest.data.disk import sha256_bytes, sha256_file
from backtest.data.manifest import Dataset, Source
from backtest.data.readers import read_file
from backtest.data.sources.rows import ImportOptions, Rows, settle, to_frame, validate
from backtest.data.store import Piece
from backtest.errors import DataError, Problem


def pieces_of_file(path: Path, options: ImportOptions) -> list[Piece]:
    """Read a file, one piece a dataset.

    Where the venue's `.CHECKSUM` lies beside it, the file must have it. Raises `DataError` with all that is wrong.
    """
    parts = read_file(path, options)
    return _checked(parts, options, Source(path.name, sha256_file(path), published=_is_published(path)))


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
    (piece,) = _checked([settled], options, Source(name, sha256_bytes(content)))
    return piece


def _checked(parts: Sequence[Rows], options: ImportOptions, source: Source) -> list[Piece]:
    problems = [problem for rows in parts for problem in validate(rows)]
    if problems:
        raise DataError(*problems)
    return [Piece(rows.dataset, to_frame(rows, options), source) for rows in parts]


def _is_published(path: Path) -> bool:
    """Compare a file with the `.CHECKSUM` beside it; False where there is none."""
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if not beside.is_file():
        return False
    wanted = checksum_in(beside.read_bytes()[:1024], path.name)
    if wanted is None:
        raise DataError(Problem(beside.name, f"is not the SHA-256 of {path.name}", "fetch both files again"))
    if wanted != sha256_file(path):
        raise DataError(Problem(path.name, f"does not have the SHA-256 of its .CHECKSUM, {wanted[:8]}…", "fetch again"))
    return True


def checksum_in(text: bytes, name: str) -> str | None:
    """Read the SHA-256 of a file from the text of its `.CHECKSUM`; None where it is something else."""
    found = re.fullmatch(rf"([0-9a-f]{{64}})\s+\*?{re.escape(name)}\s*", text.decode("ascii", "replace"))
    return None if found is None else found[1]
