"""Periods: the whole UTC months and days that sources deliver."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from backtest.units import DAY_MS, time_ms, time_text


class Period(NamedTuple):
    """A UTC month or day, half-open."""

    start_ms: int
    stop_ms: int

    @property
    def is_day(self) -> bool:
        return self.stop_ms - self.start_ms == DAY_MS

    @property
    def text(self) -> str:
        """Name it as archives do.

        >>> month_of(1730764800000).text, day_of(1730764800000).text
        ('2024-11', '2024-11-05')
        """
        return time_text(self.start_ms)[: 10 if self.is_day else 7]

    def days(self) -> list[Period]:
        """List the days of it."""
        return [Period(day, day + DAY_MS) for day in range(self.start_ms, self.stop_ms, DAY_MS)]


def day_of(moment_ms: int) -> Period:
    """Give the day that a moment lies in."""
    start_ms = moment_ms // DAY_MS * DAY_MS
    return Period(start_ms, start_ms + DAY_MS)


def month_of(moment_ms: int) -> Period:
    """Give the month that a moment lies in."""
    first = (dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=moment_ms)).date().replace(day=1)
    after = (first + dt.timedelta(days=32)).replace(day=1)
    return Period(time_ms(first), time_ms(after))


def periods(start_ms: int, stop_ms: int, today_ms: int) -> tuple[list[Period], list[Period]]:
    """Split a range into the months that are over and the days since, up to yesterday.

    Ranges are rounded out to whole months, and in the current month to whole days, so that what one call fetches is a
    part that the next call knows.
    """
    current = month_of(today_ms)
    months: list[Period] = []
    month = month_of(start_ms)
    while month.start_ms < min(stop_ms, current.start_ms):
        months.append(month)
        month = month_of(month.stop_ms)
    last_ms = min(stop_ms, day_of(today_ms).start_ms)
    days = [day for day in current.days() if day.stop_ms > start_ms and day.start_ms < last_ms]
    return months, days
