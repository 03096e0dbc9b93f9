"""Bybit's public archive of trades, one gzip file a day: bars of contracts that its interface does not serve any more.

    https://public.bybit.com/trading/LUNAUSDT/LUNAUSDT2022-05-11.csv.gz

It has every contract since 2020, delisted ones too, without checksums; a gzip file carries its own. Its folders of
bars and indexes end years ago and are on a clock of UTC+3, so they are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from backtest.data.disk import sha256_bytes, write_atomic
from backtest.data.manifest import Dataset, Source
from backtest.data.pieces import pieces_of_file
from backtest.data.pull.hosts import Host
from backtest.data.pull.http import Client
from backtest.data.pull.paging import request_name
from backtest.data.pull.periods import Period
from backtest.data.sources.archive import read_gzip
from backtest.data.sources.rows import ImportOptions
from backtest.data.store import Piece
from backtest.errors import DataError


@dataclass(frozen=True, slots=True)
class TradeArchive:
    """The archive at `host`; what is fetched lies under `folder` until the caller clears it away."""

    client: Client
    host: Host
    folder: Path

    def source(self, dataset: Dataset, period: Period) -> str:
        """Name what is asked for, as the manifest lists it."""
        return request_name("public.bybit.com trading", dataset, period)

    def fetch(self, dataset: Dataset, period: Period) -> Piece | None:
        """Fetch the trades of every day of a period, as bars; None where there are none.

        A file that an earlier call fetched whole is used again. Raises `SourceError`, `DataError`.
        """
        options = ImportOptions(interval=dataset.interval)
        paths = [path for day in period.days() if (path := self._day(dataset.symbol, day)) is not None]
        pieces = [piece for path in paths for piece in pieces_of_file(path, options)]
        if not pieces:
            return None
        hashes = "".join(piece.source.sha256 for piece in pieces)
        source = Source(self.source(dataset, period), sha256_bytes(hashes.encode()))
        return Piece(dataset, pa.concat_tables([piece.frame for piece in pieces]).combine_chunks(), source)

    def _day(self, symbol: str, day: Period) -> Path | None:
        address = f"trading/{symbol}/{symbol}{day.text}.csv.gz"
        path = self.folder / address
        if path.is_file():
            return path

        def parse(body: bytes) -> Path:
            write_atomic(path, body)
            try:
                read_gzip(path)  # its length and checksum stand at its end
            except DataError as error:
                path.unlink()
                raise ValueError(error.problems[0].what) from None
            return path

        return self.client.get(f"{self.host.url}/{address}", parse, pace_s=self.host.pace_s)
