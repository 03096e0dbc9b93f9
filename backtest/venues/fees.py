"""Taker fees of the lowest account level, by date."""

from __future__ import annotations

from backtest.units import time_ms, to_e8
from backtest.venues.symbols import load_table


def taker_fee_steps(venue: str) -> tuple[tuple[int, int], ...]:
    """Give `(from_ms, rate_e8)` steps in time order; the first holds from the beginning.

    Source: the venue's table of rules, where each step has its own.

    >>> taker_fee_steps("binance")[0]
    (0, 40000)
    """
    return tuple((time_ms(step["from"]), to_e8(step["rate"])) for step in load_table(venue, "rules")["taker_fee"])


def taker_fee_e8(venue: str, time_ms: int) -> int:
    """Give the taker fee rate in force at a time, at 1e-8 of notional."""
    return [rate_e8 for from_ms, rate_e8 in taker_fee_steps(venue) if from_ms <= time_ms][-1]
