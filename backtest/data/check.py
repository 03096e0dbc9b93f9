"""Checking market data: every defect that the detectors find, as a list of findings. Nothing is ever repaired here.

A dataset is checked alone (`check_rows`), then against the other tables of its symbol (`check_lake`): mark and funding
must cover the klines, finer bars must add up to coarser ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from backtest.data import detect
from backtest.data.detect import Floats, Ints, Prices
from backtest.data.manifest import Dataset
from backtest.data.readers import read_file
from backtest.data.sources.rows import PRICE_TABLES, ImportOptions
from backtest.data.store import Lake
from backtest.errors import BacktestError
from backtest.schema import BAR_TABLES
from backtest.units import HOUR_MS, MINUTE_MS, duration_ms, duration_text, time_text

# Bars of two sources that differ by less than this share are taken as equal: venues round differently.
SAME = 1e-9
# A last bar with less than this share of the usual volume was most likely cut off.
_CUT_VOLUME = 0.2


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of defect in one place: `severity` is "error", "warning" or "note"."""

    severity: str
    where: str
    what: str
    first_ms: int | None
    count: int
    remedy: str

    def __str__(self) -> str:
        at = f" from {time_text(self.first_ms)}" if self.first_ms is not None else ""
        return f"{self.severity}: {self.where}{at}: {self.what}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One dataset as arrays: times in UTC milliseconds, columns in natural units, NaN where missing."""

    where: str
    dataset: Dataset
    time_ms: Ints
    values: Mapping[str, Floats]

    @property
    def prices(self) -> Prices:
        return Prices(*(self.values[name] for name in Prices._fields))


def check(
    lake: Lake, *, venue: str | None = None, symbol: str | None = None, table: str | None = None
) -> list[Finding]:
    """Check everything the lake holds, or what the filters leave; most severe first.

    A file that is not what the manifest says is a finding, and its rows are not read.
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
    in_order = sorted(wanted, key=lambda dataset: (dataset.venue, dataset.symbol))
    for _, group in groupby(in_order, key=lambda dataset: (dataset.venue, dataset.symbol)):
        sheets = []
        for dataset in group:
            try:
                sheets.append(_sheet(lake, dataset))
            except BacktestError as error:
                findings += [Finding("error", p.where, p.what, None, 1, p.remedy) for p in error.problems]
        findings += [finding for sheet in sheets for finding in check_sheet(sheet)]
        findings += list(check_together(sheets)) if table is None else []
    return _by_severity(findings)


def check_file(path: Path, options: ImportOptions | None = None) -> list[Finding]:
    """Check a source file as it stands, before any import."""
    sheets = []
    try:
        for rows in read_file(path, options):
            where = f"{path.name} {rows.dataset.symbol}"
            sheets.append(Sheet(where, rows.dataset, rows.time, rows.values))
    except BacktestError as error:
        return [Finding("error", p.where, p.what, None, 1, p.remedy) for p in error.problems]
    return _by_severity(finding for sheet in sheets for finding in check_sheet(sheet))


def check_sheet(sheet: Sheet) -> list[Finding]:
    """Check one dataset by itself."""
    if not len(sheet.time_ms):
        return [Finding("error", sheet.where, "has no rows", None, 0, "import it again")]
    findings = list(_check_order(sheet))
    if findings:  # the other detectors want rows in order
        return findings
    if sheet.dataset.table in BAR_TABLES:
        findings += [*_check_grid(sheet), *_check_prices(sheet)]
    elif sheet.dataset.table == "funding_rate":
        findings += _check_funding(sheet)
    else:
        jumps = detect.scale_jumps(sheet.values["value"], sheet.values["value"])
        if jumps.size:
            findings.append(_rows(sheet, "warning", jumps, "values jump about tenfold", "compare the unit before it"))
    return findings


def check_together(sheets: Iterable[Sheet]) -> Iterator[Finding]:
    """Check the tables of one venue and symbol against each other."""
    by_table: dict[str, list[Sheet]] = {}
    for sheet in sheets:
        if len(sheet.time_ms):
            by_table.setdefault(sheet.dataset.table, []).append(sheet)
    for klines in by_table.get("klines", []):
        if klines.dataset.venue.endswith("-spot"):
            continue
        yield from _check_mark(klines, by_table.get("mark_price", []))
        yield from _check_funding_cover(klines, by_table.get("funding_rate", []))
    for table in BAR_TABLES:
        bars = sorted(by_table.get(table, []), key=lambda sheet: duration_ms(sheet.dataset.interval))
        for index, fine in enumerate(bars):
            for coarse in bars[index + 1 :]:
                yield from _check_adds_up(fine, coarse)


def _check_order(sheet: Sheet) -> Iterator[Finding]:
    time_ms = sheet.time_ms
    units = detect.time_units(time_ms)
    wrong = np.flatnonzero(units != detect.UNITS.index("ms"))
    if wrong.size and sheet.dataset.table != "series":
        unit = detect.UNITS[int(units[wrong[0]])]
        what = f"{wrong.size} times are in {unit}, not ms, first {time_ms[wrong[0]]} in row {wrong[0] + 1}"
        yield Finding("error", sheet.where, what, None, wrong.size, f"import with the time unit {unit}")
        return
    unsorted = detect.out_of_order(time_ms)
    if unsorted.size:
        yield _rows(sheet, "error", unsorted, "rows are earlier than the row before", "import with sort")
    again = detect.repeated(time_ms)
    if again.size and "available_ms" not in sheet.values:
        yield _rows(sheet, "error", again, "rows repeat an earlier time", "remove the repeated rows")


def _check_grid(sheet: Sheet) -> Iterator[Finding]:
    interval_ms = duration_ms(sheet.dataset.interval)
    first, last = detect.gaps(sheet.time_ms, interval_ms)
    for start, stop in zip(first.tolist(), last.tolist(), strict=True):
        missing = (stop - start) // interval_ms + 1
        what = f"{missing} bars are missing, until {time_text(stop)}"
        yield Finding("warning", sheet.where, what, start, missing, "import them, or let the study flag the gap")
    odd = detect.off_grid(sheet.time_ms, interval_ms)
    if odd.size:
        yield _rows(sheet, "error", odd, f"bars do not open on the {sheet.dataset.interval} grid", "check the times")
    if detect.last_bar_may_be_open(sheet.time_ms, interval_ms):
        volume = sheet.values.get("volume")
        cut = volume is not None and len(volume) > 20 and volume[-1] < _CUT_VOLUME * np.median(volume[-21:-1])
        yield _rows(
            sheet,
            "warning" if cut else "note",
            np.array([len(sheet.time_ms) - 1]),
            "the last bar has little volume: it is most likely unfinished"
            if cut
            else "the last bar may be unfinished: nothing shows that it had closed",
            "import with drop-last, unless its source gives closed bars only",
        )


def _check_prices(sheet: Sheet) -> Iterator[Finding]:
    for name in Prices._fields if sheet.dataset.table in PRICE_TABLES else ():
        bad = detect.bad_prices(sheet.values[name])
        if bad.size:
            yield _rows(sheet, "error", bad, f"{name} is missing, negative or out of range", "correct the source")
    contradictions = detect.ohlc_contradictions(sheet.prices)
    if contradictions.size:
        yield _rows(sheet, "error", contradictions, "bars contradict themselves", "correct or remove them")
    jumps = detect.scale_jumps(sheet.values["open"], sheet.values["close"])
    if jumps.size and sheet.dataset.table in PRICE_TABLES:
        yield _rows(
            sheet,
            "error",
            jumps,
            "bars open about tenfold off the close before",
            "import the part on the other scale with scale",
        )
    if "volume" in sheet.values:
        flat = detect.flat_bars(sheet.prices, sheet.values["volume"])
        if flat.size:
            yield _rows(sheet, "note", flat, "bars are flat without volume", "an outage or no trade; mark still moves")


def _check_funding(sheet: Sheet) -> Iterator[Finding]:
    rate = sheet.values["funding_rate"]
    bad = detect.bad_numbers(rate, 1.0)
    if bad.size:
        yield _rows(sheet, "error", bad, "rates are missing or not fractions", "correct the source")
    rows, before, after = detect.funding_interval_changes(sheet.time_ms)
    for row, old, new in zip(rows.tolist(), before.tolist(), after.tolist(), strict=True):
        old_text, new_text = duration_text(old * MINUTE_MS), duration_text(new * MINUTE_MS)
        what = f"the funding interval changes from {old_text} to {new_text}"
        yield _rows(sheet, "note", np.array([row]), what, f"use bars of at most {min(old_text, new_text)}")
    holes = detect.funding_holes(sheet.time_ms)
    if holes.size:
        yield _rows(sheet, "warning", holes, "settlements come late: some before them are missing", "import them")
    off_hour = np.flatnonzero(sheet.time_ms % HOUR_MS)
    if off_hour.size:
        yield _rows(sheet, "note", off_hour, "stamps are off the hour", "a stamp within 60 s of an open belongs to it")
    zero = np.flatnonzero(rate == 0)
    if zero.size:
        yield _rows(sheet, "note", zero, "rates are exactly 0", "a true zero or a filled hole: compare another source")


def _check_mark(klines: Sheet, marks: list[Sheet]) -> Iterator[Finding]:
    if not marks:
        what = "there are klines but no mark price"
        yield _rows(klines, "warning", np.array([0]), what, "import mark bars: only mark decides liquidation")
        return
    same = [sheet for sheet in marks if sheet.dataset.interval == klines.dataset.interval]
    for mark in same:
        missing = np.flatnonzero(~np.isin(klines.time_ms, mark.time_ms))
        if missing.size:
            until = time_text(int(klines.time_ms[missing[-1]]))
            what = f"klines have no mark bar beside them, until {until}"
            yield _rows(klines, "warning", missing, what, "import mark bars, or start the study later")
    if not same:
        there = ", ".join(sheet.dataset.interval for sheet in marks)
        what = f"mark bars are there at {there} only"
        yield _rows(klines, "note", np.array([0]), what, "import mark bars of this interval for a study on it")


def _check_funding_cover(klines: Sheet, fundings: list[Sheet]) -> Iterator[Finding]:
    if not fundings:
        yield _rows(klines, "warning", np.array([0]), "there are klines but no funding", "import the funding history")
        return
    stamps = fundings[0].time_ms
    reach_ms = 8 * HOUR_MS + MINUTE_MS
    outside = (klines.time_ms < stamps[0] - reach_ms) | (klines.time_ms > stamps[-1] + reach_ms)
    missing = np.flatnonzero(outside)
    if missing.size:
        span = f"funding covers {time_text(int(stamps[0]))} to {time_text(int(stamps[-1]))} only"
        yield _rows(klines, "warning", missing, span, "import the funding history of the rest")


def _check_adds_up(fine: Sheet, coarse: Sheet) -> Iterator[Finding]:
    """Compare finer bars, aggregated, with stored coarser bars: archives and APIs disagree around outages."""
    coarse_ms, fine_ms = duration_ms(coarse.dataset.interval), duration_ms(fine.dataset.interval)
    if coarse_ms % fine_ms:
        return
    time_ms, joined, volume = detect.aggregate(
        fine.time_ms, fine.prices, coarse_ms, coarse_ms // fine_ms, fine.values.get("volume")
    )
    yield from disagreements(
        Sheet(fine.where, fine.dataset, time_ms, joined._asdict() | ({} if volume is None else {"volume": volume})),
        coarse,
        tolerance=1e-6,
    )


def disagreements(one: Sheet, other: Sheet, tolerance: float = SAME) -> Iterator[Finding]:
    """Compare the columns that two datasets share at the times that both have."""
    _, mine, theirs = np.intersect1d(one.time_ms, other.time_ms, return_indices=True)
    for names, severity in ((Prices._fields, "warning"), (("volume", "funding_rate"), "note")):
        differs = np.zeros(len(mine), bool)
        for name in names:
            if name in one.values and name in other.values:
                a, b = one.values[name][mine], other.values[name][theirs]
                differs |= np.abs(a - b) > tolerance * np.maximum(np.abs(a), np.abs(b))
        rows = mine[differs]
        if rows.size:
            what = f"{'prices' if severity == 'warning' else 'volumes or rates'} disagree with {other.where}"
            yield _rows(one, severity, rows, what, "archive and API differ around outages; decide which one to keep")


def _sheet(lake: Lake, dataset: Dataset) -> Sheet:
    frame = lake.read(dataset)
    own = [name for name in frame.column_names if name != dataset.schema.key[0]]
    values = {name: frame[name].to_numpy().astype(np.float64) for name in own if frame[name].null_count < len(frame)}
    if dataset.table != "series":
        values.pop("available_ms")
    return Sheet(str(dataset), dataset, frame[dataset.schema.key[0]].to_numpy(), values)


def _rows(sheet: Sheet, severity: str, rows: Ints, what: str, remedy: str) -> Finding:
    count = f"{rows.size} × " if rows.size > 1 else ""
    return Finding(severity, sheet.where, count + what, int(sheet.time_ms[rows[0]]), int(rows.size), remedy)


def _by_severity(findings: Iterable[Finding]) -> list[Finding]:
    order = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))
