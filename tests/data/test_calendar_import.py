"""Calendars of the user: what a file says, what the person adds, and what a second import makes of the first."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from backtest.data.calendar import after_times, before_times, known_events
from backtest.data.calendar_files import COLUMNS, parse_calendar, shipped_folder
from backtest.data.calendar_import import CalendarOptions, import_calendar
from backtest.data.imports import import_file
from backtest.data.manifest import Dataset
from backtest.data.published import first_prints
from backtest.data.sources.rows import ImportOptions
from backtest.data.store import Lake
from backtest.errors import DataError, UsageError
from backtest.units import DAY_MS, HOUR_MS, time_ms, time_text

MORNING = dt.time(8, 30)
PPI = CalendarOptions("ppi", clock=MORNING, lead_ms=30 * DAY_MS)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def listed(lake: Path, kind: str, as_of: str = "2100-01-01") -> list[tuple[str, str | None, str, str]]:
    return [
        (
            event.event_id,
            None if event.scheduled_ms is None else time_text(event.scheduled_ms),
            event.status,
            event.knowledge,
        )
        for event in known_events(kind, time_ms(as_of), lake=lake)
    ]


DATES = "release_date,reference_month\n2024-02-16,2024-01\n2024-03-14,2024-02\n"


def test_dates_take_the_clock_of_their_zone(tmp_path: Path) -> None:
    done = import_calendar(tmp_path, write(tmp_path / "dates.csv", DATES), PPI)
    assert (done.added, done.left_out) == (2, 0)
    assert listed(tmp_path, "ppi") == [
        ("ppi-2024-01", "2024-02-16 13:30", "scheduled", "assumed"),
        ("ppi-2024-02", "2024-03-14 12:30", "scheduled", "assumed"),
    ]
    first = known_events("ppi", lake=tmp_path)[0]
    assert time_text(first.known_ms) == "2024-01-17 13:30"
    assert first.source.startswith("dates.csv ")
    once = done.place.read_bytes()
    assert import_calendar(tmp_path, tmp_path / "dates.csv", PPI).added == 0
    assert done.place.read_bytes() == once


def test_a_date_that_differs_when_seen_again_is_a_new_statement(tmp_path: Path) -> None:
    for day, text in ((1, DATES), (20, DATES.replace("2024-03-14", "2024-03-21"))):
        seen = CalendarOptions("ppi", clock=MORNING, seen=dt.date(2024, 2, day))
        assert import_calendar(tmp_path, write(tmp_path / "dates.csv", text), seen).added == {1: 2, 20: 1}[day]
    assert listed(tmp_path, "ppi", "2024-02-20")[1] == ("ppi-2024-02", "2024-03-14 12:30", "scheduled", "announced")
    assert listed(tmp_path, "ppi")[1] == ("ppi-2024-02", "2024-03-21 12:30", "delayed", "announced")
    events = known_events("ppi", lake=tmp_path)
    assert time_ms("2024-03-14T13:30") not in after_times(events, HOUR_MS)
    assert time_ms("2024-03-21T13:30") in after_times(events, HOUR_MS)
    older = CalendarOptions("ppi", clock=MORNING, seen=dt.date(2024, 2, 10))
    with pytest.raises(DataError, match=r"ppi-2024-02: was known at 2024-02-10T23:59, before what the calendar says"):
        import_calendar(tmp_path, write(tmp_path / "dates.csv", DATES.replace("03-14", "03-28")), older)


def test_a_shipped_calendar_is_added_to_in_the_lake(tmp_path: Path) -> None:
    text = "date,period\n2027-01-13,2026-12\n"
    seen = CalendarOptions("cpi", clock=MORNING, seen=dt.date(2026, 12, 1))
    assert import_calendar(tmp_path, write(tmp_path / "new.csv", text), seen).added == 1
    shipped = known_events("cpi")
    assert set(known_events("cpi", lake=tmp_path)) > set(shipped)
    assert listed(tmp_path, "cpi")[-1] == ("cpi-2026-12", "2027-01-13 13:30", "scheduled", "announced")


def test_what_was_over_when_it_was_seen_is_left_out_and_counted(tmp_path: Path) -> None:
    seen = CalendarOptions("ppi", clock=MORNING, seen=dt.date(2024, 2, 16))  # some time of that day
    done = import_calendar(tmp_path, write(tmp_path / "dates.csv", DATES), seen)
    assert (done.added, done.left_out) == (1, 1)
    text = "date,known\n2024-04-01T08:30,2024-04-01T08:30\n2024-05-01T08:30,2024-05-01T08:29\n"
    done = import_calendar(tmp_path, write(tmp_path / "late.csv", text), CalendarOptions("ppi"))
    assert (done.added, done.left_out) == (1, 1)


def test_a_file_may_say_all_by_itself(tmp_path: Path) -> None:
    text = (
        "Event Date,period,known,actual,status\n"
        "2024-02-16 08:30,2024-01,2023-12-01 10:00,2024-02-16 08:31,released\n"
        "2024-03-03 10:00,x,,2024-03-03 10:00,unscheduled\n"
        ",2024-02,2024-03-01 09:00,,cancelled\n"
    )
    options = CalendarOptions("ppi", columns={"scheduled": "Event Date"})
    import_calendar(tmp_path, write(tmp_path / "all.csv", text), options)
    assert listed(tmp_path, "ppi") == [
        ("ppi-2024-01", "2024-02-16 13:30", "released", "announced"),
        ("ppi-2024-02", None, "cancelled", "announced"),
        ("ppi-x", "2024-03-03 15:00", "unscheduled", "at release"),
    ]
    assert len(before_times(known_events("ppi", lake=tmp_path), DAY_MS)) == 1


def test_a_calendar_in_our_form_is_taken_as_it_is(tmp_path: Path) -> None:
    copy = write(tmp_path / "mine.csv", (shipped_folder() / "cpi.csv").read_text().replace(",cpi,", ",rates,"))
    done = import_calendar(tmp_path, copy, CalendarOptions("rates"))
    assert done.added == 112
    assert done.place.read_bytes() == copy.read_bytes()
    with pytest.raises(DataError, match=r'mine.csv row 2: event_type is "rates"; this calendar holds "cpi" alone'):
        import_calendar(tmp_path, copy, CalendarOptions("cpi"))


# --- iCalendar -----------------------------------------------------------------------------------------------------

ICS = """BEGIN:VCALENDAR\r
BEGIN:VEVENT\r
UID:one\r
DTSTART;TZID={zone}:20250114T083000\r
SUMMARY:Producer Price In\r
 dex\\, final\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:two\r
DTSTART:20250313T123000Z\r
SUMMARY:Producer Price Index\r
STATUS:{status}\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:three\r
DTSTART;VALUE=DATE:20250110\r
SUMMARY:Employment Situation\r
END:VEVENT\r
END:VCALENDAR\r
"""


def ics(path: Path, zone: str = "America/New_York", status: str = "CONFIRMED") -> Path:
    return write(path / "bls.ics", ICS.format(zone=zone, status=status))


def test_an_icalendar_file_gives_the_events_that_match(tmp_path: Path) -> None:
    seen = CalendarOptions("ppi", clock=MORNING, seen=dt.date(2025, 1, 5), match="producer price")
    assert import_calendar(tmp_path, ics(tmp_path), seen).added == 2
    assert listed(tmp_path, "ppi") == [
        ("ppi-one", "2025-01-14 13:30", "scheduled", "announced"),
        ("ppi-two", "2025-03-13 12:30", "scheduled", "announced"),
    ]
    later = CalendarOptions("ppi", clock=MORNING, seen=dt.date(2025, 2, 5), match="producer price")
    assert import_calendar(tmp_path, ics(tmp_path, status="CANCELLED"), later).added == 1
    assert listed(tmp_path, "ppi")[1] == ("ppi-two", None, "cancelled", "announced")


def test_an_event_that_is_named_anew_is_no_new_one(tmp_path: Path) -> None:
    first, again = (
        CalendarOptions("ppi", clock=MORNING, seen=dt.date(2025, 1, day), match="producer price") for day in (5, 6)
    )
    import_calendar(tmp_path, ics(tmp_path), first)
    renamed = write(tmp_path / "again.ics", ics(tmp_path).read_text().replace("UID:", "UID:2-"))
    assert import_calendar(tmp_path, renamed, again).added == 0
    moved = write(tmp_path / "moved.ics", ics(tmp_path).read_text().replace("20250114", "20250116"))
    assert import_calendar(tmp_path, moved, again).added == 1
    assert listed(tmp_path, "ppi")[0] == ("ppi-one", "2025-01-16 13:30", "delayed", "announced")


def test_a_zone_that_nobody_knows_must_be_named(tmp_path: Path) -> None:
    seen = CalendarOptions("ppi", clock=MORNING, seen=dt.date(2025, 1, 5))
    with pytest.raises(DataError, match=r"bls.ics event 1: DTSTART is in US-Eastern, a zone that nobody knows"):
        import_calendar(tmp_path, ics(tmp_path, "US-Eastern"), seen)
    named = CalendarOptions("ppi", clock=MORNING, seen=dt.date(2025, 1, 5), zone=ZoneInfo("America/New_York"))
    import_calendar(tmp_path, ics(tmp_path, "US-Eastern"), named)
    assert listed(tmp_path, "ppi")[0][:2] == ("ppi-three", "2025-01-10 13:30")


def test_an_icalendar_file_tells_all_its_problems(tmp_path: Path) -> None:
    text = (
        ICS.format(zone="America/New_York", status="CONFIRMED").replace("UID:two\r\n", "").replace("20250114T", "2025T")
    )
    with pytest.raises(DataError) as caught:
        import_calendar(tmp_path, write(tmp_path / "bad.ics", text), CalendarOptions("ppi", seen=dt.date(2025, 1, 5)))
    assert [problem.where for problem in caught.value.problems] == [f"bad.ics event {n}" for n in (1, 2, 3)]
    assert "say which (--clock 08:30)" in str(caught.value)
    with pytest.raises(DataError, match='has no event with "PPI"; known: Employment'):
        import_calendar(
            tmp_path, ics(tmp_path), CalendarOptions("ppi", clock=MORNING, seen=dt.date(2025, 1, 5), match="PPI")
        )
    with pytest.raises(DataError, match="holds no event"):
        import_calendar(tmp_path, write(tmp_path / "empty.ics", "BEGIN:VCALENDAR\n"), CalendarOptions("ppi"))


# --- vintages ------------------------------------------------------------------------------------------------------

VINTAGES = """date,realtime_start,realtime_end,value
2023-10-01,2024-01-25,2024-02-27,3.3
2023-10-01,2024-02-28,9999-12-31,3.2
2024-01-01,2024-04-25,2024-05-29,1.6
2024-01-01,2024-05-30,9999-12-31,1.3
"""


def test_vintages_are_values_known_at_the_release_clock(tmp_path: Path) -> None:
    options = ImportOptions(
        venue="fred", table="series", symbol="GDP", columns={"time": "date", "available_ms": "realtime_start"},
        available_at=MORNING,
    )  # fmt: skip
    import_file(Lake(tmp_path), write(tmp_path / "gdp.csv", VINTAGES), options)
    rows = Lake(tmp_path).read(Dataset("fred", "series", "GDP", "event"))
    assert [time_text(known) for known in rows["available_ms"].to_pylist()] == [
        "2024-01-25 13:30", "2024-02-28 13:30", "2024-04-25 12:30", "2024-05-30 12:30",
    ]  # fmt: skip
    assert first_prints(rows).value.tolist() == [3.3, 1.6]
    odd = write(tmp_path / "odd.csv", "date,value,available_ms\n2024-01-01,1,2024-04-25 08:30\n")
    with pytest.raises(DataError, match=r"odd\.csv row 1: available_ms is 2024-04-25 08:30, no day"):
        import_file(Lake(tmp_path), odd, ImportOptions(venue="x", table="series", symbol="X", available_at=MORNING))


def test_vintages_are_releases_too(tmp_path: Path) -> None:
    options = CalendarOptions("gdp", clock=MORNING, lead_ms=14 * DAY_MS)
    assert import_calendar(tmp_path, write(tmp_path / "gdp.csv", VINTAGES), options).added == 4
    events = known_events("gdp", time_ms("2100-01-01"), lake=tmp_path)
    assert [(event.period, time_text(event.actual_ms or 0)) for event in events] == [
        ("2023-10-01", "2024-01-25 13:30"),
        ("2023-10-01", "2024-02-28 13:30"),
        ("2024-01-01", "2024-04-25 12:30"),
        ("2024-01-01", "2024-05-30 12:30"),
    ]


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "what"),
    [
        (DATES, CalendarOptions("ppi", lead_ms=DAY_MS), "row 3: scheduled '2024-03-14' is a date without a time"),
        (DATES, CalendarOptions("ppi", clock=MORNING), "does not say since when its dates were known; give the day"),
        (DATES.replace("-14", "-41"), PPI, "row 3: scheduled '2024-03-41' is not a date"),
        (DATES.replace("release_date", "when"), PPI, "has no column of dates; map one of its columns"),
        (DATES, CalendarOptions("ppi", columns={"due": "release_date"}), 'the map names "due", which no calendar has'),
        (DATES, CalendarOptions("ppi", columns={"period": "month"}), 'has no column "month"'),
        ("date\n", PPI, "has no rows"),
        ("date,period\n2024-01-01\n", PPI, "has 1 rows with too many or too few cells, first row 2"),
    ],
)
def test_a_file_that_does_not_say_enough_is_refused(
    text: str, options: CalendarOptions, what: str, tmp_path: Path
) -> None:
    with pytest.raises((DataError, UsageError)) as caught:
        import_calendar(tmp_path, write(tmp_path / "some.csv", text), options)
    assert what in str(caught.value)
    assert not (tmp_path / "calendars").exists()


GOOD = {
    "event_id": "ppi-1", "agency": "BLS", "event_type": "ppi", "period": "2024-01", "scheduled": "2024-02-16T08:30",
    "zone": "America/New_York", "schedule_known": "2024-01-01T00:00", "actual": "", "status": "scheduled",
    "knowledge": "announced", "source": "made",
}  # fmt: skip


def calendar_text(path: Path, *changes: dict[str, str]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(GOOD | change for change in changes)
    return path.read_text()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"status": "planned"}, 'status is "planned"; known: cancelled, delayed'),
        ({"knowledge": "guessed"}, 'knowledge is "guessed"'),
        ({"event_type": "cpi"}, 'event_type is "cpi"; this calendar holds "ppi" alone'),
        ({"zone": "America/Neverland"}, 'zone "America/Neverland" does not exist'),
        ({"scheduled": "2024-03-10T02:30"}, "scheduled: the clocks of America/New_York skip 2024-03-10T02:30"),
        ({"scheduled": "16.2.2024"}, "scheduled: time data '16.2.2024' does not match"),
        ({"scheduled": ""}, 'scheduled, with scheduled ""; only what is cancelled has none'),
        ({"schedule_known": "2024-02-16T08:30"}, "was known only when it was due or there"),
        ({"status": "released"}, "released, with no actual time"),
        ({"status": "cancelled"}, 'cancelled, with scheduled "2024-02-16T08:30"'),
        ({"status": "unscheduled", "actual": "2024-02-16T08:30"}, "unscheduled, with several times"),
        ({"source": ""}, "source is empty"),
    ],
)
def test_a_calendar_that_is_not_sound_is_refused(change: dict[str, str], what: str, tmp_path: Path) -> None:
    assert len(parse_calendar("ppi.csv", calendar_text(tmp_path / "a.csv", {}), "ppi")) == 1
    with pytest.raises(DataError) as caught:
        parse_calendar("ppi.csv", calendar_text(tmp_path / "a.csv", {}, GOOD | {"event_id": "ppi-2"} | change), "ppi")
    assert f"ppi.csv row 3: {what}" in str(caught.value)


def test_all_problems_of_a_calendar_are_told_at_once(tmp_path: Path) -> None:
    text = calendar_text(tmp_path / "a.csv", {"status": "x"}, {"zone": "x"}, {}, {})
    with pytest.raises(DataError) as caught:
        parse_calendar("ppi.csv", text, "ppi")
    assert [problem.where for problem in caught.value.problems] == ["ppi.csv row 2", "ppi.csv row 3", "ppi.csv ppi-1"]
    with pytest.raises(DataError) as caught:
        parse_calendar("ppi.csv", text.replace("agency", "agent"), "ppi")
    assert 'has no column "agency"' in str(caught.value)
    assert 'has a column "agent" that no calendar has; did you mean "agency"?' in str(caught.value)
