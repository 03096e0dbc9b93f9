"""What a venue says today of its tiers and contracts, kept as a dated snapshot."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from backtest.data.pull.bybit import BybitRest
from backtest.data.pull.hosts import host
from backtest.data.pull.http import Client, read_json
from backtest.data.pull.periods import day_of
from backtest.data.snapshots import Ladder, snapshot_path, tier_document, write_snapshot
from backtest.errors import Problem, SourceError, UsageError

T = TypeVar("T")

_CATEGORIES = ("linear", "inverse")
_KEY, _SECRET = "BINANCE_API_KEY", "BINANCE_API_SECRET"
_BRACKETS = "fapi/v1/leverageBracket"
_CONTRACTS = {
    "binance": ("binance_um", "fapi/v1/exchangeInfo"),
    "binance-coinm": ("binance_cm", "dapi/v1/exchangeInfo"),
}


def take_snapshot(root: Path, venue: str, table: str, client: Client, today_ms: int) -> list[Path]:
    """Fetch what is in force today and write it; nothing where today's file is there. Raises `SourceError`."""
    day = day_of(today_ms).text
    path = snapshot_path(root, venue, table, day)
    if path.exists():
        return []
    if table == "contracts":
        source, contracts = _bybit_contracts(client) if venue == "bybit" else _binance_contracts(client, venue)
        document: dict[str, Any] = {"source": source, "seen": day, "contracts": contracts}
    elif venue == "bybit":
        document = tier_document(_bybit_ladders(client), "GET /v5/market/risk-limit", day)
    else:
        document = tier_document(_binance_ladders(client), f"GET /{_BRACKETS}", day)
    write_snapshot(path, document)
    return [path]


def _bybit_contracts(client: Client) -> tuple[str, dict[str, Any]]:
    rest = BybitRest(client, host("bybit"))
    lists = {category: list(rest.listed("instruments-info", category)) for category in _CATEGORIES}
    return "GET /v5/market/instruments-info", lists


def _binance_contracts(client: Client, venue: str) -> tuple[str, dict[str, Any]]:
    name, path = _CONTRACTS[venue]
    place = host(name)

    def parse(body: bytes) -> dict[str, Any]:
        try:
            return {"symbols": list(read_json(body)["symbols"])}
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {error}") from None

    return f"GET /{path}", _there(client.get(f"{place.url}/{path}", parse, pace_s=place.pace_s), f"{place.url}/{path}")


def _bybit_ladders(client: Client) -> dict[str, Ladder]:
    rest = BybitRest(client, host("bybit"))
    rows = [row for category in _CATEGORIES for row in rest.listed("risk-limit", category)]
    by_symbol: dict[str, list[Mapping[str, Any]]] = {}
    try:
        for row in rows:
            by_symbol.setdefault(str(row["symbol"]), []).append(row)
        return {
            symbol: _ladder(
                (
                    str(row["riskLimitValue"]),
                    str(row["maintenanceMargin"]),
                    str(row["maxLeverage"]),
                    str(row.get("mmDeduction") or 0),
                )
                for row in sorted(own, key=lambda row: float(row["riskLimitValue"]))
            )
            for symbol, own in by_symbol.items()
        }
    except (KeyError, ValueError, TypeError) as error:
        raise SourceError(
            Problem("risk-limit", f"gives a row that cannot be read ({error})", "call again later")
        ) from None


def _binance_ladders(client: Client) -> dict[str, Ladder]:
    key, secret = os.environ.get(_KEY), os.environ.get(_SECRET)
    if not key or not secret:
        raise UsageError(
            Problem("binance tiers", "are shown only to who signs", f"set {_KEY} and {_SECRET}; read-only is enough")
        )
    asked: dict[str, object] = {"recvWindow": 60_000, "timestamp": time.time_ns() // 1_000_000}
    signature = hmac.new(secret.encode(), urlencode(asked).encode(), hashlib.sha256).hexdigest()

    def parse(body: bytes) -> dict[str, Ladder]:
        try:
            return {
                row["symbol"]: _ladder(
                    (
                        str(bracket["notionalCap"]),
                        str(bracket["maintMarginRatio"]),
                        str(bracket["initialLeverage"]),
                        str(bracket["cum"]),
                    )
                    for bracket in sorted(row["brackets"], key=lambda bracket: int(bracket["bracket"]))
                )
                for row in read_json(body)
            }
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {error}") from None

    place = host("binance_um")
    url = f"{place.url}/{_BRACKETS}"
    return _there(client.get(url, parse, asked | {"signature": signature}, headers={"X-MBX-APIKEY": key}), url)


def _there(found: T | None, url: str) -> T:
    if found is None:
        raise SourceError(Problem(url, "is not there (404)", "check the address"))
    return found


def _ladder(rows: Iterable[tuple[str, str, str, str]]) -> Ladder:
    """Give tiers their floors: each begins where the one before ends. Rows are cap, rate, leverage, deduction."""
    ladder: Ladder = []
    floor = "0"
    for cap, rate, leverage, deduction in rows:
        ladder.append({"floor": floor, "cap": cap, "rate": rate, "max_leverage": leverage, "deduction": deduction})
        floor = cap
    return ladder
