"""What the tests of pulls share: a quick client, recipes, and a pull from the server."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from server import Market

from backtest.data.pull import hosts
from backtest.data.pull.http import Client, Manners
from backtest.data.pull.recipe import Recipe, read_section
from backtest.data.pull.run import PullReport, pull
from backtest.data.store import Lake
from backtest.units import HOUR_MS

QUICK = Manners(
    attempts=4, first_wait_s=0.01, longest_wait_s=0.05, longest_ask_s=2.0, silence_s=0.5, whole_s=3.0, max_bytes=1 << 24
)


def move_hosts(patch: pytest.MonkeyPatch, url: str) -> None:
    """Let every source live at one address, and be asked as fast as one likes."""
    patch.setattr(hosts, "_HOSTS", {name: hosts.Host(url, 0.0) for name in hosts._HOSTS})


def recipe(
    tables=("klines",), venue="binance", symbols=("BTCUSDT",), interval="1h", start="2024-10-01", **more
) -> Recipe:
    """Give a recipe of one section."""
    section = {"venue": venue, "symbols": list(symbols), "tables": list(tables), "interval": interval}
    return read_section(section | {"start": dt.date.fromisoformat(start)} | more, "recipe")


def now_ms(market: Market) -> int:
    """Give the time of the pull: some hours into the server's day."""
    return market.today_ms + 10 * HOUR_MS


def pulled(root: Path, market: Market, wanted: Recipe | None = None, **more) -> PullReport:
    """Pull as of the server's day."""
    return pull(Lake(root), wanted or recipe(), now_ms(market), client=Client(QUICK), **more)
