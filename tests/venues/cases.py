"""The venues' own numbers that this repository states, each with the account it belongs to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def read_cases(venue: str) -> list[dict[str, Any]]:
    """Give the cases of a venue."""
    content = json.loads((HERE / f"{venue}_cases.json").read_text(encoding="utf-8"))
    return list(content["cases"])


def account_named(name: str) -> dict[str, Any]:
    """Give the account of a case."""
    return next(
        dict(case["account"]) for venue in ("binance", "bybit") for case in read_cases(venue) if case["id"] == name
    )


def found(result: Any, path: str) -> Any:
    """Give the figure at a path such as positions.0.liquidation_price."""
    for step in path.split("."):
        result = result[int(step)] if step.isdigit() else result[step]
    return result
