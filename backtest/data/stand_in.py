"""A lake seen so that last prices stand in for mark prices: for what compares bars with bars, never for a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from backtest.data.manifest import Dataset, Entry
from backtest.data.store import Lake
from backtest.schema import KLINES, MARK_PRICE


class LastForMark(Lake):
    """Give last-price bars wherever mark bars are asked for; mark bars that are there are not seen."""

    def datasets(self) -> list[Dataset]:
        own = [dataset for dataset in super().datasets() if dataset.table != MARK_PRICE.name]
        marks = [dataset._replace(table=MARK_PRICE.name) for dataset in own if dataset.table == KLINES.name]
        return sorted((*own, *marks))

    def entries(
        self, datasets: Iterable[Dataset] | None = None, start_ms: int | None = None, stop_ms: int | None = None
    ) -> list[Entry]:
        return super().entries(None if datasets is None else map(_last, datasets), start_ms, stop_ms)

    def manifest_hash(
        self, datasets: Iterable[Dataset], start_ms: int | None = None, stop_ms: int | None = None
    ) -> str:
        # Tapes that were made so must never be taken for those of the lake itself.
        return f"last for mark {super().manifest_hash(datasets, start_ms, stop_ms)}"

    def read(
        self,
        dataset: Dataset,
        start_ms: int | None = None,
        stop_ms: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        return super().read(_last(dataset), start_ms, stop_ms, dataset.schema.names if columns is None else columns)


def _last(dataset: Dataset) -> Dataset:
    return dataset._replace(table=KLINES.name) if dataset.table == MARK_PRICE.name else dataset
