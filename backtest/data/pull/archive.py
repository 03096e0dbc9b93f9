"""Binance Vision: bulk archives of futures, monthly and daily, each with its `.CHECKSUM`.

    data/futures/{um,cm}/{monthly,daily}/klines/BTCUSDT/1h/BTCUSDT-1h-2024-11.zip       (binance-public-data, README)

Months appear in the first week after, days on the next day; a file may be replaced later. Funding has months only, and
index prices go by pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from backtest.data.disk import sha256_bytes, sha256_file, write_atomic
from backtest.data.manifest import Dataset
from backtest.data.pieces import checksum_in, pieces_of_file
from backtest.data.pull.hosts import Host
from backtest.data.pull.http import Client
from backtest.data.pull.periods import Period
from backtest.data.sources.rows import ImportOptions
from backtest.data.store import Piece
from backtest.errors import Problem, SourceError

_TYPES = {
    "klines": "klines",
    "mark_price": "markPriceKlines",
    "index_price": "indexPriceKlines",
    "premium_index": "premiumIndexKlines",
    "funding_rate": "fundingRate",
}
_MARKETS = {"binance": "um", "binance-coinm": "cm"}


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive at `host`; what is fetched lies under `folder` until the caller clears it away."""

    client: Client
    host: Host
    folder: Path

    def source(self, dataset: Dataset, period: Period) -> str | None:
        """Name the file of a period; None where the archive has no such kind of file."""
        if dataset.table == "funding_rate":
            return None if period.is_day else f"{dataset.symbol}-fundingRate-{period.text}.zip"
        return f"{dataset.symbol}-{dataset.interval}-{period.text}.zip"

    def fetch(self, dataset: Dataset, period: Period) -> Piece | None:
        """Fetch and read the file of a period; None where the archive does not have it.

        A file that an earlier call fetched whole is used again. Raises `SourceError`, `DataError`.
        """
        expected = self.checksum(dataset, period)
        if expected is None:
            return None
        address = self._address(dataset, period)
        path = self.folder / address
        if not path.is_file() or sha256_file(path) != expected:
            write_atomic(path, self._download(dataset, period, expected))
        (piece,) = pieces_of_file(path, ImportOptions())
        if piece.dataset != dataset:
            raise SourceError(Problem(address, f"is read as {piece.dataset}, wanted {dataset}"))
        return replace(piece, source=replace(piece.source, published=True))

    def checksum(self, dataset: Dataset, period: Period) -> str | None:
        """Ask for the SHA-256 that the file of a period has today; None where there is no file."""
        name = self.source(dataset, period)
        if name is None:
            return None

        def parse(body: bytes) -> str:
            found = checksum_in(body, name)
            if found is None:
                raise ValueError(f"it is not the SHA-256 of {name}")
            return found

        url = f"{self.host.url}/{self._address(dataset, period)}.CHECKSUM"
        return self.client.get(url, parse, pace_s=self.host.pace_s)

    def _download(self, dataset: Dataset, period: Period, expected: str) -> bytes:
        def parse(body: bytes) -> bytes:
            # Asked again where it differs: the file may have been replaced just now.
            found = sha256_bytes(body)
            if found not in (expected, self.checksum(dataset, period)):
                raise ValueError(f"its SHA-256 {found[:8]}… is not what its .CHECKSUM says, {expected[:8]}…")
            return body

        url = f"{self.host.url}/{self._address(dataset, period)}"
        content = self.client.get(url, parse, pace_s=self.host.pace_s)
        if content is None:
            raise SourceError(Problem(url, "is not there, though its .CHECKSUM is", "call again later"))
        return content

    def _address(self, dataset: Dataset, period: Period) -> str:
        bars = "" if dataset.table == "funding_rate" else f"{dataset.interval}/"
        span = "daily" if period.is_day else "monthly"
        folder = f"data/futures/{_MARKETS[dataset.venue]}/{span}/{_TYPES[dataset.table]}/{dataset.symbol}"
        return f"{folder}/{bars}{self.source(dataset, period)}"
