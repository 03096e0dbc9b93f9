"""The life of one run, bar by bar: what it held, what it was worth, and where it would be liquidated.

Rebuilt from the run's own ledger rows and the tape, with the formulas of the replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.engine.batch import Terms
from backtest.engine.margin import fee_reserve, measure
from backtest.engine.market import Market
from backtest.schema import Tape
from backtest.units import E8

COLUMNS = (
    "time_ms",
    "mark_open",
    "mark_high",
    "mark_low",
    "qty",
    "wallet",
    "equity",
    "initial_margin",
    "maintenance_margin",
    "liquidation_price",
    "margin_ratio",
    "buffer",
)


@dataclass(frozen=True, slots=True)
class Life:
    """What one run's ledger says after the last event of each bar it lived through: one value a bar."""

    bars: npt.NDArray[np.int64]
    qty_e8: npt.NDArray[np.int64]
    cost_e8: npt.NDArray[np.int64]
    wallet_e8: npt.NDArray[np.int64]
    side: int
    leverage_e2: int


def life(tape: Tape, outcome: dict[str, Any], transfers: pa.Table, fills: pa.Table) -> Life:
    """Rebuild quantity, cost and wallet of a run after the events of each bar open, from its rows.

    A forced close and what follows it are left out, so that the last bar shows the state that was liquidated.
    """
    first = int(np.searchsorted(tape.time_ms, outcome["entry_ms"]))
    last = int(np.searchsorted(tape.time_ms, outcome["exit_ms"], side="right"))
    bars = np.arange(first, min(last, len(tape.time_ms)))
    wallet, qty, cost = (np.zeros(len(bars), np.int64) for _ in range(3))
    side = 1 if outcome["side"] == "long" else -1
    for row in transfers.to_pylist():
        if row["cause"] not in ("liquidation", "exit", "data_end"):
            sign = (row["credit"] == "margin") - (row["debit"] == "margin")
            wallet[tape.time_ms[bars] >= row["time_ms"]] += sign * row["amount_e8"]
    held, spent = 0, 0
    for row in fills.to_pylist():
        if row["cause"] in ("liquidation", "exit", "data_end"):
            continue
        change = row["qty_e8"] * side
        spent = spent + row["cost_e8"] if change > 0 else spent - round(Fraction(spent * -change, held))
        held += change
        after = tape.time_ms[bars] >= row["time_ms"]
        qty[after], cost[after] = held, spent
    return Life(bars, qty, cost, wallet, side, round(outcome["leverage"] * 100))


def liquidation_price_e8(market: Market, terms: Terms, table: int, life_at: tuple[int, ...]) -> int:
    """Give the mark at which the predicate turns true, to 1e-8; 0 where there is none.

    `life_at` is (side, quantity, cost, wallet, leverage, taker). Bisected over the predicate itself.
    """
    side, qty, cost, wallet, leverage, taker = life_at
    reserve = fee_reserve(cost, side, leverage, taker) if terms.fee_reserve else 0

    def liquidated(price: int) -> bool:
        equity, maintenance, _ = measure(market, table, side, qty, cost, wallet, leverage, reserve, price)
        return bool(equity <= maintenance)

    entry = cost * E8 // qty
    safe, lost = (100 * entry, 1) if side > 0 else (1, 100 * entry)
    if not liquidated(lost):
        return 0
    while abs(safe - lost) > 1:
        middle = (safe + lost) // 2
        if liquidated(middle):
            lost = middle
        else:
            safe = middle
    return lost


def trace(tape: Tape, market: Market, terms: Terms, run: Life) -> pa.Table:
    """Give the run bar by bar in natural units: columns `COLUMNS`, marks as they were, state at the mark open."""
    rows: dict[str, list[float | int | None]] = {name: [] for name in COLUMNS}
    known: dict[tuple[int, ...], int] = {}
    segment = np.searchsorted(tape.segment_start, run.bars, side="right") - 1
    for bar, where, qty, cost, wallet in zip(
        run.bars.tolist(),
        segment.tolist(),
        run.qty_e8.tolist(),
        run.cost_e8.tolist(),
        run.wallet_e8.tolist(),
        strict=True,
    ):
        if qty == 0:
            break
        table, taker = int(tape.segment_table[where]), int(tape.segment_taker_e8[where])
        state = (run.side, qty, cost, wallet, run.leverage_e2, taker)
        if (table, *state) not in known:
            known[(table, *state)] = liquidation_price_e8(market, terms, table, state)
        price = known[(table, *state)]
        reserve = fee_reserve(cost, run.side, run.leverage_e2, taker) if terms.fee_reserve else 0
        mark = int(tape.mark_open_e8[bar])
        equity, maintenance, initial = measure(
            market, table, run.side, qty, cost, wallet, run.leverage_e2, reserve, mark
        )
        room = initial - maintenance
        values = (
            int(tape.time_ms[bar]),
            mark / E8,
            int(tape.mark_high_e8[bar]) / E8,
            int(tape.mark_low_e8[bar]) / E8,
            qty / E8,
            wallet / E8,
            equity / E8,
            initial / E8,
            maintenance / E8,
            price / E8 if price else None,
            maintenance / equity if equity > 0 else None,
            (equity - maintenance) / room if room > 0 else None,
        )
        for name, value in zip(COLUMNS, values, strict=True):
            rows[name].append(value)
    return pa.table({name: pa.array(values) for name, values in rows.items()})
