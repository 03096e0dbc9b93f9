"""Asking an interface for all of a period, page by page, whichever end the pages begin at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backtest.data.manifest import EVENT, Dataset
from backtest.data.pull.periods import Period

Record = tuple[int, list[str]]  # a time, and the text of the columns


def request_name(path: str, dataset: Dataset, period: Period) -> str:
    """Name what is asked for, as the manifest lists it."""
    bars = "" if dataset.interval == EVENT else f" {dataset.interval}"
    return f"{path} {dataset.symbol}{bars} {period.text}"


def all_records(
    period: Period, page: Callable[[int, int], Sequence[Record]], limit: int, *, newest_first: bool
) -> dict[int, list[str]]:
    """Ask for pages from a first to a last millisecond until one is not full; give the records by time."""
    records: dict[int, list[str]] = {}
    start_ms, last_ms = period.start_ms, period.stop_ms - 1
    while start_ms <= last_ms:
        rows = page(start_ms, last_ms)
        new = {time: cells for time, cells in rows if start_ms <= time <= last_ms}
        records |= new
        if len(rows) < limit or not new:
            break
        start_ms, last_ms = (start_ms, min(new) - 1) if newest_first else (max(new) + 1, last_ms)
    return records
