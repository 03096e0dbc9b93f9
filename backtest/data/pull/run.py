"""Carrying out a recipe: what is missing is fetched, year by year, and merged; what is there is compared by checksum.

What counts as there is what the manifest lists as a source, so a pull that was killed goes on where the last merge
ended. Files of the archive that were fetched but not merged wait in `.pull` inside the lake.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

from backtest.data.disk import locked
from backtest.data.manifest import Dataset
from backtest.data.pull.archive import Archive
from backtest.data.pull.binance import BinanceRest
from backtest.data.pull.bybit import BybitRest
from backtest.data.pull.cboe import CboeHistory
from backtest.data.pull.deribit import DeribitIndex
from backtest.data.pull.hosts import host
from backtest.data.pull.http import Client, UnreachableError
from backtest.data.pull.periods import Period, day_of, periods
from backtest.data.pull.recipe import Recipe, Wanted
from backtest.data.pull.snapshots import take_snapshot
from backtest.data.store import Lake, MergeResult, Piece
from backtest.errors import BacktestError, DataError, Problem, SourceError
from backtest.units import DAY_MS, time_text

DOWNLOADS = ".pull"
_AT_ONCE = 4
# A monthly archive appears in the first week after; a month older than this will not come any more.
_MAY_COME_MS = 62 * DAY_MS
_WEEKEND = (2, 3)  # 1970-01-01 was a Thursday

Progress = Callable[[int, int], None]
T = TypeVar("T")


class Origin(Protocol):
    """What delivers the rows of a dataset, period by period."""

    def source(self, dataset: Dataset, period: Period) -> str | None: ...
    def fetch(self, dataset: Dataset, period: Period) -> Piece | None: ...


@dataclass(frozen=True, slots=True)
class Origins:
    """Who delivers whole months and who single days, in the order in which they are asked."""

    months: tuple[Origin, ...]
    days: tuple[Origin, ...]
    archive: Archive | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """What a pull would fetch of one dataset, and how many stored files it would compare by checksum."""

    dataset: Dataset
    first: str
    last: str
    months: int
    days: int
    to_compare: int


@dataclass(slots=True)
class PullReport:
    """What a pull did: merges, snapshots written, files that changed at their source, and periods without any data."""

    results: list[MergeResult] = field(default_factory=list)
    snapshots: list[Path] = field(default_factory=list)
    revised: list[str] = field(default_factory=list)
    absent: dict[Dataset, list[Period]] = field(default_factory=dict)
    requests: int = 0


def plan(lake: Lake, recipe: Recipe, today_ms: int) -> list[Missing]:
    """List what is missing, without asking the network; nothing for a dataset of which all is there."""
    found = []
    for wanted in recipe.datasets:
        dataset = wanted.dataset
        held = _held(lake, dataset)
        if dataset.venue == "cboe":
            first_ms = _first_missing_ms(lake, wanted, today_ms)
            if first_ms is not None:
                last_ms = _stop_ms(wanted, today_ms) - 1
                found.append(Missing(dataset, day_of(first_ms).text, day_of(last_ms).text, 0, 1, 0))
            continue
        origins = _origins(dataset, Client(), lake)
        months, days = _missing(origins, wanted, held, today_ms)
        compared = _archived(origins, wanted, held, today_ms)
        if months or days or compared:
            texts = [period.text for period in (*months, *days)] or [""]
            found.append(Missing(dataset, texts[0], texts[-1], len(months), len(days), len(compared)))
    return found


def pull(
    lake: Lake,
    recipe: Recipe,
    today_ms: int,
    *,
    client: Client | None = None,
    replace_rows: bool = False,
    progress: Progress = lambda done, total: None,
) -> PullReport:
    """Fetch what is missing and merge it. Whole UTC days only, up to yesterday: no bar that is still open.

    Stored rows never change silently: where a source now says something else, `DataError` names both, unless
    `replace_rows` lets the new rows win. All other parts of the recipe are carried out before problems are raised.
    Raises `SourceError` where a source does not deliver, `DataError` where what it delivers is wrong.
    """
    work = _Pull(lake, client or Client(), today_ms, replace_rows, progress)
    folder = lake.root / DOWNLOADS
    with locked(folder):
        try:
            work.run(recipe)
        except UnreachableError as error:
            work.errors.append(error)
        else:
            _clear(folder)
    work.report.requests = work.client.requests_made
    if work.errors:
        kind = next((SourceError for error in work.errors if isinstance(error, SourceError)), type(work.errors[0]))
        raise kind(*dict.fromkeys(problem for error in work.errors for problem in error.problems))
    return work.report


@dataclass(slots=True)
class _Pull:
    lake: Lake
    client: Client
    today_ms: int
    replace_rows: bool
    progress: Progress
    report: PullReport = field(default_factory=PullReport)
    errors: list[BacktestError] = field(default_factory=list)
    done: int = 0
    total: int = 0

    def run(self, recipe: Recipe) -> None:
        self._expect(sum(max(m.months + m.days + m.to_compare, 1) for m in plan(self.lake, recipe, self.today_ms)))
        for venue, table in recipe.snapshots:
            self._attempt(partial(self._snapshot, venue, table))
        for wanted in recipe.datasets:
            if wanted.dataset.venue == "cboe":
                self._attempt(partial(self._whole, wanted))
            else:
                self._by_period(wanted)

    def _snapshot(self, venue: str, table: str) -> None:
        self.report.snapshots += take_snapshot(self.lake.root, venue, table, self.client, self.today_ms)

    def _by_period(self, wanted: Wanted) -> None:
        dataset = wanted.dataset
        origins = _origins(dataset, self.client, self.lake)
        held = _held(self.lake, dataset)
        months, days = _missing(origins, wanted, held, self.today_ms)
        revised = self._revised(origins, dataset, held, _archived(origins, wanted, held, self.today_ms))
        self.report.revised += [str(origins.archive and origins.archive.source(dataset, period)) for period in revised]
        again = [period for period in revised if not period.is_day]
        absent = self._fetch(dataset, origins.months, sorted({*months, *again}))
        fallback = self._fallback(origins, wanted, held, absent)
        self._expect(len(fallback))
        days = sorted({*days, *fallback, *(period for period in revised if period.is_day)})
        absent = [month for month in absent if not {*month.days()} & {*fallback}]
        absent += self._fetch(dataset, origins.days, days)
        if absent:
            self.report.absent[dataset] = absent
        if dataset not in self.lake.datasets() and not self.errors:
            what = f"no source has any of it from {time_text(wanted.start_ms)[:10]} on"
            self.errors.append(SourceError(Problem(str(dataset), what, "check symbol, interval and range")))

    def _fallback(
        self, origins: Origins, wanted: Wanted, held: dict[str, set[str]], absent: Sequence[Period]
    ) -> list[Period]:
        """List days of months without a monthly file: of late months, and of holes after the first known one."""
        if origins.days == origins.months:
            return []
        entries = self.lake.entries([wanted.dataset])
        first_ms = min((entry.first_ms for entry in entries), default=self.today_ms)
        days = [
            day
            for month in absent
            if month.start_ms > first_ms or month.stop_ms > self.today_ms - _MAY_COME_MS
            for day in month.days()
        ]
        return [day for day in days if not _is_held(origins.days, wanted.dataset, day, held)]

    def _revised(
        self, origins: Origins, dataset: Dataset, held: dict[str, set[str]], archived: Sequence[Period]
    ) -> list[Period]:
        archive = origins.archive
        if archive is None:
            return []
        known = self._each(archived, lambda period: archive.checksum(dataset, period))
        return [p for p, sha256 in known.items() if sha256 and sha256 not in held[archive.source(dataset, p) or ""]]

    def _fetch(self, dataset: Dataset, origins: Sequence[Origin], wanted: Sequence[Period]) -> list[Period]:
        """Fetch and merge periods, a year at a time; give those that no origin has."""
        absent: list[Period] = []
        for _, year in groupby(wanted, key=lambda period: time_text(period.start_ms)[:4]):
            fetched: dict[Period, Piece | None] = {}
            try:
                self._each(list(year), lambda period: _first_piece(origins, dataset, period), fetched)
            finally:  # what came before a host was lost is kept
                self._merge([piece for _, piece in sorted(fetched.items()) if piece is not None])
            absent += [period for period, piece in fetched.items() if piece is None]
        return absent

    def _each(
        self, wanted: Sequence[Period], call: Callable[[Period], T], found: dict[Period, T] | None = None
    ) -> dict[Period, T]:
        """Call for every period, some at once; problems of one do not stop the others, a lost host does."""
        found = {} if found is None else found
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            for period, future in [(period, pool.submit(call, period)) for period in wanted]:
                try:
                    found[period] = future.result()
                except UnreachableError:
                    raise
                except BacktestError as error:
                    self.errors.append(error)
                self._step()
        finally:
            pool.shutdown(cancel_futures=True)
        return found

    def _merge(self, pieces: Sequence[Piece]) -> None:
        """Merge together, for speed; where one of them is refused, one by one, so that the others are kept."""
        if not pieces:
            return
        try:
            self.report.results += self.lake.merge(pieces, replace_rows=self.replace_rows)
        except DataError as error:
            if len(pieces) == 1:
                self.errors.append(error)
                return
            for piece in pieces:
                self._merge([piece])
        _clear(self.lake.root / DOWNLOADS)

    def _whole(self, wanted: Wanted) -> None:
        """Fetch a source that is one file: take its new rows, and those that differ from stored ones."""
        first_ms = _first_missing_ms(self.lake, wanted, self.today_ms)
        if first_ms is None:
            return
        cboe = CboeHistory(self.client, host("cboe"), self.lake.root / DOWNLOADS)
        piece = cboe.fetch(wanted.dataset, _stop_ms(wanted, self.today_ms))
        self._step()
        stored: dict[int, float] = {}
        if wanted.dataset in self.lake.datasets():
            rows = self.lake.read(wanted.dataset, columns=["value"])
            stored = dict(zip(rows["time_ms"].to_pylist(), rows["value"].to_pylist(), strict=True))
        times, values = piece.frame["time_ms"].to_pylist(), piece.frame["value"].to_pylist()
        new = [row for row, time in enumerate(times) if stored.get(time) != values[row]]
        if new:
            self._merge([Piece(piece.dataset, piece.frame.take(new), piece.source)])

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except UnreachableError:
            raise
        except BacktestError as error:
            self.errors.append(error)

    def _expect(self, steps: int) -> None:
        self.total += steps

    def _step(self) -> None:
        self.done += 1
        self.progress(self.done, max(self.total, self.done))


def _origins(dataset: Dataset, client: Client, lake: Lake) -> Origins:
    if dataset.venue in ("binance", "binance-coinm"):
        archive = Archive(client, host("binance_vision"), lake.root / DOWNLOADS)
        rest = BinanceRest(client, host("binance_um" if dataset.venue == "binance" else "binance_cm"))
        return Origins((archive,), (archive, rest), archive)
    origin: Origin = (
        BybitRest(client, host("bybit")) if dataset.venue == "bybit" else DeribitIndex(client, host("deribit"))
    )
    return Origins((origin,), (origin,))


def _first_piece(origins: Sequence[Origin], dataset: Dataset, period: Period) -> Piece | None:
    pieces = (origin.fetch(dataset, period) for origin in origins if origin.source(dataset, period) is not None)
    return next((piece for piece in pieces if piece is not None), None)


def _held(lake: Lake, dataset: Dataset) -> dict[str, set[str]]:
    """Give the sources of a dataset that the manifest lists, with their hashes."""
    held: dict[str, set[str]] = {}
    for entry in lake.entries([dataset]):
        for source in entry.sources:
            held.setdefault(source.name, set()).add(source.sha256)
    return held


def _is_held(origins: Iterable[Origin], dataset: Dataset, period: Period, held: dict[str, set[str]]) -> bool:
    return any(origin.source(dataset, period) in held for origin in origins)


def _missing(
    origins: Origins, wanted: Wanted, held: dict[str, set[str]], today_ms: int
) -> tuple[list[Period], list[Period]]:
    months, days = periods(wanted.start_ms, _stop_ms(wanted, today_ms), today_ms)

    def lacks(origins: Sequence[Origin], period: Period) -> bool:
        return not _is_held(origins, wanted.dataset, period, held)

    # A month is there too where all of its days came one by one.
    return [
        month
        for month in months
        if lacks(origins.months, month) and any(lacks(origins.days, day) for day in month.days())
    ], [day for day in days if lacks(origins.days, day)]


def _archived(origins: Origins, wanted: Wanted, held: dict[str, set[str]], today_ms: int) -> list[Period]:
    """List the periods of the range whose archive file is stored."""
    if origins.archive is None:
        return []
    months, days = periods(wanted.start_ms, _stop_ms(wanted, today_ms), today_ms)
    days += [day for month in months for day in month.days()]
    return [period for period in (*months, *days) if origins.archive.source(wanted.dataset, period) in held]


def _stop_ms(wanted: Wanted, today_ms: int) -> int:
    today = day_of(today_ms).start_ms
    return today if wanted.stop_ms is None else min(wanted.stop_ms, today)


def _first_missing_ms(lake: Lake, wanted: Wanted, today_ms: int) -> int | None:
    """Give the first day after the last stored one of a source that is one file; None where no weekday is since."""
    entries = lake.entries([wanted.dataset])
    first_ms = max((entry.last_ms + DAY_MS for entry in entries), default=wanted.start_ms)
    days = range(first_ms // DAY_MS, _stop_ms(wanted, today_ms) // DAY_MS)
    return first_ms if any(day % 7 not in _WEEKEND for day in days) else None


def _clear(folder: Path) -> None:
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
