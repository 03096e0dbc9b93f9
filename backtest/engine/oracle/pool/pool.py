"""The legs and wallets of a run, the figures of its units, and the extremes of what was seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from backtest.engine.oracle.account import INFINITE_RATIO_PPM
from backtest.engine.oracle.model import TierRow
from backtest.engine.oracle.numbers import ceil_div
from backtest.engine.oracle.pool.assets import AssetLeg, AssetTerms
from backtest.engine.oracle.pool.books import Books
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.model import PoolMarket, PoolPlan, PoolResult
from backtest.engine.oracle.pool.units import Unit, coin_value, coins_of, figures, held_coins, legs_of, units_of
from backtest.engine.oracle.position import Figures, exact_rows

Marks = tuple[int, ...]


class Pool:
    """What a run holds."""

    def __init__(self, market: PoolMarket, plan: PoolPlan, result: PoolResult) -> None:
        self.plan = plan
        self.coins = coins_of(market, plan)
        self.legs = legs_of(market, plan)
        self.units = units_of(plan, self.legs, self.coins)
        self.collaterals = held_coins(plan, self.coins)
        self.takers = [0] * len(market.instruments)
        self.books = Books(result, self.end_stretch)
        self.min_buffer_ppm: int | None = None
        self.max_ratio_ppm: int | None = None
        self._seen: tuple[Marks, Marks] | None = None  # each instrument's least and greatest mark of this stretch

    @property
    def core(self) -> list[Leg]:
        return [self.legs[slot] for slot in range(len(self.plan.core))]

    @property
    def asset_legs(self) -> list[AssetLeg]:
        return [leg for leg in self.legs.values() if isinstance(leg, AssetLeg)]

    @property
    def core_is_flat(self) -> bool:
        return not any(leg.qty for leg in self.core)

    def open_legs(self, unit: Unit) -> list[Leg]:
        """Give the legs of a unit that have quantity, by slot."""
        return [self.legs[slot] for slot in unit.slots if self.legs[slot].qty]

    def unit_of(self, slot: int) -> Unit:
        return next(unit for unit in self.units if slot in unit.slots)

    def wallet(self, unit: Unit) -> int:
        """Give the balance of a unit's account in the unit's asset."""
        return self.books.held(unit.account, unit.coin.asset)

    def coins_worth(self, unit: Unit, marks: Marks) -> int:
        """Give what the collaterals in a unit's account count."""
        held = self.collaterals if unit.number == 0 else ()
        return sum(coin_value(c, self.books.held(unit.account, c.coin.asset), marks[c.instrument]) for c in held)

    def figures(self, unit: Unit, marks: Marks) -> Figures:
        """Give equity, maintenance and initial margin of a unit at the marks."""
        return self.figures_with(unit, marks, self.legs.values(), self.wallet(unit))

    def figures_with(self, unit: Unit, marks: Marks, legs: Iterable[Leg], wallet: int) -> Figures:
        """Give a unit's figures with other legs or another wallet than it has."""
        own = (leg for leg in legs if leg.slot in unit.slots)
        return figures(own, wallet + self.coins_worth(unit, marks), marks)

    def liquidated(self, unit: Unit, marks: Marks) -> bool:
        """Say whether the predicate of a unit holds: equity at or under maintenance, with a leg that may owe."""
        return any(leg.at_risk for leg in self.open_legs(unit)) and self.figures(unit, marks).liquidated

    # --- terms ---------------------------------------------------------------------------------------------------

    def take_terms(self, instrument: int, rows: tuple[TierRow, ...], taker: int) -> None:
        """Bring an instrument's risk table and taker rate into force."""
        self.end_stretch()
        self.takers[instrument] = taker
        exact = exact_rows(rows)
        for slot, leg in self.legs.items():
            if leg.instrument == instrument:
                self.legs[slot] = replace(leg, rows=exact, taker=taker)

    def take_asset_terms(self, leg: AssetLeg, terms: AssetTerms) -> None:
        """Bring an asset's margins into force, or its end."""
        self.end_stretch()
        self.legs[leg.slot] = replace(leg, terms=terms)

    def set_leverage(self, leverage: int) -> None:
        """Take another leverage for all core legs."""
        self.end_stretch()
        for leg in self.core:
            self.legs[leg.slot] = replace(leg, leverage=leverage)

    # --- what was seen -------------------------------------------------------------------------------------------

    def see(self, marks: Marks) -> None:
        """Note that the marks were here with the present state."""
        low, high = self._seen or (marks, marks)
        self._seen = tuple(map(min, low, marks)), tuple(map(max, high, marks))

    def end_stretch(self) -> None:
        """Close a stretch of constant state, before a change: bound buffer and ratio of unit 0 over it."""
        if self._seen is None:
            return
        (low, high), self._seen = self._seen, None
        core = self.units[0]
        equity, legs = self.wallet(core), self.open_legs(core)
        if not legs:
            return
        for instrument in range(len(low)):
            equity += min(self._worth(legs, instrument, marks) for marks in (low, high))
        ends = [(low[leg.instrument], high[leg.instrument]) for leg in legs]
        maintenance = [sorted(map(leg.maintenance, pair)) for leg, pair in zip(legs, ends, strict=True)]
        initial = [sorted(map(leg.initial, pair)) for leg, pair in zip(legs, ends, strict=True)]
        most, least = (sum(pair[k] for pair in maintenance) for k in (1, 0))
        self._note_ratio(equity, most)
        base = sum(pair[1] for pair in initial) - least if equity >= most else sum(pair[0] for pair in initial) - most
        if base > 0:
            buffer = (equity - most) * 10**6 // base
            buffer = max(-INFINITE_RATIO_PPM, min(buffer, INFINITE_RATIO_PPM))
            self.min_buffer_ppm = buffer if self.min_buffer_ppm is None else min(self.min_buffer_ppm, buffer)

    def _worth(self, legs: list[Leg], instrument: int, marks: Marks) -> int:
        """Give what legs and collaterals on one instrument add to equity."""
        mark = marks[instrument]
        worth = sum(leg.contribution(mark) for leg in legs if leg.instrument == instrument)
        held = [c for c in self.collaterals if c.instrument == instrument]
        return worth + sum(coin_value(c, self.books.held("margin", c.coin.asset), mark) for c in held)

    def _note_ratio(self, equity: int, maintenance: int) -> None:
        ratio = INFINITE_RATIO_PPM
        if equity > 0:
            ratio = min(ratio, ceil_div(maintenance * 10**6, equity))
        self.max_ratio_ppm = ratio if self.max_ratio_ppm is None else max(self.max_ratio_ppm, ratio)
