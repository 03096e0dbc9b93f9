"""What the oracle is asked and what it answers. Inputs are exact decimals; results are integers at 1e-8."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from backtest.engine.oracle.outside import Readings, Statements

THRESHOLD_WAKES = ("buffer_below", "margin_ratio_above", "headroom_below", "liq_bps_below", "liq_atr_below")


class Bar(NamedTuple):
    """One bar: last price at both ends, mark open and extremes; its length where it is not the market's interval."""

    time_ms: int
    trade_open: Decimal
    trade_close: Decimal
    mark_open: Decimal
    mark_high: Decimal
    mark_low: Decimal
    length_ms: int | None = None


class TierRow(NamedTuple):
    """One row of a risk table; `cap` and `max_leverage` are None where the venue gives none."""

    cap: Decimal | None
    rate: Decimal
    deduction: Decimal
    max_leverage: Decimal | None


@dataclass(frozen=True)
class Market:
    """One symbol: bars in time order (some may be missing), funding by bar open, dated tiers and taker fees."""

    interval_ms: int
    bars: tuple[Bar, ...]
    funding: Mapping[int, Decimal]
    tiers: tuple[tuple[int, tuple[TierRow, ...]], ...]
    taker: tuple[tuple[int, Decimal], ...]


@dataclass(frozen=True)
class Wake:
    """When a rule is called: `value` is the threshold, or hours; `name` the signal or the kind of event."""

    kind: str
    value: Decimal | None = None
    name: str = ""


@dataclass
class State:
    """What a rule sees: floats in natural units, and eight numbers of its own that persist."""

    mark_price: float
    entry_price: float
    qty: float
    entry_qty: float
    side: int
    leverage: float
    wallet: float
    unrealized_pnl: float
    equity: float
    initial_margin: float
    maintenance_margin: float
    margin_ratio: float
    headroom: float
    buffer: float
    notional: float
    free: float
    reserve: float
    transit: float
    capital: float
    margin_added: float
    funding_paid: float
    fees_paid: float
    actions: int
    hours_since_entry: float
    hours_since_action: float
    tier: int
    wake: int
    layers: int
    memory: list[float]
    signals: list[float] = field(default_factory=lambda: [math.nan] * 8)
    hours_to_event: list[float] = field(default_factory=lambda: [math.inf] * 4)
    hours_since_event: list[float] = field(default_factory=lambda: [math.inf] * 4)


@dataclass(frozen=True)
class RuleUse:
    """A rule in a strategy: it returns (verb code, amount, target)."""

    name: str
    function: Callable[[State, Any], tuple[int, float, int]]
    params: Any
    wakes: tuple[Wake, ...]
    cooldown_ms: int = 0
    signals: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


class ScriptedAction(NamedTuple):
    """An action of a shuffled run, done at the open of the bar `bars` after the entry bar."""

    bars: int
    verb: int
    amount: float
    target: int


@dataclass(frozen=True)
class Plan:
    """One run: an entry and what a strategy does with it. `stop_ms` is exclusive."""

    entry_ms: int
    horizon_ms: int
    stop_ms: int
    side: int
    leverage: Decimal
    capital: Decimal
    sizing_margin: Decimal
    qty_share: Decimal
    posted_margin: Decimal
    step: Decimal
    min_notional: Decimal
    slippage: Decimal
    liq_slippage: Decimal
    clearance_rate: Decimal
    margin_mode: str
    procedure: str
    fee_reserve: bool
    release: str = "pro_rata"
    reaction: str = "intrabar"
    latency_ms: int = 0
    reaction_ms: int = 0
    daily_cap: Decimal | None = None
    rules: tuple[RuleUse, ...] = ()
    script: tuple[ScriptedAction, ...] = ()
    baseline_liquidation_ms: int | None = None
    baseline_exit_ms: int | None = None
    liquidation: bool = True
    signals: Mapping[str, Readings] = field(default_factory=dict)
    events: Mapping[str, Statements] = field(default_factory=dict)


class Transfer(NamedTuple):
    """A ledger row; `rule` is an index into the plan's rules, -1 for none."""

    time_ms: int
    kind: str
    debit: str
    credit: str
    amount_e8: int
    cause: str
    rule: int


class Fill(NamedTuple):
    """A change of position: quantity signed, value (`cost_e8`) positive."""

    time_ms: int
    qty_e8: int
    price_e8: int
    cost_e8: int
    mark_e8: int
    cause: str
    rule: int


class Action(NamedTuple):
    """What a rule or a script asked for, and what became of it."""

    time_ms: int
    bars: int
    rule: int
    verb: str
    amount: float
    mark_e8: int
    status: str


@dataclass
class Result:
    """One run, told whole."""

    transfers: list[Transfer] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    outcome: dict[str, object] = field(default_factory=dict)
