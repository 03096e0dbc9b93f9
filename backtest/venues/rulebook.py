"""Rulebooks: what a venue imposes, as facts. A further venue is a further table, not further code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from backtest.units import time_ms, to_e8
from backtest.venues.symbols import load_table

LiquidationProcedure = Literal["ioc", "takeover"]


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What a venue imposes at a time; the replay and the account calculator both read it.

    `liquidation`: "ioc" fills at the market and gives the remainder back; "takeover" hands the position over at the
    bankruptcy price and gives nothing back. `fee_reserve`: the closing fee is part of initial and maintenance margin.
    `maintenance_price` and `initial_price`: whether margin is taken at "mark" or at "entry". `release`: what becomes
    of the isolated wallet of a part that is closed. `uncertain`: the era changed account by account at this time.
    """

    venue: str
    era: str
    uncertain: bool
    liquidation: LiquidationProcedure
    clearance_fee_e8: int
    fee_reserve: bool
    initial_price_isolated: str
    initial_price_cross: str
    maintenance_price: str
    release: str


def rulebook(venue: str, at_ms: int, era: str | None = None) -> Rulebook:
    """Give the rulebook of a venue at a time, or of a named era.

    Raises CoverageError for a venue without a table.

    >>> rulebook("bybit", time_ms("2025-11-08")).era
    'uta_mark'
    """
    table = load_table(venue, "rules")
    facts = {fact["name"]: fact for fact in table["eras"]}[era] if era else _in_force(table["eras"], at_ms)
    settled_ms = time_ms(facts["settled"]) if facts.get("settled") else at_ms
    return Rulebook(
        venue=venue,
        era=facts["name"],
        uncertain=era is None and at_ms < settled_ms,
        liquidation=table["liquidation"]["procedure"],
        clearance_fee_e8=to_e8(_in_force(table["clearance_fee"], at_ms)["rate"]),
        fee_reserve=table["fee_reserve"]["charged"],
        initial_price_isolated=facts["initial_price_isolated"],
        initial_price_cross=facts["initial_price_cross"],
        maintenance_price=facts["maintenance_price"],
        release=table["release"]["default"],
    )


def _in_force(steps: list[dict[str, Any]], at_ms: int) -> dict[str, Any]:
    """Give the last step that has begun; before the first, the first."""
    begun = [step for step in steps if time_ms(step["from"]) <= at_ms]
    return begun[-1] if begun else steps[0]
