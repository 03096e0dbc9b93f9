"""The page about data says what is so: its recipes and keys are read, its views and venues are all there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from backtest.data.ledger import VIEWS
from backtest.data.pull.recipe import TABLES, read_section
from backtest.study.config import parse_study

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8")
BLOCKS = [tomllib.loads(text) for text in re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def test_its_recipe_is_one() -> None:
    (block,) = [block for block in BLOCKS if "pull" in block]
    assert len(read_section(block["pull"][0], "page").datasets) == 6


@pytest.mark.parametrize("market", [block["market"] for block in BLOCKS if "market" in block], ids=str)
def test_its_stress_markets_are_read(market: dict[str, object]) -> None:
    own = {"venue": "binance", "symbols": ["BTCUSDT"], "interval": "1h", "start": "2020-01-01", "stop": "2022-01-01"}
    study = {
        "study": {"name": "page", "capital": "1000"},
        "market": own | market,
        "entries": {"every": "24h", "leverage": [5], "horizon": "30d"},
        "strategy": [],
        "window": [{"name": "2021-05-19", "from": "2021-05-18", "to": "2021-05-24"}] if "crash" in str(market) else [],
    }
    assert parse_study(study, "page").market.resample is not None


def test_it_names_every_view_and_every_venue() -> None:
    ledger = PAGE.partition("## The gap ledger")[2].partition("## What a study")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", ledger, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(VIEWS)
    pull = PAGE.partition("## Pull")[2].partition("## Import")[0]
    assert set(TABLES) <= set(re.findall(r"`([a-z-]+)`", pull))
