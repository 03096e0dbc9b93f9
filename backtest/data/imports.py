"""Importing files: from a path to rows in the lake, each file checked whole before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from backtest.data.pieces import pieces_of_file
from backtest.data.readers import reader_of
from backtest.data.sources import vision
from backtest.data.sources.rows import ImportOptions
from backtest.data.store import Lake, MergeResult
from backtest.errors import BacktestError, DataError, Problem


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, and the files that it left alone because no reader knows them."""

    results: tuple[MergeResult, ...]
    unrecognised: tuple[Path, ...]


def import_file(lake: Lake, path: Path, options: ImportOptions | None = None) -> list[MergeResult]:
    """Import one file, or nothing of it.

    Raises `DataError` with every problem found: unit, missing and impossible values, order, repeats, disagreement
    with rows that are there already.
    """
    options = options or ImportOptions()
    return lake.merge(pieces_of_file(path, options), replace_rows=options.replace_rows)


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
    if not files:
        raise DataError(Problem(str(path), "holds no files", "check the path"))
    known = [(reader, file) for file in files if (reader := reader_of(file)) is not None]
    problems: list[Problem] = []
    all_results: list[MergeResult] = []
    for _, batch in groupby(known, key=lambda pair: pair[1].parent if pair[0] is vision else pair[1]):
        try:
            pieces = [piece for _, file in batch for piece in pieces_of_file(file, options)]
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
