"""The verb `trade`: opens and closes hedge legs in shares of the core. Section 7 of the contract."""

from __future__ import annotations

from collections.abc import Callable

from backtest.engine.oracle.numbers import ceil_div
from backtest.engine.oracle.pool.assets import AssetLeg
from backtest.engine.oracle.pool.books import At
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.pool import Pool
from backtest.engine.oracle.pool.shares import whole_of
from backtest.engine.oracle.pool.trading import buy_coin, close_leg, open_leg, opening, price_of_coin
from backtest.engine.oracle.pool.units import Unit, target_slots


class Layers:
    """Opens and closes layers; `allow` counts what the reserve gives against the daily cap."""

    def __init__(self, pool: Pool, allow: Callable[[int, int], bool]) -> None:
        self.pool = pool
        self.allow = allow

    def trade(self, target: int, share: int, at: At) -> str:
        """Add to a target (positive share of the core) or take from it (negative)."""
        slots = target_slots(self.pool.plan, target, self.pool.legs)
        if not slots:
            return "not_supported"
        legs = [self.pool.legs[slot] for slot in slots]
        return self._add(legs, share, at) if share > 0 else self._take(legs, -share, at)

    def _add(self, legs: list[Leg], share: int, at: At) -> str:
        wholes = [whole_of(self.pool, leg, at.marks) for leg in legs]
        assets = [leg for leg in legs if isinstance(leg, AssetLeg)]
        if not all(asset.terms.listed for asset in assets) or any(whole.price == 0 for whole in wholes):
            return "not_listed"
        parts = []
        for leg, whole in zip(legs, wholes, strict=True):
            numerator, denominator = whole.part(share)
            parts.append((leg, numerator // denominator // leg.step * leg.step))
        if any(asset.qty + parts[0][1] > asset.most for asset in assets):
            return "invalid_amount"
        if not all(qty for _, qty in parts):
            return "below_step"
        grown = [(leg.grown(qty), at.marks[leg.instrument]) for leg, qty in parts]
        if any(leg.notional(leg.qty, mark) < leg.min_notional for leg, mark in grown):
            return "below_min_notional"
        if not all(leg.allows(leg.leverage, mark) for leg, mark in grown):
            return "leverage_cap"
        costs = {leg: leg.opening_cost(qty, opening(at, leg, qty)[1]) for leg, qty in parts}
        pooled = {leg: cost for leg, cost in costs.items() if leg.at_risk and self.pool.unit_of(leg.slot).number == 0}
        figures = self.pool.figures(self.pool.units[0], at.marks)
        if pooled and sum(pooled.values()) > figures.equity - figures.initial:
            return "insufficient_margin"
        refusal = self._fund({leg: cost for leg, cost in costs.items() if leg not in pooled}, at)
        if refusal is None:
            for leg, qty in parts:
                open_leg(self.pool, at, leg.slot, qty)
        return refusal or "done"

    def _fund(self, costs: dict[Leg, int], at: At) -> str | None:
        """Bring what legs cost to their accounts, first from the free balance, or say why it cannot be."""
        units = {leg: self.pool.unit_of(leg.slot) for leg in costs}
        for leg, unit in units.items():
            if unit.coin.instrument is not None:
                return self._fund_in_coin(unit, costs[leg], at)
        books, total = self.pool.books, sum(costs.values())
        if refusal := self._draw(total - min(books.held("free"), total), at):
            return refusal
        for leg, cost in costs.items():
            from_free = min(books.held("free"), cost)
            books.transfer(at, "post", "free", units[leg].account, from_free)
            books.transfer(at, "post", "reserve", units[leg].account, cost - from_free)
        return None

    def _fund_in_coin(self, unit: Unit, cost: int, at: At) -> str | None:
        """Buy the coin that a leg costs with the free balance if that is enough, else with the reserve."""
        quote = price_of_coin(self.pool, at, unit.coin, cost)
        source = "free" if self.pool.books.held("free") >= quote.cost else "reserve"
        if source == "reserve" and (refusal := self._draw(quote.cost, at)):
            return refusal
        buy_coin(self.pool, at, unit.coin, quote, source, unit.account)
        return None

    def _draw(self, amount: int, at: At) -> str | None:
        """Ask the reserve for an amount that is needed at once; say why it is refused."""
        if amount == 0:
            return None
        if self.pool.plan.latency_ms > 0 or amount > self.pool.books.held("reserve"):
            return "insufficient_reserve"
        return None if self.allow(at.time_ms, amount) else "daily_cap"

    def _take(self, legs: list[Leg], share: int, at: At) -> str:
        held = [leg for leg in legs if leg.qty]
        if not held:
            return "below_step"
        for leg in held:
            numerator, denominator = whole_of(self.pool, leg, at.marks).part(share)
            if denominator == 0:
                qty = leg.qty
            else:
                steps = max(ceil_div(ceil_div(numerator, denominator), leg.step), 1)
                qty = min(steps * leg.step, leg.qty)
            if leg.notional(leg.qty - qty, at.marks[leg.instrument]) < leg.min_notional:
                qty = leg.qty
            close_leg(self.pool, at, leg.slot, qty)
        return "done"
