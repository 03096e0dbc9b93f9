"""What parts time into regimes: a series or signal by its edges, thirds or cycle, or the windows around events.

Each gives a step function of time from what had been published by then: `since_ms`, from which on a place in `labels`
holds. Nothing that became known later changes a step before it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.data.calendar import known_events, require_coverage, windows
from backtest.data.published import Values, first_prints, newest_values, series_dataset
from backtest.data.store import Lake
from backtest.errors import DataError
from backtest.signals.spec import SignalSpec
from backtest.study.naming import decimal_text
from backtest.units import DAY_MS, E8, duration_text

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LEARN_MS = 90 * DAY_MS  # of a series before its thirds are told: fewer days make poor thirds


class Steps(NamedTuple):
    """Places in a part's `labels`, each from its time on; -1 where it is not known. Times ascend."""

    since_ms: Ints  # (n,)
    place: Ints  # (n,)

    def at(self, time_ms: Ints) -> Ints:
        """Give the place at each time; -1 before the first."""
        row = np.searchsorted(self.since_ms, time_ms, side="right") - 1
        return np.where(row >= 0, np.append(self.place, -1)[row], -1)


class Market(NamedTuple):
    """Whose entries are parted: a signal is another one for each symbol."""

    venue: str
    symbol: str


class Parting(Protocol):
    """How values become regimes."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    def form(self) -> dict[str, object]:
        """Give its keys in a study."""

    def values(self, rows: pa.Table) -> Values:
        """Take from the rows of a series (time_ms, value, available_ms) what it parts."""

    def places(self, values: Values) -> Ints:
        """Give the place in `labels` of each value, -1 where it cannot be told, from that and earlier values alone."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Under the first edge, from edge to edge, from the last on; `names` in place of the numbers."""

    edges_e8: tuple[int, ...]
    names: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Name the regimes, the lowest first.

        >>> Edges((20 * 10**8, 30 * 10**8)).labels
        ('under 20', '20 to 30', '30 or more')
        """
        edges = self._texts()
        between = [f"{low} to {high}" for low, high in pairwise(edges)]
        return self.names or (f"under {edges[0]}", *between, f"{edges[-1]} or more")

    def form(self) -> dict[str, object]:
        return {"edges": self._texts(), **({"labels": list(self.names)} if self.names else {})}

    def values(self, rows: pa.Table) -> Values:
        return newest_values(rows)

    def places(self, values: Values) -> Ints:
        edges = np.array(self.edges_e8, np.float64) / E8
        place = np.searchsorted(edges, values.value, side="right")
        return np.where(np.isnan(values.value), -1, place).astype(np.int64)

    def _texts(self) -> list[str]:
        return [decimal_text(Decimal(edge) / E8) for edge in self.edges_e8]


@dataclass(frozen=True, slots=True)
class Thirds:
    """By the share of all values so far that were smaller: an expanding window, told after 90 days of it."""

    labels: tuple[str, ...] = ("calm third", "middle third", "wild third")

    def form(self) -> dict[str, object]:
        return {"thirds": True}

    def values(self, rows: pa.Table) -> Values:
        return newest_values(rows)

    def places(self, values: Values) -> Ints:
        so_far: list[float] = []
        place = np.full(len(values.value), -1, np.int64)
        known = np.flatnonzero(~np.isnan(values.value)).tolist()
        for row in known:
            value = float(values.value[row])
            smaller = bisect_left(so_far, value)
            insort(so_far, value)
            if values.known_ms[row] - values.known_ms[known[0]] >= LEARN_MS:
                place[row] = 3 * smaller // len(so_far)
        return place


@dataclass(frozen=True, slots=True)
class Cycle:
    """By sign and change of growth as first published: growing or shrinking, and faster or slower than before."""

    labels: tuple[str, ...] = ("expansion", "slowdown", "recession", "recovery")

    def form(self) -> dict[str, object]:
        return {"cycle": True}

    def values(self, rows: pa.Table) -> Values:
        return first_prints(rows)

    def places(self, values: Values) -> Ints:
        change = np.diff(values.value, prepend=np.nan)
        grows, quickens = values.value >= 0, change >= 0
        place = np.where(grows, np.where(quickens, 0, 1), np.where(quickens, 3, 2))
        return np.where(np.isnan(change), -1, place).astype(np.int64)


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """A series of the lake (venue/symbol), or its ratio to another one, parted."""

    series: str
    over: str | None
    by: Parting

    @property
    def labels(self) -> tuple[str, ...]:
        return self.by.labels

    def form(self) -> dict[str, object]:
        return {"series": self.series, **({} if self.over is None else {"over": self.over}), **self.by.form()}

    def steps(self, lake: Lake, market: Market, time_ms: Ints) -> Steps:
        rows = lake.read(series_dataset(self.series))
        values = self.by.values(
            rows if self.over is None else ratio(rows, lake.read(series_dataset(self.over)), self.over)
        )
        return Steps(values.known_ms, self.by.places(values))


@dataclass(frozen=True, slots=True)
class SignalPart:
    """A signal of each symbol, by the name of its preset, parted."""

    signal: str
    by: Parting

    @property
    def labels(self) -> tuple[str, ...]:
        return self.by.labels

    def form(self) -> dict[str, object]:
        return {"signal": self.signal, **self.by.form()}

    def steps(self, lake: Lake, market: Market, time_ms: Ints) -> Steps:
        from backtest.signals.compute import compute

        stop_ms = int(time_ms.max(initial=0)) + 1
        spec = SignalSpec(self.signal, self.signal)
        found = compute(spec, lake, venue=market.venue, symbol=market.symbol, start_ms=0, stop_ms=stop_ms)
        return Steps(found.available_ms, self.by.places(Values(found.available_ms, found.value)))


@dataclass(frozen=True, slots=True)
class EventPart:
    """Inside or outside the windows around the events of a calendar."""

    kind: str
    before_ms: int
    after_ms: int
    labels: tuple[str, ...] = ("outside", "inside")

    @property
    def text(self) -> str:
        """Say how wide the windows are.

        >>> EventPart("fomc", 86_400_000, 7_200_000).text
        '1d before to 2h after'
        """
        return f"{duration_text(self.before_ms)} before to {duration_text(self.after_ms)} after"

    def form(self) -> dict[str, object]:
        return {"event": self.kind, "before": duration_text(self.before_ms), "after": duration_text(self.after_ms)}

    def steps(self, lake: Lake, market: Market, time_ms: Ints) -> Steps:
        """Give the steps; `CoverageError` where the calendar does not cover the times that are asked for."""
        events = known_events(self.kind, lake=lake.root)
        if len(time_ms):
            require_coverage(self.kind, events, int(time_ms.min()), int(time_ms.max()))
        near = windows(events, self.before_ms, self.after_ms)
        begin = min(event.known_ms for event in events)
        since = np.concatenate([[begin], np.stack([near.first_ms, near.last_ms + 1], axis=1).ravel()])
        return Steps(since.astype(np.int64), (np.arange(len(since)) % 2).astype(np.int64))


Part = SeriesPart | SignalPart | EventPart


def ratio(rows: pa.Table, other: pa.Table, name: str) -> pa.Table:
    """Divide a series by another one, period by period: known when both were, with the versions known then.

    Raises `DataError` where the other one is 0.
    """
    both = rows.join(other, "time_ms", join_type="inner", right_suffix="_other")
    period, value, divisor = (both[column].to_numpy() for column in ("time_ms", "value", "value_other"))
    if not divisor.all():
        raise DataError.at(name, "holds a value of 0, which nothing can be divided by", "correct the series")
    mine, theirs = both["available_ms"].to_numpy(), both["available_ms_other"].to_numpy()
    known_ms = np.maximum(mine, theirs)
    # Of the pairs of versions that became known at one time, the last has the newest of each.
    order = np.lexsort((theirs, mine, known_ms, period))
    last = np.ones(len(order), bool)
    last[:-1] = (np.diff(period[order]) != 0) | (np.diff(known_ms[order]) != 0)
    kept = order[last]
    return pa.table({"time_ms": period[kept], "value": value[kept] / divisor[kept], "available_ms": known_ms[kept]})
