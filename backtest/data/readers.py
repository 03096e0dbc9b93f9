"""Which reader knows a file, and what it reads: rows as they stand, at UTC milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from backtest.data.sources import freqtrade, generic, lean, trades, universe, vision
from backtest.data.sources.rows import ImportOptions, Rows, settle
from backtest.errors import DataError, Problem


class Reader(Protocol):
    """A file of `backtest.data.sources`: says which files it knows, and reads one."""

    def recognises(self, path: Path) -> bool: ...
    def read(self, path: Path, options: ImportOptions) -> list[Rows]: ...


# In this order; the generic reader takes only files that the user names.
READERS: tuple[Reader, ...] = (freqtrade, vision, trades, universe, lean)


def reader_of(path: Path) -> Reader | None:
    """Give the reader that recognises a file by its name or columns."""
    return next((reader for reader in READERS if reader.recognises(path)), None)


def _is_described(options: ImportOptions) -> bool:
    """Say whether the user says what the columns of a file are, and no reader is to know better."""
    return bool(options.columns or options.header)


def columns_taken(path: Path, options: ImportOptions) -> list[str]:
    """Say what an import takes a file's columns for; nothing where its own format says so."""
    if path.is_dir() or (not _is_described(options) and reader_of(path) is not None):
        return []
    return generic.taken(path, options)


def read_file(path: Path, options: ImportOptions | None = None) -> list[Rows]:
    """Read a file's rows as they stand, settled to UTC milliseconds but not validated."""
    options = options or ImportOptions()
    if not path.is_file():
        raise DataError(Problem(str(path), "does not exist", "check the path"))
    reader = (None if _is_described(options) else reader_of(path)) or generic
    settled, problems = [], []
    for rows in reader.read(path, options):
        ready, wrong = settle(rows, options)
        settled.append(ready)
        problems += wrong
    if problems:
        raise DataError(*problems)
    return settled
