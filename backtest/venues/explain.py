"""Show the arithmetic of an account: each step with its numbers, its result and its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial

from backtest.units import E8, time_ms
from backtest.venues.account import Account, Position, Term, Unit
from backtest.venues.aftermath import aftermath
from backtest.venues.auto_exchange import debts, facts, payments
from backtest.venues.formulas import FORMULAS, Rounding
from backtest.venues.funding import funding_terms
from backtest.venues.report import (
    Result,
    bankruptcy_boundary,
    buffer_of,
    liquidation_boundary,
    ratio_of,
    unit_of,
)
from backtest.venues.solve import Boundary
from backtest.venues.steps import Step, shown
from backtest.venues.symbols import is_delivery


def explain(result: Result) -> tuple[Step, ...]:
    """Give every step of a computed account, positions first, in the order in which they build on each other.

    Results are exact before the venue's rounding, shown to 8 decimals.
    """
    account = result.source
    steps = [step for position in account.positions for step in _position_steps(account, position)]
    formulas = FORMULAS[account.venue]
    unit = formulas.account_unit(account, formulas.units(account))
    return (*_era_steps(account), *steps, *(_pool_steps(account, unit) if unit else ()))


def _era_steps(account: Account) -> Iterator[Step]:
    """Where accounts were moved to an era one by one, show what the era before would give."""
    if not account.era_uncertain:
        return
    before = replace(account, era="uta_entry", era_uncertain=False)
    for position in before.positions:
        found = liquidation_boundary(before, unit_of(before, position), position.symbol)
        yield Step(
            f"{position.symbol}: era",
            f"{account.era} by date, but accounts changed one by one; liquidation price in the era before",
            _price(FORMULAS["bybit"].price, position, found),
            "Bybit help centre, New Margin Calculation (2025-09-18)",
        )


def _position_steps(account: Account, position: Position) -> Iterator[Step]:
    formulas, unit = FORMULAS[account.venue], unit_of(account, position)
    sources = formulas.SOURCES
    name = position.name
    size, mark, entry = shown(position.size), shown(position.mark_price), shown(position.entry_price)
    times, profit = ("/", f"(1 / {entry} - 1 / {mark})") if position.inverse else ("×", f"({mark} - {entry})")
    yield Step(f"{name}: value", f"{size} {times} {mark}", shown(position.value), sources["value"])
    sign = "" if position.side > 0 else "-"
    yield Step(f"{name}: unrealised profit", f"{sign}{size} × {profit}", shown(position.unrealized), sources["value"])
    yield from _margin_steps(account, unit, position, name)
    if not is_delivery(position.symbol):
        yield _funding_step(account, position)
    if unit.kind == "isolated":
        yield from _state_steps(account, unit, name)
    if unit.kind == "portfolio":
        return
    found = liquidation_boundary(account, unit, position.symbol)
    what = "equity - maintenance margin"
    added = (
        formulas.trigger(account, unit) - formulas.backing(account, unit) + formulas.state(account, unit).maintenance
    )
    if unit.kind == "isolated" and added:
        what = "with what is added, " + what
        formula = f"free {shown(account.balance(position.settle_asset))} {position.settle_asset}, down to 1x, counts as"
        yield Step(f"{name}: margin that is added by itself", formula, shown(added), sources["price"])
    if found is not None:
        moved = unit.at(position.symbol, found.price)
        value = formulas.tier_value(account, moved, position.at(found.price))
        what += f" in tier {position.ladder.index(value) + 1}"
    line = _line(what, position, found, partial(formulas.trigger, account), unit)
    yield Step(f"{name}: liquidation price", line, _price(formulas.price, position, found), sources["price"])
    gone = bankruptcy_boundary(account, unit, position.symbol)
    left = partial(formulas.bankruptcy_equity, account, symbol=position.symbol) if unit.kind != "isolated" else None
    line = _line("what is left of the margin", position, gone, left, unit)
    yield Step(f"{name}: bankruptcy price", line, _price(formulas.bankruptcy_price, position, gone), sources["price"])
    yield from aftermath(account, unit, position, found)


def _funding_step(account: Account, position: Position) -> Step:
    """Show the most that one funding payment by formula can take: it leaves the wallet, and so moves liquidation."""
    first = position.ladder.rows[0]
    at_ms = account.as_of_ms if account.as_of_ms is not None else time_ms("2100-01-01")
    leverage_e2 = None if first.max_leverage is None else int(first.max_leverage * 100)
    terms = funding_terms(account.venue, position.symbol, at_ms, int(first.rate * E8), leverage_e2)
    often = f"every {terms.interval_hours} h" + (", hourly once the cap is reached" if terms.hourly_at_cap else "")
    cap = Fraction(terms.cap_e8, E8)
    formula = f"{shown(position.value)} × {shown(cap)} by the formula of the cap, {often}"
    return Step(f"{position.name}: largest funding payment", formula, shown(position.value * cap), terms.source)


def _margin_steps(account: Account, unit: Unit, position: Position, name: str) -> Iterator[Step]:
    formulas = FORMULAS[account.venue]
    sources = formulas.SOURCES
    own, value = formulas.margins(account, unit, position), formulas.tier_value(account, unit, position)
    number = position.ladder.index(value)
    row = position.ladder.rows[number]
    base = position.ladder.maintenance(value) if value else Fraction(0)
    cap = "without end" if row.cap is None else f"up to {shown(row.cap)}"
    tier = f"{shown(value)} lies in tier {number + 1}, {cap}: rate {shown(row.rate)}, deduction {shown(row.deduction)}"
    yield Step(f"{name}: tier", tier, str(number + 1), position.ladder.source)
    reserve = own.maintenance - base
    if reserve and unit.kind != "classic_cross":
        formula = formulas.reserve_text(account, unit, position)
        yield Step(f"{name}: closing-fee reserve", formula, shown(reserve), sources["fee"])
    plus = f" + {shown(reserve)}" if reserve else ""
    formula = f"{shown(value)} × {shown(row.rate)} - {shown(row.deduction)}{plus}"
    yield Step(f"{name}: maintenance margin", formula, shown(own.maintenance), sources["maintenance"])
    if own.initial is not None and position.leverage is not None:
        held = shown((own.initial - reserve) * position.leverage)
        formula = f"{held} / {shown(position.leverage)}{plus}"
        yield Step(f"{name}: initial margin", formula, shown(own.initial), sources["initial"])


def _state_steps(account: Account, unit: Unit, name: str) -> Iterator[Step]:
    formulas = FORMULAS[account.venue]
    sources, now = formulas.SOURCES, formulas.state(account, unit)
    profit = sum((p.unrealized for p in unit.positions), start=Fraction(0))
    terms = Term("margin", now.equity - profit), Term("unrealised profit", profit)
    yield Step(f"{name}: equity", _sum_text(terms), shown(now.equity), sources["equity"])
    yield from _ratio_steps(account, unit, name)


def _pool_steps(account: Account, unit: Unit) -> Iterator[Step]:
    formulas = FORMULAS[account.venue]
    sources, now, name = formulas.SOURCES, formulas.state(account, unit), f"pool in {unit.asset}"
    equity, initial = formulas.equity_terms(account, unit), formulas.initial_terms(account, unit)
    maintenance = formulas.maintenance_terms(account, unit)
    yield Step(f"{name}: equity", _sum_text(equity), shown(now.equity), sources["equity"])
    if initial is not None and now.initial is not None:
        yield Step(f"{name}: initial margin", _sum_text(initial), shown(now.initial), sources["initial"])
    yield Step(f"{name}: maintenance margin", _sum_text(maintenance), shown(now.maintenance), sources["maintenance"])
    yield from _ratio_steps(account, unit, name)
    if unit.kind == "multi_assets":
        yield from _exchange_steps(account, unit)


def _exchange_steps(account: Account, unit: Unit) -> Iterator[Step]:
    """Show each negative balance against its limit, and what would pay for it."""
    source = facts()["source"]
    for debt in debts(account, unit):
        name = f"auto-exchange of {shown(debt.owed)} {debt.asset}"
        yield Step(name, f"owed: {debt.rule}", "due" if debt.due else "not due", source)
        for pay in payments(account, debt):
            worth = f"{shown(debt.owed)} × {shown(account.index_price(debt.asset))}"
            formula = f"{worth} / ({shown(pay.price)} × (1 - {shown(pay.haircut)}))"
            yield Step(f"{name}: paid from {pay.asset} alone", formula, shown(pay.quantity), source)


def _ratio_steps(account: Account, unit: Unit, name: str) -> Iterator[Step]:
    formulas = FORMULAS[account.venue]
    sources, now = formulas.SOURCES, formulas.state(account, unit)
    backing, ratio = formulas.backing(account, unit), ratio_of(account, unit, now.maintenance)
    if backing != now.equity:
        more = "fee reserve that added margin frees" if unit.kind == "isolated" else "orders"
        formula = _sum_text((Term("equity", now.equity), Term(more, backing - now.equity)))
        yield Step(f"{name}: behind the margins", formula, shown(backing), sources["equity"])
    uni = formulas.uni_mmr(account, unit)
    if uni is not None:
        formula = f"{shown(now.equity)} / {shown(now.maintenance)}: {uni[1]}"
        yield Step(f"{name}: uniMMR, 1.05 is liquidation", formula, shown(uni[0]), sources["equity"])
    elif ratio is not None:
        cut = "" if ratio == now.maintenance / backing else ", cut to 4 decimals"
        formula = f"{shown(now.maintenance)} / {shown(backing)}{cut}"
        yield Step(f"{name}: margin ratio, 1 is liquidation", formula, shown(ratio), sources["trigger"])
    buffer = buffer_of(account, unit)
    if buffer is not None and now.initial is not None:
        formula = f"({shown(backing)} - {shown(now.maintenance)}) / ({shown(now.initial)} - {shown(now.maintenance)})"
        yield Step(f"{name}: buffer, 0 is liquidation", formula, shown(buffer), "definition")


def _line(
    what: str, position: Position, found: Boundary | None, left: Callable[[Unit], Fraction] | None, unit: Unit
) -> str:
    """Show a price as the root of the line that headroom follows in its tier; `left` tells where it jumps instead."""
    if found is None:
        return f"{what} does not turn at any price"
    if left is not None and left(unit.at(position.symbol, found.price)):
        return f"{what} jumps past 0 there, where orders come into another tier"
    x = 1 / found.price if position.inverse else found.price
    mark = "/ price" if position.inverse else "× price"
    sign = "+" if found.slope >= 0 else "-"
    return f"{what}: {shown(-found.slope * x)} {sign} {shown(abs(found.slope))} {mark} = 0"


def _price(rounding: Rounding, position: Position, found: Boundary | None) -> str:
    return "none" if found is None else shown(rounding(position, found.price, alive_above=found.alive_above))


def _sum_text(terms: Iterable[Term]) -> str:
    parts = [f"{'-' if amount < 0 else '+'} {shown(abs(amount))} ({name})" for name, amount in terms]
    return " ".join(parts).removeprefix("+ ") or "0"
