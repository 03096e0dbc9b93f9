"""Names: one spelling of a symbol, and the packaged tables of a venue."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

from backtest.errors import CoverageError, did_you_mean

VENUES = ("binance", "bybit")

_DELIVERY = re.compile(r".+(_\d{6}|-\d{1,2}[A-Z]{3}\d\d|USD[FGHJKMNQUVXZ]\d\d)")
_CCXT = re.compile(r"([A-Z0-9]+)/([A-Z]+):([A-Z0-9]+)")


def normalize_symbol(symbol: str, venue: str) -> str:
    """Give the venue's own spelling of a symbol; ccxt's spelling is accepted.

    >>> normalize_symbol("BTC/USDT:USDT", "binance"), normalize_symbol("BTC/USD:BTC", "bybit")
    ('BTCUSDT', 'BTCUSD')
    """
    text = symbol.strip().upper()
    match = _CCXT.fullmatch(text)
    if match is None:
        return text
    base, quote, _settle = match.groups()
    if quote == "USD":
        return f"{base}USD_PERP" if venue == "binance" else f"{base}USD"
    if quote == "USDC" and venue == "bybit":
        return f"{base}PERP"
    return base + quote


def is_delivery(symbol: str) -> bool:
    """Say whether a contract expires, and so pays no funding.

    >>> is_delivery("BTCUSD_251226"), is_delivery("BTCUSDH26"), is_delivery("BTC-27MAR26"), is_delivery("BTCUSDT")
    (True, True, True, False)
    """
    return _DELIVERY.fullmatch(symbol) is not None


@cache
def load_table(venue: str, name: str) -> dict[str, Any]:
    """Read a table of facts that travels with the package, such as `("binance", "tiers")`."""
    if venue not in VENUES:
        raise CoverageError.at("venue", f'no rulebook for "{venue}"', did_you_mean(venue, VENUES))
    path = resources.files("backtest.venues") / "tables" / f"{venue}_{name}.json"
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table
