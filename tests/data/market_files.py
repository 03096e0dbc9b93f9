"""Clean market data and files of every format that the importers read, for tests to damage."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather

from backtest.data.manifest import EVENT, Dataset, Source
from backtest.data.store import Lake, Piece
from backtest.units import HOUR_MS

START = 1_640_995_200_000 - 50 * HOUR_MS  # 50 hours before 2022, so that two years are written
KLINES = Dataset("binance", "klines", "BTCUSDT", "1h")
MARK = KLINES._replace(table="mark_price")
FUNDING = KLINES._replace(table="funding_rate", interval=EVENT)
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def bars(n: int = 100, seed: int = 1, start_ms: int = START, interval_ms: int = HOUR_MS) -> dict[str, np.ndarray]:
    """Give clean bars as columns, times first."""
    random = np.random.default_rng(seed)
    close = np.round(20_000 * np.exp(np.cumsum(random.normal(0, 0.01, n))), 2)
    opening = np.concatenate(([20_000.0], close[:-1]))
    return {
        "open_time_ms": start_ms + interval_ms * np.arange(n),
        "open": opening,
        "high": np.round(np.maximum(opening, close) * 1.001, 2),
        "low": np.round(np.minimum(opening, close) * 0.999, 2),
        "close": close,
        "volume": np.round(random.uniform(1, 100, n), 3),
    }


def funding(n: int = 12, start_ms: int = START, hours: int = 8) -> dict[str, np.ndarray]:
    """Give clean funding as columns, on the hours that venues settle at."""
    first = -(-start_ms // (8 * HOUR_MS)) * 8 * HOUR_MS
    rates = np.round(np.random.default_rng(3).normal(1e-4, 1e-4, n), 8)
    return {"funding_time_ms": first + hours * HOUR_MS * np.arange(n), "funding_rate": rates}


def frame(dataset: Dataset, columns: Mapping[str, np.ndarray]) -> pa.Table:
    """Give columns as a table of the dataset's schema, null where they say nothing."""
    schema = dataset.schema.arrow()
    time = columns[dataset.schema.key[0]]
    known = {"available_ms": time + (dataset.interval_ms or 0), **columns}
    arrays = [
        pa.array(known[f.name], f.type, from_pandas=True) if f.name in known else pa.nulls(len(time), f.type)
        for f in schema
    ]
    return pa.table(arrays, schema=schema)


def piece(columns: Mapping[str, np.ndarray] | None = None, dataset: Dataset = KLINES, source: str = "a.csv") -> Piece:
    """Give rows from a named source, ready to merge."""
    return Piece(dataset, frame(dataset, columns or bars()), Source(source, source.encode().hex().ljust(64, "0")))


def full_lake(root: Path, n: int = 100, seed: int = 1) -> Lake:
    """Give a lake with klines, mark and funding of one symbol without a defect."""
    lake = Lake(root)
    marks = {name: column for name, column in bars(n, seed + 1).items() if name != "volume"}
    lake.merge([piece(bars(n, seed)), piece(marks, MARK, "m.csv"), piece(funding(n // 8 + 1), FUNDING, "f.csv")])
    return lake


def tree(root: Path) -> dict[str, bytes]:
    """Give every file under a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def write_feather(path: Path, columns: Mapping[str, np.ndarray], unit: str = "ms") -> Path:
    """Write a freqtrade feather file."""
    data = dict(columns)
    time = pa.array(data.pop("open_time_ms")).cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp(unit, "UTC"))
    volume = data.pop("volume", np.zeros(len(time)))
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table({"date": time, **data, "volume": volume}), path)
    return path


def write_json(path: Path, columns: Mapping[str, np.ndarray]) -> Path:
    """Write a freqtrade JSON file."""
    rows = [[int(row[0]), *map(float, row[1:])] for row in zip(*columns.values(), strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def vision_text(columns: Mapping[str, np.ndarray], *, header: bool = True, scale: int = 1) -> str:
    """Give bars as the CSV of an archive, times scaled (1000 for microseconds)."""
    time, o, h, low, c, v = columns.values()
    rows = [
        f"{t * scale},{o[i]},{h[i]},{low[i]},{c[i]},{v[i]},{(t + HOUR_MS) * scale - 1},{v[i] * c[i]},7,0,0,0"
        for i, t in enumerate(time.tolist())
    ]
    return "\n".join([*([HEADER] if header else []), *rows]) + "\n"


def write_vision(path: Path, text: str | bytes, member: str | None = None) -> Path:
    """Write a zip with one member, named as the archive names it unless told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member or f"{path.stem}.csv", text)
    return path


def write_csv(path: Path, columns: Mapping[str, object]) -> Path:
    """Write columns as CSV."""
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path
