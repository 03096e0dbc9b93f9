"""What a rule or a script may ask of a run with several legs: section 7 of the contract."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from backtest.engine.oracle.actions import AMOUNT_LIMIT, DAY_MS, LEVERAGE_STEP, SOURCES, Request, Shipment
from backtest.engine.oracle.numbers import E8, ceil_div, e8, float_e8
from backtest.engine.oracle.pool.books import At
from backtest.engine.oracle.pool.layers import Layers
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.pool import Pool
from backtest.engine.oracle.pool.trading import buy_coin, close_leg, open_leg, opening, within_budget
from backtest.schema import VERBS


class Scene(NamedTuple):
    """Where a request is made, and from when latency counts."""

    at: At
    latency_from_ms: int


class Allowance:
    """What may leave the reserve in a day of UTC."""

    def __init__(self, cap: int | None) -> None:
        self.cap = cap
        self._moved: dict[int, int] = {}

    def takes(self, time_ms: int, amount: int) -> bool:
        """Count an amount, unless it would pass the cap of its day."""
        moved = self._moved.get(time_ms // DAY_MS, 0) + amount
        if self.cap is not None and moved > self.cap:
            return False
        self._moved[time_ms // DAY_MS] = moved
        return True


class Desk:
    """Carries requests out on the pool, or refuses them; a refused one changes nothing."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.plan = pool.plan
        self.core = pool.units[0]
        self.allowance = Allowance(None if self.plan.daily_cap is None else e8(self.plan.daily_cap))
        self.layers = Layers(pool, self.allowance.takes)
        self.shipments: list[Shipment] = []

    def carry_out(self, request: Request, scene: Scene) -> str:
        """Do what is asked and give "done", or the reason of the refusal."""
        verb, at = VERBS[request.verb], scene.at
        if verb == "close":
            self._close_core(at)
            return "done"
        if not math.isfinite(request.amount) or abs(request.amount) >= AMOUNT_LIMIT:
            return "invalid_amount"
        amount = float_e8(request.amount)
        if amount == 0 or (amount < 0 and verb not in ("move_margin", "trade")):
            return "invalid_amount"
        if verb == "trade":
            return self.layers.trade(request.target, amount, at)
        if verb == "reduce":
            return self._reduce(amount, request.target == 1, at)
        if verb == "set_leverage":
            return self._set_leverage(amount, at)
        if self.core.coin.instrument is not None and (verb == "increase" or amount < 0):
            return "not_supported"
        if verb == "move_margin" and not self.pool.open_legs(self.core):
            return "not_supported"
        if verb == "increase":
            return self._increase(amount, at)
        source = SOURCES[request.target]
        return self._add(amount, source, scene) if amount > 0 else self._remove(-amount, source, at)

    # --- core legs -----------------------------------------------------------------------------------------------

    def _open_core(self) -> list[Leg]:
        return [leg for leg in self.pool.core if leg.qty]

    def _close_core(self, at: At) -> None:
        for leg in self._open_core():
            close_leg(self.pool, at, leg.slot, leg.qty)

    def _reduce(self, share: int, put_back: bool, at: At) -> str:
        for leg in self._open_core():
            steps = max(ceil_div(leg.qty * share, E8 * leg.step), 1)
            qty = min(steps * leg.step, leg.qty)
            if leg.notional(leg.qty - qty, at.marks[leg.instrument]) < leg.min_notional:
                qty = leg.qty
            close_leg(self.pool, at, leg.slot, qty, put_back=put_back)
        return "done"

    def _increase(self, share: int, at: At) -> str:
        pool, legs = self.pool, self.pool.core
        added = [leg.qty * share // (E8 * leg.step) * leg.step for leg in legs]
        if not all(added):
            return "below_step"
        values = [opening(at, leg, qty)[1] for leg, qty in zip(legs, added, strict=True)]
        margins = [leg.opening_cost(qty, value) for leg, qty, value in zip(legs, added, values, strict=True)]
        if sum(margins) > pool.books.held("free"):
            return "insufficient_free"
        for leg, qty in zip(legs, added, strict=True):
            if not leg.grown(qty).allows(leg.leverage, at.marks[leg.instrument]):
                return "leverage_cap"
        for leg, qty, margin in zip(legs, added, margins, strict=True):
            pool.books.transfer(at, "add_margin", "free", pool.unit_of(leg.slot).account, margin)
            open_leg(pool, at, leg.slot, qty)
        return "done"

    def _set_leverage(self, leverage: int, at: At) -> str:
        leverage -= leverage % LEVERAGE_STEP
        if leverage < E8:
            return "invalid_amount"
        if any(not leg.allows(leverage, at.marks[leg.instrument]) for leg in self._open_core()):
            return "leverage_cap"
        legs = self.pool.legs | {leg.slot: replace(leg, leverage=leverage) for leg in self.pool.core}
        held = [unit for unit in self.pool.units if unit.holds_core and self.pool.open_legs(unit)]
        figures = [self.pool.figures_with(unit, at.marks, legs.values(), self.pool.wallet(unit)) for unit in held]
        if any(unit.initial > unit.equity for unit in figures):
            return "leverage_cap"
        self.pool.set_leverage(leverage)
        return "done"

    # --- margin --------------------------------------------------------------------------------------------------

    def _add(self, amount: int, source: str, scene: Scene) -> str:
        books, at = self.pool.books, scene.at
        if amount > books.held(source):
            return f"insufficient_{source}"
        if source == "reserve" and not self.allowance.takes(at.time_ms, amount):
            return "daily_cap"
        if source == "reserve" and self.plan.latency_ms > 0:
            books.transfer(at, "send", "reserve", "transit", amount)
            self.shipments.append(Shipment(scene.latency_from_ms + self.plan.latency_ms, amount, at.rule))
        else:
            self._deliver(at, source, amount)
        return "done"

    def _deliver(self, at: At, source: str, amount: int) -> None:
        """Bring margin to unit 0, or buy coin with it; what transit brought and a purchase did not take is free."""
        books, coin = self.pool.books, self.core.coin
        spent = amount
        if coin.instrument is None:
            books.transfer(at, "add_margin", source, "margin", amount)
        else:
            quote = within_budget(self.pool, at, coin, amount)
            buy_coin(self.pool, at, coin, quote, source, "margin")
            spent = quote.cost
            if source == "transit":
                books.transfer(at, "release", source, "free", amount - spent)
        books.totals.margin_added += spent

    def _remove(self, amount: int, target: str, at: At) -> str:
        figures = self.pool.figures(self.core, at.marks)
        if amount > min(self.pool.wallet(self.core), figures.equity - figures.initial):
            return "not_removable"
        self.pool.books.transfer(at, "remove_margin", "margin", target, amount)
        return "done"

    def receive(self, at: At) -> bool:
        """Bring in what has arrived by the open of a bar; say whether anything has."""
        due = [shipment for shipment in self.shipments if shipment.due_ms <= at.time_ms]
        self.shipments = [shipment for shipment in self.shipments if shipment.due_ms > at.time_ms]
        for shipment in due:
            arrival = at._replace(cause="arrival", rule=shipment.rule)
            if self.pool.open_legs(self.core):
                self._deliver(arrival, "transit", shipment.amount)
            else:
                self.pool.books.transfer(arrival, "release", "transit", "free", shipment.amount)
        return bool(due)
