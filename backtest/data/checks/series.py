"""Checks of dated series and calendars: what is missing, too early, in the future, or on a day without a market."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence

import numpy as np

from backtest.data import detect
from backtest.data.checks.finding import Finding, Sheet, rows_finding
from backtest.data.detect import Ints
from backtest.units import DAY_MS, MINUTE_MS, duration_text, time_text

_FEW = 30
_MANY_SYMBOLS = 20
_MONTH_DAYS = (28, 31)
# A scheduled event less than this share of the usual time after the one before was not planned.
_IRREGULAR = 0.65
_OPTION = re.compile(r"(?P<expiry>\d{4}-?\d{2}-?\d{2}|\d{1,2}[A-Z]{3}\d{2})-(?P<strike>[\d.]+)-(?P<right>[CP])$")


def check_series(sheet: Sheet, now_ms: int | None) -> Iterator[Finding]:
    """Check one series by itself; a series whose values are all 1 is a calendar."""
    value, time_ms = sheet.values["value"], sheet.time_ms
    empty = np.flatnonzero(np.isnan(value))
    if empty.size:
        yield rows_finding(sheet, "note", empty, "values are empty", "import with drop-empty")
    zero = np.flatnonzero(value == 0)
    if zero.size:
        yield rows_finding(sheet, "note", zero, "values are exactly 0", "a true zero, or the mark of no trade")
    jumps = detect.scale_jumps(value, value)
    if jumps.size and (value[~np.isnan(value)] >= 0).all():
        yield rows_finding(sheet, "warning", jumps, "values jump about tenfold", "compare the unit before it")
    if now_ms is not None and (time_ms > now_ms).any():
        later = np.flatnonzero(time_ms > now_ms)
        yield rows_finding(sheet, "note", later, "rows lie in the future: a schedule, not fact", "import with stop")
    if len(time_ms) < _FEW:
        what = f"the series has {len(time_ms)} rows only"
        yield rows_finding(sheet, "note", np.array([0]), what, "nothing can be compared over so few")
    if (value == 1).all() and len(value) > 1:
        yield from _check_calendar(sheet)
    else:
        yield from _check_steps(sheet)
    if "available_ms" not in sheet.values:
        what = "nothing says when a value was published, and whether it was revised since"
        remedy = "import with available-after, long enough; a value used before it was published is look-ahead"
        yield rows_finding(sheet, "note", np.array([0]), what, remedy)


def _check_calendar(sheet: Sheet) -> Iterator[Finding]:
    known = sheet.values.get("available_ms")
    stamps = sheet.time_ms if known is None else np.sort(known).astype(np.int64)
    if not (stamps % DAY_MS).any():
        yield rows_finding(sheet, "note", np.array([0]), "dates have no time of day", "take the whole day as the event")
    steps = np.diff(stamps)
    early = np.flatnonzero(steps < _IRREGULAR * np.median(steps)) + 1
    if early.size and known is None:
        what = "dates come much sooner than usual after the one before: not on a schedule, known only when they came"
        yield rows_finding(sheet, "note", early, what, "leave them out of what a rule may know beforehand")
    holes = np.flatnonzero(steps > 2.5 * np.median(steps)) + 1
    for row in holes.tolist():
        what = f"there is no date between {time_text(int(stamps[row - 1]))[:10]} and {time_text(int(stamps[row]))[:10]}"
        yield Finding("warning", sheet.where, what, int(stamps[row - 1]), 1, "the calendar is not whole")


def _check_steps(sheet: Sheet) -> Iterator[Finding]:
    """Find what is missing from a monthly or weekly series, and rows of a daily one on days without a market."""
    steps = np.diff(sheet.time_ms) / DAY_MS
    if len(steps) < 3:
        return
    usual = float(np.median(steps))
    if _MONTH_DAYS[0] <= usual <= _MONTH_DAYS[1] or usual == 7:
        late = np.flatnonzero(steps > 1.5 * usual) + 1
        if late.size:
            what = f"the period before is missing (usual distance {usual:.0f} days)"
            yield rows_finding(sheet, "warning", late, what, "it was not published, or is not in the file")


def check_holidays(sheet: Sheet) -> Iterator[Finding]:
    """Find daily rows on days on which US markets were closed."""
    days = sheet.time_ms // DAY_MS
    closed = np.flatnonzero(np.isin(days, us_holidays(1990, 2035)))
    if closed.size:
        what = "rows lie on US market holidays"
        yield rows_finding(sheet, "note", closed, what, "they do not line up with a series of US sessions")


def us_holidays(first_year: int, last_year: int) -> Ints:
    """List the whole-day holidays of US stock markets as days since 1970: the rules of the exchanges, not closures.

    New Year, Martin Luther King (1998), Presidents, Good Friday, Memorial, Juneteenth (2022), Independence, Labor,
    Thanksgiving, Christmas; a Saturday's is kept on Friday (New Year's is not), a Sunday's on Monday.
    """
    days: list[dt.date] = []
    for year in range(first_year, last_year + 1):
        fixed = [dt.date(year, 7, 4), dt.date(year, 12, 25)]
        fixed += [dt.date(year, 6, 19)] if year >= 2022 else []
        days += [day + dt.timedelta({5: -1, 6: 1}.get(day.weekday(), 0)) for day in fixed]
        new_year = dt.date(year, 1, 1)
        days += [new_year + dt.timedelta(new_year.weekday() == 6)] if new_year.weekday() != 5 else []
        days += [_nth(year, 2, 3), _nth(year, 9, 1), _nth(year, 11, 4, weekday=3), _good_friday(year)]
        days += [_nth(year, 1, 3)] if year >= 1998 else []
        days.append(max(dt.date(year, 5, day) for day in range(25, 32) if dt.date(year, 5, day).weekday() == 0))
    return np.array(sorted((day - dt.date(1970, 1, 1)).days for day in days), np.int64)


def _nth(year: int, month: int, number: int, weekday: int = 0) -> dt.date:
    first = dt.date(year, month, 1)
    return first + dt.timedelta((weekday - first.weekday()) % 7 + 7 * (number - 1))


def _good_friday(year: int) -> dt.date:
    """Two days before Easter, by the anonymous Gregorian rule."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    month, day = divmod(h + k - 7 * m + 114, 31)
    return dt.date(year, month, day + 1) - dt.timedelta(2)


def check_releases(calendar: Sheet, series: Sheet) -> Iterator[Finding]:
    """Find periods that a calendar of releases names and a series has no value for, inside the series' range.

    The release after one that did not happen is told too: it was seldom held on the day that had been planned.
    """
    inside = (calendar.time_ms >= series.time_ms[0]) & (calendar.time_ms <= series.time_ms[-1])
    missing = np.flatnonzero(inside & ~np.isin(calendar.time_ms, series.time_ms))
    if missing.size:
        what = f"periods have a release date, but no value in {series.where}"
        yield rows_finding(calendar, "warning", missing, what, "the release was cancelled or moved: correct the dates")
        order = np.argsort(calendar.time_ms, kind="stable")
        next_ones = np.searchsorted(calendar.time_ms[order], calendar.time_ms[missing], side="right")
        after = np.setdiff1d(order[next_ones[next_ones < len(order)]], missing)
        if after.size:
            what = "the release before did not happen as planned: this date may have moved too"
            yield rows_finding(calendar, "warning", after, what, "compare it with what was published")


def check_survivors(file: str, sheets: Sequence[Sheet]) -> Iterator[Finding]:
    """Find what a file of many symbols shows as a whole: none that ended before the others, and a limit of rows."""
    for table in ("klines", "funding_rate"):
        same = [sheet for sheet in sheets if sheet.dataset.table == table]
        if len(same) < _MANY_SYMBOLS:
            continue
        last_ms = [int(sheet.time_ms[-1]) for sheet in same]
        where = f"{file} {table}"
        if max(last_ms) - min(last_ms) <= DAY_MS:
            what = f"all {len(same)} symbols last until {time_text(max(last_ms))[:10]}: none was delisted before"
            remedy = "survivorship: do not estimate returns from it"
            yield Finding("warning", where, what, max(last_ms), len(same), remedy)
        lengths, counts = np.unique([len(sheet.time_ms) for sheet in same], return_counts=True)
        if len(lengths) > 1 and counts[-1] > len(same) / 10:
            what = f"{counts[-1]} symbols have exactly {lengths[-1]} rows, and none has more: cut at a limit"
            yield Finding("note", where, what, None, int(counts[-1]), "what lies before is missing")
        if table == "funding_rate":
            usual = [detect.usual_step(detect.settlement_minute(sheet.time_ms)) or 0 for sheet in same]
            found = [f"{duration_text(step * MINUTE_MS)} ({usual.count(step)})" for step in sorted({*usual} - {0})]
            what = f"funding intervals of {', '.join(found)} symbols occur"
            yield Finding("note", where, what, None, len(same), "read the interval off the stamps")


def check_chain(file: str, sheets: Sequence[Sheet]) -> Iterator[Finding]:
    """Say how much of an option chain a file holds."""
    found = [match for sheet in sheets if (match := _OPTION.search(sheet.dataset.symbol))]
    if found:
        strikes = sorted({float(match["strike"]) for match in found})
        expiries = len({match["expiry"] for match in found})
        what = f"{len(found)} contracts: {len(strikes)} strikes, {strikes[0]:g} to {strikes[-1]:g}, {expiries} expiries"
        yield Finding("note", file, what, None, len(found), "a chain may be a part only: compare the venue's list")
