"""The life of a run of several legs, bar by bar: the core's account at the opens, the whole capital at the closes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backtest.engine.pool.market import PoolMarket
from backtest.errors import IntegrityError
from backtest.study.equity import Equity, refuse_refused
from backtest.study.pool_life import Holding
from backtest.study.trace import COLUMNS
from backtest.units import E8

if TYPE_CHECKING:
    from backtest.study.runner import SymbolData

Rows = list[dict[str, Any]]
ENDS = ("liquidation", "exit", "data_end")


def _by_bar(data: SymbolData, outcome: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> Iterator[tuple[int, Any]]:
    """Give each bar that a run lived through, and its rows by table: those of an end behind the data with the last."""
    assert isinstance(data.market, PoolMarket)
    times = data.market.times_ms
    first = int(np.searchsorted(times, outcome["entry_ms"]))
    stop = int(np.searchsorted(times, outcome["exit_ms"], side="right"))
    rows: dict[int, dict[str, Rows]] = {}
    for name in ("transfers", "fills", "actions"):
        for row in tables[name].to_pylist():
            bar = min(int(np.searchsorted(times, row["time_ms"], side="right")) - 1, stop - 1)
            rows.setdefault(bar, {}).setdefault(name, []).append(row)
    for bar in range(first, min(stop, len(times))):
        yield bar, {"transfers": [], "fills": [], "actions": []} | rows.get(bar, {})


def pool_trace(data: SymbolData, outcome: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> pa.Table:
    """Follow a run bar by bar in natural units: columns as `trace.trace` gives them.

    Mark and quantity are those of the first core leg; wallet, equity and margins those of the core's account at the
    opens of all marks, in quote. Where it is liquidated depends on all marks, so no price is named.
    """
    holding = Holding(data, outcome)
    values: dict[str, list[float | int | None]] = {name: [] for name in COLUMNS}
    coin = bool(holding.market.inverse[0])
    for bar, rows in _by_bar(data, outcome, tables):
        holding.enter(bar)
        going_on = {name: [row for row in rows[name] if row["cause"] not in ENDS] for name in ("transfers", "fills")}
        holding.take(going_on["transfers"], going_on["fills"])
        holding.act(rows["actions"])
        if not holding.run["qty"][: holding.pool.form.core_count].any():
            break
        marks = holding.marks(bar)
        first = holding.market.bars[bar, 0]
        equity, maintenance, initial = holding.unit(0, marks)
        unit = int(marks[0]) / E8 if coin else 1.0
        room = initial - maintenance
        row = (
            int(holding.market.times_ms[bar]),
            int(marks[0]) / E8,
            int(first["mark_high_e8"]) / E8,
            int(first["mark_low_e8"]) / E8,
            int(holding.run["qty"][0]) / E8,
            holding.wallet_e8(0) / E8 * unit,
            equity / E8 * unit,
            initial / E8 * unit,
            maintenance / E8 * unit,
            None,
            maintenance / equity if equity > 0 else None,
            (equity - maintenance) / room if room > 0 else None,
        )
        for name, value in zip(COLUMNS, row, strict=True):
            values[name].append(value)
        ended = {name: [row for row in rows[name] if row["cause"] in ENDS] for name in ("transfers", "fills")}
        holding.take(ended["transfers"], ended["fills"])
    types = {"time_ms": pa.int64()}
    return pa.table({name: pa.array(column, types.get(name, pa.float64())) for name, column in values.items()})


def pool_equity(data: SymbolData, outcome: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> Equity:
    """Rebuild a run's equity from all its rows, as `equity.equity_curve` does: all it owns at the mark closes.

    Errors: `StudyError` for a refused entry; `IntegrityError` where rows and outcome do not agree.
    """
    refuse_refused(outcome)
    holding = Holding(data, outcome)
    bars, values = [], [int(outcome["equity_start_e8"])]
    for bar, rows in _by_bar(data, outcome, tables):
        holding.enter(bar)
        holding.take(rows["transfers"], rows["fills"])
        holding.act(rows["actions"])
        bars.append(bar)
        values.append(holding.worth_e8(holding.marks(bar, "mark_close_e8")))
    if values[-1] != outcome["equity_end_e8"]:
        raise IntegrityError.at(outcome["run_id"], "its rows do not lead to its end", "see: backtest verify")
    opens_ms, closes_ms = holding.market.times_ms[bars], holding.market.closes_ms[bars]
    return Equity(np.concatenate([opens_ms[:1], closes_ms]), np.array(values, np.int64))
