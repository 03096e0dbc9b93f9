"""What one run was worth, bar by bar: the whole capital, wherever it lay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.engine.margin import measure
from backtest.errors import IntegrityError, StudyError
from backtest.study.runner import SymbolData
from backtest.study.story import held_after

OWN = ("margin", "free", "reserve", "transit")  # accounts whose balance is the run's own
Ints = npt.NDArray[np.int64]


class Equity(NamedTuple):
    """Equity at 1e-8 by time: the capital at the entry, then the value at the close of each bar."""

    time_ms: Ints
    equity_e8: Ints


def equity_curve(data: SymbolData, outcome: Mapping[str, Any], transfers: pa.Table, fills: pa.Table) -> Equity:
    """Rebuild a run's equity from all its rows: balances plus the position at the mark close, as the ledger rounds.

    The first value is the capital before the entry, the last what was left after the end, at the close of the bar in
    which it ended (an end at a bar's open counts to that bar).

    Errors: `StudyError` for a refused entry; `IntegrityError` where rows and outcome do not agree.
    """
    refuse_refused(outcome)
    tape, side = data.result.tape, 1 if outcome["side"] == "long" else -1
    first = int(np.searchsorted(tape.time_ms, outcome["entry_ms"]))
    stop = int(np.searchsorted(tape.time_ms, outcome["exit_ms"], side="right"))
    opens = tape.time_ms[first:stop]
    balance = np.concatenate([[0], np.cumsum(_changes(transfers))])
    at_close = balance[np.searchsorted(_column(transfers, "time_ms"), opens, side="right")]
    rows = fills.to_pylist()
    done = np.searchsorted(_column(fills, "time_ms"), opens, side="right")
    held = {count: held_after(outcome, (), rows[:count], ()) for count in sorted(set(done.tolist()))}
    values = [outcome["equity_start_e8"]]
    for wallet, count, close in zip(at_close.tolist(), done.tolist(), tape.mark_close_e8[first:stop], strict=True):
        qty, cost = held[count].qty_e8, held[count].cost_e8
        values.append(measure(data.market, 0, side, qty, cost, wallet, 100, 0, close)[0])
    values[-1] = int(balance[-1])
    if values[-1] != outcome["equity_end_e8"]:
        raise IntegrityError.at(outcome["run_id"], "its rows do not lead to its end", "see: backtest verify")
    return Equity(np.concatenate([opens[:1], tape.close_ms[first:stop]]), np.array(values, np.int64))


def by_interval(time_ms: Ints, interval_ms: int) -> tuple[Ints, Ints]:
    """Give the last place in each interval since the first time, and when that interval ends: a value a bar of a study.

    Where finer bars fill some of a study's, there are several values in one; a run that ends inside one ends with it.

    >>> places, ends = by_interval(np.array([0, 60, 75, 90, 105]), 60)
    >>> places.tolist(), ends.tolist()
    ([0, 1, 4], [0, 60, 120])
    """
    number = -((time_ms[0] - time_ms) // interval_ms)
    places = np.flatnonzero(np.append(np.diff(number) != 0, True))
    return places, time_ms[0] + number[places] * interval_ms


def refuse_refused(outcome: Mapping[str, Any]) -> None:
    """Refuse to follow the equity of an entry that was refused."""
    if outcome["exit_reason"] == "refused":
        raise StudyError.at(outcome["run_id"], f"was refused ({outcome['refusal']}): it has no equity", "take another")


def _column(table: pa.Table, name: str) -> Ints:
    return np.asarray(table[name].to_numpy(), np.int64)


def _changes(transfers: pa.Table) -> Ints:
    """Give what each transfer adds to the run's own balances."""
    debit, credit = (np.isin(transfers[name].to_numpy(), OWN).astype(np.int64) for name in ("debit", "credit"))
    return (credit - debit) * _column(transfers, "amount_e8")
