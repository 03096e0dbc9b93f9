"""What is asked for and what comes of it: the spec of a signal, and a signal's rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backtest.data.manifest import Dataset

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """A signal by the name that rules call it: the kind or preset it uses, its interval and what differs from there.

    An empty `interval` is that of what it uses. `file` names a Python file in which `use` is a function with `@signal`.

    >>> SignalSpec("slow_rsi", use="rsi", interval="4h", params=(("window", 28),)).name
    'slow_rsi'
    """

    name: str
    use: str
    interval: str = ""
    params: tuple[tuple[str, object], ...] = ()
    file: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """A step function of time: from each `available_ms` on its `value` holds, until the next row; NaN: not known.

    Times ascend. The first row is the newest at or before the start that was asked for, where there is one. Values have
    nine significant digits, so that a comparison ends alike on every machine. `datasets` are those that were read.
    """

    available_ms: Ints  # (n,)
    value: Floats  # (n,)
    datasets: tuple[Dataset, ...] = ()
