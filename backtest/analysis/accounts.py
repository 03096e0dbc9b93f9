"""Continuous accounts by strategy: liquidations, refills and equity, over the whole history and block by block.

An account is compared as a whole with the one of the baseline that has the same symbol, side and leverage. After the
first difference the two hold other positions at other times, so single positions are never paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backtest.analysis.pairs import BASELINE, REACTIONS
from backtest.units import E8

if TYPE_CHECKING:
    import pyarrow as pa

Rows = Sequence[Mapping[str, Any]]
Key = tuple[str, str]  # strategy, reaction


@dataclass(frozen=True, slots=True)
class Standing:
    """All accounts of one strategy under one reaction.

    `fewer` and `more` count accounts with fewer or more liquidated positions than the baseline's. `gain_quote` is what
    was there at the end less all that was paid in; it and `equity_end_quote` are means over the accounts.
    """

    strategy: str
    reaction: str
    accounts: int
    positions: int
    liquidated: int
    fewer: int
    more: int
    refills: int
    refill_quote: float
    equity_end_quote: float
    gain_quote: float
    in_market: float
    ended: int  # before the end of the data, for good


@dataclass(frozen=True, slots=True)
class Part:
    """The accounts of one strategy under one reaction, in one calendar block or at one leverage."""

    liquidated: int
    refills: int
    refill_quote: float
    gain_quote: float  # up to the end of the block, mean over the accounts


def standings(accounts: pa.Table) -> dict[Key, Standing]:
    """Sum up the accounts of each strategy under each reaction."""
    found, grouped = {}, _by_strategy(accounts)
    for key, rows in grouped.items():
        hold = {_form(row): row["liquidated"] for row in grouped[BASELINE, key[1]]}
        less = [row["liquidated"] - hold[_form(row)] for row in rows]
        found[key] = Standing(
            *key,
            accounts=len(rows),
            positions=_sum(rows, "links"),
            liquidated=_sum(rows, "liquidated"),
            fewer=sum(difference < 0 for difference in less),
            more=sum(difference > 0 for difference in less),
            refills=_sum(rows, "refills"),
            refill_quote=_sum(rows, "refill_e8") / E8,
            equity_end_quote=_sum(rows, "equity_end_e8") / len(rows) / E8,
            gain_quote=sum(map(_gain_e8, rows)) / len(rows) / E8,
            in_market=_sum(rows, "market_minutes") / _sum(rows, "span_minutes"),
            ended=sum(row["end"] in ("stopped", "refused") for row in rows),
        )
    return found


def by_leverage(accounts: pa.Table) -> dict[float, dict[Key, Part]]:
    """Part the accounts by leverage, the lowest first."""
    found: dict[float, dict[Key, Part]] = {}
    for key, rows in _by_strategy(accounts).items():
        for leverage in sorted({row["leverage"] for row in rows}):
            own = [row for row in rows if row["leverage"] == leverage]
            found.setdefault(leverage, {})[key] = _part(own, sum(map(_gain_e8, own)) / len(own))
    return found


def by_block(accounts: pa.Table, blocks: pa.Table) -> dict[str, dict[Key, Part]]:
    """Part what happened by calendar block, the first one first."""
    capital_e8 = {row["account_id"]: row["capital_e8"] for row in accounts.to_pylist()}
    found: dict[str, dict[Key, Part]] = {}
    for key, rows in _by_strategy(blocks).items():
        paid_e8 = sum(capital_e8[account] for account in {row["account_id"] for row in rows})
        count = len({row["account_id"] for row in rows})
        for block in sorted({row["block"] for row in rows}):
            own = [row for row in rows if row["block"] == block]
            paid_e8 += _sum(own, "refill_e8")
            found.setdefault(block, {})[key] = _part(own, (_sum(own, "equity_e8") - paid_e8) / count)
    return found


def _part(rows: Rows, gain_e8: float) -> Part:
    refill_quote = _sum(rows, "refill_e8") / E8
    return Part(_sum(rows, "liquidated"), _sum(rows, "refills"), refill_quote, gain_e8 / E8)


def _by_strategy(table: pa.Table) -> dict[Key, Rows]:
    """Give the rows of each strategy under each reaction; those of reaction `both` count under both."""
    found: dict[Key, list[Mapping[str, Any]]] = {}
    for row in table.to_pylist():
        for reaction in REACTIONS if row["reaction"] == "both" else (row["reaction"],):
            found.setdefault((row["strategy"], reaction), []).append(row)
    return dict(found)


def _form(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["symbol"], row["side"], row["leverage"]


def _gain_e8(row: Mapping[str, Any]) -> int:
    return int(row["equity_end_e8"] - row["capital_e8"] - row["refill_e8"])


def _sum(rows: Rows, name: str) -> int:
    return sum(int(row[name]) for row in rows)
