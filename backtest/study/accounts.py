"""The tables of continuous accounts: each account as a whole, and block by block of the calendar."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.engine.batch import Batch
from backtest.engine.margin import measure
from backtest.engine.pool.market import PoolMarket
from backtest.schema import ACCOUNTS as LEDGER_ACCOUNTS
from backtest.schema import EXIT_REASONS, REFUSALS, Column, Table
from backtest.study.chain import Chain
from backtest.study.continuous import STOP, ContinuousSpec
from backtest.study.equity import OWN
from backtest.study.naming import leverage_text, side_name
from backtest.study.outcomes import REFUSED, ledger_tables
from backtest.study.pool_life import Holding
from backtest.study.runner import SymbolData
from backtest.study.story import held_after
from backtest.units import MINUTE_MS, time_ms

Rows = npt.NDArray[Any]
LIQUIDATED = EXIT_REASONS.index("liquidated")
DATA_END = EXIT_REASONS.index("data_end")

_WHOSE = (
    Column("account_id", "text", "strategy/symbol/side/leverage/reaction"),
    Column("strategy", "text", "strategy with its swept values"),
    Column("reaction", "text", "intrabar, next_open, or both where no rule waits for a threshold"),
    Column("symbol", "text", "instrument"),
    Column("side", "text", "long or short"),
    Column("leverage", "float64", "leverage set at each entry"),
)
_COUNTS = (
    Column("links", "int64", "positions opened"),
    Column("liquidated", "int64", "positions that had a liquidation, full or partial"),
    Column("refills", "int64", "times that capital was paid in anew after a liquidation"),
    Column("refill_e8", "int64", "how much that was"),
    Column("market_minutes", "int64", "time with a position"),
    Column("span_minutes", "int64", "time in all"),
)
ACCOUNTS = Table(
    "accounts",
    (
        *_WHOSE,
        Column("start_ms", "int64", "first entry time"),
        Column("capital_e8", "int64", "capital at the start"),
        *_COUNTS,
        Column("liquidations", "int64", "breaches: a position that goes on after a partial one can have several"),
        Column("equity_end_e8", "int64", "what the account held at its end"),
        Column("fees_e8", "int64", "taker fees paid"),
        Column("funding_e8", "int64", "funding paid; negative when received"),
        Column("clearance_fee_e8", "int64", "clearance fees of forced closes"),
        Column(
            "end", "text", "open at the end of the data, waiting for an entry time, stopped, or refused by the venue"
        ),
        Column("refusal", "text", "why the last entry was refused", null=True),
    ),
    ("account_id",),
    "one row a continuous account",
)
BLOCKS = Table(
    "account_blocks",
    (
        *_WHOSE,
        Column("block", "text", "year or quarter, such as 2021 or 2021-Q2"),
        Column("begin_ms", "int64", "where it begins"),
        *_COUNTS,
        Column("equity_e8", "int64", "what the account held at its end, open positions at the mark"),
    ),
    ("account_id", "begin_ms"),
    "one row an account and calendar block",
)
ACCOUNT_TABLES = {table.name: table for table in (ACCOUNTS, BLOCKS)}


def account_tables(data: SymbolData, chain: Chain, spec: ContinuousSpec) -> dict[str, pa.Table]:
    """Give the accounts of a job over a symbol as tables, by name."""
    end_ms = int(data.closes_ms[-1])
    accounts: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []
    for number in dict.fromkeys(link.account for link in chain.links):
        places = chain.of_account(number)
        whose = _whose(chain, places[0])
        start_ms = int(chain.entries.rows["entry_ms"][places[0]])
        accounts.append({**whose, **_account(chain, places, spec), **_counts(chain, places, start_ms, end_ms)})
        for name, (from_ms, to_ms) in calendar_blocks(start_ms, end_ms, spec.block).items():
            equity = {"equity_e8": equity_e8(data, chain, places, to_ms)}
            counts = _counts(chain, places, max(from_ms, start_ms), to_ms)
            blocks.append({**whose, "block": name, "begin_ms": from_ms, **counts, **equity})
    return {
        form.name: pa.Table.from_pylist(rows, schema=form.arrow())
        for form, rows in ((ACCOUNTS, accounts), (BLOCKS, blocks))
    }


def calendar_blocks(start_ms: int, end_ms: int, block: str) -> dict[str, tuple[int, int]]:
    """Give the calendar blocks ("year", "quarter", UTC) of a stretch of time by name: where each begins, where it ends.

    The last one ends where the stretch does.

    >>> list(calendar_blocks(1609459200000, 1617235200000, "quarter"))
    ['2021-Q1']
    """
    first = dt.datetime.fromtimestamp(start_ms // 1000, dt.UTC).year
    last = dt.datetime.fromtimestamp((end_ms - 1) // 1000, dt.UTC).year
    months = (1,) if block == "year" else (1, 4, 7, 10)
    begins = [(year, month) for year in range(first, last + 2) for month in months]
    named = [
        (str(year) if block == "year" else f"{year}-Q{(month + 2) // 3}", time_ms(dt.date(year, month, 1)))
        for year, month in begins
    ]
    return {
        name: (from_ms, min(to_ms, end_ms))
        for (name, from_ms), (_, to_ms) in pairwise(named)
        if from_ms < end_ms and to_ms > start_ms
    }


def _whose(chain: Chain, place: int) -> dict[str, Any]:
    job, row = chain.job, chain.entries.rows[place]
    symbol, side, leverage = chain.entries.symbol, side_name(int(row["side"])), int(row["leverage_e2"])
    return {
        "account_id": "/".join((job.strategy, symbol, side, leverage_text(leverage), job.reaction)),
        "strategy": job.strategy,
        "reaction": job.reaction,
        "symbol": symbol,
        "side": side,
        "leverage": leverage / 100,
    }


def _account(chain: Chain, places: range, spec: ContinuousSpec) -> dict[str, Any]:
    outcomes, last = chain.batch.outcomes[places.start : places.stop], chain.batch.outcomes[places[-1]]
    sums = ("fees_e8", "funding_e8", "clearance_fee_e8")
    ends = {DATA_END: "open", REFUSED: "refused", **({LIQUIDATED: "stopped"} if spec.on_liquidation == STOP else {})}
    return {
        "start_ms": int(chain.entries.rows["entry_ms"][places[0]]),
        "capital_e8": chain.links[places[0]].capital_e8,
        "liquidations": int(outcomes["liquidation_count"].sum()),
        "equity_end_e8": int(last["equity_end_e8"]),
        **{name: int(outcomes[name].sum()) for name in sums},
        "end": ends.get(int(last["reason"]), "waiting"),
        "refusal": REFUSALS[last["refusal"]] if last["reason"] == REFUSED else None,
    }


def _counts(chain: Chain, places: range, from_ms: int, to_ms: int) -> dict[str, int]:
    """Count what fell into a stretch of time: a position by its entry, a liquidation by its first breach."""
    own = slice(places.start, places.stop)
    outcomes, entry_ms = chain.batch.outcomes[own], chain.entries.rows["entry_ms"][own]
    taken = outcomes["reason"] != REFUSED
    entered = (entry_ms >= from_ms) & (entry_ms < to_ms)
    lost_ms = outcomes["liquidation_ms"]
    refill_e8 = [link.refill_e8 for link, inside in zip(chain.links[own], entered.tolist(), strict=True) if inside]
    held_ms = np.minimum(outcomes["exit_ms"], to_ms) - np.maximum(entry_ms, from_ms)
    return {
        "links": int((entered & taken).sum()),
        "liquidated": int(((outcomes["liquidated"] == 1) & (lost_ms >= from_ms) & (lost_ms < to_ms)).sum()),
        "refills": sum(amount > 0 for amount in refill_e8),
        "refill_e8": sum(refill_e8),
        "market_minutes": int(np.maximum(held_ms, 0)[taken].sum()) // MINUTE_MS,
        "span_minutes": (to_ms - from_ms) // MINUTE_MS,
    }


def equity_e8(data: SymbolData, chain: Chain, places: Sequence[int], at_ms: int) -> int:
    """Give what an account holds at a time: balances, and open positions at the last mark close."""
    place = [place for place in places if chain.entries.rows["entry_ms"][place] < at_ms][-1]
    outcome = chain.batch.outcomes[place]
    if outcome["exit_ms"] < at_ms or (outcome["reason"] == DATA_END and outcome["exit_ms"] == at_ms):
        return int(outcome["equity_end_e8"])  # flat; a refused entry has no exit
    if isinstance(data.market, PoolMarket):
        return _pool_equity_e8(data, chain, place, at_ms)
    transfers, fills = (_until(rows, place, at_ms) for rows in (chain.batch.transfers, chain.batch.fills))
    own = [LEDGER_ACCOUNTS.index(name) for name in OWN]
    signs = np.isin(transfers["credit"], own).astype(np.int64) - np.isin(transfers["debit"], own)
    wallet = int((signs * transfers["amount_e8"]).sum())
    side = int(chain.entries.rows["side"][place])
    rows = [{"qty_e8": int(fill["qty_e8"]), "cost_e8": int(fill["cost_e8"])} for fill in fills]
    held = held_after({"side": side_name(side), "leverage": 1}, (), rows, ())
    close = int(data.marks_e8[1][np.searchsorted(data.times_ms, at_ms) - 1])
    return int(measure(data.market, 0, side, held.qty_e8, held.cost_e8, wallet, 100, 0, close)[0])


def _pool_equity_e8(data: SymbolData, chain: Chain, place: int, at_ms: int) -> int:
    """Value all legs of a link by its rows up to a time."""
    row, batch = chain.entries.rows[place], chain.batch
    known = (_until(rows, place, at_ms) for rows in (batch.transfers, batch.fills, batch.actions))
    tables = ledger_tables(chain.job, chain.entries, Batch(batch.outcomes, *known), np.ones(len(chain.links), bool))
    holding = Holding(data, {"side": side_name(int(row["side"])), "leverage": int(row["leverage_e2"]) / 100})
    bar = holding.bar_of(at_ms - 1)
    holding.enter(bar)
    holding.take(tables["transfers"].to_pylist(), tables["fills"].to_pylist())
    return holding.worth_e8(holding.marks(bar, "mark_close_e8"))


def _until(rows: Rows, run: int, at_ms: int) -> Rows:
    own = rows[slice(*np.searchsorted(rows["run"], [run, run + 1]))]
    return own[own["time_ms"] < at_ms]
