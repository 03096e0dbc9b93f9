"""The slow twin of the replay of runs with several legs: plain integers, every bar visited, written from docs/pools.md.

It shares no formula with the compiled pool replay; the tests compare the two transfer for transfer.
"""

from backtest.engine.oracle.pool.model import (
    TARGETS,
    Asset,
    AssetBar,
    AssetSpec,
    Collateral,
    CoreLeg,
    Instrument,
    LayerSpec,
    PoolBar,
    PoolFill,
    PoolMarket,
    PoolPlan,
    PoolResult,
    PoolState,
    PoolTransfer,
)
from backtest.engine.oracle.pool.run import replay

__all__ = [
    "TARGETS",
    "Asset",
    "AssetBar",
    "AssetSpec",
    "Collateral",
    "CoreLeg",
    "Instrument",
    "LayerSpec",
    "PoolBar",
    "PoolFill",
    "PoolMarket",
    "PoolPlan",
    "PoolResult",
    "PoolState",
    "PoolTransfer",
    "replay",
]
