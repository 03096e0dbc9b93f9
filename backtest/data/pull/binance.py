"""Binance's REST interface, for the days that the archive does not have yet.

`/fapi/v1/klines` and its sisters: at most 1500 bars a page, oldest first (1000 for funding); `/dapi` for COIN-M.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backtest.data.manifest import EVENT, Dataset
from backtest.data.pieces import piece_of_records
from backtest.data.pull.hosts import Host
from backtest.data.pull.http import Client, read_json
from backtest.data.pull.paging import Record, all_records, request_name
from backtest.data.pull.periods import Period
from backtest.data.sources.rows import PRICE_COLUMNS
from backtest.data.sources.vision import COIN_MARGINED
from backtest.data.store import Piece

_PATHS = {
    "klines": "klines",
    "mark_price": "markPriceKlines",
    "index_price": "indexPriceKlines",
    "premium_index": "premiumIndexKlines",
    "funding_rate": "fundingRate",
}
_ROOTS = {"binance": "fapi/v1", "binance-coinm": "dapi/v1"}
_BARS_MAX, _FUNDING_MAX = 1500, 1000
_FUNDING_PACE_S = 0.7  # 500 requests in 5 minutes, shared with fundingInfo
_COLUMNS = {
    "klines": (*PRICE_COLUMNS, "volume", "quote_volume", "trade_count"),
    "funding_rate": ("funding_rate", "mark_price"),
}


@dataclass(frozen=True, slots=True)
class BinanceRest:
    """The interface at `host`, of USD-M or COIN-M as the dataset's venue says."""

    client: Client
    host: Host

    def source(self, dataset: Dataset, period: Period) -> str:
        """Name what is asked for, as the manifest lists it."""
        return request_name(self._path(dataset), dataset, period)

    def fetch(self, dataset: Dataset, period: Period) -> Piece | None:
        """Fetch the rows of a period that is over; None where there are none. Raises `SourceError`, `DataError`."""
        limit = _FUNDING_MAX if dataset.table == "funding_rate" else _BARS_MAX
        params: dict[str, object] = {"pair" if dataset.table == "index_price" else "symbol": dataset.symbol}
        if dataset.interval != EVENT:
            params["interval"] = dataset.interval

        def page(start_ms: int, last_ms: int) -> list[Record]:
            return self._page(dataset, params | {"startTime": start_ms, "endTime": last_ms, "limit": limit})

        records = all_records(period, page, limit, newest_first=False)
        columns = _COLUMNS.get(dataset.table, PRICE_COLUMNS)
        return piece_of_records(dataset, self.source(dataset, period), columns, records)

    def _page(self, dataset: Dataset, params: dict[str, object]) -> list[Record]:
        def parse(body: bytes) -> list[Record]:
            answer = read_json(body)
            if not isinstance(answer, list):
                raise ValueError("it is not a list of rows")
            try:
                return [_record(dataset, row) for row in answer]
            except (KeyError, IndexError, TypeError) as error:
                raise ValueError(f"a row lacks {error}") from None

        funding = dataset.table == "funding_rate"
        pace_s = max(self.host.pace_s, _FUNDING_PACE_S) if funding and self.host.pace_s else self.host.pace_s
        return self.client.get(f"{self.host.url}/{self._path(dataset)}", parse, params, pace_s=pace_s) or []

    def _path(self, dataset: Dataset) -> str:
        return f"{_ROOTS[dataset.venue]}/{_PATHS[dataset.table]}"


def _record(dataset: Dataset, row: Any) -> Record:
    if dataset.table == "funding_rate":
        return int(row["fundingTime"]), [str(row["fundingRate"]), str(row.get("markPrice") or "")]
    if dataset.table != "klines":
        return int(row[0]), [str(cell) for cell in row[1:5]]
    in_quote = "" if dataset.venue == COIN_MARGINED else row[7]  # there it is volume in coin
    cells = [*row[1:6], in_quote, row[8]]
    return int(row[0]), [str(cell) for cell in cells]
