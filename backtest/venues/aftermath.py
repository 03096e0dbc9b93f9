"""What follows at the liquidation price: the first order of the venue, and what is left or lost."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from backtest.units import E8, time_ms
from backtest.venues.account import Account, Position, Unit
from backtest.venues.formulas import FORMULAS
from backtest.venues.rulebook import rulebook
from backtest.venues.solve import Boundary
from backtest.venues.steps import Step, shown
from backtest.venues.symbols import load_table


def aftermath(account: Account, unit: Unit, position: Position, found: Boundary | None) -> Iterator[Step]:
    """Give the steps of an isolated position's liquidation, by the procedure of its venue."""
    if unit.kind != "isolated" or found is None:
        return
    at_ms = account.as_of_ms if account.as_of_ms is not None else time_ms("2100-01-01")
    rules = rulebook(account.venue, at_ms)
    moved = unit.at(position.symbol, found.price)
    if rules.liquidation == "ioc":
        yield _left_after_clearance(account, moved, Fraction(rules.clearance_fee_e8, E8))
        return
    yield _first_order(account, moved)
    yield from _taken_over(account, unit, position)


def _left_after_clearance(account: Account, unit: Unit, rate: Fraction) -> Step:
    """Equity at the liquidation price less the clearance fee, if all filled there; insurance bears what is under 0."""
    position = unit.positions[0]
    equity = FORMULAS[account.venue].state(account, unit).equity
    formula = f"{shown(equity)} - {shown(position.value)} × {shown(rate)} clearance fee, not less than 0"
    left = max(Fraction(0), equity - position.value * rate)
    source = load_table(account.venue, "rules")["clearance_fee"][-1]["source"]
    return Step(f"{position.name}: left if all is filled at that price", formula, shown(left), source)


def _first_order(account: Account, unit: Unit) -> Step:
    """In a higher tier the venue first closes what exceeds the tier below; in the first the position is taken over."""
    position, label = unit.positions[0], "first step of liquidation"
    value = FORMULAS[account.venue].tier_value(account, unit, position)
    number = position.ladder.index(value)
    source = load_table(account.venue, "rules")["liquidation"]["source"]
    if number == 0:
        whole = "orders cancelled; in tier 1 all is taken over"
        return Step(f"{position.name}: {label}", whole, shown(position.qty), source)
    cap = position.ladder.caps[number - 1]
    formula = (
        f"orders cancelled, then down to tier {number}: {shown(position.qty)} × (1 - {shown(cap)} / {shown(value)})"
    )
    return Step(f"{position.name}: {label}", formula, shown(position.qty * (1 - cap / value)), source)


def _taken_over(account: Account, unit: Unit, position: Position) -> Iterator[Step]:
    """The fill that costs all of the margin, closing fee inside."""
    formulas = FORMULAS[account.venue]
    taken = formulas.takeover_price(account, unit, position)
    if taken is None:
        return
    size = shown(position.size)
    held = shown(position.direction * (position.entry_value - position.value_at(taken)))
    value = f"{shown(position.entry_value)} {'-' if position.direction > 0 else '+'} {held}"
    formula = f"{size} / ({value})" if position.inverse else f"({value}) / {size}"
    what = "all of the margin lost, fee reserve included: "
    yield Step(f"{position.name}: takeover fill price", what + formula, shown(taken), formulas.SOURCES["fill"])
