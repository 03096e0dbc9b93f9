"""What the oracle of runs with several legs is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from backtest.engine.oracle.model import Action, Plan, State, TierRow

TARGETS = ("opposite", "inverse", "other", "asset", "asset2", "asset3", "asset4")


class PoolBar(NamedTuple):
    """One bar of one instrument: last price at both ends, the mark's four prices; its length as in `Bar`."""

    time_ms: int
    trade_open: Decimal
    trade_close: Decimal
    mark_open: Decimal
    mark_high: Decimal
    mark_low: Decimal
    mark_close: Decimal
    length_ms: int | None = None


@dataclass(frozen=True)
class Instrument:
    """A contract: settled in quote, or, where it is inverse, in its base coin with a quantity in quote."""

    symbol: str
    inverse: bool
    bars: tuple[PoolBar, ...]
    funding: Mapping[int, Decimal]
    tiers: tuple[tuple[int, tuple[TierRow, ...]], ...]
    taker: tuple[tuple[int, Decimal], ...]


class AssetBar(NamedTuple):
    """What is known of a valued asset in one bar: its mark's four prices, and its margins per unit, in quote."""

    time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    initial: Decimal
    maintenance: Decimal


@dataclass(frozen=True)
class Asset:
    """A valued asset: its bars in order, and the fee rate of its fills."""

    name: str
    bars: tuple[AssetBar, ...]
    fee: Decimal


@dataclass(frozen=True)
class PoolMarket:
    """The instruments of a run, which uses the bars that all of them have, and after them its valued assets.

    A bar that all have is of one length for all of them; with assets all bars are of the interval.
    """

    interval_ms: int
    instruments: tuple[Instrument, ...]
    assets: tuple[Asset, ...] = ()


class CoreLeg(NamedTuple):
    """A position of the entry: an index into the market's instruments, and the contract's lot rules."""

    instrument: int
    step: Decimal
    min_notional: Decimal


class LayerSpec(NamedTuple):
    """A hedge in a contract that rules may open: one of the first three TARGETS.

    `opposite` takes instruments, steps and least notionals of the core legs: its own are not read.
    """

    target: str
    instrument: int | None
    leverage: Decimal
    step: Decimal
    min_notional: Decimal


class AssetSpec(NamedTuple):
    """How rules may hold the market's asset of the same number.

    `paid`: the price changes hands at a fill, else only profit and loss do. `own_account`: not the core's account.
    `ratio`: share of a bought and paid asset's value that counts in the core's account. `size_by`: what share 1 is,
    the core's "quantity", its "notional", or the run's "capital".
    """

    side: int
    paid: bool
    own_account: bool
    ratio: Decimal
    size_by: str
    step: Decimal
    slippage: Decimal


class Collateral(NamedTuple):
    """A coin that stands for a share of the posted margin, valued at an instrument's mark and a ratio."""

    instrument: int
    share: Decimal
    ratio: Decimal


@dataclass(frozen=True)
class PoolPlan(Plan):
    """One run with several legs. `step` and `min_notional` of a plain run are not read: those of the legs are."""

    core: tuple[CoreLeg, ...] = ()
    layers: tuple[LayerSpec, ...] = ()
    collaterals: tuple[Collateral, ...] = ()
    assets: tuple[AssetSpec, ...] = ()
    isolated: tuple[int, ...] = ()  # core slots that stand beside the pool
    joint: str = "worst"


@dataclass
class PoolState(State):
    """What a rule sees of a run with several legs: besides, by target, what is held over what share 1 would be."""

    layer_share: list[float] = field(default_factory=lambda: [0.0] * len(TARGETS))


class PoolTransfer(NamedTuple):
    """A ledger row; asset 0 is quote, i + 1 the coin of instrument i."""

    time_ms: int
    kind: str
    debit: str
    credit: str
    asset: int
    amount_e8: int
    cause: str
    rule: int


class PoolFill(NamedTuple):
    """A change of a leg: quantity signed, value (`cost_e8`, in the leg's asset) positive."""

    time_ms: int
    slot: int
    qty_e8: int
    price_e8: int
    cost_e8: int
    mark_e8: int
    cause: str
    rule: int


@dataclass
class PoolResult:
    """One run, told whole."""

    transfers: list[PoolTransfer] = field(default_factory=list)
    fills: list[PoolFill] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    outcome: dict[str, object] = field(default_factory=dict)
