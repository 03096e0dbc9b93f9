"""Carrying out a recipe: what is missing is fetched and merged year by year, what is there is compared by checksum."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from backtest.data.disk import locked
from backtest.data.manifest import Dataset
from backtest.data.pull.cboe import CboeHistory
from backtest.data.pull.hosts import host
from backtest.data.pull.http import Client, UnreachableError
from backtest.data.pull.origins import (
    DOWNLOADS,
    Held,
    Origins,
    first_missing_ms,
    held_sources,
    last_stop_ms,
    origins_of,
)
from backtest.data.pull.periods import Period, day_of
from backtest.data.pull.recipe import Recipe, Wanted
from backtest.data.pull.snapshots import take_snapshot
from backtest.data.store import Lake, MergeResult, Piece
from backtest.errors import BacktestError, DataError, Problem, SourceError
from backtest.units import time_text

_AT_ONCE = 4

Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Missing:
    """What a pull would fetch of one dataset, by name in order, and how many stored files it would compare by checksum.

    A month that its archive does not have yet is then asked for day by day.
    """

    dataset: Dataset
    first: str
    last: str
    months: int
    days: int
    to_compare: int
    files: tuple[str, ...]


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
    parts = [_missing_of(lake, wanted, today_ms) for wanted in recipe.datasets]
    return [part for part in parts if part.months or part.days or part.to_compare]


def _missing_of(lake: Lake, wanted: Wanted, today_ms: int) -> Missing:
    dataset = wanted.dataset
    if dataset.venue == "cboe":
        first_ms = first_missing_ms(lake, wanted, today_ms)
        if first_ms is None:
            return Missing(dataset, "", "", 0, 0, 0, ())
        last = day_of(last_stop_ms(wanted, today_ms) - 1)
        return Missing(dataset, day_of(first_ms).text, last.text, 0, 1, 0, (CboeHistory.file(dataset),))
    origins, held = origins_of(wanted, Client(), lake.root), held_sources(lake, dataset)
    months, days = origins.missing(wanted, held, today_ms)
    texts = [period.text for period in (*months, *days)] or [""]
    files = tuple(origins.name(period) for period in (*months, *days))
    to_compare = len(origins.archived(wanted, held, today_ms))
    return Missing(dataset, texts[0], texts[-1], len(months), len(days), to_compare, files)


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
        parts = plan(self.lake, recipe, self.today_ms)
        self.total = sum(part.months + part.days + part.to_compare for part in parts)
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
        dataset, failed_before = wanted.dataset, len(self.errors)
        origins, held = origins_of(wanted, self.client, self.lake.root), held_sources(self.lake, dataset)
        months, days = origins.missing(wanted, held, self.today_ms)
        revised = self._revised(origins, held, origins.archived(wanted, held, self.today_ms))
        absent = self._fetch(origins, sorted({*months, *(period for period in revised if not period.is_day)}))
        known_from_ms = min((entry.first_ms for entry in self.lake.entries([dataset])), default=self.today_ms)
        late = origins.late(absent, known_from_ms, held, self.today_ms)
        self.total += len(late)
        absent = [month for month in absent if not {*month.days()} & {*late}]
        absent += self._fetch(origins, sorted({*days, *late, *(period for period in revised if period.is_day)}))
        if absent:
            self.report.absent[dataset] = absent
        if dataset not in self.lake.datasets() and len(self.errors) == failed_before:
            what = f"no source has any of it from {time_text(wanted.start_ms)[:10]} on"
            self.errors.append(SourceError(Problem(str(dataset), what, "check symbol, interval and range")))

    def _revised(self, origins: Origins, held: Held, archived: Sequence[Period]) -> list[Period]:
        """List stored periods whose file is another one at its source today."""
        archive = origins.archive
        if archive is None:
            return []
        today = self._each(archived, partial(archive.checksum, origins.dataset))
        names = {period: archive.source(origins.dataset, period) or "" for period in archived}
        revised = [period for period, sha256 in today.items() if sha256 and sha256 not in held[names[period]]]
        self.report.revised += [names[period] for period in revised]
        return revised

    def _fetch(self, origins: Origins, wanted: Sequence[Period]) -> list[Period]:
        """Fetch and merge periods, a year at a time; give those that no origin has."""
        absent: list[Period] = []
        for _, year in groupby(wanted, key=lambda period: time_text(period.start_ms)[:4]):
            fetched: dict[Period, Piece | None] = {}
            try:
                self._each(list(year), origins.fetch, fetched)
            finally:  # what came before a host was lost, or the user stopped, is kept
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
        except BaseException:
            self.client.stop()
            raise
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
            else:
                for piece in pieces:
                    self._merge([piece])
        _clear(self.lake.root / DOWNLOADS)

    def _whole(self, wanted: Wanted) -> None:
        """Fetch a source that is one file: take its new rows, and those that differ from stored ones."""
        if first_missing_ms(self.lake, wanted, self.today_ms) is None:
            return
        cboe = CboeHistory(self.client, host("cboe"), self.lake.root / DOWNLOADS)
        piece = cboe.fetch(wanted.dataset, last_stop_ms(wanted, self.today_ms))
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

    def _step(self) -> None:
        self.done += 1
        self.progress(self.done, max(self.total, self.done))


def _clear(folder: Path) -> None:
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
