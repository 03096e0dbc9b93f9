"""The present as a rule sees it: floats made from the exact figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from backtest.engine.oracle.account import Account
from backtest.engine.oracle.model import RuleUse, State
from backtest.engine.oracle.numbers import E8
from backtest.engine.oracle.outside import Outside

HOUR_MS = 3_600_000


@dataclass
class RuleMemory:
    """What is kept of one rule between calls."""

    actions: int = 0
    last_action_ms: int | None = None
    numbers: list[float] = field(default_factory=lambda: [0.0] * 8)

    def rests(self, time_ms: int, cooldown_ms: int) -> bool:
        """Say whether the cooldown after the last accepted action is not over."""
        return self.last_action_ms is not None and time_ms - self.last_action_ms < cooldown_ms


def natural(units: int) -> float:
    """Turn units of 1e-8 into a float."""
    return float(units) / 1e8


def padded(values: Iterable[float], size: int, unknown: float) -> list[float]:
    """Fill a list up with what is not known."""
    known = list(values)
    return known + [unknown] * (size - len(known))


def state_of(
    account: Account,
    memory: RuleMemory,
    told: tuple[RuleUse, Outside],
    *,
    mark: int,
    time_ms: int,
    entry_ms: int,
    entry_qty: int,
    wake: int,
) -> State:
    """Describe the account at a mark to one rule, and what it reads of signals and events."""
    use, outside = told
    position, balances = account.position, account.balances
    figures = account.figures(mark)
    last_ms = memory.last_action_ms
    return State(
        mark_price=natural(mark),
        entry_price=float(position.cost) / float(position.qty),
        qty=natural(position.qty),
        entry_qty=natural(entry_qty),
        side=position.side,
        leverage=natural(position.leverage),
        wallet=natural(account.wallet),
        unrealized_pnl=natural(position.unrealised(mark)),
        equity=natural(figures.equity),
        initial_margin=natural(figures.initial),
        maintenance_margin=natural(figures.maintenance),
        margin_ratio=float(figures.maintenance) / float(figures.equity) if figures.equity > 0 else math.inf,
        headroom=natural(figures.headroom),
        buffer=float(figures.headroom) / float(figures.buffer_base) if figures.buffer_base > 0 else math.nan,
        notional=natural(position.qty * mark // E8),
        free=natural(balances["free"]),
        reserve=natural(balances["reserve"]),
        transit=natural(balances["transit"]),
        capital=natural(-balances["world"]),
        margin_added=natural(account.margin_added),
        funding_paid=natural(account.funding),
        fees_paid=natural(account.fees),
        actions=memory.actions,
        hours_since_entry=(time_ms - entry_ms) / HOUR_MS,
        hours_since_action=math.inf if last_ms is None else (time_ms - last_ms) / HOUR_MS,
        tier=position.tier(mark) + 1,
        wake=wake,
        layers=0,
        memory=memory.numbers,
        signals=padded((outside.value(name, time_ms) for name in use.signals), 8, math.nan),
        hours_to_event=padded((outside.hours_to(kind, time_ms) for kind in use.events), 4, math.inf),
        hours_since_event=padded((outside.hours_since(kind, time_ms) for kind in use.events), 4, math.inf),
    )
