"""Calendar files: one CSV for a kind of event, read as statements, with everything that is wrong with it at once."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backtest.errors import DataError, Problem, did_you_mean

FOLDER = "calendars"
COLUMNS = (
    "event_id", "agency", "event_type", "period", "scheduled", "zone", "schedule_known", "actual", "status",
    "knowledge", "source",
)  # fmt: skip
STATUSES = ("scheduled", "released", "delayed", "cancelled", "unscheduled")
# How it is known since when a date was known: a source tells the moment; schedules of a year are published in the
# year before, so they count as known when the year begins; the event itself was the news; a person assumed it.
KNOWLEDGE = ("announced", "year before", "at release", "assumed")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,30}")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One statement about an event: when it is due, and since when that was known (UTC milliseconds).

    `scheduled_ms` is None where it was cancelled, `actual_ms` until it happened. `period` is what the event speaks of,
    such as the month of a CPI release.
    """

    event_id: str
    kind: str
    period: str
    status: str  # of STATUSES
    scheduled_ms: int | None
    known_ms: int
    actual_ms: int | None
    zone: str  # whose clocks it follows
    knowledge: str  # of KNOWLEDGE
    source: str


def shipped_folder() -> Path:
    """Give the folder of the calendars that come along: inside an installed package, else beside it."""
    package = Path(__file__).parents[1]
    inside = package / "_shipped" / "datasets"
    return (inside if inside.is_dir() else package.parent / "datasets") / FOLDER


def calendar_file(kind: str, lake: Path | None = None) -> Path | None:
    """Give the calendar of a kind: the lake's, else the one that comes along, else None."""
    folders = [shipped_folder()] if lake is None else [lake / FOLDER, shipped_folder()]
    return next((path for folder in folders if (path := folder / f"{kind}.csv").is_file()), None)


def kinds(lake: Path | None = None) -> list[str]:
    """Name every kind of event that has a calendar."""
    folders = [shipped_folder()] if lake is None else [lake / FOLDER, shipped_folder()]
    return sorted({path.stem for folder in folders for path in folder.glob("*.csv")})


def read_calendar(path: Path) -> tuple[Event, ...]:
    """Read a calendar, statements in the order in which they became known.

    Raises `DataError` with every problem of the file.
    """
    try:
        return parse_calendar(path.name, path.read_text(encoding="utf-8-sig"), path.stem)
    except UnicodeDecodeError:
        raise DataError.at(path.name, "is not UTF-8 text", "save it as UTF-8") from None


def parse_calendar(name: str, text: str, kind: str) -> tuple[Event, ...]:
    """Read the text of a calendar of a kind of event.

    A row with an `actual` time gives two statements: what had been announced, and that it happened.
    """
    problems: list[Problem] = []
    events: list[Event] = []
    for line, row in enumerate(calendar_rows(name, text), 2):
        found = list(row_problems(f"{name} row {line}", row, kind))
        problems += found
        events += () if found else _statements(row)
    problems += _repeats(name, events)
    if problems:
        raise DataError(*problems)
    return tuple(sorted(events, key=lambda event: (event.known_ms, event.event_id)))


def calendar_rows(name: str, text: str) -> list[dict[str, str]]:
    """Split the text of a calendar into rows, unchecked. Raises `DataError` for columns that are no calendar's."""
    rows = csv.DictReader(io.StringIO(text))
    header = tuple(rows.fieldnames or ())
    if set(header) != set(COLUMNS):
        raise DataError(*_header_problems(name, header))
    return list(rows)


def local_ms(text: str, zone: str) -> int:
    """Turn a local time such as "2024-03-20T14:00" into UTC milliseconds. Raises `ValueError` where there is none.

    >>> local_ms("2024-12-18T14:00", "America/New_York") == 1_734_548_400_000
    True
    """
    return clock_ms(dt.datetime.strptime(text, "%Y-%m-%dT%H:%M"), ZoneInfo(zone))


def clock_ms(local: dt.datetime, zone: ZoneInfo) -> int:
    """Give UTC milliseconds of what the clocks of a zone show; the first of two such moments.

    Raises `ValueError` where they skip it.
    """
    moment = local.replace(tzinfo=zone).astimezone(dt.UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != local:
        raise ValueError(f"the clocks of {zone.key} skip {local:%Y-%m-%dT%H:%M}")
    return (moment - _EPOCH) // dt.timedelta(milliseconds=1)


def clock_of(time_ms: int, zone: ZoneInfo) -> dt.datetime:
    """Give what the clocks of a zone show at UTC milliseconds, without the zone."""
    return (_EPOCH + dt.timedelta(milliseconds=time_ms)).astimezone(zone).replace(tzinfo=None)


def _statements(row: Mapping[str, str]) -> Iterator[Event]:
    zone, actual = row["zone"], row["actual"]
    announced = Event(
        event_id=row["event_id"],
        kind=row["event_type"],
        period=row["period"],
        status="scheduled" if row["status"] == "released" else row["status"],
        scheduled_ms=local_ms(row["scheduled"], zone) if row["scheduled"] else None,
        known_ms=local_ms(row["schedule_known"], zone),
        actual_ms=None,
        zone=zone,
        knowledge=row["knowledge"],
        source=row["source"],
    )
    if not actual:
        yield announced
        return
    happened = local_ms(actual, zone)
    if row["status"] == "unscheduled":  # the news was the event
        yield replace(announced, actual_ms=happened)
        return
    yield announced
    yield replace(announced, status="released", known_ms=happened, actual_ms=happened)


def _header_problems(name: str, header: tuple[str, ...]) -> Iterator[Problem]:
    for column in COLUMNS:
        if column not in header:
            yield Problem(name, f'has no column "{column}"', f"a calendar has {', '.join(COLUMNS)}")
    for column in header:
        if column not in COLUMNS:
            yield Problem(name, f'has a column "{column}" that no calendar has', did_you_mean(column, COLUMNS))


def row_problems(where: str, row: Mapping[str, str], kind: str) -> Iterator[Problem]:
    """Tell everything that is wrong with a row of a calendar."""
    if None in row or None in row.values():
        yield Problem(where, f"has not {len(COLUMNS)} cells", "quote cells that hold a comma")
        return
    for column in ("event_id", "period", "source", "schedule_known"):
        if not row[column]:
            yield Problem(where, f"{column} is empty", "fill it in")
    if row["event_type"] != kind or not _KIND.fullmatch(kind):
        yield Problem(where, f'event_type is "{row["event_type"]}"', f'this calendar holds "{kind}" alone')
    for column, known in (("status", STATUSES), ("knowledge", KNOWLEDGE)):
        if row[column] not in known:
            yield Problem(where, f'{column} is "{row[column]}"', did_you_mean(row[column], known))
    if (row["scheduled"] == "") != (row["status"] == "cancelled"):
        yield Problem(where, f'{row["status"]}, with scheduled "{row["scheduled"]}"', "only what is cancelled has none")
    if (row["status"] in ("released", "unscheduled")) and not row["actual"]:
        yield Problem(where, f"{row['status']}, with no actual time", "fill it in, or call it scheduled")
    if row["status"] == "cancelled" and row["actual"]:
        yield Problem(where, "cancelled, with an actual time", "clear it, or call it released")
    yield from _time_problems(where, row)


def _time_problems(where: str, row: Mapping[str, str]) -> Iterator[Problem]:
    zone = row["zone"]
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        yield Problem(where, f'zone "{zone}" does not exist', "write it like America/New_York")
        return
    times: dict[str, int] = {}
    for column in ("scheduled", "schedule_known", "actual"):
        if row[column]:
            try:
                times[column] = local_ms(row[column], zone)
            except ValueError as error:
                yield Problem(where, f"{column}: {error}", "write local time like 2024-03-20T14:00")
    known, due, actual = times.get("schedule_known"), times.get("scheduled"), times.get("actual")
    if row["status"] == "unscheduled":
        if len({known, due, actual}) > 1:
            yield Problem(where, "unscheduled, with several times", "it was due, known and there at one time")
    elif known is not None and any(later is not None and later <= known for later in (due, actual)):
        yield Problem(where, "was known only when it was due or there", "call it unscheduled, or correct the times")


def _repeats(name: str, events: list[Event]) -> Iterator[Problem]:
    seen: set[tuple[str, int]] = set()
    for event in events:
        if (event.event_id, event.known_ms) in seen:
            yield Problem(f"{name} {event.event_id}", "has two statements of one time", "keep one of them")
        seen.add((event.event_id, event.known_ms))
