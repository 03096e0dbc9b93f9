"""Stored doubles as exact integers at 1e-8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backtest.units import E8, float_to_e8


def floats_to_e8(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Round natural numbers to int64 at 1e-8, half even on their exact binary value.

    Equal to `units.float_to_e8` for every element. Values must lie inside the int64 range at 1e-8.

    >>> floats_to_e8([0.25, 69420.1]).tolist()
    [25000000, 6942010000000]
    """
    natural = np.asarray(values, dtype=np.float64)
    scaled = natural * E8
    whole = np.rint(scaled)
    result = whole.astype(np.int64)
    # The product is off by at most half a unit in its last place. Only where that could carry it over a half, or
    # where it has no decimals left, is the exact value needed: first by the largest unit of all, then by its own.
    distance = np.abs(np.subtract(scaled, whole, out=whole), out=whole)
    largest = np.spacing(np.abs(scaled).max(initial=0.0))
    doubtful = np.flatnonzero(distance >= 0.5 - largest)
    doubtful = doubtful[distance[doubtful] >= 0.5 - np.spacing(np.abs(scaled[doubtful]))]
    if doubtful.size:
        result[doubtful] = [float_to_e8(value) for value in natural[doubtful].tolist()]
    return result
