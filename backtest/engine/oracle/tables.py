"""Dated tier tables, read from the files beside the rulebooks."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

from backtest.engine.oracle.model import TierRow
from backtest.errors import CoverageError, did_you_mean

TABLES = Path(__file__).resolve().parents[2] / "venues" / "tables"


def load_tiers(venue: str, symbol: str) -> tuple[tuple[int, tuple[TierRow, ...]], ...]:
    """Read the dated tier tables of a symbol: (first moment in ms, rows), sorted.

    Raises CoverageError where there is none. Source: backtest/venues/tables, which names the source of each snapshot.
    """
    path = TABLES / f"{venue}_tiers.json"
    if not path.is_file():
        known = [file.name.removesuffix("_tiers.json") for file in TABLES.glob("*_tiers.json")]
        raise CoverageError.at(f"venue {venue}", "there are no tier tables", did_you_mean(venue, known))
    symbols = json.loads(path.read_text("utf-8"))["symbols"]
    if symbol not in symbols:
        raise CoverageError.at(f"{venue} {symbol}", "there is no tier table", did_you_mean(symbol, symbols))
    tables = [(_ms(snapshot["first"]), tuple(_row(tier) for tier in snapshot["tiers"])) for snapshot in symbols[symbol]]
    return tuple(sorted(tables, key=lambda table: table[0]))


def _ms(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)


def _row(tier: list[str | None]) -> TierRow:
    _, cap, rate, max_leverage, deduction = tier
    return TierRow(_decimal(cap), Decimal(rate or 0), Decimal(deduction or 0), _decimal(max_leverage))


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
