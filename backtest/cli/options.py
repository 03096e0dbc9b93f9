"""Values of options that several commands take: durations, times, clocks, zones, maps of columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backtest.errors import UsageError
from backtest.units import duration_ms, time_ms

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def duration_option(option: str, text: str | None) -> int | None:
    """Read a duration such as 30d as milliseconds. Raises `UsageError`."""
    try:
        return None if text is None else duration_ms(text)
    except ValueError as error:
        raise UsageError.at(option, str(error)) from None


def time_option(option: str, text: str | None) -> int | None:
    """Read a UTC date or time as epoch milliseconds. Raises `UsageError`."""
    try:
        return None if text is None else time_ms(text)
    except ValueError as error:
        raise UsageError.at(option, str(error)) from None


def require_order(first: tuple[str, int | None], last: tuple[str, int | None]) -> None:
    """Raise `UsageError` where a range, each end with its option, holds no moment."""
    if first[1] is not None and last[1] is not None and first[1] >= last[1]:
        raise UsageError.at(last[0], f"is not after {first[0]}", "give a later time")


def day_option(option: str, text: str | None) -> dt.date | None:
    """Read a day. Raises `UsageError`."""
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError.at(option, f"{text!r} is not a day", "write it like 2021-05-19") from None


def clock_option(option: str, text: str) -> dt.time:
    """Read a time of day. Raises `UsageError`."""
    try:
        return dt.datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise UsageError.at(option, f"{text!r} is not a time of day", "write it like 08:30") from None


def zone_option(option: str, text: str) -> ZoneInfo:
    """Read the name of a time zone. Raises `UsageError`."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError):
        raise UsageError.at(option, f"{text!r} is no time zone", "write it like America/New_York") from None


def map_option(pairs: Sequence[str]) -> dict[str, str]:
    """Read `--map open=o --map close=c`, or all in one with commas. Raises `UsageError`."""
    columns: dict[str, str] = {}
    for pair in ",".join(pairs).split(",") if pairs else ():
        column, sign, file_column = pair.partition("=")
        if not (column and sign and file_column):
            raise UsageError.at("--map", f'"{pair}" is not COLUMN=FILE_COLUMN', "write it like time=ts,open=o")
        columns[column.strip()] = file_column.strip()
    return columns
