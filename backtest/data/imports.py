"""Importing files: from a path to rows in the lake, each file checked whole before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from backtest.data.disk import sha256_file
from backtest.data.manifest import Source
from backtest.data.sources import freqtrade, generic, universe, vision
from backtest.data.sources.rows import ImportOptions, Rows, settle, to_frame, validate
from backtest.data.store import Lake, MergeResult, Piece
from backtest.errors import BacktestError, DataError, Problem


class Reader(Protocol):
    """A file of `backtest.data.sources`: says which files it knows, and reads one."""

    def recognises(self, path: Path) -> bool: ...
    def read(self, path: Path, options: ImportOptions) -> list[Rows]: ...


# In this order; the generic reader takes only files that the user names.
READERS: tuple[Reader, ...] = (freqtrade, vision, universe)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, and the files that it left alone because no reader knows them."""

    results: tuple[MergeResult, ...]
    unrecognised: tuple[Path, ...]


def reader_of(path: Path) -> Reader | None:
    """Give the reader that recognises a file by its name or columns."""
    return next((reader for reader in READERS if reader.recognises(path)), None)


def read_file(path: Path, options: ImportOptions | None = None) -> list[Rows]:
    """Read a file's rows as they stand, settled to UTC milliseconds but not validated."""
    options = options or ImportOptions()
    if not path.is_file():
        raise DataError(Problem(str(path), "does not exist", "check the path"))
    reader = (None if options.columns else reader_of(path)) or generic
    settled, problems = [], []
    for rows in reader.read(path, options):
        ready, wrong = settle(rows, options)
        settled.append(ready)
        problems += wrong
    if problems:
        raise DataError(*problems)
    return settled


def import_file(lake: Lake, path: Path, options: ImportOptions | None = None) -> list[MergeResult]:
    """Import one file, or nothing of it.

    Raises `DataError` with every problem found: unit, missing and impossible values, order, repeats, disagreement
    with rows that are there already.
    """
    options = options or ImportOptions()
    return lake.merge(_pieces(path, options), replace_rows=options.replace_rows)


def import_path(
    lake: Lake,
    path: Path,
    options: ImportOptions | None = None,
    done: Callable[[Sequence[MergeResult]], None] = lambda results: None,
) -> ImportReport:
    """Import a file, or every file under a folder that a reader recognises.

    A folder's files are taken one by one (archives of one folder together); `done` hears of each. Files with problems
    are left out and the others taken; then `DataError` lists all the problems.
    """
    options = options or ImportOptions()
    if not path.is_dir():
        results = import_file(lake, path, options)
        done(results)
        return ImportReport(tuple(results), ())
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    known = [(reader, file) for file in files if (reader := reader_of(file)) is not None]
    problems: list[Problem] = []
    all_results: list[MergeResult] = []
    for _, batch in groupby(known, key=lambda pair: pair[1].parent if pair[0] is vision else pair[1]):
        try:
            pieces = [piece for _, file in batch for piece in _pieces(file, options)]
            results = lake.merge(pieces, replace_rows=options.replace_rows)
        except BacktestError as error:
            problems += error.problems
        else:
            all_results += results
            done(results)
    if problems:
        raise DataError(*problems)
    recognised = {file for _, file in known}
    return ImportReport(tuple(all_results), tuple(file for file in files if file not in recognised))


def _pieces(path: Path, options: ImportOptions) -> list[Piece]:
    settled = read_file(path, options)
    problems = [problem for rows in settled for problem in validate(rows)]
    if problems:
        raise DataError(*problems)
    source = Source(path.name, sha256_file(path))
    return [Piece(rows.dataset, to_frame(rows, options), source) for rows in settled]
