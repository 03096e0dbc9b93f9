"""A series as it became known: which of its values counts at a time, where periods are published late and revised."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.data.manifest import EVENT, Dataset

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Values(NamedTuple):
    """Values as they became known, in order; NaN where one is not known."""

    known_ms: Ints  # (n,)
    value: Floats  # (n,)


def series_dataset(name: str) -> Dataset:
    """Give the dataset of a series that is named venue/symbol.

    >>> series_dataset("cboe/VIX").symbol
    'VIX'
    """
    venue, _, symbol = name.partition("/")
    return Dataset(venue, "series", symbol, EVENT)


def newest_values(rows: pa.Table) -> Values:
    """Give the newest period that had been published, in its newest version."""
    period, known_ms, value = _by_publication(rows)
    newest = period >= np.maximum.accumulate(period)  # a revision of an older period changes nothing
    return Values(known_ms[newest], value[newest])


def first_prints(rows: pa.Table) -> Values:
    """Give of each period the version that was published first; a period that came after a later one is left out."""
    period, known_ms, value = _by_publication(rows)
    before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(period)[:-1]])
    first = period > before
    return Values(known_ms[first], value[first])


def _by_publication(rows: pa.Table) -> tuple[Ints, Ints, Floats]:
    period, known_ms = rows["time_ms"].to_numpy(), rows["available_ms"].to_numpy()
    order = np.lexsort((period, known_ms))
    return period[order], known_ms[order], rows["value"].to_numpy()[order]
