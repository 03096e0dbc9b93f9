"""Who delivers a dataset, and which of its periods are missing from the lake.

What counts as there is what the manifest lists as a source, so a pull that was killed goes on where its last merge
ended, and a file that was imported by hand is not fetched again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backtest.data.manifest import Dataset
from backtest.data.pull.archive import Archive
from backtest.data.pull.binance import BinanceRest
from backtest.data.pull.bybit import BybitRest
from backtest.data.pull.deribit import DeribitIndex
from backtest.data.pull.hosts import host
from backtest.data.pull.http import Client
from backtest.data.pull.periods import Period, day_of, periods
from backtest.data.pull.recipe import Wanted
from backtest.data.pull.trades import TradeArchive
from backtest.data.store import Lake, Piece
from backtest.units import DAY_MS

# Where fetched archives wait, inside the lake, until they are merged.
DOWNLOADS = ".pull"
# After so long the archive has the day, and what the interface gave is compared with it.
_ARCHIVED_BY_MS = 3 * DAY_MS
# A monthly archive appears in the first week after; a month older than this will not come any more.
_MAY_COME_MS = 62 * DAY_MS
_WEEKEND = (2, 3)  # days since 1970-01-01, a Thursday, modulo 7

Held = Mapping[str, set[str]]  # sources that the manifest lists, each with the hashes that it came with


class Origin(Protocol):
    """What delivers the rows of a dataset, period by period."""

    def source(self, dataset: Dataset, period: Period) -> str | None: ...
    def fetch(self, dataset: Dataset, period: Period) -> Piece | None: ...


@dataclass(frozen=True, slots=True)
class Origins:
    """Who delivers whole months and who single days of a dataset, in the order in which they are asked."""

    dataset: Dataset
    months: tuple[Origin, ...]
    days: tuple[Origin, ...]
    archive: Archive | None = None

    def fetch(self, period: Period) -> Piece | None:
        """Fetch a period from the first origin that has it; None where none has. Raises `SourceError`, `DataError`."""
        for origin in self.days if period.is_day else self.months:
            if origin.source(self.dataset, period) is not None:
                piece = origin.fetch(self.dataset, period)
                if piece is not None:
                    return piece
        return None

    def name(self, period: Period) -> str:
        """Name the file or the request that a period is first looked for in."""
        origins = self.days if period.is_day else self.months
        return next(name for origin in origins if (name := origin.source(self.dataset, period)) is not None)

    def missing(self, wanted: Wanted, held: Held, today_ms: int) -> tuple[list[Period], list[Period]]:
        """List the months and the days of the current month that are not there."""
        months, days = periods(wanted.start_ms, last_stop_ms(wanted, today_ms), today_ms)
        return (
            [month for month in months if not self._has_month(month, held)],
            [day for day in days if not self.has_day(day, held, today_ms)],
        )

    def has_day(self, day: Period, held: Held, today_ms: int) -> bool:
        """Say whether a day is there; from the interface only while the archive may not have it, or never will."""
        by_archive = self.archive.source(self.dataset, day) if self.archive else None
        if by_archive is not None and day.stop_ms <= today_ms - _ARCHIVED_BY_MS:
            return by_archive in held
        return any(origin.source(self.dataset, day) in held for origin in self.days)

    def _has_month(self, month: Period, held: Held) -> bool:
        if any(origin.source(self.dataset, month) in held for origin in self.months):
            return True
        return all(self.days[0].source(self.dataset, day) in held for day in month.days())

    def late(self, absent: list[Period], known_from_ms: int, held: Held, today_ms: int) -> list[Period]:
        """List the missing days of months without a monthly file: late months, and holes after the first known row."""
        if self.days == self.months:
            return []
        return [
            day
            for month in absent
            if month.start_ms > known_from_ms or month.stop_ms > today_ms - _MAY_COME_MS
            for day in month.days()
            if not self.has_day(day, held, today_ms)
        ]

    def archived(self, wanted: Wanted, held: Held, today_ms: int) -> list[Period]:
        """List the periods of the range whose archive file is stored."""
        if self.archive is None:
            return []
        months, days = periods(wanted.start_ms, last_stop_ms(wanted, today_ms), today_ms)
        days += [day for month in months for day in month.days()]
        return [period for period in (*months, *days) if self.archive.source(self.dataset, period) in held]


def origins_of(wanted: Wanted, client: Client, root: Path) -> Origins:
    """Give the origins of a dataset that comes period by period."""
    dataset = wanted.dataset
    if dataset.venue in ("binance", "binance-coinm"):
        archive = Archive(client, host("binance_vision"), root / DOWNLOADS)
        rest = BinanceRest(client, host("binance_um" if dataset.venue == "binance" else "binance_cm"))
        return Origins(dataset, (archive,), (archive, rest), archive)
    origin: Origin
    if wanted.archive:
        origin = TradeArchive(client, host("bybit_public"), root / DOWNLOADS)
    elif dataset.venue == "bybit":
        origin = BybitRest(client, host("bybit"))
    else:
        origin = DeribitIndex(client, host("deribit"))
    return Origins(dataset, (origin,), (origin,))


def held_sources(lake: Lake, dataset: Dataset) -> Held:
    """Give the sources of a dataset that the manifest lists, with their hashes."""
    held: dict[str, set[str]] = {}
    for entry in lake.entries([dataset]):
        for source in entry.sources:
            held.setdefault(source.name, set()).add(source.sha256)
    return held


def last_stop_ms(wanted: Wanted, today_ms: int) -> int:
    """Give where a range ends: where the recipe says, and never after yesterday."""
    today = day_of(today_ms).start_ms
    return today if wanted.stop_ms is None else min(wanted.stop_ms, today)


def first_missing_ms(lake: Lake, wanted: Wanted, today_ms: int) -> int | None:
    """Give the day after the last stored one of a source that is one file; None where no weekday has passed since."""
    entries = lake.entries([wanted.dataset])
    first_ms = max((entry.last_ms + DAY_MS for entry in entries), default=wanted.start_ms)
    days = range(first_ms // DAY_MS, last_stop_ms(wanted, today_ms) // DAY_MS)
    return first_ms if any(day % 7 not in _WEEKEND for day in days) else None
