"""Show the arithmetic of an account: each step with its numbers, its result and its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from backtest.units import E8, time_ms
from backtest.venues.account import Account, Position, Term, Unit
from backtest.venues.auto_exchange import debts, facts, payments
from backtest.venues.exact import text
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

DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One step of arithmetic: what it is, the formula with its numbers, the result, and where the formula is from."""

    label: str
    formula: str
    result: str
    source: str


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
        price = None if found is None else FORMULAS["bybit"].price(position, found.price, alive_above=found.alive_above)
        yield Step(
            f"{position.symbol}: era",
            f"{account.era} by date, but accounts changed one by one; liquidation price in the era before",
            "none" if price is None else _t(price),
            "Bybit help centre, New Margin Calculation (2025-09-18)",
        )


def _position_steps(account: Account, position: Position) -> Iterator[Step]:
    formulas, unit = FORMULAS[account.venue], unit_of(account, position)
    sources = formulas.SOURCES
    name = position.name
    size, mark, entry = _t(position.size), _t(position.mark_price), _t(position.entry_price)
    times, profit = ("/", f"(1 / {entry} - 1 / {mark})") if position.inverse else ("×", f"({mark} - {entry})")
    yield Step(f"{name}: value", f"{size} {times} {mark}", _t(position.value), sources["value"])
    sign = "" if position.side > 0 else "-"
    yield Step(f"{name}: unrealised profit", f"{sign}{size} × {profit}", _t(position.unrealized), sources["value"])
    yield from _margin_steps(account, unit, position, name)
    yield _funding_step(account, position)
    if unit.kind == "isolated":
        yield from _state_steps(account, unit, name)
    if unit.kind == "portfolio":
        return
    found = liquidation_boundary(account, unit, position.symbol)
    what = "equity - maintenance margin"
    added = formulas.trigger(account, unit) - formulas.state(account, unit).headroom
    if unit.kind == "isolated" and added:
        what = "with what is added, " + what
        formula = f"free {_t(account.balance(position.settle_asset))} {position.settle_asset}, down to 1x, counts as"
        yield Step(f"{name}: margin that is added by itself", formula, _t(added), sources["price"])
    if found is not None:
        what += f" in tier {position.ladder.index(position.value_at(found.price)) + 1}"
    yield _boundary_step(f"{name}: liquidation price", position, found, what, formulas.price, sources["price"])
    gone, what = bankruptcy_boundary(account, unit, position.symbol), "what is left of the margin"
    yield _boundary_step(f"{name}: bankruptcy price", position, gone, what, formulas.bankruptcy_price, sources["price"])
    taken = formulas.takeover_price(account, unit, position)
    if taken is not None:
        held = _t(position.direction * (position.entry_value - position.value_at(taken)))
        sign = "-" if position.direction > 0 else "+"
        value = f"{_t(position.entry_value)} {sign} {held}"
        formula = f"{size} / ({value})" if position.inverse else f"({value}) / {size}"
        what = "all of the margin lost, fee reserve included: "
        yield Step(f"{name}: takeover fill price", what + formula, _t(taken), sources["fill"])


def _funding_step(account: Account, position: Position) -> Step:
    """Show the most that one funding payment by formula can take: it leaves the wallet, and so moves liquidation."""
    first = position.ladder.rows[0]
    at_ms = account.as_of_ms if account.as_of_ms is not None else time_ms("2100-01-01")
    leverage_e2 = None if first.max_leverage is None else int(first.max_leverage * 100)
    terms = funding_terms(account.venue, position.symbol, at_ms, int(first.rate * E8), leverage_e2)
    often = f"every {terms.interval_hours} h" + (", hourly once the cap is reached" if terms.hourly_at_cap else "")
    cap = Fraction(terms.cap_e8, E8)
    formula = f"{_t(position.value)} × {_t(cap)} by the formula of the cap, {often}"
    return Step(f"{position.name}: largest funding payment", formula, _t(position.value * cap), terms.source)


def _margin_steps(account: Account, unit: Unit, position: Position, name: str) -> Iterator[Step]:
    formulas = FORMULAS[account.venue]
    sources = formulas.SOURCES
    own, value = formulas.margins(account, unit, position), formulas.tier_value(account, unit, position)
    number = position.ladder.index(value)
    row = position.ladder.rows[number]
    base = position.ladder.maintenance(value) if value else Fraction(0)
    cap = "without end" if row.cap is None else f"up to {_t(row.cap)}"
    tier = f"{_t(value)} lies in tier {number + 1}, {cap}: rate {_t(row.rate)}, deduction {_t(row.deduction)}"
    yield Step(f"{name}: tier", tier, str(number + 1), position.ladder.source)
    reserve = own.maintenance - base
    if reserve and unit.kind != "classic_cross":
        yield Step(
            f"{name}: closing-fee reserve", formulas.reserve_text(account, position), _t(reserve), sources["fee"]
        )
    plus = f" + {_t(reserve)}" if reserve else ""
    formula = f"{_t(value)} × {_t(row.rate)} - {_t(row.deduction)}{plus}"
    yield Step(f"{name}: maintenance margin", formula, _t(own.maintenance), sources["maintenance"])
    if own.initial is not None and position.leverage is not None:
        held = _t((own.initial - reserve) * position.leverage)
        formula = f"{held} / {_t(position.leverage)}{plus}"
        yield Step(f"{name}: initial margin", formula, _t(own.initial), sources["initial"])


def _state_steps(account: Account, unit: Unit, name: str) -> Iterator[Step]:
    formulas = FORMULAS[account.venue]
    sources, now = formulas.SOURCES, formulas.state(account, unit)
    profit = sum((p.unrealized for p in unit.positions), start=Fraction(0))
    formula = f"{_t(now.equity - profit)} + {_t(profit)}"
    yield Step(f"{name}: equity", f"margin and unrealised profit: {formula}", _t(now.equity), sources["equity"])
    yield from _ratio_steps(account, unit, name)


def _pool_steps(account: Account, unit: Unit) -> Iterator[Step]:
    formulas = FORMULAS[account.venue]
    sources, now, name = formulas.SOURCES, formulas.state(account, unit), f"pool in {unit.asset}"
    equity, maintenance = formulas.equity_terms(account, unit), formulas.maintenance_terms(account, unit)
    yield Step(f"{name}: equity", _sum_text(equity), _t(now.equity), sources["equity"])
    yield Step(f"{name}: maintenance margin", _sum_text(maintenance), _t(now.maintenance), sources["maintenance"])
    yield from _ratio_steps(account, unit, name)
    if unit.kind == "multi_assets":
        yield from _exchange_steps(account, unit)


def _exchange_steps(account: Account, unit: Unit) -> Iterator[Step]:
    """Show each negative balance against its limit, and what would pay for it."""
    source = facts()["source"]
    for debt in debts(account, unit):
        name = f"auto-exchange of {_t(debt.owed)} {debt.asset}"
        yield Step(name, f"owed: {debt.rule}", "due" if debt.due else "not due", source)
        for pay in payments(account, debt):
            worth = f"{_t(debt.owed)} × {_t(account.index_price(debt.asset))}"
            formula = f"{worth} / ({_t(pay.price)} × (1 - {_t(pay.haircut)}))"
            yield Step(f"{name}: paid from {pay.asset} alone", formula, _t(pay.quantity), source)


def _ratio_steps(account: Account, unit: Unit, name: str) -> Iterator[Step]:
    formulas = FORMULAS[account.venue]
    sources, now = formulas.SOURCES, formulas.state(account, unit)
    backing, ratio = formulas.backing(account, unit), ratio_of(account, unit, now.maintenance)
    if backing != now.equity:
        formula = _sum_text((Term("equity", now.equity), Term("orders", backing - now.equity)))
        yield Step(f"{name}: behind the margins", formula, _t(backing), sources["equity"])
    uni = formulas.uni_mmr(account, unit)
    if uni is not None:
        formula = f"{_t(now.equity)} / {_t(now.maintenance)}: {uni[1]}"
        yield Step(f"{name}: uniMMR, 1.05 is liquidation", formula, _t(uni[0]), sources["equity"])
    elif ratio is not None:
        formula = f"{_t(now.maintenance)} / {_t(backing)}"
        yield Step(f"{name}: margin ratio, 1 is liquidation", formula, _t(ratio), sources["trigger"])
    buffer = buffer_of(account, unit)
    if buffer is not None and now.initial is not None:
        formula = f"({_t(backing)} - {_t(now.maintenance)}) / ({_t(now.initial)} - {_t(now.maintenance)})"
        yield Step(f"{name}: buffer, 0 is liquidation", formula, _t(buffer), "definition")


def _boundary_step(
    label: str, position: Position, found: Boundary | None, what: str, rounding: Rounding, source: str
) -> Step:
    """Show a price as the root of the line that headroom follows in its tier."""
    if found is None:
        return Step(label, f"{what} does not turn at any price", "none", source)
    x = 1 / found.price if position.inverse else found.price
    mark = "/ price" if position.inverse else "× price"
    price = rounding(position, found.price, alive_above=found.alive_above)
    line = f"{_t(-found.slope * x)} {'+' if found.slope >= 0 else '-'} {_t(abs(found.slope))} {mark} = 0"
    return Step(label, f"{what}: {line}", _t(price), source)


def _sum_text(terms: Iterable[Term]) -> str:
    parts = [f"{'-' if amount < 0 else '+'} {_t(abs(amount))} ({name})" for name, amount in terms]
    return " ".join(parts).removeprefix("+ ") or "0"


def _t(value: Fraction) -> str:
    return text(value, DECIMALS)
