"""Deribit's volatility index DVOL, hourly, as a series: the close of each candle, known when it closes.

`public/get_volatility_index_data` gives candles oldest first and a `continuation`, the `end_timestamp` of the page
before. (Deribit API, market data.)
"""

from __future__ import annotations

from dataclasses import dataclass

from backtest.data.manifest import Dataset
from backtest.data.pieces import piece_of_records
from backtest.data.pull.hosts import Host
from backtest.data.pull.http import Client, read_json
from backtest.data.pull.periods import Period
from backtest.data.store import Piece
from backtest.errors import Problem, SourceError
from backtest.units import HOUR_MS

_PATH = "api/v2/public/get_volatility_index_data"
Page = tuple[dict[int, list[str]], int | None]


@dataclass(frozen=True, slots=True)
class DeribitIndex:
    """The interface at `host`; the symbol of BTC's index is BTC-DVOL."""

    client: Client
    host: Host

    def source(self, dataset: Dataset, period: Period) -> str:
        """Name what is asked for, as the manifest lists it."""
        return f"get_volatility_index_data {dataset.symbol} {period.text}"

    def fetch(self, dataset: Dataset, period: Period) -> Piece | None:
        """Fetch the values of a period that is over; None where there are none. Raises `SourceError`."""
        currency, _, kind = dataset.symbol.partition("-")
        if kind != "DVOL":
            raise SourceError(Problem(dataset.symbol, "is not an index of Deribit", "write BTC-DVOL or ETH-DVOL"))
        records: dict[int, list[str]] = {}
        end_ms: int | None = period.stop_ms - 1
        while end_ms is not None and end_ms >= period.start_ms:
            span = {"start_timestamp": period.start_ms, "end_timestamp": end_ms}
            page, before_ms = self._page({"currency": currency, "resolution": 3600, **span})
            records |= {time: value for time, value in page.items() if period.start_ms <= time < period.stop_ms}
            end_ms = before_ms if before_ms is not None and before_ms < end_ms else None
        name = self.source(dataset, period)
        return piece_of_records(dataset, name, ("value",), records, available_after_ms=HOUR_MS)

    def _page(self, params: dict[str, object]) -> Page:
        def parse(body: bytes) -> Page:
            try:
                result = read_json(body)["result"]
                return {int(row[0]): [str(row[4])] for row in result["data"]}, result["continuation"]
            except (KeyError, IndexError, TypeError) as error:
                raise ValueError(f"it lacks {error}") from None

        url = f"{self.host.url}/{_PATH}"
        page = self.client.get(url, parse, params, pace_s=self.host.pace_s)
        if page is None:
            raise SourceError(Problem(url, "is not there (404)", "check the address"))
        return page
