"""A server on 127.0.0.1 with the layout of the venues' archives and interfaces, that misbehaves on demand.

Its market is a formula, so that every answer can be checked. What is published depends on the server's own day.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import json
import math
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from market_files import HEADER

from backtest.units import DAY_MS, HOUR_MS, duration_ms, time_ms

FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
LEVELS = {"klines": 20_000, "markPriceKlines": 20_010, "indexPriceKlines": 20_020, "premiumIndexKlines": 1}
BYBIT = {
    "kline": "klines",
    "mark-price-kline": "markPriceKlines",
    "index-price-kline": "indexPriceKlines",
    "premium-index-price-kline": "premiumIndexKlines",
}
BRACKETS = [
    {"bracket": 1, "initialLeverage": 125, "notionalCap": 50000, "maintMarginRatio": 0.004, "cum": 0.0},
    {"bracket": 2, "initialLeverage": 100, "notionalCap": 500000, "maintMarginRatio": 0.005, "cum": 50.0},
]
BINANCE_CONTRACT = {
    "symbol": "BTCUSDT",
    "onboardDate": 1569398400000,
    "deliveryDate": 4133404800000,
    "status": "TRADING",
}
DELISTED = {"deliveryDate": 1652374800000, "status": "SETTLING"}
MONTHLY_LAG_MS, DAILY_LAG_MS = 3 * DAY_MS, DAY_MS
_ARCHIVE = re.compile(
    r"/data/futures/(um|cm)/(monthly|daily)/(?P<type>\w+)/(?P<symbol>\w+)/((?P<interval>\w+)/)?"
    r"(?P=symbol)-((?P=interval)|fundingRate)-(?P<period>[\d-]+)\.zip(?P<sum>\.CHECKSUM)?"
)
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Answer:
    """What is sent: `length` is what the header says, `hang_s` how long nothing comes."""

    body: bytes
    status: int = 200
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    hang_s: float = 0.0


def _cut(good: Answer) -> Answer:
    return Answer(good.body[: len(good.body) // 2], length=len(good.body))


def _short(good: Answer) -> Answer:
    return Answer(good.body[: len(good.body) // 2])


def _changed(good: Answer) -> Answer:
    middle = len(good.body) // 2
    return Answer(good.body[:middle] + bytes([good.body[middle] ^ 1]) + good.body[middle + 1 :])


FAULTS: dict[str, Callable[[Answer], Answer]] = {
    "cut body": _cut,
    "length too long": lambda good: Answer(good.body, length=len(good.body) + 9),
    "length too short": lambda good: Answer(good.body, length=len(good.body) - 9),
    "half, and a length to match": _short,
    "a flipped bit": _changed,
    "html": lambda good: Answer(b"<!DOCTYPE html><html>Please log in</html>", kind="text/html; charset=utf-8"),
    "html without saying so": lambda good: Answer(b"\n <html>Please log in</html>"),
    "empty": lambda good: Answer(b""),
    "500": lambda good: Answer(b"oops", status=500),
    "503 with wait": lambda good: Answer(b"", status=503, headers={"Retry-After": "0"}),
    "429": lambda good: Answer(b"", status=429, headers={"Retry-After": "0.2"}),
    "418": lambda good: Answer(b"", status=418, headers={"Retry-After": "0.2"}),
    "hang": lambda good: Answer(good.body, hang_s=0.8),
    "refused": lambda good: Answer(b'{"code":-1121,"msg":"Invalid symbol."}', status=400),
    "ban": lambda good: Answer(b"", status=418, headers={"Retry-After": "90000"}),
    "another host": lambda good: Answer(b"", status=302, headers={"Location": "http://elsewhere.invalid/file"}),
    "busy": lambda good: Answer(b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}'),
}


@dataclass
class _Fault:
    where: str
    name: str
    left: int


@dataclass
class Market:
    """The market and its faults. `today` decides what is published; `revised` archives say something new."""

    today: str = "2025-01-05"
    listed: str = "2024-11-10"
    page_rows: int = 10_000
    revised: set[str] = field(default_factory=set)
    torn: set[str] = field(default_factory=set)  # archives with a bar whose high is under its open
    withdrawn: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    faults: list[_Fault] = field(default_factory=list)
    url: str = ""

    @property
    def today_ms(self) -> int:
        return time_ms(self.today)

    def fail(self, where: str, name: str, times: int = 1) -> None:
        """Let the next answers to addresses that contain `where` fail."""
        self.faults.append(_Fault(where, name, times))

    def answer(self, address: str) -> Answer:
        self.requests.append(address)
        good = self._good(address)
        for fault in self.faults:
            if fault.left and fault.where in address:
                fault.left -= 1
                return FAULTS[fault.name](good)
        return good

    def asked(self, where: str) -> list[str]:
        return [address for address in self.requests if where in address]

    # --- rows ------------------------------------------------------------------------------------------------------

    def bars(self, type_: str, interval_ms: int, start_ms: int, stop_ms: int) -> list[Row]:
        """Give bars in a half-open range, in the twelve columns of Binance, times first."""
        first_ms = max(start_ms, time_ms(self.listed))
        return [
            (t, _bar(type_, t, interval_ms))
            for t in range(-(-first_ms // interval_ms) * interval_ms, min(stop_ms, self._now_ms()), interval_ms)
        ]

    def funding(self, start_ms: int, stop_ms: int) -> list[tuple[int, str]]:
        """Give stamps, some ms off the hour, with rates."""
        first_ms = max(start_ms, time_ms(self.listed))
        stamps = range(-(-first_ms // (8 * HOUR_MS)) * 8 * HOUR_MS, min(stop_ms, self._now_ms()), 8 * HOUR_MS)
        return [(t + t // HOUR_MS % 7, f"{math.sin(t / DAY_MS) / 1e4:.8f}") for t in stamps]

    def _now_ms(self) -> int:
        return self.today_ms + 10 * HOUR_MS

    # --- answers ---------------------------------------------------------------------------------------------------

    def _good(self, address: str) -> Answer:
        parts = urlsplit(address)
        asked = dict(parse_qsl(parts.query))
        if parts.path.startswith("/data/"):
            return self._archive(parts.path)
        root, _, name = parts.path.rpartition("/")
        if name == "leverageBracket":
            return _json([{"symbol": "BTCUSDT", "brackets": BRACKETS}])
        if name == "exchangeInfo" and root == "/dapi/v1":
            status = {"contractStatus": BINANCE_CONTRACT["status"]}
            return _json({"symbols": [{k: v for k, v in BINANCE_CONTRACT.items() if k != "status"} | status]})
        if name == "exchangeInfo":
            return _json({"symbols": [BINANCE_CONTRACT, {**BINANCE_CONTRACT, "symbol": "LUNAUSDT", **DELISTED}]})
        if root in ("/fapi/v1", "/dapi/v1"):
            return _json(self._binance(name, asked))
        if parts.path.startswith("/trading/"):
            return self._bybit_trades(parts.path)
        if parts.path.startswith("/v5/market/"):
            return _json(self._bybit(parts.path.removeprefix("/v5/market/"), asked))
        if name == "get_volatility_index_data":
            return _json(self._deribit(asked))
        if name in ("VIX_History.csv", "VVIX_History.csv"):
            return Answer(self._cboe(name).encode(), kind="text/csv")
        return Answer(b"<Error><Code>NoSuchKey</Code></Error>", status=404, kind="application/xml")

    def _archive(self, path: str) -> Answer:
        found = _ARCHIVE.fullmatch(path)
        if found is None:
            return Answer(b"<Error/>", status=404)
        text = found["period"]
        start = dt.date.fromisoformat(text if len(text) == 10 else f"{text}-01")
        stop = start + dt.timedelta(days=1) if len(text) == 10 else (start + dt.timedelta(days=32)).replace(day=1)
        start_ms, stop_ms = time_ms(start), time_ms(stop)
        name = path.rpartition("/")[2].removesuffix(".CHECKSUM")
        lag_ms = DAILY_LAG_MS if len(text) == 10 else MONTHLY_LAG_MS
        there = stop_ms + lag_ms <= self.today_ms and stop_ms > time_ms(self.listed) and name not in self.withdrawn
        if not there or (found["type"] == "fundingRate" and len(text) == 10):
            return Answer(b"<Error><Code>NoSuchKey</Code></Error>", status=404)
        if found["type"] == "fundingRate":
            rows = [f"{t},8,{rate}" for t, rate in self.funding(start_ms, stop_ms)]
        else:
            bars = self.bars(found["type"], duration_ms(found["interval"]), start_ms, stop_ms)
            rows = [",".join([str(t), *cells]) for t, cells in bars]
        if name in self.revised:
            cells = rows[7].split(",")
            cells[2 if len(cells) == 3 else 4] = "0.00012345" if len(cells) == 3 else cells[1]
            rows[7] = ",".join(cells)
        if name in self.torn:
            cells = rows[7].split(",")
            rows[7] = ",".join([*cells[:2], "1.0", *cells[3:]])
        head = FUNDING_HEADER if found["type"] == "fundingRate" else HEADER
        packed = _zip(name, "\n".join([*([head] if stop.year > 2024 else []), *rows]) + "\n")
        return Answer(f"{hashlib.sha256(packed).hexdigest()}  {name}\n".encode() if found["sum"] else packed)

    def _binance(self, name: str, asked: dict[str, str]) -> object:
        start_ms, stop_ms, limit = int(asked["startTime"]), int(asked["endTime"]) + 1, int(asked["limit"])
        assert "pair" in asked if name == "indexPriceKlines" else "symbol" in asked
        limit = min(limit, self.page_rows)
        if name == "fundingRate":
            rows = self.funding(start_ms, stop_ms)[:limit]
            return [{"symbol": "X", "fundingTime": t, "fundingRate": rate, "markPrice": ""} for t, rate in rows]
        bars = self.bars(name, duration_ms(asked["interval"]), start_ms, stop_ms)[:limit]
        return [[t, *cells[:5], int(cells[5]), cells[6], int(cells[7]), *cells[8:]] for t, cells in bars]

    def _bybit(self, path: str, asked: dict[str, str]) -> object:
        assert asked["category"] in ("linear", "inverse")
        if path in ("risk-limit", "instruments-info"):
            return self._bybit_list(path, asked)
        limit = int(asked["limit"])
        if path == "funding/history":
            rows = self.funding(int(asked["startTime"]), int(asked["endTime"]) + 1)
            listed: list[object] = [
                {"symbol": "X", "fundingRate": rate, "fundingRateTimestamp": str(t)} for t, rate in rows
            ]
        else:
            length_ms = DAY_MS if asked["interval"] == "D" else int(asked["interval"]) * 60_000
            bars = self.bars(BYBIT[path], length_ms, int(asked["start"]), int(asked["end"]) + 1)
            tails = {t: [cells[4], "1000.5"] if path == "kline" else [] for t, cells in bars}
            listed = [[str(t), *cells[:4], *tails[t]] for t, cells in bars]
        newest_first = listed[::-1][:limit]
        return {"retCode": 0, "retMsg": "OK", "result": {"symbol": "X", "list": newest_first}}

    def _bybit_list(self, path: str, asked: dict[str, str]) -> object:
        pages = [["BTCUSDT", "ETHUSDT"], ["BADUSDT"]] if asked["category"] == "linear" else [["BTCUSD"]]
        page = int(asked.get("cursor", 0))
        rows: list[dict[str, object]] = []
        for symbol in pages[page]:
            if path == "instruments-info":
                terms = {"launchTime": "1584230400000", "deliveryTime": "0", "status": "Trading"}
                rows.append({"symbol": symbol, "lotSizeFilter": {"qtyStep": "0.001"}, **terms})
                continue
            deduction = "9" if symbol == "BADUSDT" else "1200"
            rows += [
                {
                    "symbol": symbol,
                    "riskLimitValue": "2600000",
                    "maintenanceMargin": "0.0056",
                    "maxLeverage": "90.00",
                    "mmDeduction": deduction,
                },
                {
                    "symbol": symbol,
                    "riskLimitValue": "2000000",
                    "maintenanceMargin": "0.005",
                    "maxLeverage": "100.00",
                    "mmDeduction": "",
                },
            ]
        after = str(page + 1) if page + 1 < len(pages) else ""
        return {"retCode": 0, "retMsg": "OK", "result": {"list": rows, "nextPageCursor": after}}

    def _bybit_trades(self, path: str) -> Answer:
        """Give four trades a bar: its open, high, low and close; the newest first, as older files have them."""
        day = path[-17:-7]
        start_ms = time_ms(day)
        bars = self.bars("klines", HOUR_MS, start_ms, start_ms + DAY_MS)
        if not bars or start_ms + DAY_MS > self.today_ms or path.rpartition("/")[2] in self.withdrawn:
            return Answer(b"<html>404</html>", status=404, kind="text/html")
        rows = [
            f"{(t + 60_000 * n) / 1000:.4f},X,Buy,1,{cell},ZeroPlusTick,id,1e8,0.25,5000"
            for t, cells in bars
            for n, cell in enumerate(cells[:4])
        ]
        head = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
        return Answer(gzip.compress("\n".join([head, *rows[::-1]]).encode() + b"\n", mtime=0))

    def _deribit(self, asked: dict[str, str]) -> object:
        start_ms, stop_ms = int(asked["start_timestamp"]), int(asked["end_timestamp"]) + 1
        bars = self.bars("klines", HOUR_MS, start_ms, stop_ms)
        page = bars[-100:]
        data = [[t, *(float(cell) for cell in cells[:4])] for t, cells in page]
        more = page[0][0] - 1 if len(bars) > len(page) else None
        return {"jsonrpc": "2.0", "result": {"data": data, "continuation": more}}

    def _cboe(self, name: str) -> str:
        first, days = dt.date(2024, 12, 2), []
        while time_ms(first) <= self.today_ms:
            if first.weekday() < 5:
                close = 15 + first.toordinal() % 9 + (0.5 if name in self.revised and first.day == 3 else 0)
                tail = f"{close:.6f}" if name.startswith("VVIX") else f"{close},{close + 1},{close - 1},{close:.6f}"
                days.append(f"{first:%m/%d/%Y},{tail}")
            first += dt.timedelta(days=1)
        head = "DATE,VVIX" if name.startswith("VVIX") else "DATE,OPEN,HIGH,LOW,CLOSE"
        return "\n".join([head, *days]) + "\n"


@cache
def _bar(type_: str, t: int, interval_ms: int) -> list[str]:
    def price(moment: int) -> float:
        if type_ == "premiumIndexKlines":
            return math.sin(moment / DAY_MS) / 1e3
        return LEVELS[type_] + 500 * math.sin(moment / DAY_MS) + moment // HOUR_MS % 17

    first, last = price(t), price(t + interval_ms)
    prices = [f"{p:.8f}" for p in (first, max(first, last) + 1e-4, min(first, last) - 1e-4, last)]
    volume = f"{5 + t // HOUR_MS % 11}.5" if type_ == "klines" else "0"
    return [*prices, volume, str(t + interval_ms - 1), volume, str(t // HOUR_MS % 9), "0", "0", "0"]


def _json(document: object) -> Answer:
    return Answer(json.dumps(document).encode(), kind="application/json")


def _zip(name: str, text: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        member = zipfile.ZipInfo(name.replace(".zip", ".csv"))
        archive.writestr(member, text, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


@contextmanager
def serving(market: Market) -> Iterator[Market]:
    """Serve a market on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = market.answer(self.path)
            time.sleep(answer.hang_s)
            self.close_connection = answer.length is not None
            self.send_response(answer.status)
            headers = {"Content-Type": answer.kind, **answer.headers}
            headers["Content-Length"] = str(len(answer.body) if answer.length is None else answer.length)
            for header, value in headers.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hung up, or was killed, is no fault of the server."""

    server = Server(("127.0.0.1", 0), Handler)
    market.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield market
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
