"""Which legs share a wallet, and the margin figures of those that do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from backtest.engine.oracle.numbers import E8, e8
from backtest.engine.oracle.pool.assets import AssetLeg, asset_leg
from backtest.engine.oracle.pool.books import IN_QUOTE, Coin
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.model import LayerSpec, PoolMarket, PoolPlan
from backtest.engine.oracle.position import Figures


@dataclass(frozen=True)
class Unit:
    """Slots that share a wallet: its account and its coin. Unit 0 holds the core, but for what stands beside it."""

    number: int
    account: str
    coin: Coin
    slots: tuple[int, ...]
    isolated: bool
    holds_core: bool


@dataclass(frozen=True)
class HeldCoin:
    """A collateral: its coin in the wallet of unit 0, the ratio it counts with, its share of the posted margin."""

    coin: Coin
    instrument: int
    ratio: int
    share: int


def coins_of(market: PoolMarket, plan: PoolPlan) -> dict[int, Coin]:
    """Give the coins of inverse instruments and of collaterals; the coin of instrument i is asset i + 1."""
    named = {i for i, instrument in enumerate(market.instruments) if instrument.inverse}
    named |= {collateral.instrument for collateral in plan.collaterals}
    return {instrument: Coin(instrument + 1, instrument) for instrument in sorted(named)}


def legs_of(market: PoolMarket, plan: PoolPlan) -> dict[int, Leg]:
    """Lay out the slots: the core legs, those of the targets that the plan has, and its assets; all flat."""
    count = len(plan.core)
    core = {
        slot: _leg(market, plan, slot, leg.instrument, plan.side, LayerSpec("", None, plan.leverage, *leg[1:]))
        for slot, leg in enumerate(plan.core)
    }
    layers = {}
    for spec in plan.layers:
        if spec.target == "opposite":
            for slot, leg in enumerate(plan.core, count):
                own = spec._replace(step=leg.step, min_notional=leg.min_notional)
                layers[slot] = _leg(market, plan, slot, leg.instrument, -plan.side, own)
        else:
            assert spec.instrument is not None, "only the opposite target has the core's instruments"
            slot = 2 * count + ("inverse", "other").index(spec.target)
            layers[slot] = _leg(market, plan, slot, spec.instrument, -plan.side, spec)
    return core | dict(sorted(layers.items())) | _asset_legs(market, plan)


def _asset_legs(market: PoolMarket, plan: PoolPlan) -> dict[int, Leg]:
    slot, instrument = 2 * len(plan.core) + 2, len(market.instruments)
    return {slot + a: asset_leg(slot + a, instrument + a, market.assets[a], spec) for a, spec in enumerate(plan.assets)}


def _leg(market: PoolMarket, plan: PoolPlan, slot: int, instrument: int, side: int, spec: LayerSpec) -> Leg:
    return Leg(
        slot,
        instrument,
        market.instruments[instrument].inverse,
        side,
        e8(spec.leverage),
        e8(spec.step),
        e8(spec.min_notional),
        e8(plan.slippage),
        plan.fee_reserve,
    )


def target_slots(plan: PoolPlan, target: int, legs: dict[int, Leg]) -> list[int]:
    """Give the slots of a target; none where the plan has it not."""
    count = len(plan.core)
    wanted = range(count, 2 * count) if target == 0 else (2 * count + target - 1,)
    return [slot for slot in wanted if slot in legs]


def units_of(plan: PoolPlan, legs: dict[int, Leg], coins: dict[int, Coin]) -> tuple[Unit, ...]:
    """Group the slots: core, and in cross mode what settles in its asset and asks for no account; the rest alone."""

    def coin(leg: Leg) -> Coin:
        return coins[leg.instrument] if leg.inverse else IN_QUOTE

    count, cross = len(plan.core), plan.margin_mode == "cross"
    shared = coin(legs[0])
    own = {s for s, leg in legs.items() if isinstance(leg, AssetLeg) and leg.own_account}
    own |= set(plan.isolated) | {count + slot for slot in plan.isolated}
    first = tuple(s for s, leg in legs.items() if s not in own and (s < count or (cross and coin(leg) == shared)))
    alone = [slot for slot in legs if slot not in first]
    units = [Unit(0, "margin", shared, first, not cross, True)]
    units += [
        Unit(n, f"margin.{slot}", coin(legs[slot]), (slot,), True, slot < count) for n, slot in enumerate(alone, 1)
    ]
    return tuple(units)


def held_coins(plan: PoolPlan, coins: dict[int, Coin]) -> tuple[HeldCoin, ...]:
    """Give the collaterals in the plan's order."""
    return tuple(HeldCoin(coins[c.instrument], c.instrument, e8(c.ratio), e8(c.share)) for c in plan.collaterals)


def coin_value(held: HeldCoin, amount: int, mark: int) -> int:
    """Give what a collateral counts: coin x mark x ratio, one rounding down."""
    return amount * mark * held.ratio // (E8 * E8)


def figures(legs: Iterable[Leg], wallet: int, marks: tuple[int, ...]) -> Figures:
    """Add up equity (the wallet and the value of coins in it are given), maintenance and initial margin of legs."""
    equity, maintenance, initial = wallet, 0, 0
    for leg in legs:
        if leg.qty > 0:
            mark = marks[leg.instrument]
            equity += leg.contribution(mark)
            maintenance += leg.maintenance(mark)
            initial += leg.initial(mark)
    return Figures(equity, maintenance, initial)
