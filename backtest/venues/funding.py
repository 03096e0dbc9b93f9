"""Funding: how often it is paid, and the largest rate that a venue's formula allows.

A symbol may have a cap or an interval set by hand instead; the venues publish those only as they are now.
"""

from __future__ import annotations

from dataclasses import dataclass

from backtest.units import E8, time_ms, to_e8
from backtest.venues.symbols import load_table


@dataclass(frozen=True, slots=True)
class FundingTerms:
    """Interval and cap of a symbol at a time; `hourly_at_cap`: reaching the cap may switch it to hourly payments."""

    interval_hours: int
    cap_e8: int
    hourly_at_cap: bool
    source: str


def funding_terms(venue: str, symbol: str, at_ms: int, rate_e8: int, max_leverage_e2: int | None) -> FundingTerms:
    """Give the funding terms of a symbol, from the rate and the largest leverage of its first tier.

    Cap: share x maintenance rate on Binance; min(share x (initial rate - maintenance rate), maintenance rate) on Bybit,
    where an unknown largest leverage leaves the second term.

    >>> funding_terms("bybit", "BTCUSDT", time_ms("2025-11-08"), 500_000, 10_000).cap_e8
    375000
    """
    facts = load_table(venue, "rules")["funding"]
    shares = [s for s in facts["cap_shares"] if s["symbol"] in (None, symbol) and time_ms(s["from"]) <= at_ms]
    share_e8 = to_e8(shares[-1]["share"])
    cap_e8 = rate_e8
    if venue == "binance":
        cap_e8 = share_e8 * rate_e8 // E8
    elif max_leverage_e2 is not None:
        cap_e8 = min(share_e8 * (100 * E8 // max_leverage_e2 - rate_e8) // E8, rate_e8)
    hourly = facts["hourly_at_cap"]
    return FundingTerms(
        interval_hours=facts["interval_hours"],
        cap_e8=cap_e8,
        hourly_at_cap=time_ms(hourly["from"]) <= at_ms and symbol not in hourly["except"],
        source=facts["source"],
    )
