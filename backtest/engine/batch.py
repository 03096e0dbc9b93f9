"""Replay a batch of runs under one strategy: allocate the book, call the kernel in chunks, collect the rows.

The book grows with the rows that are kept, and the kernel goes on with the run that did not fit. Ctrl-C is answered
between chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from backtest.engine.actions import TRAY, Desk
from backtest.engine.compiled import Rules
from backtest.engine.feed import NO_FEED
from backtest.engine.ledger import ACTION_ROW, FILL_ROW, TRANSFER_ROW, Book
from backtest.engine.market import Market
from backtest.engine.plan import NONE, OUTCOME_ROW, PLAN, SCRIPT_ROW
from backtest.engine.pool.forms import PoolBook
from backtest.engine.replay import blank_runs, replay
from backtest.engine.state import blank_state
from backtest.errors import InvariantError

Rows = npt.NDArray[np.void]
CHUNK_RUNS = 16_384  # a call costs some milliseconds for handing over the rules
BOOK_ROWS_MAX = 1 << 28
AnyBook = TypeVar("AnyBook", Book, PoolBook)
Keep = Literal["liquidated", "actions", "all"]
KEEP: tuple[Keep, ...] = get_args(Keep)  # rows of liquidated runs; of all runs the actions too; all rows


@dataclass(frozen=True, slots=True)
class Terms:
    """What a study fixes for every run: costs, account form and reserve."""

    slippage_e8: int = 0
    liquidation_slippage_e8: int = 0
    clearance_e8: int = 0
    cross: bool = False
    takeover: bool = False
    fee_reserve: bool = False
    keep: bool = False
    latency_ms: int = 0
    reaction_ms: int = 0
    daily_cap_e8: int | None = None

    def plan(self, rules: Rules, *, next_open: bool, liquidate: bool = True, skip: bool = True) -> Any:
        """Join the terms with a strategy's rules and one reaction, as a record of `plan.PLAN`."""
        plan = np.zeros(1, PLAN)[0]
        for name in ("slippage_e8", "liquidation_slippage_e8", "clearance_e8", "latency_ms", "reaction_ms"):
            plan[name] = getattr(self, name)
        for name in ("cross", "takeover", "fee_reserve", "keep"):
            plan[name] = int(getattr(self, name))
        plan["daily_cap_e8"] = NONE if self.daily_cap_e8 is None else self.daily_cap_e8
        plan["next_open"], plan["liquidate"], plan["skip"] = int(next_open), int(liquidate), int(skip)
        plan["remember"] = int(next_open or self.reaction_ms > 0)
        plan["buffer_max_e8"], plan["ratio_min_e8"], plan["headroom_max_e8"] = rules.bounds()
        plan["every_bar"], plan["on_funding"] = rules.has("every_bar"), rules.has("on_funding")
        plan["distance"], plan["feed"] = rules.has_distance, rules.needs_feed
        if rules.needs_feed and rules.feed is NO_FEED:
            raise InvariantError.at("replay", "rules that wait for a signal or an event were not given their feed")
        plan["wake_rows"], plan["slot_rows"] = rules.feed.wake_rows, rules.feed.slot_rows
        count = len(rules.wake_kind)
        plan["wake_count"], plan["no_rule"] = count, -1
        for name in ("wake_rule", "wake_index", "wake_kind", "wake_value"):
            plan[name][:count] = getattr(rules, name)
        plan["cooldown_ms"], plan["parts_read"] = rules.cooldown_ms, rules.parts_read
        return plan


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch of runs left: outcomes by run, and the rows of the runs whose rows are kept."""

    outcomes: Rows
    transfers: Rows
    fills: Rows
    actions: Rows


def _book(transfer_rows: int, record: int) -> Book:
    rows = (transfer_rows, transfer_rows // 2, transfer_rows // 2)
    arrays = [np.zeros(n, dtype) for n, dtype in zip(rows, (TRANSFER_ROW, FILL_ROW, ACTION_ROW), strict=True)]
    return Book(arrays[0], arrays[1], arrays[2], np.zeros(4, np.int64), record)


def larger_book(book: AnyBook, make: Callable[[int, int], AnyBook], run: int) -> AnyBook:
    """Give a book twice the size with the rows written so far."""
    if len(book.transfers) > BOOK_ROWS_MAX:
        raise InvariantError.at(f"run {run}", "the rows that are kept do not fit into memory", "replay fewer runs")
    larger = make(2 * len(book.transfers), book.record)
    for rows, place, count in zip(book[:3], larger[:3], book.cursor[:3], strict=True):
        place[:count] = rows[:count]
    larger.cursor[:] = book.cursor
    return larger


def agenda_of(plan: Any, rules: Rules, script: Rows | None) -> tuple[Rows, Any]:
    """Put a script before the feed; give both as one table, and the plan whose feed begins after the script."""
    if script is None or not len(script):
        return rules.feed.rows, plan
    plan = plan.copy()
    for name in ("wake_rows", "slot_rows"):
        plan[name] += len(script)
    return np.concatenate((script, rules.feed.rows)).astype(SCRIPT_ROW), plan


def replay_batch(
    market: Market,
    plan: Any,
    rules: Rules,
    entries: Rows,
    *,
    script: Rows | None = None,
    keep: Keep = "liquidated",
    record: bool = True,
    progress: Callable[[int], None] | None = None,
    book_rows: int = 1 << 22,
) -> Batch:
    """Replay entries (records of `plan.ENTRY`) over a market and keep rows as `keep` says.

    The `run` column of the rows counts from 0 over `entries`. Raises InvariantError when the rows pass any book.
    """
    if not len(market.bars):
        raise InvariantError.at("replay", "the tape has no bar")
    outcomes = np.zeros(len(entries), OUTCOME_ROW)
    tray = np.zeros(1, TRAY)[0]
    tray["params"] = rules.params
    runs = blank_runs()
    agenda, plan = agenda_of(plan, rules, script)
    book = _book(book_rows, int(record))  # pages that nothing is written to cost nothing
    first = 0
    while first < len(entries):
        last = min(first + CHUNK_RUNS, len(entries))
        desk = Desk(book, rules.functions, blank_state()[0], tray, agenda)
        done = replay(market, plan, desk, runs, entries, outcomes, first, last, KEEP.index(keep))
        if done < last:
            book = larger_book(book, _book, done)
        if progress is not None and done > first:
            progress(done - first)
        first = done
    return Batch(outcomes, *(rows[:count] for rows, count in zip(book[:3], book.cursor[:3], strict=True)))
