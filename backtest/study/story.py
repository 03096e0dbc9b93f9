"""The story of one run: entry, actions, funding, liquidation with the formula filled in, and how it ended.

Told from the run's own ledger rows and the tape: what is printed is what decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from backtest.engine.margin import fee_reserve, measure, tier_at
from backtest.engine.market import Market
from backtest.engine.oracle.numbers import half_even
from backtest.errors import InvariantError
from backtest.schema import Tape
from backtest.study.config import Study
from backtest.study.jobs import Job
from backtest.study.naming import HOLD
from backtest.study.outcomes import ledger_tables
from backtest.study.rerun import find_job, rerun
from backtest.study.runner import SymbolData, terms
from backtest.study.trace import liquidation_price_e8
from backtest.venues.tiers import as_of

Rows = Sequence[Mapping[str, Any]]
# Causes of one bar's rows, in the order in which they are told.
ORDER = ("entry", "expiry", "funding", "arrival", "rule", "liquidation", "exit", "data_end")


@dataclass(frozen=True, slots=True)
class Ledger:
    """The rows of one run, in their order."""

    transfers: Rows
    fills: Rows
    actions: Rows

    @classmethod
    def of(cls, tables: Mapping[str, pa.Table]) -> Ledger:
        return cls(*(tables[name].to_pylist() for name in ("transfers", "fills", "actions")))


def replayed_ledger(
    study: Study, data: SymbolData, all_jobs: Sequence[Job], outcome: Mapping[str, Any]
) -> Mapping[str, pa.Table]:
    """Give all rows of a run by replaying it; InvariantError if it does not end as its outcome says."""
    job = find_job(all_jobs, outcome["strategy"], outcome["reaction"])
    label = outcome["run_id"].split("/", 1)[1].rsplit("/", 1)[0]
    place, capital_e8 = data.entries.labels.index(label), outcome["equity_start_e8"]
    runs = rerun(study, data, all_jobs, job, [place], [outcome["seed_run_id"]], [capital_e8])
    if int(runs.batch.outcomes["equity_end_e8"][0]) != outcome["equity_end_e8"]:
        raise InvariantError.at(outcome["run_id"], "does not end as its stored outcome says", "see: backtest verify")
    return ledger_tables(job, runs.entries, runs.batch, np.ones(1, bool))


@dataclass(frozen=True, slots=True)
class Held:
    """What a run holds at some moment, by its own rows. `wallet_e8` is the isolated wallet, or the pool's."""

    qty_e8: int
    cost_e8: int
    wallet_e8: int
    leverage_e2: int


@dataclass(frozen=True, slots=True)
class Liquidation:
    """The first breach of a run, number by number: state, mark row, tier row, both sides of the predicate."""

    time_ms: int
    bar_ms: int  # length of its bar
    cause: str
    mark_e8: int
    mark_open_e8: int
    mark_high_e8: int
    mark_low_e8: int
    qty_e8: int
    cost_e8: int
    wallet_e8: int
    equity_e8: int
    maintenance_margin_e8: int
    fee_reserve_e8: int
    tier: int  # from 1
    tier_floor_e8: int
    tier_cap_e8: int | None
    tier_rate_e8: int
    tier_deduction_e8: int
    tier_table_ms: int
    tier_source: str


@dataclass(frozen=True, slots=True)
class Event:
    """One moment of a run: what was asked there, and the rows it left.

    `funding_before_e8` was paid (negative: received) in `settlements` since the event before. `held` is what is held
    afterwards, and `liquidation_price_e8` where that would be liquidated (None: flat, or nowhere).
    """

    time_ms: int
    what: str  # entry, rule, arrival, liquidation, exit, data_end
    asked: tuple[Mapping[str, Any], ...]
    fills: tuple[Mapping[str, Any], ...]
    transfers: tuple[Mapping[str, Any], ...]
    funding_before_e8: int
    settlements: int
    held: Held
    liquidation_price_e8: int | None


@dataclass(frozen=True, slots=True)
class Story:
    """One run told whole."""

    outcome: Mapping[str, Any]
    margin_mode: str
    events: tuple[Event, ...]
    liquidation: Liquidation | None
    margin_to_survive_e8: int | None  # of `hold` on the same entry


def tell(
    study: Study, data: SymbolData, outcome: Mapping[str, Any], ledger: Ledger, hold: Mapping[str, Any] | None
) -> Story:
    """Tell a run from its outcome and its rows; `hold` is the outcome of `hold` on the same entry, if it has one."""
    events = tuple(_events(study, data, outcome, ledger))
    liquidation = _liquidation(study, data, outcome, ledger) if outcome["liquidated"] else None
    survive = None if hold is None else hold["margin_to_survive_e8"]
    return Story(outcome, study.entries.margin_mode, events, liquidation, survive)


def hold_id(run_id: str, reaction: str = "both") -> str:
    """Name the baseline of a run.

    >>> hold_id("exit/BTCUSDT/2021-05-18T0000/long/10x/next_open")
    'hold/BTCUSDT/2021-05-18T0000/long/10x/both'
    """
    return "/".join((HOLD, *run_id.split("/")[1:-1], reaction))


# --- what was held -------------------------------------------------------------------------------------------------


def held_after(outcome: Mapping[str, Any], transfers: Rows, fills: Rows, actions: Rows) -> Held:
    """Rebuild quantity, cost, wallet and leverage from the rows so far, rounding as the ledger does."""
    wallet = sum(((t["credit"] == "margin") - (t["debit"] == "margin")) * t["amount_e8"] for t in transfers)
    side = 1 if outcome["side"] == "long" else -1
    qty = cost = 0
    for fill in fills:
        change = fill["qty_e8"] * side
        cost += fill["cost_e8"] if change > 0 else -half_even(cost * -change, qty)
        qty += change
    leverage = outcome["leverage"]
    for action in actions:
        if action["verb"] == "set_leverage" and action["status"] == "done":
            leverage = action["amount"]
    return Held(qty, cost, wallet, round(leverage * 100))


def _segment(tape: Tape, time_ms: int) -> int:
    bar = int(np.searchsorted(tape.time_ms, time_ms, side="right")) - 1
    return int(np.searchsorted(tape.segment_start, bar, side="right")) - 1


def _price_of(study: Study, data: SymbolData, held: Held, side: int, time_ms: int) -> int | None:
    tape = data.result.tape
    segment = _segment(tape, time_ms)
    if not held.qty_e8:
        return None
    assert isinstance(data.market, Market)
    state = (side, held.qty_e8, held.cost_e8, held.wallet_e8, held.leverage_e2, int(tape.segment_taker_e8[segment]))
    return liquidation_price_e8(data.market, terms(study), int(tape.segment_table[segment]), state) or None


# --- events --------------------------------------------------------------------------------------------------------


def _events(study: Study, data: SymbolData, outcome: Mapping[str, Any], ledger: Ledger) -> list[Event]:
    """Group a run's rows by moment and cause; funding between two moments is summed."""
    side = 1 if outcome["side"] == "long" else -1
    moments = {(row["time_ms"], row["cause"]): None for row in (*ledger.transfers, *ledger.fills)}
    moments |= {(row["time_ms"], "rule"): None for row in ledger.actions}
    events: list[Event] = []
    paid = settlements = 0
    for time_ms, cause in sorted(moments, key=lambda moment: (moment[0], ORDER.index(moment[1]))):

        def here(rows: Rows, time_ms: int = time_ms, cause: str = cause) -> tuple[Mapping[str, Any], ...]:
            return tuple(r for r in rows if r["time_ms"] == time_ms and r.get("cause", "rule") == cause)

        transfers = here(ledger.transfers)
        if cause == "funding":
            paid += sum((1 if t["debit"] == "margin" else -1) * t["amount_e8"] for t in transfers)
            settlements += len(transfers)
            continue
        fills, asked = here(ledger.fills), here(ledger.actions)
        held = held_after(
            outcome,
            _up_to(ledger.transfers, transfers, time_ms),
            _up_to(ledger.fills, fills, time_ms),
            [a for a in ledger.actions if a["time_ms"] <= time_ms],
        )
        price = _price_of(study, data, held, side, time_ms)
        events.append(Event(time_ms, cause, asked, fills, transfers, paid, settlements, held, price))
        paid = settlements = 0
    return events


def _up_to(rows: Rows, last: Rows, time_ms: int) -> Rows:
    """Give the rows up to the last of an event; where it left none, up to the events before its time."""
    if last:
        return rows[: last[-1]["sequence"] + 1]
    return [row for row in rows if row["time_ms"] < time_ms]


# --- liquidation ---------------------------------------------------------------------------------------------------


def _liquidation(study: Study, data: SymbolData, outcome: Mapping[str, Any], ledger: Ledger) -> Liquidation:
    """Take the state just before the first forced close, and compute the predicate as the replay did."""
    tape, market, time_ms = data.result.tape, data.market, outcome["liquidation_ms"]
    side = 1 if outcome["side"] == "long" else -1
    held = held_after(
        outcome,
        _before_forced(ledger.transfers),
        _before_forced(ledger.fills),
        [a for a in ledger.actions if a["time_ms"] <= time_ms],
    )
    mark = outcome["liquidation_price_e8"]
    bar = int(np.searchsorted(tape.time_ms, time_ms))
    segment = _segment(tape, time_ms)
    table, taker = int(tape.segment_table[segment]), int(tape.segment_taker_e8[segment])
    reserve = fee_reserve(held.cost_e8, side, held.leverage_e2, taker) if terms(study).fee_reserve else 0
    equity, maintenance, _ = measure(
        market, table, side, held.qty_e8, held.cost_e8, held.wallet_e8, held.leverage_e2, reserve, mark
    )
    if equity > maintenance:
        raise InvariantError.at(outcome["run_id"], "its rows do not lead to its liquidation", "see: backtest verify")
    dated = as_of(data.tiers, time_ms)
    place = int(tier_at(market, table, held.qty_e8, mark))
    tier = dated.tiers[place]
    return Liquidation(
        time_ms=time_ms,
        bar_ms=int(tape.close_ms[bar]) - time_ms,
        cause=outcome["cause"],
        mark_e8=mark,
        mark_open_e8=int(tape.mark_open_e8[bar]),
        mark_high_e8=int(tape.mark_high_e8[bar]),
        mark_low_e8=int(tape.mark_low_e8[bar]),
        qty_e8=held.qty_e8,
        cost_e8=held.cost_e8,
        wallet_e8=held.wallet_e8,
        equity_e8=int(equity),
        maintenance_margin_e8=int(maintenance),
        fee_reserve_e8=int(reserve),
        tier=place + 1,
        tier_floor_e8=tier.floor_e8,
        tier_cap_e8=tier.cap_e8,
        tier_rate_e8=tier.rate_e8,
        tier_deduction_e8=tier.deduction_e8,
        tier_table_ms=dated.first_ms,
        tier_source=dated.source,
    )


def _before_forced(rows: Rows) -> Rows:
    first = next((i for i, row in enumerate(rows) if row["cause"] == "liquidation"), len(rows))
    return rows[:first]
