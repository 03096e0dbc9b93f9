"""Compute a signal of a symbol: what was known, one value at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from backtest.data.store import Lake
from backtest.errors import SignalError, did_you_mean
from backtest.signals.indicators import rounded
from backtest.signals.inputs import Known, available_ms
from backtest.signals.kinds import Kind
from backtest.signals.registry import PRESETS, SIGNALS
from backtest.signals.spec import Signal, SignalSpec
from backtest.signals.user import checked_values, find_signal


def compute(spec: SignalSpec, lake: Lake, *, venue: str, symbol: str, start_ms: int, stop_ms: int) -> Signal:
    """Compute a signal over the half-open range of what was available, from all history that the lake has before it.

    Raises `SignalError` for a spec that cannot be, `CoverageError` where the lake has nothing to make it of.

    >>> spec = SignalSpec("rsi", use="rsi_14_1d")
    >>> lake = Lake("datasets/lake")
    >>> compute(spec, lake, venue="binance", symbol="BTCUSDT", start_ms=0, stop_ms=2 * 10**12)  # doctest: +SKIP
    """
    kind, interval, p = resolve(spec)
    known = Known(f'signal "{spec.name}"', lake, venue, symbol, interval, stop_ms)
    rows = kind.reads.read(known, p)
    times = available_ms(rows)
    values = checked_values(kind, rows, p) if spec.file else rounded(np.asarray(kind(rows, p), np.float64))
    first = max(0, int(np.searchsorted(times, start_ms, side="right")) - 1)
    return Signal(times[first:], values[first:], tuple(sorted(known.datasets)))


def resolve(spec: SignalSpec) -> tuple[Kind, str, SimpleNamespace]:
    """Give the kind, the interval and all parameters that a spec means, without looking at any data.

    Raises `SignalError` with everything that is wrong with it.
    """
    kind, spec = find_kind(spec)
    return (kind, *kind.resolve(spec))


def find_kind(spec: SignalSpec) -> tuple[Kind, SignalSpec]:
    """Give the kind that a spec uses, and the spec with what its preset says filled in.

    Raises `SignalError` with the nearest name where there is none, and for a file that cannot be used.
    """
    if spec.file:
        return find_signal(Path(spec.file), spec.use), spec
    preset = PRESETS.get(spec.use)
    if preset is not None:
        params = tuple((dict(preset.params) | dict(spec.params)).items())
        spec = replace(preset, name=spec.name, interval=spec.interval or preset.interval, params=params)
    if spec.use not in SIGNALS:
        remedy = did_you_mean(spec.use, [*SIGNALS, *PRESETS])
        raise SignalError.at(f'signal "{spec.name}"', f'no signal "{spec.use}"', remedy)
    return SIGNALS[spec.use], spec
