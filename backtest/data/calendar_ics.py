"""iCalendar files (RFC 5545): what an agency publishes for people's calendars, as far as release dates need it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backtest.errors import DataError, Problem

_LINE = re.compile(r"(?P<name>[A-Za-z-]+)(?P<parameters>(?:;[^:]*)?):(?P<value>.*)")


class IcsEvent(NamedTuple):
    """An event of a file; `start` by the clocks of `zone`."""

    where: str
    uid: str
    summary: str
    start: dt.datetime
    zone: str
    cancelled: bool


def read_ics(path: Path, zone: ZoneInfo, clock: dt.time | None, *, for_unknown: bool) -> list[IcsEvent]:
    """Read the events of a file, in its order.

    A date without a time takes `clock`; a time without a zone, or in one that nobody knows where `for_unknown` says
    so, is one of `zone`. Raises `DataError` with every event that is not sound.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError.at(path.name, "is not UTF-8 text", "save it as UTF-8") from None
    lines = re.sub(r"\r?\n[ \t]", "", text).splitlines()  # a long line goes on after a space
    problems: list[Problem] = []
    events: list[IcsEvent] = []
    for number, block in enumerate(_blocks(lines), 1):
        where = f"{path.name} event {number}"
        try:
            start, own_zone = _start(block["DTSTART"], zone, clock, for_unknown=for_unknown)
            uid, summary = block["UID"][1], block["SUMMARY"][1]
        except KeyError as error:
            problems.append(Problem(where, f"has no {error.args[0]}", "take it out, or fetch the file again"))
        except ValueError as error:
            problems.append(Problem(where, f"DTSTART {error}"))
        else:
            cancelled = block.get("STATUS", ("", ""))[1].upper() == "CANCELLED"
            events.append(IcsEvent(where, uid, re.sub(r"\\(.)", r"\1", summary), start, own_zone, cancelled))
    if not (problems or events):
        problems.append(Problem(path.name, "holds no event", "check that it is an iCalendar file"))
    if problems:
        raise DataError(*problems)
    return events


def _blocks(lines: list[str]) -> Iterator[dict[str, tuple[str, str]]]:
    """Give each event's properties: name to parameters and value."""
    block: dict[str, tuple[str, str]] | None = None
    for line in lines:
        if line == "BEGIN:VEVENT":
            block = {}
        elif line == "END:VEVENT" and block is not None:
            yield block
            block = None
        elif block is not None and (found := _LINE.fullmatch(line)):
            block.setdefault(found["name"].upper(), (found["parameters"], found["value"].strip()))


def _start(
    property_: tuple[str, str], zone: ZoneInfo, clock: dt.time | None, *, for_unknown: bool
) -> tuple[dt.datetime, str]:
    parameters, value = property_
    if re.fullmatch(r"\d{8}", value):
        if clock is None:
            raise ValueError(f"{value} is a date without a time; say which (--clock 08:30)")
        return dt.datetime.combine(dt.datetime.strptime(value, "%Y%m%d"), clock), zone.key
    if value.endswith("Z"):
        moment = dt.datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
        return moment.astimezone(zone).replace(tzinfo=None), zone.key
    named = re.search(r";TZID=\"?([^;:\"]+)", parameters)
    own = zone
    if named is not None:
        try:
            own = ZoneInfo(named[1])
        except (ZoneInfoNotFoundError, ValueError):
            if not for_unknown:
                raise ValueError(f"is in {named[1]}, a zone that nobody knows; name it (--zone)") from None
    return dt.datetime.strptime(value, "%Y%m%dT%H%M%S"), own.key
