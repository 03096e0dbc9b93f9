"""Synthetic history for signals: bars of a random walk, settlements and series, in a lake of a test's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backtest.data.manifest import EVENT, Dataset, Source
from backtest.data.store import Lake, Piece
from backtest.signals.compute import compute
from backtest.signals.spec import Signal, SignalSpec
from backtest.units import DAY_MS, HOUR_MS, time_ms

Columns = Mapping[str, npt.NDArray[Any]]

START = time_ms("2021-03-01")  # a Monday
KLINES = Dataset("binance", "klines", "BTCUSDT", "1h")
FUNDING = KLINES._replace(table="funding_rate", interval=EVENT)
VIX = Dataset("cboe", "series", "VIX", EVENT)
FAR = time_ms("2040-01-01")


def bars(n: int, seed: int = 1, interval_ms: int = HOUR_MS, start_ms: int = START) -> dict[str, npt.NDArray[Any]]:
    """Give bars of a random walk that opens where the bar before closed."""
    random = np.random.default_rng(seed)
    close = np.round(20_000 * np.exp(np.cumsum(random.normal(0, 0.01, n))), 2)
    opening = np.concatenate(([20_000.0], close[:-1]))
    wick = np.abs(random.normal(0, 0.004, (2, n)))
    return {
        "open_time_ms": start_ms + interval_ms * np.arange(n),
        "open": opening,
        "high": np.round(np.maximum(opening, close) * (1 + wick[0]), 2),
        "low": np.round(np.minimum(opening, close) * (1 - wick[1]), 2),
        "close": close,
        "volume": np.round(random.uniform(1, 100, n), 3),
    }


def of_closes(closes: Any, interval_ms: int = DAY_MS) -> dict[str, npt.NDArray[Any]]:
    """Give bars that move from close to close."""
    close = np.asarray(closes, np.float64)
    opening = np.concatenate((close[:1], close[:-1]))
    times = START + interval_ms * np.arange(len(close))
    high, low = np.maximum(opening, close), np.minimum(opening, close)
    return {"open_time_ms": times, "open": opening, "high": high, "low": low, "close": close}


def settlements(n: int, seed: int = 1) -> dict[str, npt.NDArray[Any]]:
    """Give funding every eight hours, some milliseconds late."""
    rates = np.round(np.random.default_rng(seed).standard_t(3, n) * 1e-4, 8)
    return {"funding_time_ms": START + 8 * HOUR_MS * np.arange(n) + 7, "funding_rate": rates}


def published(n: int, seed: int = 1) -> dict[str, npt.NDArray[Any]]:
    """Give a daily series that is published at 21:15 of its day."""
    values = np.round(20 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.06, n))), 2)
    times = START + DAY_MS * np.arange(n)
    return {"time_ms": times, "value": values, "available_ms": times + 21 * HOUR_MS + HOUR_MS // 4}


def put(lake: Lake, dataset: Dataset, columns: Columns) -> Lake:
    """Store rows of a dataset; null where the columns say nothing."""
    time = columns[dataset.schema.key[0]]
    full = {"available_ms": time + (dataset.interval_ms or 0), **columns}
    arrays = [
        pa.array(full[f.name], f.type) if f.name in full else pa.nulls(len(time), f.type)
        for f in dataset.schema.arrow()
    ]
    table = pa.table(arrays, schema=dataset.schema.arrow())
    lake.merge([Piece(dataset, table, Source("made.csv", "0" * 64))])
    return lake


def without(columns: Columns, *rows: int) -> dict[str, npt.NDArray[Any]]:
    """Give the columns without some rows."""
    return {name: np.delete(column, rows) for name, column in columns.items()}


def twin(lake: Lake, root: Path, known_ms: int, change: float = 0.0) -> Lake:
    """Give the lake as it was at a moment; with `change`, later prices, rates and values are there but other ones."""
    other = Lake(root)
    for dataset in lake.datasets():
        rows = lake.read(dataset)
        known = pc.less_equal(rows["available_ms"], known_ms)
        if change:
            for place, field in enumerate(rows.schema):
                if pa.types.is_floating(field.type):
                    moved = pc.multiply(rows[field.name], change)
                    rows = rows.set_column(place, field, pc.if_else(known, rows[field.name], moved))
        else:
            rows = rows.filter(known)
        other.merge([Piece(dataset, rows, Source("made.csv", "0" * 64))])
    return other


def ask(lake: Lake, use: str, interval: str = "", *, stop_ms: int = FAR, start_ms: int = 0, **params: Any) -> Signal:
    """Compute a signal of BTCUSDT on Binance."""
    spec = SignalSpec("asked", use, interval, tuple(params.items()))
    return compute(spec, lake, venue="binance", symbol="BTCUSDT", start_ms=start_ms, stop_ms=stop_ms)
