"""Checks of one dataset by itself: order, grid, prices, funding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backtest.data import detect
from backtest.data.checks.finding import Finding, Sheet, rows_finding
from backtest.data.checks.series import check_holidays, check_series
from backtest.data.detect import Prices
from backtest.data.sources.rows import MARGIN_COLUMNS, PRICE_TABLES
from backtest.schema import BAR_TABLES
from backtest.units import DAY_MS, HOUR_MS, MINUTE_MS, duration_ms, duration_text, time_text

# A last bar with less than this share of the usual volume was most likely cut off.
_CUT_VOLUME = 0.2
# Settlements of the venues come on a grid of 8 hours from 00:00 UTC, or more often.
_GRID_MS = 8 * HOUR_MS


def check_sheet(sheet: Sheet, now_ms: int | None = None) -> list[Finding]:
    """Check one dataset by itself; with `now_ms`, rows of the future too."""
    if not len(sheet.time_ms):
        return [Finding("error", sheet.where, "has no rows", None, 0, "import it again")]
    findings = list(_check_order(sheet))
    if any(finding.first_ms is None for finding in findings):  # times in another unit: nothing can be compared
        return findings
    sheet = in_order(sheet)
    if sheet.dataset.table in BAR_TABLES:
        findings += [*_check_grid(sheet), *_check_prices(sheet)]
    elif sheet.dataset.table == "asset_marks":
        findings += [*_check_grid(sheet), *_check_marks(sheet)]
    elif sheet.dataset.table == "funding_rate":
        findings += _check_funding(sheet)
    else:
        findings += check_series(sheet, now_ms)
    return findings


def in_order(sheet: Sheet) -> Sheet:
    """Give the sheet with its rows by time, repeated ones once; a series may have a time more than once."""
    if not detect.out_of_order(sheet.time_ms).size and not detect.repeated(sheet.time_ms).size:
        return sheet
    if sheet.dataset.table == "series":
        return sheet.take(np.argsort(sheet.time_ms, kind="stable"))
    return sheet.take(np.unique(sheet.time_ms, return_index=True)[1])


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
        newest_first = unsorted.size == len(time_ms) - 1
        what = "rows are earlier than the row before" + (": newest first" if newest_first else "")
        yield rows_finding(sheet, "error", unsorted, what, "import with sort")
    again = detect.repeated(time_ms)
    if again.size and "available_ms" not in sheet.values:
        yield rows_finding(sheet, "error", again, "rows repeat an earlier time", "remove the repeated rows")


def _check_grid(sheet: Sheet) -> Iterator[Finding]:
    interval_ms = duration_ms(sheet.dataset.interval)
    if interval_ms == DAY_MS and not _has_weekends(sheet):
        yield from check_holidays(sheet)
        return
    first, last = detect.gaps(sheet.time_ms, interval_ms)
    for start, stop in zip(first.tolist(), last.tolist(), strict=True):
        missing = (stop - start) // interval_ms + 1
        what = f"{missing} bars are missing, until {time_text(stop)}"
        remedy = "import them, or let the study flag the gap"
        if sheet.dataset.table == "asset_marks":
            remedy = "import them: until then the last close and margins before them stand in"
        yield Finding("warning", sheet.where, what, start, missing, remedy)
    odd = detect.off_grid(sheet.time_ms, interval_ms)
    if odd.size:
        yield rows_finding(
            sheet, "error", odd, f"bars do not open on the {sheet.dataset.interval} grid", "check the times"
        )
    if detect.last_bar_may_be_open(sheet.time_ms, interval_ms):
        volume = sheet.values.get("volume")
        cut = volume is not None and len(volume) > 20 and volume[-1] < _CUT_VOLUME * np.median(volume[-21:-1])
        yield rows_finding(
            sheet,
            "warning" if cut else "note",
            np.array([len(sheet.time_ms) - 1]),
            "the last bar has little volume: it is most likely unfinished"
            if cut
            else "the last bar may be unfinished: nothing shows that it had closed",
            "import with drop-last, unless its source gives closed bars only",
        )


def _has_weekends(sheet: Sheet) -> bool:
    """Say whether daily bars include Saturdays or Sundays; sessions of an exchange do not."""
    return bool(np.isin((sheet.time_ms // DAY_MS + 3) % 7, (5, 6)).mean() > 0.02)


def _check_prices(sheet: Sheet) -> Iterator[Finding]:
    idle = np.all([column == 0 for column in sheet.prices], axis=0)
    if sheet.dataset.table in PRICE_TABLES:
        if idle.any():
            what = "bars are 0 throughout: no trade"
            yield rows_finding(sheet, "error", np.flatnonzero(idle), what, "leave them out")
            sheet = sheet.take(np.flatnonzero(~idle))
        for name in Prices._fields:
            bad = detect.bad_prices(sheet.values[name])
            if bad.size:
                what = f"{name} is missing, negative or out of range"
                yield rows_finding(sheet, "error", bad, what, "correct the source")
    yield from _contradictions(sheet)
    jumps = detect.scale_jumps(sheet.values["open"], sheet.values["close"])
    if jumps.size and sheet.dataset.table in PRICE_TABLES:
        yield rows_finding(
            sheet,
            "error",
            jumps,
            "bars open about tenfold off the close before",
            "import the part on the other scale with scale",
        )
    if "volume" in sheet.values:
        flat = detect.flat_bars(sheet.prices, sheet.values["volume"])
        if flat.size:
            yield rows_finding(
                sheet, "note", flat, "bars are flat without volume", "an outage or no trade; mark still moves"
            )


def _contradictions(sheet: Sheet) -> Iterator[Finding]:
    contradictions = detect.ohlc_contradictions(sheet.prices)
    if contradictions.size:
        yield rows_finding(sheet, "error", contradictions, "bars contradict themselves", "correct or remove them")


def _check_marks(sheet: Sheet) -> Iterator[Finding]:
    """Check what a valued asset is worth and needs."""
    for name in (*Prices._fields, *MARGIN_COLUMNS):
        bad = detect.bad_values(sheet.values[name])
        if bad.size:
            yield rows_finding(
                sheet, "error", bad, f"{name} is missing, negative or out of range", "correct the source"
            )
        fine = detect.too_many_decimals(sheet.values[name])
        if fine.size:
            what = f"{name} has more than 8 decimals"
            yield rows_finding(sheet, "note", fine, what, "a replay takes it rounded to 1e-8, half to even")
    yield from _contradictions(sheet)
    initial, maintenance = (sheet.values[name] for name in MARGIN_COLUMNS)
    over = np.flatnonzero(maintenance > initial)
    if over.size:
        yield rows_finding(sheet, "error", over, "maintenance margin is over initial margin", "correct the margins")


def _check_funding(sheet: Sheet) -> Iterator[Finding]:
    rate = sheet.values["funding_rate"]
    bad = detect.bad_numbers(rate, 1.0)
    if bad.size:
        yield rows_finding(sheet, "error", bad, "rates are missing or not fractions", "correct the source")
    rows, before, after = detect.funding_interval_changes(sheet.time_ms)
    for row, old, new in zip(rows.tolist(), before.tolist(), after.tolist(), strict=True):
        old_text, new_text = duration_text(old * MINUTE_MS), duration_text(new * MINUTE_MS)
        what = f"the funding interval changes from {old_text} to {new_text}"
        yield rows_finding(sheet, "note", np.array([row]), what, f"use bars of at most {min(old_text, new_text)}")
    holes = detect.funding_holes(sheet.time_ms)
    if holes.size:
        yield rows_finding(
            sheet, "warning", holes, "settlements come late: some before them are missing", "import them"
        )
    yield from _check_clock(sheet)
    top = np.flatnonzero(np.abs(rate) == np.nanmax(np.abs(rate)))
    if top.size > 1 and rate[top[0]] != 0:
        what = f"rates are {rate[top[0]]:+.4%}, and none is beyond: the venue's cap"
        yield rows_finding(sheet, "note", top, what, "the true premium was larger")
    off_hour = np.flatnonzero(sheet.time_ms % HOUR_MS)
    if off_hour.size:
        yield rows_finding(
            sheet, "note", off_hour, "stamps are off the hour", "a stamp within 60 s of an open belongs to it"
        )
    zero = np.flatnonzero(rate == 0)
    if zero.size:
        yield rows_finding(
            sheet, "note", zero, "rates are exactly 0", "a true zero or a filled hole: compare another source"
        )


def _check_clock(sheet: Sheet) -> Iterator[Finding]:
    """Find stamps every 8 hours that are not on the venues' own hours: the file's clock may not be UTC."""
    step = np.diff(sheet.time_ms)
    if not len(step) or int(np.median(step)) // MINUTE_MS * MINUTE_MS != _GRID_MS:
        return
    phase_ms = (sheet.time_ms + MINUTE_MS // 2) % _GRID_MS // MINUTE_MS * MINUTE_MS
    off = np.flatnonzero(phase_ms)
    phases, counts = np.unique(phase_ms, return_counts=True)
    usual_ms = int(phases[np.argmax(counts)])
    if usual_ms:
        what = (
            f"settlements come {duration_text(usual_ms)} after 00, 08 and 16 UTC: a clock ahead, or the venue's hours"
        )
        yield rows_finding(sheet, "warning", off, what, f"import with utc-offset {duration_text(usual_ms)} if it is")
    odd = np.flatnonzero(phase_ms != usual_ms)
    if odd.size:
        yield rows_finding(sheet, "warning", odd, "settlements are off the usual hours", "compare another source")
