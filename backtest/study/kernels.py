"""Which replay a market is for: that of one position, or that of several legs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backtest.engine.batch import Batch, Keep, Rows, replay_batch
from backtest.engine.compile import MODE, cache_dir
from backtest.engine.compiled import Rules
from backtest.engine.market import Market
from backtest.engine.pool.batch import replay_pool_batch
from backtest.engine.pool.market import PoolMarket

AnyMarket = Market | PoolMarket


def is_pool_compiled() -> bool:
    """Tell whether this machine has compiled the replay of several legs before, or need not."""
    return MODE == "0" or any(cache_dir().glob("*/replay.replay_pools-*.nbi"))


def replay_on(
    market: AnyMarket,
    plan: Any,
    rules: Rules,
    entries: Rows,
    *,
    script: Rows | None = None,
    keep: Keep = "liquidated",
    record: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Batch:
    """Replay entries over a market of either kind; see `engine.batch.replay_batch`."""
    if isinstance(market, PoolMarket):
        return replay_pool_batch(
            market, plan, rules, entries, script=script, keep=keep, record=record, progress=progress
        )
    return replay_batch(market, plan, rules, entries, script=script, keep=keep, record=record, progress=progress)
