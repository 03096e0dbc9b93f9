"""The venues' own published and recorded numbers, reproduced."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backtest.venues.report import compute

HERE = Path(__file__).parent


def cases(name: str) -> list[Any]:
    content = json.loads((HERE / f"{name}_cases.json").read_text(encoding="utf-8"))
    return [pytest.param(case["account"], case["expect"], id=case["id"]) for case in content["cases"]]


def found(result: Any, path: str) -> Any:
    for step in path.split("."):
        result = result[int(step)] if step.isdigit() else result[step]
    return result


@pytest.mark.parametrize(("account", "expect"), cases("binance") + cases("bybit"))
def test_case_is_reproduced(account: dict[str, Any], expect: dict[str, list[str]]) -> None:
    result = compute(account).to_dict()
    for path, (value, tolerance) in expect.items():
        ours = found(result, path)
        if value is None:
            assert ours is None, path
        else:
            assert ours is not None, path
            assert abs(Decimal(ours) - Decimal(value)) <= Decimal(tolerance), f"{path}: {ours} is not {value}"
