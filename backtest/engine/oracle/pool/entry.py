"""The entry of a run with several legs: sizes, refusals, and what is posted. Section 3 of the contract."""

from __future__ import annotations

from backtest.engine.oracle.numbers import E8, e8
from backtest.engine.oracle.pool.books import At
from backtest.engine.oracle.pool.legs import Leg
from backtest.engine.oracle.pool.pool import Pool
from backtest.engine.oracle.pool.tape import Step
from backtest.engine.oracle.pool.trading import buy_coin, open_leg, within_budget


def sizes(pool: Pool, step: Step) -> list[int]:
    """Give the quantity of each core leg: its part of the margin at the leverage, cut to whole steps."""
    return [_size(pool, leg, step.trade_open[leg.instrument]) for leg in pool.core]


def _size(pool: Pool, leg: Leg, price: int) -> int:
    margin = e8(pool.plan.sizing_margin) // len(pool.core)
    step = E8 * leg.step if leg.inverse else price * leg.step
    steps = margin * leg.leverage // step
    return steps * leg.step * e8(pool.plan.qty_share) // (E8 * leg.step) * leg.step


def refusal(pool: Pool, qtys: list[int], step: Step) -> str | None:
    """Say why an entry is refused, if it is: reason by reason, over all legs."""
    legs = [(leg.grown(qty), step.mark_open[leg.instrument]) for leg, qty in zip(pool.core, qtys, strict=True)]
    if not all(qtys):
        return "below_step"
    if any(leg.notional(leg.qty, mark) < leg.min_notional for leg, mark in legs):
        return "below_min_notional"
    if not all(leg.allows(leg.leverage, mark) for leg, mark in legs):
        return "leverage_cap"
    return None


def enter(pool: Pool, at: At, qtys: list[int]) -> int:
    """Post the margin, in coin where that is asked, and open the core legs; the value of the fills is returned."""
    books, core, posted = pool.books, pool.units[0], e8(pool.plan.posted_margin)
    books.transfer(at, "deposit", "world", "reserve", e8(pool.plan.capital))
    part = posted // len(pool.core)
    for slot in sorted(pool.plan.isolated):
        books.transfer(at, "post", "reserve", pool.unit_of(slot).account, part)
        posted -= part
    rest = posted
    for held in pool.collaterals:
        budget = posted * held.share // E8
        rest -= budget
        buy_coin(pool, at, held.coin, within_budget(pool, at, held.coin, budget), "reserve", "margin")
    if core.coin.instrument is None:
        books.transfer(at, "post", "reserve", "margin", rest)
    else:
        buy_coin(pool, at, core.coin, within_budget(pool, at, core.coin, rest), "reserve", "margin")
    return sum(open_leg(pool, at, leg.slot, qty) for leg, qty in zip(pool.core, qtys, strict=True))
