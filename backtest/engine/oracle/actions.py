"""What a rule or a script may ask for, and what the venue makes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from backtest.engine.oracle.account import Account, Moment
from backtest.engine.oracle.model import Plan
from backtest.engine.oracle.numbers import E8, ceil_div, e8, float_e8
from backtest.errors import RuleError
from backtest.schema import VERBS

DAY_MS = 86_400_000
LEVERAGE_STEP = E8 // 100
AMOUNT_LIMIT = 9 * 10**10
SOURCES = ("reserve", "free")


class Request(NamedTuple):
    """A verb, its share or amount, and its target: `put_back` of a reduction, or the source of margin."""

    verb: int
    amount: float
    target: int


def checked(request: Request, name: str) -> Request:
    """Give the request back if verb and target exist, else raise RuleError."""
    if request.verb not in range(len(VERBS)):
        raise RuleError.at(name, f"verb {request.verb} does not exist", f"use 0 to {len(VERBS) - 1}")
    if VERBS[request.verb] == "move_margin" and request.target not in range(len(SOURCES)):
        raise RuleError.at(name, f"margin target {request.target} does not exist", "0 is the reserve, 1 is free")
    return request


class Scene(NamedTuple):
    """Where a request is made: the moment, the price before slippage, and from when latency counts."""

    at: Moment
    price: int
    latency_from_ms: int


class Shipment(NamedTuple):
    """Margin on its way from the reserve."""

    due_ms: int
    amount: int
    rule: int


class Desk:
    """Carries requests out on the account, or refuses them; a refused one changes nothing."""

    def __init__(self, account: Account, plan: Plan) -> None:
        self.account = account
        self.plan = plan
        self.step = e8(plan.step)
        self.shipments: list[Shipment] = []
        self._moved_of_day: dict[int, int] = {}

    def carry_out(self, request: Request, scene: Scene) -> str:
        """Do what is asked and give "done", or the reason of the refusal."""
        verb = VERBS[request.verb]
        if verb == "close":
            self.account.reduce(scene.at, self.account.position.qty, scene.price)
            return "done"
        if verb not in ("reduce", "increase", "move_margin", "set_leverage"):
            return "not_supported"
        if not math.isfinite(request.amount) or abs(request.amount) >= AMOUNT_LIMIT:
            return "invalid_amount"
        amount = float_e8(request.amount)
        if amount == 0 or (amount < 0 and verb != "move_margin"):
            return "invalid_amount"
        if verb == "reduce":
            return self._reduce(amount, request.target == 1, scene)
        if verb == "increase":
            return self._increase(amount, scene)
        if verb == "set_leverage":
            return self._set_leverage(amount, scene)
        source = SOURCES[request.target]
        return self._add(amount, source, scene) if amount > 0 else self._remove(-amount, source, scene)

    def _reduce(self, share: int, put_back: bool, scene: Scene) -> str:
        account, held = self.account, self.account.position.qty
        steps = max(ceil_div(held * share, E8 * self.step), 1)
        qty = min(steps * self.step, held)
        if (held - qty) * scene.at.mark < e8(self.plan.min_notional) * E8:
            qty = held
        released = account.reduce(scene.at, qty, scene.price)
        if put_back:
            account.transfer(scene.at, "put_back", "free", "margin", released)
        return "done"

    def _increase(self, share: int, scene: Scene) -> str:
        account, position = self.account, self.account.position
        qty = position.qty * share // (E8 * self.step) * self.step
        if qty == 0:
            return "below_step"
        _, value = account.opening(qty, scene.price)
        margin = ceil_div(value * E8, position.leverage) + account.taker_fee(value)
        if margin > account.balances["free"]:
            return "insufficient_free"
        if not replace(position, qty=position.qty + qty).allows(position.leverage, scene.at.mark):
            return "leverage_cap"
        account.transfer(scene.at, "add_margin", "free", "margin", margin)
        account.enlarge(scene.at, qty, scene.price)
        return "done"

    def _set_leverage(self, leverage: int, scene: Scene) -> str:
        account, mark = self.account, scene.at.mark
        leverage -= leverage % LEVERAGE_STEP
        if leverage < E8:
            return "invalid_amount"
        position = replace(account.position, leverage=leverage)
        figures = position.figures(account.wallet, mark)
        if not position.allows(leverage, mark) or figures.initial > figures.equity:
            return "leverage_cap"
        account.end_stretch()
        account.take_terms(position)
        return "done"

    def _add(self, amount: int, source: str, scene: Scene) -> str:
        account, at = self.account, scene.at
        if amount > account.balances[source]:
            return f"insufficient_{source}"
        if source == "reserve":
            day = at.time_ms // DAY_MS
            moved = self._moved_of_day.get(day, 0) + amount
            if self.plan.daily_cap is not None and moved > e8(self.plan.daily_cap):
                return "daily_cap"
            self._moved_of_day[day] = moved
        if source == "reserve" and self.plan.latency_ms > 0:
            account.transfer(at, "send", "reserve", "transit", amount)
            self.shipments.append(Shipment(scene.latency_from_ms + self.plan.latency_ms, amount, at.rule))
        else:
            account.add_margin(at, source, amount)
        return "done"

    def _remove(self, amount: int, target: str, scene: Scene) -> str:
        account, mark = self.account, scene.at.mark
        figures = account.figures(mark)
        if amount > min(account.wallet, figures.equity - figures.initial):
            return "not_removable"
        account.transfer(scene.at, "remove_margin", "margin", target, amount)
        return "done"

    def receive(self, time_ms: int, mark: int) -> bool:
        """Bring in what has arrived by the open of a bar; say whether anything has."""
        due = [shipment for shipment in self.shipments if shipment.due_ms <= time_ms]
        self.shipments = [shipment for shipment in self.shipments if shipment.due_ms > time_ms]
        for shipment in due:
            self.account.add_margin(Moment(time_ms, mark, "arrival", shipment.rule), "transit", shipment.amount)
        return bool(due)
