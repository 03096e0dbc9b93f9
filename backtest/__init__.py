"""Measure what really keeps a leveraged perpetual from being liquidated.

Public names are loaded when first used, so that `import backtest` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "HOLD": "backtest.engine.rules",
    "buffer_below": "backtest.engine.rules",
    "close": "backtest.engine.rules",
    "every": "backtest.engine.rules",
    "every_bar": "backtest.engine.rules",
    "headroom_below": "backtest.engine.rules",
    "increase": "backtest.engine.rules",
    "margin_ratio_above": "backtest.engine.rules",
    "move_margin": "backtest.engine.rules",
    "on_arrival": "backtest.engine.rules",
    "on_fill": "backtest.engine.rules",
    "on_funding": "backtest.engine.rules",
    "param": "backtest.engine.rules",
    "reduce": "backtest.engine.rules",
    "rule": "backtest.engine.rules",
    "set_leverage": "backtest.engine.rules",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'backtest' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
