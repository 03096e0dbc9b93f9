"""The gap ledger: what the lake holds, table by table and symbol by symbol, and what is wrong or unsure about it.

Nothing is kept twice: it is read off the manifest, the stored rows and the dated snapshots of contracts, so it is never
behind them. Each table of it is a view in `backtest data sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from backtest.data import detect
from backtest.data.check import check
from backtest.data.disk import sha256_file
from backtest.data.manifest import Dataset, Entry
from backtest.data.snapshots import read_snapshot, snapshots
from backtest.data.store import Lake
from backtest.schema import INTERVAL_TABLES
from backtest.units import MINUTE_MS, duration_ms, time_ms

Row = dict[str, object]
_NAMED = [(name, pa.string()) for name in ("venue", "table_name", "symbol", "interval")]
_SPAN = [("first_ms", pa.int64()), ("last_ms", pa.int64())]


def _counts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.int64()) for name in names]


class Listing(NamedTuple):
    """When a contract was listed and delisted, as its venue says; None where it does not."""

    venue: str
    symbol: str
    listed_ms: int | None
    delisted_ms: int | None
    status: str
    seen_ms: int


def listings(root: Path) -> list[Listing]:
    """Read the listings off the newest snapshot of each venue's contracts that names the symbol."""
    found: dict[tuple[str, str], Listing] = {}
    for snapshot in snapshots(root):
        if snapshot.table != "contracts":
            continue
        for rows in read_snapshot(snapshot.path)["contracts"].values():
            for row in rows:
                listed, delisted, status = _TERMS[snapshot.venue](row)
                key = (snapshot.venue, row["symbol"])
                found[key] = Listing(*key, listed, delisted, status, time_ms(snapshot.day))
    return sorted(found.values())


def _bybit_terms(row: dict[str, str]) -> tuple[int | None, int | None, str]:
    return int(row["launchTime"]) or None, int(row["deliveryTime"]) or None, row["status"]


# A perpetual of Binance that has no end is given one in the year 2100.
_NO_END_MS = time_ms("2100-01-01")


def _binance_terms(row: dict[str, object]) -> tuple[int | None, int | None, str]:
    delisted = int(str(row["deliveryDate"]))
    status = row.get("status") or row["contractStatus"]  # USD-M and COIN-M differ
    return int(str(row["onboardDate"])), delisted if delisted < _NO_END_MS else None, str(status)


_TERMS: dict[str, Callable[..., tuple[int | None, int | None, str]]] = {
    "bybit": _bybit_terms,
    "binance": _binance_terms,
    "binance-coinm": _binance_terms,
}


# --- the tables ----------------------------------------------------------------------------------------------------


def _ledger(lake: Lake) -> Iterator[Row]:
    known = {(one.venue, one.symbol): one for one in listings(lake.root)}
    for held in lake.coverage():
        entries = lake.entries([held.dataset])
        sources = {source.name: source for entry in entries for source in entry.sources}
        delivered = sum(_delivered(entry) for entry in entries)
        listing = known.get((held.dataset.venue, held.dataset.symbol))
        damaged = sum(_state(lake.root, entry) != "sound" for entry in entries)
        holes = None if damaged else list(_holes(lake, held.dataset))
        yield _named(held.dataset) | {
            "first_ms": held.first_ms,
            "last_ms": held.last_ms,
            "rows": held.rows,
            "holes": None if holes is None else len(holes),
            "missing": None if holes is None else sum(missing for _, _, missing in holes),
            "duplicates": delivered - held.rows,
            "corrections": sum(len(entry.corrections) for entry in entries),
            "sources": len(sources),
            "published": sum(source.published for source in sources.values()),
            "damaged": damaged,
            "listed_ms": listing.listed_ms if listing else None,
            "delisted_ms": listing.delisted_ms if listing else None,
        }


def _delivered(entry: Entry) -> int:
    """Count the rows that the sources of a file gave, a source that was revised once."""
    by_name: dict[str, int] = {}
    for source in entry.sources:
        by_name[source.name] = max(by_name.get(source.name, 0), source.rows)
    return sum(by_name.values())


def _coverage(lake: Lake) -> Iterator[Row]:
    for held in lake.coverage():
        span = {"first_ms": held.first_ms, "last_ms": held.last_ms, "rows": held.rows}
        yield _named(held.dataset) | span | {"missing": held.missing, "files": held.files}


def _gaps(lake: Lake) -> Iterator[Row]:
    for dataset in lake.datasets():
        for first_ms, last_ms, missing in _holes(lake, dataset):
            yield _named(dataset) | {"first_ms": first_ms, "last_ms": last_ms, "missing": missing}


def _holes(lake: Lake, dataset: Dataset) -> Iterator[tuple[int, int, int]]:
    """Give first and last missing time of each hole, and how many rows: bars, or settlements of funding."""
    if dataset.table not in (*INTERVAL_TABLES, "funding_rate"):
        return
    time = lake.read(dataset, columns=[])[dataset.schema.key[0]].to_numpy()
    if dataset.table in INTERVAL_TABLES:
        interval_ms = duration_ms(dataset.interval)
        first, last = detect.gaps(time, interval_ms)
        counts = (last - first) // interval_ms + 1
    else:
        late = detect.funding_holes(time)
        step = np.diff(detect.settlement_minute(time))
        usual = np.minimum(step[np.maximum(late - 2, 0)], step[np.minimum(late, len(step) - 1)])
        first, last = time[late - 1] + usual * MINUTE_MS, time[late] - usual * MINUTE_MS
        counts = np.maximum(np.rint(step[late - 1] / usual).astype(np.int64) - 1, 1)
    yield from zip(first.tolist(), last.tolist(), counts.tolist(), strict=True)


def _sources(lake: Lake) -> Iterator[Row]:
    for entry in lake.entries():
        for source in entry.sources:
            yield _named(entry.dataset) | {"year": entry.year} | asdict(source)


def _corrections(lake: Lake) -> Iterator[Row]:
    for entry in lake.entries():
        for correction in entry.corrections:
            yield _named(entry.dataset) | asdict(correction)


def _files(lake: Lake) -> Iterator[Row]:
    for entry in lake.entries():
        about = {"year": entry.year, "path": entry.path, "rows": entry.rows, "sha256": entry.sha256}
        yield _named(entry.dataset) | about | {"state": _state(lake.root, entry)}


def _state(root: Path, entry: Entry) -> str:
    path = root / entry.path
    if not path.is_file():
        return "missing"
    return "sound" if sha256_file(path) == entry.sha256 else "damaged"


def _listings(lake: Lake) -> Iterator[Row]:
    for one in listings(lake.root):
        yield one._asdict()


def _findings(lake: Lake) -> Iterator[Row]:
    for finding in check(lake):
        yield {"place" if name == "where" else name: value for name, value in asdict(finding).items()}


def _named(dataset: Dataset) -> Row:
    return {
        "venue": dataset.venue,
        "table_name": dataset.table,
        "symbol": dataset.symbol,
        "interval": dataset.interval,
    }


class _View(NamedTuple):
    rows: Callable[[Lake], Iterator[Row]]
    schema: pa.Schema


_TEXT, _FLOAT = pa.string(), pa.float64()
VIEWS = {
    "ledger": _View(
        _ledger,
        pa.schema(
            [
                *_NAMED,
                *_SPAN,
                *_counts("rows", "holes", "missing", "duplicates", "corrections", "sources", "published", "damaged"),
                *_counts("listed_ms", "delisted_ms"),
            ]
        ),
    ),
    "coverage": _View(_coverage, pa.schema([*_NAMED, *_SPAN, *_counts("rows", "missing", "files")])),
    "gaps": _View(_gaps, pa.schema([*_NAMED, *_SPAN, *_counts("missing")])),
    "sources": _View(
        _sources,
        pa.schema(
            [
                *_NAMED,
                *_counts("year"),
                ("name", _TEXT),
                ("sha256", _TEXT),
                ("published", pa.bool_()),
                *_counts("rows"),
                *_SPAN,
            ]
        ),
    ),
    "corrections": _View(
        _corrections,
        pa.schema(
            [
                *_NAMED,
                ("column", _TEXT),
                *_counts("first_ms", "rows"),
                ("before", _FLOAT),
                ("after", _FLOAT),
                ("source", _TEXT),
                ("sha256", _TEXT),
                ("against", _TEXT),
            ]
        ),
    ),
    "files": _View(
        _files,
        pa.schema([*_NAMED, *_counts("year"), ("path", _TEXT), *_counts("rows"), ("sha256", _TEXT), ("state", _TEXT)]),
    ),
    "listings": _View(
        _listings,
        pa.schema(
            [
                ("venue", _TEXT),
                ("symbol", _TEXT),
                *_counts("listed_ms", "delisted_ms"),
                ("status", _TEXT),
                *_counts("seen_ms"),
            ]
        ),
    ),
    "findings": _View(
        _findings,
        pa.schema(
            [
                ("severity", _TEXT),
                ("place", _TEXT),
                ("what", _TEXT),
                *_counts("first_ms", "count"),
                ("remedy", _TEXT),
            ]
        ),
    ),
}


def view(lake: Lake, name: str) -> pa.Table:
    """Give a table of the ledger."""
    wanted = VIEWS[name]
    return pa.Table.from_pylist(list(wanted.rows(lake)), schema=wanted.schema)
