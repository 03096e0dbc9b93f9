"""Compute a signal of a symbol: what was known, one value at a time."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from backtest.data.store import Lake
from backtest.errors import SignalError, did_you_mean
from backtest.signals.indicators import rounded
from backtest.signals.inputs import Known, available_ms
from backtest.signals.kinds import Kind
from backtest.signals.registry import PRESETS, SIGNALS
from backtest.signals.spec import Signal, SignalSpec


def compute(spec: SignalSpec, lake: Lake, *, venue: str, symbol: str, start_ms: int, stop_ms: int) -> Signal:
    """Compute a signal over the half-open range of what was available, from all history that the lake has before it.

    Raises `SignalError` for a spec that cannot be, `CoverageError` where the lake has nothing to make it of.

    >>> spec = SignalSpec("rsi", use="rsi_14_1d")
    >>> lake = Lake("datasets/lake")
    >>> compute(spec, lake, venue="binance", symbol="BTCUSDT", start_ms=0, stop_ms=2 * 10**12)  # doctest: +SKIP
    """
    kind, interval, p = resolve(spec)
    known = Known(lake, venue, symbol, interval, stop_ms)
    frame = kind.reads.read(known, p)
    times = available_ms(frame)
    values = np.asarray(kind(frame, p), np.float64)
    first = max(0, int(np.searchsorted(times, start_ms, side="right")) - 1)
    return Signal(times[first:], rounded(values[first:]), tuple(sorted(known.datasets)))


def resolve(spec: SignalSpec) -> tuple[Kind, str, SimpleNamespace]:
    """Give the kind, the interval and all parameters that a spec means, without looking at any data.

    Raises `SignalError` with everything that is wrong with it.
    """
    preset = PRESETS.get(spec.use)
    if preset is not None:
        params = tuple((dict(preset.params) | dict(spec.params)).items())
        spec = replace(preset, name=spec.name, interval=spec.interval or preset.interval, params=params)
    kind = SIGNALS.get(spec.use)
    if kind is None:
        remedy = did_you_mean(spec.use, [*SIGNALS, *PRESETS])
        raise SignalError.at(f'signal "{spec.name}"', f'no signal "{spec.use}"', remedy)
    return (kind, *kind.resolve(spec))
