"""The ledger of one run: balances, transfers, fills, and the outcome's counters.

A run's state is one int64 array whose places `cells` names. The first nine are the balances of `schema.ACCOUNTS`: a
transfer is the only thing that changes them, and it always has two sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from backtest.engine import cells as at
from backtest.engine.compile import inlined, inner

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64Array = npt.NDArray[np.int64]

# Records of cells.RUN_STATE and plan.PLAN; their fields are int64.
Run = Any
Plan = Any

TRANSFER_ROW = np.dtype(
    [("time_ms", "i8"), ("amount_e8", "i8"), ("run", "i4"), ("rule", "i2")]
    + [(name, "i1") for name in ("kind", "debit", "credit", "cause")],
    align=True,
)
FILL_ROW = np.dtype(
    [(name, "i8") for name in ("time_ms", "qty_e8", "price_e8", "cost_e8", "mark_e8")]
    + [("run", "i4"), ("rule", "i2"), ("cause", "i1")],
    align=True,
)
ACTION_ROW = np.dtype(
    [("time_ms", "i8"), ("amount", "f8"), ("mark_e8", "i8"), ("run", "i4"), ("bars", "i4"), ("rule", "i2")]
    + [(name, "i1") for name in ("verb", "target", "status")],
    align=True,
)


class ActionBook(Protocol):
    """A book as far as actions are written into it."""

    @property
    def actions(self) -> npt.NDArray[np.void]: ...
    @property
    def cursor(self) -> Int64Array: ...
    @property
    def record(self) -> int: ...


class Book(NamedTuple):
    """Where a replay writes its rows. `cursor` holds the rows written of each kind; -1 in `record` writes none."""

    transfers: npt.NDArray[np.void]
    fills: npt.NDArray[np.void]
    actions: npt.NDArray[np.void]
    cursor: Int64Array  # transfers, fills, actions, overflow (1: a row did not fit)
    record: int


def _transfer(book: Book, run: Run, kind: int, debit: int, credit: int, amount: int, cause: int, rule: int) -> None:
    """Move a positive amount between two accounts; an amount of 0 is no transfer."""
    if amount == 0:
        return
    run.balance[debit] -= amount
    run.balance[credit] += amount
    if not book.record:
        return
    row = book.cursor[0]
    if row >= len(book.transfers):
        book.cursor[3] = 1
        return
    entry = book.transfers[row]
    entry["time_ms"] = run.time_ms
    entry["amount_e8"] = amount
    entry["run"] = run.index
    entry["rule"] = rule
    entry["kind"] = kind
    entry["debit"] = debit
    entry["credit"] = credit
    entry["cause"] = cause
    book.cursor[0] = row + 1


transfer = inner(_transfer)
transfer_at_once = inlined(_transfer)


@inner
def record_fill(
    book: Book, run: Run, signed_qty: int, price: int, value: int, mark: int, cause: int, rule: int
) -> None:
    """Write a change of position."""
    run.turnover += value
    run.rule_fills += cause == at.C_RULE
    if not book.record:
        return
    row = book.cursor[1]
    if row >= len(book.fills):
        book.cursor[3] = 1
        return
    entry = book.fills[row]
    entry["time_ms"] = run.time_ms
    entry["qty_e8"] = signed_qty
    entry["price_e8"] = price
    entry["cost_e8"] = value
    entry["mark_e8"] = mark
    entry["run"] = run.index
    entry["rule"] = rule
    entry["cause"] = cause
    book.cursor[1] = row + 1


@inner
def record_action(
    book: ActionBook, run: Run, verb: int, amount: float, target: int, mark: int, status: int, rule: int
) -> None:
    """Write what a rule asked for and what became of it (status 0: done)."""
    if status == 0:
        run.actions += 1
    else:
        run.refused += 1
    if not book.record:
        return
    row = book.cursor[2]
    if row >= len(book.actions):
        book.cursor[3] = 1
        return
    entry = book.actions[row]
    entry["time_ms"] = run.time_ms
    entry["amount"] = amount
    entry["mark_e8"] = mark
    entry["run"] = run.index
    entry["bars"] = run.bar - run.entry_bar
    entry["rule"] = rule
    entry["verb"] = verb
    entry["target"] = target
    entry["status"] = status
    book.cursor[2] = row + 1
