"""Bybit's v5 REST interface: bars of last, mark, index and premium, and funding, all of history.

Pages come newest first, at most 1000 bars (200 for funding), the open bar included; `startTime` of funding needs
`endTime` beside it. Errors come with status 200 and a `retCode`. (Bybit v5 documentation, market.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from backtest.data.manifest import Dataset
from backtest.data.pieces import piece_of_records
from backtest.data.pull.hosts import Host
from backtest.data.pull.http import Client, read_json
from backtest.data.pull.paging import Record, all_records, request_name
from backtest.data.pull.periods import Period
from backtest.data.sources.rows import PRICE_COLUMNS
from backtest.data.store import Piece
from backtest.errors import Problem, SourceError
from backtest.units import DAY_MS, MINUTE_MS, duration_ms

T = TypeVar("T")

_PATHS = {
    "klines": "kline",
    "mark_price": "mark-price-kline",
    "index_price": "index-price-kline",
    "premium_index": "premium-index-price-kline",
    "funding_rate": "funding/history",
}
_BARS_MAX, _FUNDING_MAX = 1000, 200
# Too many requests, a timeout, a fault of the server: these pass. (v5 documentation, error codes.)
_PASSING = (10000, 10006, 10016, 10018)
_INVERSE = "inverse"


@dataclass(frozen=True, slots=True)
class BybitRest:
    """The interface at `host`."""

    client: Client
    host: Host

    def source(self, dataset: Dataset, period: Period) -> str:
        """Name what is asked for, as the manifest lists it."""
        return request_name(f"v5/market/{_PATHS[dataset.table]}", dataset, period)

    def fetch(self, dataset: Dataset, period: Period) -> Piece | None:
        """Fetch the rows of a period that is over; None where there are none. Raises `SourceError`, `DataError`."""
        funding, category = dataset.table == "funding_rate", category_of(dataset.symbol)
        limit = _FUNDING_MAX if funding else _BARS_MAX
        names = ("startTime", "endTime") if funding else ("start", "end")
        params: dict[str, object] = {"category": category, "symbol": dataset.symbol, "limit": limit}
        if not funding:
            params["interval"] = _interval(dataset.interval)

        def page(start_ms: int, last_ms: int) -> list[Record]:
            span = dict(zip(names, (start_ms, last_ms), strict=True))
            return self._result(_PATHS[dataset.table], params | span, lambda result: _records(dataset.table, result))

        records = all_records(period, page, limit, newest_first=True)
        columns = _columns(dataset.table, inverse=category == _INVERSE)
        return piece_of_records(dataset, self.source(dataset, period), columns, records)

    def listed(self, path: str, category: str) -> Iterator[dict[str, Any]]:
        """Give every row of a list that goes on from page to page by a cursor, such as `risk-limit`."""
        cursor = ""
        while True:
            params: dict[str, object] = {"category": category, **({"cursor": cursor} if cursor else {})}
            rows, after = self._result(path, params, lambda result: (result["list"], result.get("nextPageCursor")))
            yield from rows
            if not after or after == cursor:
                return
            cursor = after

    def _result(self, path: str, params: dict[str, object], read: Callable[[Any], T]) -> T:
        url = f"{self.host.url}/v5/market/{path}"

        def parse(body: bytes) -> T:
            answer = read_json(body)
            try:
                code, said = int(answer["retCode"]), answer.get("retMsg")
                if code in _PASSING:
                    raise ValueError(f"retCode {code}: {said}")
                if code:
                    raise SourceError(Problem(url, f"answers with retCode {code}: {said}", f"asked for {params}"))
                return read(answer["result"])
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                raise ValueError(f"it lacks {error}") from None

        found = self.client.get(url, parse, params, pace_s=self.host.pace_s)
        if found is None:
            raise SourceError(Problem(url, "is not there (404)", "check the address"))
        return found


def category_of(symbol: str) -> str:
    """Say whether a symbol is linear (USDT, USDC) or inverse.

    >>> category_of("BTCUSDT"), category_of("BTCPERP"), category_of("BTCUSD")
    ('linear', 'linear', 'inverse')
    """
    return "linear" if symbol.endswith(("USDT", "PERP", "USDC")) else _INVERSE


def _interval(interval: str) -> str:
    length_ms = duration_ms(interval)
    return "D" if length_ms == DAY_MS else str(length_ms // MINUTE_MS)


def _columns(table: str, *, inverse: bool) -> tuple[str, ...]:
    if table == "funding_rate":
        return ("funding_rate",)
    if table != "klines":
        return PRICE_COLUMNS
    # Linear: volume in coin, turnover in quote. Inverse: volume in quote, turnover in coin.
    return (*PRICE_COLUMNS, *(("quote_volume", "volume") if inverse else ("volume", "quote_volume")))


def _records(table: str, result: Any) -> list[Record]:
    if table == "funding_rate":
        return [(int(row["fundingRateTimestamp"]), [str(row["fundingRate"])]) for row in result["list"]]
    width = 7 if table == "klines" else 5
    return [(int(row[0]), [str(row[place]) for place in range(1, width)]) for row in result["list"]]
