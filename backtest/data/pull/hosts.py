"""Where each source lives, and how fast it may be asked.

Addresses: binance-public-data README; Binance, Bybit and Deribit API pages; Cboe's page of historical VIX data. A
variable of the environment, such as BACKTEST_BINANCE_VISION_URL, names a mirror.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Host(NamedTuple):
    """A host: its address, and the least seconds between two requests."""

    url: str
    pace_s: float


_HOSTS = {
    "binance_vision": Host("https://data.binance.vision", 0.0),
    # 2400 weight a minute, and a full page of klines weighs 10.
    "binance_um": Host("https://fapi.binance.com", 0.25),
    "binance_cm": Host("https://dapi.binance.com", 0.25),
    "bybit": Host("https://api.bybit.com", 0.05),  # 600 requests in 5 s for one address
    "bybit_public": Host("https://public.bybit.com", 0.0),
    "cboe": Host("https://cdn.cboe.com", 0.0),
    "deribit": Host("https://www.deribit.com", 0.2),
}


def host(name: str) -> Host:
    """Give a host by name; the environment may move it."""
    known = _HOSTS[name]
    return known._replace(url=os.environ.get(f"BACKTEST_{name.upper()}_URL", known.url).rstrip("/"))
