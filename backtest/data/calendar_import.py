"""Calendars of the user: release dates from a CSV, an iCalendar file or vintages, kept in the lake as statements.

What a file does not say, the user does: the clock time of a date, and since when the dates were known. An import adds
to the calendar that is there. A date that differs from the one known before is a new statement, not a correction: the
old one stays in force until the day on which the new one was seen.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backtest.data.calendar_files import (
    COLUMNS,
    FOLDER,
    calendar_file,
    calendar_rows,
    local_ms,
    parse_calendar,
    row_problems,
)
from backtest.data.calendar_ics import read_ics
from backtest.data.disk import sha256_file, write_atomic
from backtest.errors import DataError, Problem, UsageError, did_you_mean

# Names that files give to our columns.
_KIND = re.compile("[a-z][a-z0-9_]{0,39}")
_ALSO = {
    "scheduled": ("release_date", "date"),
    "period": ("reference_month", "reference_period"),
    "schedule_known": ("known", "announced"),
    "actual": (),
    "status": (),
}

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CalendarOptions:
    """What the user says of a calendar file.

    `clock` is the time of day of dates that have none, by the clocks of `zone`. Dates were known since `seen`, the day
    on which the file was fetched, or `lead_ms` before each event, where the file does not say it. `match` is text in
    the summaries of an iCalendar file's events. `columns` maps our columns to the file's.
    """

    kind: str
    clock: dt.time | None = None
    zone: ZoneInfo | None = None
    seen: dt.date | None = None
    lead_ms: int | None = None
    match: str = ""
    time_unit: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def clocks(self) -> ZoneInfo:
        return self.zone or ZoneInfo("America/New_York")


class Imported(NamedTuple):
    """What an import did: statements added, and events left out because they were over when they became known."""

    place: Path
    added: int
    left_out: int


class Found(NamedTuple):
    """An event of a file, its times by the clocks of its zone; None where the file does not say."""

    where: str
    name: str  # what tells it apart from others of its kind
    period: str
    due: dt.datetime | None
    known: dt.datetime | None
    actual: dt.datetime | None
    status: str
    zone: str


def import_calendar(root: Path, path: Path, options: CalendarOptions) -> Imported:
    """Add a file's events to the calendar of a lake.

    Raises `UsageError` for what the options leave out, `DataError` with every problem of the file; then nothing is
    written.
    """
    if not _KIND.fullmatch(options.kind):
        raise UsageError.at("--kind", f"{options.kind!r} is no name", 'use small letters, digits and _, such as "ppi"')
    place = root / FOLDER / f"{options.kind}.csv"
    stored = calendar_file(options.kind, root)
    before: list[Row] = [] if stored is None else [*calendar_rows(stored.name, _text(stored))]
    text, source = _text(path), f"{path.name} {sha256_file(path)[:16]}"
    rows: Sequence[Row]
    left_out = 0
    if path.suffix == ".ics":
        rows, left_out = _statements(_of_ics(path, options), source, options)
    elif set(_header(text)) == set(COLUMNS):
        parse_calendar(path.name, text, options.kind)
        rows = calendar_rows(path.name, text)
    else:
        read = _of_vintages if {"realtime_start", "date"} <= set(_header(text)) else _of_csv
        rows, left_out = _statements(read(path.name, text, options), source, options)
    merged = _merged(before, rows, path.name)
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(merged)
    parse_calendar(place.name, written.getvalue(), options.kind)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(place, written.getvalue().encode())
    return Imported(place, len(merged) - len(before), left_out)


# --- what a file says ----------------------------------------------------------------------------------------------


def _of_ics(path: Path, options: CalendarOptions) -> list[Found]:
    events = read_ics(path, options.clocks, options.clock, for_unknown=options.zone is not None)
    found = [
        Found(
            event.where,
            event.uid,
            f"{event.start:%Y-%m-%d}",
            None if event.cancelled else event.start,
            None,
            None,
            "cancelled" if event.cancelled else "scheduled",
            event.zone,
        )
        for event in events
        if options.match.lower() in event.summary.lower()
    ]
    if not found:
        summaries = sorted({event.summary for event in events})
        raise DataError.at(path.name, f'has no event with "{options.match}"', did_you_mean(options.match, summaries))
    return found


def _of_csv(name: str, text: str, options: CalendarOptions) -> list[Found]:
    """Read a list of dates: a row for each event."""
    columns = _columns(name, _header(text), options)
    problems: list[Problem] = []
    found: list[Found] = []
    for where, row in _records(name, text):
        cells = {ours: row[own] for ours, own in columns.items()}
        try:
            due, known, actual = (_moment(cells, ours, options) for ours in ("scheduled", "schedule_known", "actual"))
        except ValueError as error:
            problems.append(Problem(where, str(error)))
            continue
        named = cells.get("period") or (f"{due:%Y-%m-%d}" if due else "")
        status = cells.get("status") or ("released" if actual else "scheduled")
        found.append(Found(where, named, named, due, known, actual, status, options.clocks.key))
    if problems:
        raise DataError(*problems)
    return found


def _of_vintages(name: str, text: str, options: CalendarOptions) -> list[Found]:
    """Take each day on which a vintage of values began as a release, of the newest period that it told."""
    newest: dict[str, tuple[str, str]] = {}
    for where, row in _records(name, text):
        day = row["realtime_start"]
        newest[day] = max(newest.get(day, ("", where)), (row["date"], where))
    problems: list[Problem] = []
    found: list[Found] = []
    for day, (period, where) in sorted(newest.items()):
        try:
            due = _moment({"realtime_start": day}, "realtime_start", options)
        except ValueError as error:
            problems.append(Problem(where, str(error)))
            continue
        found.append(Found(where, day, period, due, None, due, "released", options.clocks.key))
    if problems:
        raise DataError(*problems)
    return found


def _columns(name: str, header: Sequence[str], options: CalendarOptions) -> dict[str, str]:
    """Settle which column of the file each of ours comes from."""
    problems = [
        Problem(name, f'the map names "{ours}", which no calendar has', did_you_mean(ours, _ALSO))
        for ours in options.columns
        if ours not in _ALSO
    ]
    problems += [
        Problem(name, f'has no column "{own}"', did_you_mean(own, header))
        for own in options.columns.values()
        if own not in header
    ]
    plain = {column.lower().replace(" ", "_"): column for column in reversed(header)}
    found = dict(options.columns)
    for ours, others in _ALSO.items():
        match = next((plain[spelling] for spelling in (ours, *others) if spelling in plain), None)
        if ours not in found and match is not None:
            found[ours] = match
    if "scheduled" not in found:
        remedy = f"map one of its columns (--map scheduled=…): {', '.join(header)}"
        problems.append(Problem(name, "has no column of dates", remedy))
    if problems:
        raise DataError(*problems)
    return found


def _moment(cells: Row, column: str, options: CalendarOptions) -> dt.datetime | None:
    """Read a cell as a local time, None where it is empty. Raises `ValueError`."""
    text = cells.get(column, "").strip()
    if not text:
        return None
    try:
        moment = dt.datetime.strptime(text, options.time_unit) if options.time_unit else dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is not a date; give its pattern (--time-unit), such as %m/%d/%Y") from None
    if moment.tzinfo is not None:
        return moment.astimezone(options.clocks).replace(tzinfo=None)
    has_time = (
        "%H" in options.time_unit or "%I" in options.time_unit if options.time_unit else len(text) > len("2024-03-20")
    )
    if has_time:
        return moment
    if options.clock is None:
        raise ValueError(f"{column} {text!r} is a date without a time; say which (--clock 08:30)")
    return dt.datetime.combine(moment, options.clock)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError.at(path.name, "is not UTF-8 text", "save it as UTF-8") from None


def _header(text: str) -> list[str]:
    return next(csv.reader(io.StringIO(text)), [])


def _records(name: str, text: str) -> list[tuple[str, dict[str, str]]]:
    rows = list(enumerate(csv.DictReader(io.StringIO(text)), 2))
    broken = [line for line, row in rows if None in row or None in row.values()]
    if broken or not rows:
        what = (
            f"has {len(broken)} rows with too many or too few cells, first row {broken[0]}" if broken else "has no rows"
        )
        raise DataError.at(name, what, "fetch the file again")
    return [(f"{name} row {line}", row) for line, row in rows]


# --- statements ----------------------------------------------------------------------------------------------------


def _statements(found: Sequence[Found], source: str, options: CalendarOptions) -> tuple[list[Row], int]:
    """Turn events into rows of a calendar; count those that were over when they became known."""
    rows: list[Row] = []
    problems: list[Problem] = []
    for event in found:
        known, how = _known(event, source, options)
        if event.status != "unscheduled" and event.due is not None and known >= event.due:
            continue
        row = {
            "event_id": f"{options.kind}-{event.name}",
            "agency": "",
            "event_type": options.kind,
            "period": event.period,
            "scheduled": "" if event.status == "cancelled" else _shown(event.due),
            "zone": event.zone,
            "schedule_known": _shown(known),
            "actual": _shown(event.actual),
            "status": event.status,
            "knowledge": how,
            "source": source,
        }
        problems += row_problems(event.where, row, options.kind)
        rows.append(row)
    if problems:
        raise DataError(*problems)
    return rows, len(found) - len(rows)


def _known(event: Found, source: str, options: CalendarOptions) -> tuple[dt.datetime, str]:
    if event.status == "unscheduled" and event.due is not None:
        return event.due, "at release"
    if event.known is not None:
        return event.known, "announced"
    if options.seen is not None:  # some time of that day: at its end, it was
        return dt.datetime.combine(options.seen, dt.time(23, 59)), "announced"
    if options.lead_ms is not None and event.due is not None:
        return event.due - dt.timedelta(milliseconds=options.lead_ms), "assumed"
    raise UsageError.at(
        source,
        "does not say since when its dates were known",
        "give the day on which it was fetched (--seen 2026-11-25), or how long before an event (--lead 30d)",
    )


def _merged(before: Sequence[Row], rows: Sequence[Row], source: str) -> list[Row]:
    """Add rows that say something new to those that are there.

    Two events of one kind at one moment are one, whatever they are called: some agencies name theirs anew each time.
    """
    newest = {row["event_id"]: row for row in sorted(before, key=_known_ms)}
    merged = list(before)
    problems: list[Problem] = []
    for row in sorted(rows, key=_known_ms):
        last = newest.get(row["event_id"])
        told = newest.values() if row["scheduled"] else [last] if last is not None else []
        if (row["scheduled"], row["zone"]) in {(other["scheduled"], other["zone"]) for other in told}:
            continue
        if last is not None and _known_ms(last) >= _known_ms(row):
            what = f"{row['event_id']}: was known at {row['schedule_known']}, before what the calendar says of it"
            problems.append(Problem(source, what, "import the older file first, into a new lake"))
            continue
        moved = last is not None and row["status"] == "scheduled"
        newest[row["event_id"]] = {**row, "status": "delayed"} if moved else row
        merged.append(newest[row["event_id"]])
    if problems:
        raise DataError(*problems)
    return sorted(merged, key=lambda row: (row["period"], _known_ms(row), row["event_id"]))


def _known_ms(row: Row) -> int:
    return local_ms(row["schedule_known"], row["zone"])


def _shown(moment: dt.datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%dT%H:%M")
