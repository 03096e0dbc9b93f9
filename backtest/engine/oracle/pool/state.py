"""The present of a run with several legs as a rule sees it: floats made from the exact figures."""

from __future__ import annotations

import math

from backtest.engine.oracle.model import RuleUse
from backtest.engine.oracle.outside import Outside
from backtest.engine.oracle.pool.assets import AssetLeg
from backtest.engine.oracle.pool.model import TARGETS, PoolState
from backtest.engine.oracle.pool.pool import Pool
from backtest.engine.oracle.pool.shares import core_notional, whole_of
from backtest.engine.oracle.pool.units import target_slots
from backtest.engine.oracle.state import HOUR_MS, RuleMemory, natural, padded


def state_of(
    pool: Pool,
    memory: RuleMemory,
    told: tuple[RuleUse, Outside],
    *,
    marks: tuple[int, ...],
    time_ms: int,
    entry_ms: int,
    entry_qty: int,
    wake: int,
) -> PoolState:
    """Describe unit 0 and the first core leg at the marks to one rule, and what it reads; coin figures in quote."""
    use, outside = told
    first, unit, books = pool.legs[0], pool.units[0], pool.books
    mark = marks[first.instrument]
    figures = pool.figures(unit, marks)
    price_of_asset = 1.0 if unit.coin.instrument is None else natural(mark)

    def in_quote(amount: int) -> float:
        return natural(amount) * price_of_asset

    totals, last_ms = books.totals, memory.last_action_ms
    return PoolState(
        mark_price=natural(mark),
        entry_price=_entry_price(first.qty, first.cost, inverse=first.inverse),
        qty=natural(first.qty),
        entry_qty=natural(entry_qty),
        side=first.side,
        leverage=natural(first.leverage),
        wallet=in_quote(pool.wallet(unit)),
        unrealized_pnl=in_quote(sum(leg.contribution(marks[leg.instrument]) for leg in pool.open_legs(unit))),
        equity=in_quote(figures.equity),
        initial_margin=in_quote(figures.initial),
        maintenance_margin=in_quote(figures.maintenance),
        margin_ratio=float(figures.maintenance) / float(figures.equity) if figures.equity > 0 else math.inf,
        headroom=in_quote(figures.headroom),
        buffer=float(figures.headroom) / float(figures.buffer_base) if figures.buffer_base > 0 else math.nan,
        notional=natural(core_notional(pool, marks)),
        free=natural(books.held("free")),
        reserve=natural(books.held("reserve")),
        transit=natural(books.held("transit")),
        capital=natural(-books.held("world")),
        margin_added=natural(totals.margin_added),
        funding_paid=natural(totals.funding),
        fees_paid=natural(totals.fees),
        actions=memory.actions,
        hours_since_entry=(time_ms - entry_ms) / HOUR_MS,
        hours_since_action=math.inf if last_ms is None else (time_ms - last_ms) / HOUR_MS,
        tier=first.tier(mark) + 1,
        wake=wake,
        layers=sum(leg.qty > 0 for slot, leg in pool.legs.items() if slot >= len(pool.plan.core)),
        memory=memory.numbers,
        signals=padded((outside.value(name, time_ms) for name in use.signals), 8, math.nan),
        hours_to_event=padded((outside.hours_to(kind, time_ms) for kind in use.events), 4, math.inf),
        hours_since_event=padded((outside.hours_since(kind, time_ms) for kind in use.events), 4, math.inf),
        layer_share=[_share(pool, target, marks) for target in range(len(TARGETS))],
    )


def _entry_price(qty: int, cost: int, *, inverse: bool) -> float:
    if qty == 0 or cost == 0:
        return math.nan
    return float(qty) / float(cost) if inverse else float(cost) / float(qty)


def _share(pool: Pool, target: int, marks: tuple[int, ...]) -> float:
    """Give the notional of a target's legs over the core's; of an asset, what is held over what share 1 would be."""
    core = core_notional(pool, marks)
    legs = [pool.legs[slot] for slot in target_slots(pool.plan, target, pool.legs)]
    if legs and isinstance(legs[0], AssetLeg):
        one = whole_of(pool, legs[0], marks).natural()
        return float(legs[0].qty) / one if one else 0.0
    layer = sum(leg.notional(leg.qty, marks[leg.instrument]) for leg in legs)
    return float(layer) / float(core) if core else 0.0
