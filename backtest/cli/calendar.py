"""`backtest calendar` and `backtest data import-calendar`: announced events, listed and imported."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli.options import (
    clock_option,
    day_option,
    duration_option,
    map_option,
    require_order,
    time_option,
    zone_option,
)
from backtest.cli.output import LAKE, Json, LakeFolder, note, print_table, say_json
from backtest.units import time_text

if TYPE_CHECKING:
    from backtest.data.calendar import Event

_EVER = 2**63 - 1


def register(app: typer.Typer) -> None:
    app.command("calendar")(calendar)


def register_import(data: typer.Typer) -> None:
    data.command("import-calendar")(import_calendar)


def calendar(
    kind: Annotated[
        str | None, typer.Argument(help="Kind of event, such as fomc; without it: which there are.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Events due from this UTC date or time on.")] = None,
    stop: Annotated[str | None, typer.Option("--to", help="Events due before this UTC date or time.")] = None,
    as_of: Annotated[str | None, typer.Option(help="As it was known at this UTC date or time, not today.")] = None,
    lake: LakeFolder = LAKE,
    as_json: Json = False,
) -> None:
    """List announced events with their times in UTC, since when these were known, and the source.

    Cancelled events are listed under the time at which that became known.
    """
    from backtest.data.calendar import known_events

    if kind is None:
        _print_kinds(lake, as_json=as_json)
        return
    first, last, known = time_option("--from", start), time_option("--to", stop), time_option("--as-of", as_of)
    require_order(("--from", first), ("--to", last))
    announced: dict[tuple[str, int | None], int] = {}
    for said in known_events(kind, lake=lake):
        announced.setdefault((said.event_id, said.scheduled_ms), said.known_ms)
    events = [
        (event, announced[event.event_id, event.scheduled_ms])
        for event in known_events(kind, _EVER if known is None else known, lake=lake)
        if (first is None or _when(event) >= first) and (last is None or _when(event) < last)
    ]
    if as_json:
        say_json([{**asdict(event), "announced_ms": since} for event, since in events])
        return
    rows = [(e.event_id, e.period, _due(e), time_text(since), e.status, e.knowledge, e.source) for e, since in events]
    headings = ("event", "period", "due, UTC", "date known since", "status", "how known", "source")
    print_table(headings, rows, align="l")
    if not rows:
        note("none; outside the range of a calendar nothing is known of its events, see: backtest calendar")


def _print_kinds(lake: Path, *, as_json: bool) -> None:
    from backtest.data.calendar import known_events
    from backtest.data.calendar_files import calendar_file, kinds

    forms: list[dict[str, object]] = []
    rows = []
    for kind in kinds(lake):
        events = known_events(kind, lake=lake)
        due = [event.scheduled_ms for event in events if event.scheduled_ms is not None]
        first, last, count = min(due), max(due), len({event.event_id for event in events})
        file = str(calendar_file(kind, lake))
        forms.append({"kind": kind, "events": count, "first_ms": first, "last_ms": last, "file": file})
        rows.append((kind, count, time_text(first), time_text(last), file))
    if as_json:
        say_json(forms)
    else:
        print_table(("kind", "events", "first, UTC", "last, UTC", "file"), rows, align="lrlll")


def import_calendar(
    path: Annotated[Path, typer.Argument(help="A CSV of dates, an iCalendar file, or a CSV of vintages (ALFRED).")],
    kind: Annotated[str, typer.Option(help="Kind of event that the file tells of: ppi, gdp, …")],
    lake: LakeFolder = LAKE,
    clock: Annotated[str | None, typer.Option(help="Time of day of dates that have none, such as 08:30.")] = None,
    zone: Annotated[str | None, typer.Option(help="Whose clock the file shows: New York's unless named.")] = None,
    seen: Annotated[str | None, typer.Option(help="The day on which these dates were seen.")] = None,
    lead: Annotated[str | None, typer.Option(help="How long before an event its date was known, such as 30d.")] = None,
    match: Annotated[str, typer.Option(help="iCalendar: text in the summaries of the events to take.")] = "",
    map_: Annotated[list[str] | None, typer.Option("--map", help="COLUMN=FILE_COLUMN: scheduled=Date,period=…")] = None,
    time_unit: Annotated[str | None, typer.Option(help="Pattern of the dates, such as %m/%d/%Y.")] = None,
) -> None:
    """Add release dates to a calendar of the lake; a date that was moved becomes a new statement.

    Columns are found by name: scheduled (release_date, date), period, schedule_known, actual, status. Importing a file
    twice changes nothing.
    """
    from backtest.data import calendar_import

    options = calendar_import.CalendarOptions(
        kind=kind,
        clock=None if clock is None else clock_option("--clock", clock),
        zone=None if zone is None else zone_option("--zone", zone),
        seen=day_option("--seen", seen),
        lead_ms=duration_option("--lead", lead),
        match=match,
        time_unit=time_unit,
        columns=map_option(map_ or ()),
    )
    done = calendar_import.import_calendar(lake, path, options)
    note(f"written: {done.place}; {done.added} statements added; see: backtest calendar {kind}")
    if done.left_out:
        note(f"left out: {done.left_out} events that were over when their dates became known")


def _when(event: Event) -> int:
    return event.known_ms if event.scheduled_ms is None else event.scheduled_ms


def _due(event: Event) -> str | None:
    return None if event.scheduled_ms is None else time_text(event.scheduled_ms)
