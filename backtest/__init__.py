"""Measure what really keeps a leveraged perpetual from being liquidated.

Public names are loaded when first used, so that `import backtest` costs nothing. `__init__.pyi` tells editors of them.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "backtest.api.build": (
        "Costs Entries Market Reserve asset collateral layer listed make_study regime strategy use window write_study"
    ),
    "backtest.api.result": "Result compare open_result synthetic_lake",
    "backtest.api.run": "Run",
    "backtest.api.tables": "columns",
    "backtest.engine.rules": (
        "HOLD after_event before_event buffer_below close every every_bar headroom_below increase liq_distance_below "
        "margin_ratio_above move_margin on_arrival on_fill on_funding param reduce rule set_leverage signal trade"
    ),
    "backtest.study.config": "Study load_study",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOMES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'backtest' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
