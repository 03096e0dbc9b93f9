"""Checking market data: every defect that the detectors find, as a list of findings. Nothing is ever repaired here.

In a lake, or in files as they lie there before anyone imports them. Each dataset is checked by itself, then against the
others of its symbol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from backtest.data.checks.finding import Finding, Sheet, by_severity
from backtest.data.checks.rows import check_sheet, in_order
from backtest.data.checks.series import check_chain, check_releases, check_survivors
from backtest.data.checks.together import check_together
from backtest.data.manifest import Dataset
from backtest.data.readers import read_file, reader_of
from backtest.data.snapshots import is_tier_file, read_snapshot, snapshots
from backtest.data.sources import guess, vision
from backtest.data.sources.rows import ImportOptions, settle
from backtest.data.store import Lake
from backtest.errors import BacktestError, IntegrityError

# What so many datasets of a file have alike is told once.
_MANY = 4


def check(
    lake: Lake, *, venue: str | None = None, symbol: str | None = None, table: str | None = None
) -> list[Finding]:
    """Check everything the lake holds, or what the filters leave; most severe first.

    A file that is not what the manifest says is a finding, and its rows are not read; so is a damaged snapshot.
    """
    wanted = [
        dataset
        for dataset in lake.datasets()
        if venue in (None, dataset.venue) and symbol in (None, dataset.symbol) and table in (None, dataset.table)
    ]
    findings = [
        Finding("warning", str(path), "is not listed in the manifest", None, 1, "remove it; it is never read")
        for path in lake.strays()
    ]
    for snapshot in snapshots(lake.root):
        try:
            read_snapshot(snapshot.path)
        except IntegrityError as error:
            findings += _errors(error)
    in_order = sorted(wanted, key=lambda dataset: (dataset.venue, dataset.symbol))
    for _, group in groupby(in_order, key=lambda dataset: (dataset.venue, dataset.symbol)):
        sheets = []
        for dataset in group:
            try:
                sheets.append(_sheet(lake, dataset))
            except BacktestError as error:
                findings += _errors(error)
        findings += [finding for sheet in sheets for finding in check_sheet(sheet)]
        findings += list(check_together(sheets)) if table is None else []
    return by_severity(findings)


def check_file(path: Path, options: ImportOptions | None = None) -> list[Finding]:
    """Check a source file as it stands, before any import."""
    sheets, findings = _sheets_of(path, options)
    return by_severity([*findings, *(finding for sheet in sheets for finding in check_sheet(sheet))])


def check_paths(paths: Iterable[Path], now_ms: int | None = None) -> list[Finding]:
    """Check files, and every file under folders, by themselves and against each other.

    A file that no reader knows is taken as what it most likely is. What says nothing of a venue is "unknown".
    """
    findings: list[Finding] = []
    known: list[Sheet] = []
    for file in _files(paths):
        sheets, wrong = _sheets_of(file, None)
        findings += wrong
        findings += [finding for sheet in sheets for finding in check_sheet(sheet, now_ms)]
        findings += [*check_survivors(file.name, sheets), *check_chain(file.name, sheets)]
        known += [in_order(sheet) for sheet in sheets if len(sheet.time_ms)]
    return by_severity(_as_a_whole([*findings, *_beside_each_other(known)]))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Give the files that are named, and those of folders that can hold data."""
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file() and _is_data(file))
        else:
            yield path


def _is_data(file: Path) -> bool:
    return file.suffix in (".csv", ".parquet", ".feather", ".zip", ".gz") or bool(reader_of(file)) or is_tier_file(file)


def _beside_each_other(sheets: Sequence[Sheet]) -> Iterator[Finding]:
    def of_one(sheet: Sheet) -> tuple[str, str]:
        return sheet.dataset.venue, sheet.dataset.symbol

    for _, group in groupby(sorted(sheets, key=of_one), key=of_one):
        together = list(group)
        if len(together) > 1:
            yield from check_together(together)
    series = [sheet for sheet in sheets if sheet.dataset.table == "series"]
    for calendar in (sheet for sheet in series if "available_ms" in sheet.values):
        for other in series:
            if other.dataset.symbol.startswith(f"{calendar.dataset.symbol}."):
                yield from check_releases(calendar, other)
                break


def _sheets_of(file: Path, options: ImportOptions | None) -> tuple[list[Sheet], list[Finding]]:
    """Read a file as sheets, and tell what is wrong with it as a whole."""
    if is_tier_file(file):
        what = "leverage tiers without a date: in force on one day, and others before and after"
        return [], [Finding("note", file.name, what, None, 1, "import with seen, the day on which they were")]
    findings = []
    reader = reader_of(file)
    if reader is vision and not file.with_name(f"{file.name}.CHECKSUM").is_file():
        remedy = "fetch it again with data pull, which compares the venue's checksum"
        findings.append(Finding("note", file.name, "has no .CHECKSUM beside it", None, 1, remedy))
    try:
        if options is None and reader is None and file.is_file():
            parts = [settle(part, ImportOptions())[0] for part in guess.read(file)]
        else:
            parts = read_file(file, options or ImportOptions(venue=guess.venue_of(file)))
    except BacktestError as error:
        return [], findings + _errors(error)
    where = f"{file.name} {{}}".format
    return [Sheet(where(part.dataset.symbol), part.dataset, part.time, part.values) for part in parts], findings


def _errors(error: BacktestError) -> list[Finding]:
    return [Finding("error", problem.where, problem.what, None, 1, problem.remedy) for problem in error.problems]


def _as_a_whole(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Tell what many datasets of one file have alike once, with how many datasets have it."""
    kinds: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        file = finding.where.split(" ")[0]
        alike = re.sub(r"[A-Z0-9]+USDT|[\d.:,+-]+", "#", finding.what)
        kinds.setdefault((file, finding.severity, alike), []).append(finding)
    for (file, _, _), group in kinds.items():
        places = {finding.where for finding in group}
        if len(places) < _MANY:
            yield from group
            continue
        what = f"{group[0].what}; in {len(places)} datasets, first {group[0].where.partition(' ')[2]}"
        yield replace(group[0], where=file, what=what, count=sum(finding.count for finding in group))


def _sheet(lake: Lake, dataset: Dataset) -> Sheet:
    frame = lake.read(dataset)
    own = [name for name in frame.column_names if name != dataset.schema.key[0]]
    values = {name: frame[name].to_numpy().astype(np.float64) for name in own if frame[name].null_count < len(frame)}
    if dataset.table != "series":
        values.pop("available_ms")
    return Sheet(str(dataset), dataset, frame[dataset.schema.key[0]].to_numpy(), values)
