"""Contract specifications: what a contract is, its steps and its minima, as of a date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backtest.errors import CoverageError, did_you_mean
from backtest.units import time_ms, to_e8
from backtest.venues.symbols import load_table, normalize_symbol


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract as of a date; `assumed` names the fields that no observation at or before that date states.

    `contract_size_e8` is in base units (linear) or US dollars (inverse); `qty_step_e8` in base units, contracts
    (COIN-M) or US dollars (Bybit inverse); `min_notional_e8` in the quote asset, 0 where no minimum is known.
    """

    symbol: str
    product: str
    base: str
    quote: str
    settle: str
    contract_size_e8: int
    qty_step_e8: int
    min_qty_e8: int
    min_notional_e8: int
    price_tick_e8: int
    assumed: tuple[str, ...]


def contract_at(venue: str, symbol: str, time_ms: int) -> Contract:
    """Give a contract's specification at a time.

    Each field comes from the latest observation at or before the time that states it, else from the earliest that
    does, and is then named in `assumed`. A minimum quantity that nobody states is one step, a minimum notional is 0.

    Raises CoverageError for an unknown symbol.

    >>> contract_at("binance", "BTCUSDT", 1_700_000_000_000).min_notional_e8
    10000000000
    """
    table = load_table(venue, "contracts")
    symbols = table["symbols"]
    name = normalize_symbol(symbol, venue)
    if name not in symbols:
        raise CoverageError.at(f"{venue} {symbol}", "a symbol without contract data", did_you_mean(name, symbols))
    entry = symbols[name]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in entry["rows"]]
    assumed: list[str] = []
    qty_step_e8 = _field(rows, "qty_step", time_ms, assumed)
    return Contract(
        symbol=name,
        product=entry["product"],
        base=entry["base"],
        quote=entry["quote"],
        settle=entry["settle"],
        contract_size_e8=_field(rows, "contract_size", time_ms, assumed),
        qty_step_e8=qty_step_e8,
        min_qty_e8=_field(rows, "min_qty", time_ms, assumed, never_e8=qty_step_e8),
        min_notional_e8=_field(rows, "min_notional", time_ms, assumed, never_e8=0),
        price_tick_e8=_field(rows, "price_tick", time_ms, assumed),
        assumed=tuple(assumed),
    )


def _field(
    rows: Sequence[dict[str, Any]], name: str, at_ms: int, assumed: list[str], never_e8: int | None = None
) -> int:
    """Give one field at a time, and note in `assumed` where it is not an observation."""
    stated = [(time_ms(row["as_of"]), to_e8(row[name])) for row in rows if row[name] is not None]
    known = [value_e8 for from_ms, value_e8 in stated if from_ms <= at_ms]
    if known:
        return known[-1]
    assumed.append(name)
    if stated:
        return stated[0][1]
    if never_e8 is None:
        raise CoverageError.at(name, "no observation states it")
    return never_e8
