"""Tiers and contracts as they are in force today: one dated file a venue, kind and day, never written twice.

Neither venue keeps a history of them, so the day on which they were seen is all that will be known. Tiers are written
in the form that a study's `tiers = "<file>"` takes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from backtest.data.disk import write_atomic
from backtest.data.pull.bybit import BybitRest
from backtest.data.pull.hosts import host
from backtest.data.pull.http import Client, read_json
from backtest.data.pull.periods import day_of
from backtest.errors import CoverageError, Problem, SourceError, UsageError
from backtest.venues.tiers import read_tiers

FOLDER = "snapshots"
_CATEGORIES = ("linear", "inverse")
_COLUMNS = ("floor", "cap", "rate", "max_leverage", "deduction")
_KEY, _SECRET = "BINANCE_API_KEY", "BINANCE_API_SECRET"
_BRACKETS = "fapi/v1/leverageBracket"

Ladders = dict[str, list[dict[str, str | None]]]


def take_snapshot(root: Path, venue: str, table: str, client: Client, today_ms: int) -> list[Path]:
    """Fetch what is in force today and write it; nothing where today's file is there. Raises `SourceError`."""
    day = day_of(today_ms).text
    path = root / FOLDER / f"{venue}-{table}-{day}.json"
    if path.exists():
        return []
    if table == "contracts":
        rest = BybitRest(client, host("bybit"))
        lists = {category: list(rest.listed("instruments-info", category)) for category in _CATEGORIES}
        document: dict[str, Any] = {"source": "GET /v5/market/instruments-info", "seen": day, **lists}
    elif venue == "bybit":
        document = _tier_document(_bybit_ladders(client), "GET /v5/market/risk-limit", day)
    else:
        document = _tier_document(_binance_ladders(client), f"GET /{_BRACKETS}", day)
    write_atomic(path, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())
    return [path]


def _tier_document(ladders: Ladders, source: str, day: str) -> dict[str, Any]:
    """Write ladders in the packaged form; one that is not contiguous and continuous is set aside, with the reason."""
    kept, refused = {}, {}
    for symbol, ladder in sorted(ladders.items()):
        try:
            read_tiers(ladder, symbol)
        except CoverageError as error:
            refused[symbol] = str(error)
            continue
        rows = [[tier[column] for column in _COLUMNS] for tier in ladder]
        kept[symbol] = [{"first": day, "last": day, "source": source, "tiers": rows}]
    if not kept:
        raise SourceError(Problem(source, "gives no tier table that can be used", *list(refused.values())[:1]))
    return {"source": source, "seen": day, "columns": _COLUMNS, "symbols": kept, "refused": refused}


def _bybit_ladders(client: Client) -> Ladders:
    rest = BybitRest(client, host("bybit"))
    rows = [row for category in _CATEGORIES for row in rest.listed("risk-limit", category)]
    by_symbol: dict[str, list[Mapping[str, Any]]] = {}
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


def _binance_ladders(client: Client) -> Ladders:
    key, secret = os.environ.get(_KEY), os.environ.get(_SECRET)
    if not key or not secret:
        raise UsageError(
            Problem("binance tiers", "are shown only to who signs", f"set {_KEY} and {_SECRET}; read-only is enough")
        )
    asked: dict[str, object] = {"recvWindow": 60_000, "timestamp": time.time_ns() // 1_000_000}
    signature = hmac.new(secret.encode(), urlencode(asked).encode(), hashlib.sha256).hexdigest()

    def parse(body: bytes) -> Ladders:
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
    ladders = client.get(url, parse, asked | {"signature": signature}, headers={"X-MBX-APIKEY": key})
    if ladders is None:
        raise SourceError(Problem(url, "is not there (404)", "check the address"))
    return ladders


def _ladder(rows: Iterable[tuple[str, str, str, str]]) -> list[dict[str, str | None]]:
    """Give tiers their floors: each begins where the one before ends. Rows are cap, rate, leverage, deduction."""
    ladder: list[dict[str, str | None]] = []
    floor = "0"
    for cap, rate, leverage, deduction in rows:
        ladder.append({"floor": floor, "cap": cap, "rate": rate, "max_leverage": leverage, "deduction": deduction})
        floor = cap
    return ladder
