"""docs/account.md names every key and every figure, and its example gives what it says."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from backtest.venues import account_json
from backtest.venues.report import AccountFigures, PositionFigures, compute

PAGE = (Path(__file__).parents[2] / "docs" / "account.md").read_text(encoding="utf-8")


def test_the_example_gives_the_price_on_the_page() -> None:
    example = json.loads(PAGE.split("```json")[1].split("```")[0])
    assert f"**{compute(example).positions[0].liquidation_price}**" in PAGE


@pytest.mark.parametrize("keys", ["ACCOUNT_KEYS", "COLLATERAL_KEYS", "POSITION_KEYS", "ORDER_KEYS", "TIER_KEYS"])
def test_every_key_is_on_the_page(keys: str) -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert set(getattr(account_json, keys)) <= named


def test_every_figure_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    figures = {field.name for form in (AccountFigures, PositionFigures) for field in fields(form)}
    assert figures - named <= {"notional", "unrealized_pnl", "symbol", "side"}
