"""Cboe's daily volatility indexes, as series: VIX, VVIX, VIX9D, VIX3M, each one CSV with all of its history.

A row is dated by its New York day and known after the close at 16:15 there, which is before the next midnight UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backtest.data.disk import write_atomic
from backtest.data.manifest import Dataset
from backtest.data.pieces import pieces_of_file
from backtest.data.pull.hosts import Host
from backtest.data.pull.http import Client
from backtest.data.sources.columns import header_of
from backtest.data.sources.rows import ImportOptions
from backtest.data.store import Piece
from backtest.errors import Problem, SourceError
from backtest.units import DAY_MS


@dataclass(frozen=True, slots=True)
class CboeHistory:
    """The files at `host`; what is fetched lies under `folder` until the caller clears it away."""

    client: Client
    host: Host
    folder: Path

    @staticmethod
    def file(dataset: Dataset) -> str:
        """Name the file with all of an index's history."""
        return f"{dataset.symbol}_History.csv"

    def fetch(self, dataset: Dataset, stop_ms: int) -> Piece:
        """Fetch all closes before a time. Raises `SourceError`, `DataError`."""
        name = self.file(dataset)
        url = f"{self.host.url}/api/global/us_indices/daily_prices/{name}"
        content = self.client.get(url, _whole, pace_s=self.host.pace_s)
        if content is None:
            raise SourceError(Problem(url, "is not there", "Cboe has VIX, VVIX, VIX9D, VIX3M and others"))
        path = self.folder / name
        write_atomic(path, content)
        # VVIX names its only column after itself.
        value = "CLOSE" if "CLOSE" in header_of(content) else dataset.symbol
        options = ImportOptions(
            venue=dataset.venue,
            table=dataset.table,
            symbol=dataset.symbol,
            columns={"time": "DATE", "value": value},
            time_unit="%m/%d/%Y",
            available_after_ms=DAY_MS,
            stop_ms=stop_ms,
        )
        return pieces_of_file(path, options)[0]


def _whole(body: bytes) -> bytes:
    if not body.endswith(b"\n") or not body.upper().startswith((b"DATE,", b"\xef\xbb\xbfDATE,")):
        raise ValueError("it does not begin with a header or ends inside a row")
    return body
