"""One run told, followed and weighed, whether it has one position or several legs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from backtest.engine.batch import Terms
from backtest.engine.pool.market import PoolMarket
from backtest.study import narrate as single
from backtest.study.config import Study
from backtest.study.equity import Equity, equity_curve
from backtest.study.pool_narrate import narrate_pool, pool_facts, pool_numbers
from backtest.study.pool_story import PoolStory, tell_pool
from backtest.study.pool_trace import pool_equity, pool_trace
from backtest.study.story import Ledger, Story, tell
from backtest.study.trace import life, trace

if TYPE_CHECKING:
    from backtest.study.runner import SymbolData

AnyStory = Story | PoolStory
Tables = Mapping[str, pa.Table]


def tell_run(
    study: Study, data: SymbolData, outcome: Mapping[str, Any], ledger: Ledger, hold: Mapping[str, Any] | None
) -> AnyStory:
    """Tell a run from its outcome and its rows; `hold` is the outcome of `hold` on the same entry, if it has one."""
    if data.pool is not None:
        return tell_pool(data, outcome, ledger, study.entries.margin_mode)
    return tell(study, data, outcome, ledger, hold)


def narrate(story: AnyStory) -> Iterator[str]:
    """Tell a story line by line."""
    return narrate_pool(story) if isinstance(story, PoolStory) else single.narrate(story)


def facts(story: AnyStory) -> dict[str, Any]:
    """Give a story as JSON values; amounts are integers at 1e-8, times epoch milliseconds."""
    return pool_facts(story) if isinstance(story, PoolStory) else single.facts(story)


def numbers(story: AnyStory) -> dict[str, str]:
    """Give what decided the first liquidation, in words and natural units; empty without one."""
    return pool_numbers(story) if isinstance(story, PoolStory) else single.numbers(story)


def bars(data: SymbolData, terms: Terms, outcome: Mapping[str, Any], tables: Tables) -> pa.Table:
    """Follow a run bar by bar in natural units: columns `trace.COLUMNS`."""
    if isinstance(data.market, PoolMarket):
        return pool_trace(data, outcome, tables)
    tape = data.result.tape
    return trace(tape, data.market, terms, life(tape, dict(outcome), tables["transfers"], tables["fills"]))


def equity(data: SymbolData, outcome: Mapping[str, Any], tables: Tables) -> Equity:
    """Rebuild a run's equity: the whole capital at the entry and at the close of each bar.

    Errors: `StudyError` for a refused entry; `IntegrityError` where rows and outcome do not agree.
    """
    if data.pool is not None:
        return pool_equity(data, outcome, tables)
    return equity_curve(data, outcome, tables["transfers"], tables["fills"])
