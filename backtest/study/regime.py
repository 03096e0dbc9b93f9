"""Regimes: a study's entries sorted by a dated series of the lake, such as VIX, as it was known when they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.data.manifest import EVENT, Dataset
from backtest.data.store import Lake
from backtest.study import reader
from backtest.study.naming import decimal_text
from backtest.study.reader import Section
from backtest.units import E8

NOT_KNOWN = "not known"
_NAME = reader.text("[^<>\n]{1,60}", "a label of up to 60 characters", '"VIX"')
_SERIES = reader.text(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", "a series of the lake", '"cboe/VIX"')


@dataclass(frozen=True, slots=True)
class RegimeSpec:
    """A series and the values that part its regimes: under the first edge, from edge to edge, from the last on.

    Positions are opened in those of its regimes alone that `enter` names; in all of them where it is empty.
    """

    name: str
    series: str  # venue/symbol
    edges_e8: tuple[int, ...]
    enter: tuple[str, ...] = ()

    @property
    def dataset(self) -> Dataset:
        venue, _, symbol = self.series.partition("/")
        return Dataset(venue, "series", symbol, EVENT)

    @property
    def labels(self) -> tuple[str, ...]:
        """Name the regimes, the lowest first, then what is not known.

        >>> RegimeSpec("VIX", "cboe/VIX", (20 * 10**8, 30 * 10**8)).labels
        ('under 20', '20 to 30', '30 or more', 'not known')
        """
        edges = [decimal_text(Decimal(edge) / E8) for edge in self.edges_e8]
        between = [f"{low} to {high}" for low, high in pairwise(edges)]
        return (f"under {edges[0]}", *between, f"{edges[-1]} or more", NOT_KNOWN)


def read_regimes(top: Section) -> tuple[RegimeSpec, ...]:
    """Read every `[[regime]]`."""
    regimes: list[RegimeSpec] = []
    for section in top.tables("regime"):
        spec = RegimeSpec(
            section.get("name", _NAME),
            section.get("series", _SERIES),
            section.many("edges", reader.scaled(E8, "-1_000_000_000", "1_000_000_000")),
            section.many("enter", _NAME, ()),
        )
        if section.ok and (unknown := [label for label in spec.enter if label not in spec.labels]):
            section.problem("enter", f'names "{unknown[0]}", no regime of it', f"known: {', '.join(spec.labels)}")
        if section.ok and list(spec.edges_e8) != sorted(spec.edges_e8):
            section.problem("edges", "are not in order", "write the lowest first")
        if spec.name in {other.name for other in regimes}:
            section.problem("name", f'"{spec.name}" is already the name of another regime', "take another name")
        regimes.append(spec)
    return tuple(regimes)


def resolved_regimes(regimes: tuple[RegimeSpec, ...]) -> Iterator[dict[str, object]]:
    """Give the canonical form of each."""
    for spec in regimes:
        edges = [decimal_text(Decimal(edge) / E8) for edge in spec.edges_e8]
        enter = {"enter": list(spec.enter)} if spec.enter else {}
        yield {"name": spec.name, "series": spec.series, "edges": edges, **enter}


def tags(
    regimes: tuple[RegimeSpec, ...], lake: Lake, entry_ms: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.int64]]:
    """Give, for each regime, the place in its `labels` of every entry.

    What counts is the newest period that had been published by the entry, in its newest version. Raises
    `CoverageError` where the lake has no such series.
    """
    return {spec.name: _tag(spec, lake.read(spec.dataset), entry_ms) for spec in regimes}


def entered(
    regimes: tuple[RegimeSpec, ...], tagged: Mapping[str, npt.NDArray[np.int64]], count: int
) -> npt.NDArray[np.bool_]:
    """Tell for each of `count` entries whether every regime that says where to enter is in such a part."""
    inside = np.ones(count, bool)
    for spec in regimes:
        if spec.enter:
            inside &= np.isin(tagged[spec.name], [spec.labels.index(label) for label in spec.enter])
    return inside


def _tag(spec: RegimeSpec, rows: pa.Table, entry_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    period, known_ms = rows["time_ms"].to_numpy(), rows["available_ms"].to_numpy()
    order = np.lexsort((period, known_ms))
    period, known_ms, value = period[order], known_ms[order], rows["value"].to_numpy()[order]
    newest = period >= np.maximum.accumulate(period)  # a revision of an older period changes nothing
    known_ms, value = known_ms[newest], value[newest]
    row = np.searchsorted(known_ms, entry_ms, side="right") - 1
    edges = np.array(spec.edges_e8, np.float64) / E8
    place = np.searchsorted(edges, value[np.maximum(row, 0)], side="right")
    return np.where(row >= 0, place, len(spec.labels) - 1).astype(np.int64)
