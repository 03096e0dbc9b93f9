"""Entries by schedule or from a list: the same positions for every strategy, so that runs are paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.engine.feed import firing_rows
from backtest.engine.plan import ENTRY, NONE
from backtest.errors import StudyError
from backtest.schema import ACCOUNTS, TIER_FIDELITY, Tape
from backtest.study.config import EntrySpec, Study
from backtest.study.listed import Listed
from backtest.study.naming import leverage_text, side_name
from backtest.study.outside import Outside
from backtest.units import DAY_MS, E8, time_text
from backtest.venues.contracts import Contract, contract_at
from backtest.venues.tiers import TierTable, fidelity

Ints = npt.NDArray[np.int64]


class Clock(NamedTuple):
    """The bars on which entries are laid out: their opens, and the first bar of each segment."""

    time_ms: Ints
    segment_start: Ints


@dataclass(frozen=True, slots=True)
class LedgerNames:
    """What the codes of ledger rows stand for: assets, the instrument of each leg, and accounts."""

    assets: tuple[str, ...]
    symbols: tuple[str, ...]
    accounts: tuple[str, ...] = ACCOUNTS


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of one symbol: kernel records as `hold` takes them, and the middle part of each run's name."""

    symbol: str
    names: LedgerNames
    rows: npt.NDArray[Any]  # (n,) plan.ENTRY
    labels: list[str]  # symbol/time/side/leverage
    held_ms: Ints  # (n,) how long each is held at most

    def only(self, chosen: Sequence[int]) -> Entries:
        """Give some of the entries, by their places."""
        return replace(
            self,
            rows=self.rows[list(chosen)],
            labels=[self.labels[i] for i in chosen],
            held_ms=self.held_ms[list(chosen)],
        )

    def under(self, *, posted_e8: int, qty_share_e8: int) -> npt.NDArray[Any]:
        """Give the records with another margin posted or another share of the quantity."""
        rows = self.rows.copy()
        rows["posted_e8"], rows["qty_share_e8"] = posted_e8, qty_share_e8
        return rows


def schedule(study: Study, symbol: str, tape: Tape) -> Entries:
    """Lay out every entry of a symbol, with the contract's steps and minima at its time."""
    asset = contract_at(study.market.venue, symbol, study.market.start_ms).settle
    entries = laid_out(study, symbol, symbol, Clock(tape.time_ms, tape.segment_start), LedgerNames((asset,), (symbol,)))
    rows = entries.rows
    for from_ms, contract in contracts(study.market.venue, symbol, np.unique(rows["entry_ms"])):
        later = rows["entry_ms"] >= from_ms
        rows["step_e8"][later], rows["min_notional_e8"][later] = contract.qty_step_e8, contract.min_notional_e8
    return entries


def at_signal(study: Study, symbol: str, outside: Outside, times_ms: Ints) -> Study:
    """Give a study that opens positions at a signal with a symbol's entries as a list; any other as it is.

    An entry at the first bar open at or after each change of the signal to a value that is not 0, to the side of its
    sign or to each side of the study. What was known before the first bar opens nothing.
    """
    spec = study.entries
    if spec.when is None:
        return study
    rows = firing_rows(outside.signal(spec.when), times_ms)
    listed = [
        Listed(int(times_ms[row["bars"]]), symbol, side, leverage)
        for row in rows[rows["bars"] > 0]
        for side in spec.sides or (1 if row["amount"] > 0 else -1,)
        for leverage in spec.leverages_e2
    ]
    if not listed:
        raise StudyError.at(f"{symbol}: entries.when", f'the signal "{spec.when}" does not change', "take another")
    return replace(study, entries=replace(spec, listed=tuple(listed)))


def laid_out(study: Study, name: str, symbol: str, clock: Clock, names: LedgerNames) -> Entries:
    """Lay out each time, side and leverage of a study, or what its list holds of a symbol; runs bear the `name`.

    Counted by `every` from the first 00:00 UTC, at or after `start`, from which there are bars. An entry time
    without a bar is kept and refused by the replay.
    """
    spec = study.entries
    times, sides, leverages_e2, held_ms = _by_list(spec, symbol) if spec.every_ms is None else _by_clock(study, clock)
    if not len(times):
        raise StudyError.at(name, "no entry fits between the first bar and the stop", "widen start and stop")
    rows = np.zeros(len(times), ENTRY)
    rows["entry_ms"], rows["side"], rows["leverage_e2"] = times, sides, leverages_e2
    bar = np.searchsorted(clock.time_ms, rows["entry_ms"])
    present = (bar < len(clock.time_ms)) & (clock.time_ms[np.minimum(bar, len(clock.time_ms) - 1)] == rows["entry_ms"])
    rows["entry_bar"] = np.where(present, bar, NONE)
    rows["entry_segment"] = np.searchsorted(clock.segment_start, bar, side="right") - 1
    rows["exit_bar"] = np.searchsorted(clock.time_ms, rows["entry_ms"] + held_ms)
    margin = study.capital_e8 * spec.margin_share_e8 // E8
    rows["capital_e8"], rows["sizing_margin_e8"], rows["posted_e8"] = study.capital_e8, margin, margin
    rows["qty_share_e8"] = E8
    rows["baseline_liquidation_ms"] = rows["baseline_exit_ms"] = NONE
    heads = {ms: f"{name}/{time_text(ms).replace(' ', 'T').replace(':', '')}" for ms in np.unique(times).tolist()}
    labels = [
        f"{heads[ms]}/{side_name(side)}/{leverage_text(leverage)}"
        for ms, side, leverage in zip(times.tolist(), sides.tolist(), leverages_e2.tolist(), strict=True)
    ]
    return Entries(name, names, rows, labels, held_ms)


def _by_clock(study: Study, clock: Clock) -> tuple[Ints, Ints, Ints, Ints]:
    """Give times, sides, leverages and horizons of a schedule: all forms at each time."""
    spec = study.entries
    begin = max(study.market.start_ms, int(clock.time_ms[0]))
    first = -(-begin // DAY_MS) * DAY_MS
    last = min(study.market.stop_ms, int(clock.time_ms[-1]) + 1)
    times = np.arange(first, last, spec.every_ms, dtype=np.int64)
    forms = np.array([(side, leverage) for side in spec.sides for leverage in spec.leverages_e2], np.int64)
    held = np.full(len(times) * len(forms), spec.horizon_ms, np.int64)
    return np.repeat(times, len(forms)), np.tile(forms[:, 0], len(times)), np.tile(forms[:, 1], len(times)), held


def _by_list(spec: EntrySpec, symbol: str) -> tuple[Ints, Ints, Ints, Ints]:
    """Give times, sides, leverages and horizons of a list, of those leverages that the study has."""
    mine = [one for one in spec.listed if one.symbol == symbol and one.leverage_e2 in spec.leverages_e2]
    rows = [(one.time_ms, one.side, one.leverage_e2, one.until_ms) for one in mine]
    time, side, leverage_e2, until = np.array(rows, np.int64).reshape(-1, 4).T
    held = np.where(until == NONE, spec.horizon_ms, np.minimum(until - time, spec.horizon_ms))
    return time, side, leverage_e2, held


def contracts(venue: str, symbol: str, times: Ints) -> list[tuple[int, Contract]]:
    """Give the contract's steps and minima by the first entry time at which they differ."""
    steps: list[tuple[int, Contract]] = []
    for time in times.tolist():
        contract = contract_at(venue, symbol, time)
        if not steps or (contract.qty_step_e8, contract.min_notional_e8) != (
            steps[-1][1].qty_step_e8,
            steps[-1][1].min_notional_e8,
        ):
            steps.append((time, contract))
    return steps


def fidelities(tables: tuple[TierTable, ...], start_ms: Ints, end_ms: Ints, mode: str) -> npt.NDArray[np.int64]:
    """Give, for each run, the index in TIER_FIDELITY of the worst class of the tables in force over it."""
    edges = sorted({edge for table in tables for edge in (table.first_ms, table.last_ms + 1)})
    starts = np.array([-(2**62), *edges], np.int64)
    ranks = np.array([TIER_FIDELITY.index(fidelity(tables, at, at, mode)) for at in [edges[0] - 1, *edges]], np.int64)
    worst = np.array([[ranks[i : j + 1].max(initial=0) for j in range(len(ranks))] for i in range(len(ranks))])
    first = np.searchsorted(starts, start_ms, side="right") - 1
    last = np.searchsorted(starts, end_ms, side="right") - 1
    return np.asarray(worst[first, last], np.int64)


def near_gap(holes: tuple[tuple[int, int], ...], start_ms: Ints, end_ms: Ints) -> npt.NDArray[np.bool_]:
    """Tell for each run whether a missing row lies between a day before its entry and its exit."""
    if not holes:
        return np.zeros(len(start_ms), bool)
    ordered = sorted(holes)
    firsts = np.array([first for first, _ in ordered], np.int64)
    lasts = np.maximum.accumulate(np.array([last for _, last in ordered], np.int64))
    index = np.searchsorted(lasts, start_ms - DAY_MS)
    inside = index < len(firsts)
    return inside & (firsts[np.minimum(index, len(firsts) - 1)] <= end_ms)
