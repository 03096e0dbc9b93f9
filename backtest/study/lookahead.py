"""Does a study see the future? Another future is put after a time, and what was written before it must not change.

1. A symbol's history is cut one bar after some of its fills and actions, where a look ahead by one bar would show. From
   each cut on, prices, funding, tier rates, signals and what is said of events are replaced by made-up ones.
2. Every run that is open at a cut is replayed over both futures, under each strategy and reaction.
3. Every transfer, fill and action before the cut is compared.
4. At a few cuts, every signal is computed from what was known before; its values must be those that it had.

Twins are left out: they play back what other runs did later, or draw events over the whole range, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.data.calendar import Statement
from backtest.data.store import Lake
from backtest.engine.batch import Batch, replay_batch
from backtest.engine.feed import Steps
from backtest.engine.market import Market, market_of
from backtest.study.config import Study
from backtest.study.continuous import require_separate
from backtest.study.entries import Entries, at_signal, schedule
from backtest.study.instruments import replayed_lake
from backtest.study.jobs import Job
from backtest.study.outside import Outside, outside_of
from backtest.study.runner import Progress, terms
from backtest.study.shortcuts import History, Prices
from backtest.study.simplified import read_history
from backtest.units import E8

CUTS = 24  # at most, for each symbol
SIGNAL_CUTS = 3  # of them, at which signals are computed again
TABLES = ("transfers", "fills", "actions")


@dataclass(frozen=True, slots=True)
class Changed:
    """A run that did something else before a time, because of what came after it."""

    run_id: str
    cut_ms: int
    table: str
    time_ms: int  # of the first row that differs


@dataclass(frozen=True, slots=True)
class Lookahead:
    """What putting another future showed: how much was compared, and what changed."""

    replays: int
    rows: int
    changed: tuple[Changed, ...]


def other_future(history: History, cut_ms: int, seed: int) -> History:
    """Replace everything of a history that is known at or after a time, by numbers drawn with a seed."""
    generator = np.random.Generator(np.random.PCG64(seed))
    later = history.time_ms >= cut_ms

    def changed(prices: Prices) -> Prices:
        factor = np.where(later, generator.uniform(0.5, 1.5, len(later)), 1.0)
        return Prices(*(np.where(later, (column * factor).astype(np.int64), column) for column in prices))

    rates = generator.integers(-E8 // 1000, E8 // 1000, len(history.funding)).tolist()
    first = history.tiers[0]  # in force before it was first seen, too
    tiers = tuple(
        table
        if table.first_ms < cut_ms or table is first
        else replace(table, tiers=tuple(tier._replace(rate_e8=tier.rate_e8 * 3 // 2) for tier in table.tiers))
        for table in history.tiers
    )
    return replace(
        history,
        last=changed(history.last),
        mark=changed(history.mark),
        funding=tuple(
            (t, rate if t < cut_ms else other) for (t, rate), other in zip(history.funding, rates, strict=True)
        ),
        tiers=tiers,
    )


def lookahead(study: Study, lake: Lake, all_jobs: Sequence[Job], progress: Progress | None = None) -> Lookahead:
    """Put another future after several times of every symbol, and list the runs that noticed."""
    require_separate(study, "lookahead")
    lake = replayed_lake(study, lake)
    own = [job for job in all_jobs if not job.is_twin]
    replays = rows = 0
    found: list[Changed] = []
    for place, symbol in enumerate(study.market.symbols):
        history = read_history(study, lake, symbol)
        tape = history.tape()
        outside, market = outside_of(study, lake, symbol), market_of(tape)
        entries = schedule(at_signal(study, symbol, outside, tape.time_ms), symbol, tape)
        mine = [job.on(tape.time_ms, outside) for job in own]
        cuts = _cuts(study, history, [_replay(study, job, entries, market) for job in mine])
        for bar in cuts[:: max(1, len(cuts) // SIGNAL_CUTS)]:
            found += _changed_signals(study, lake, symbol, outside, mine, int(history.time_ms[bar]))
        for number, bar in enumerate(cuts):
            cut_ms = int(history.time_ms[bar])
            other = market_of(other_future(history, cut_ms, study.seed + number).tape())
            chosen = _open_at(entries, bar)
            elsewhere = other_outside(outside, cut_ms, study.seed + number)
            for job in mine:
                both = (job, market), (job.on(tape.time_ms, elsewhere), other)
                pair = [_before(_replay(study, one, chosen, where), cut_ms) for one, where in both]
                replays += len(chosen.rows)
                rows += sum(len(table) for table in pair[0].values())
                found += _differences(job, chosen, cut_ms, *pair)
            if progress is not None:
                progress(place * CUTS + number + 1, len(study.market.symbols) * CUTS)
    return Lookahead(replays, rows, tuple(found))


def other_outside(outside: Outside, cut_ms: int, seed: int) -> Outside:
    """Replace what is known of signals and events at or after a time by what is drawn with a seed."""

    def signal(name: str) -> Steps:
        steps = outside.signal(name)
        later = steps.available_ms >= cut_ms
        drawn = np.random.Generator(np.random.PCG64(seed)).normal(0.0, 100.0, len(later))
        return Steps(steps.available_ms, np.where(later, np.round(drawn), steps.value))

    def statements(kind: str) -> Sequence[Statement]:
        return [s for s in outside.statements(kind) if s.known_ms < cut_ms]

    return Outside(signal, statements)


def _changed_signals(
    study: Study, lake: Lake, symbol: str, outside: Outside, own: Sequence[Job], cut_ms: int
) -> Iterator[Changed]:
    """Compute every signal from what was known before a time, and compare."""
    then = outside_of(replace(study, market=replace(study.market, stop_ms=cut_ms)), lake, symbol)
    for name in sorted({name for job in own for name in job.rules.signals}):
        ours, theirs = outside.signal(name), then.signal(name)
        for row, other in zip_longest(_rows_before(ours, cut_ms), _rows_before(theirs, cut_ms)):
            if row != other:
                yield Changed(f"signal {name}/{symbol}", cut_ms, "signal", (row or other)[0])
                break


def _rows_before(steps: Steps, cut_ms: int) -> list[tuple[int, str]]:
    """Give the rows of a signal that were known before a time; a value that is not known equals itself as text."""
    known = steps.available_ms < cut_ms
    return list(zip(steps.available_ms[known].tolist(), map(repr, steps.value[known].tolist()), strict=True))


def _cuts(study: Study, history: History, batches: Sequence[Batch]) -> list[int]:
    """Draw the bars after which the future is another: each the one after a fill or an action."""
    times = np.unique(np.concatenate([rows["time_ms"] for batch in batches for rows in (batch.fills, batch.actions)]))
    after = np.searchsorted(history.time_ms, times) + 1
    after = after[after < len(history.time_ms)]
    drawn = np.random.Generator(np.random.PCG64(study.seed)).permutation(after)[:CUTS]
    return [int(bar) for bar in np.sort(drawn)]


def _open_at(entries: Entries, bar: int) -> Entries:
    """Keep the entries whose runs begin before a bar and may last beyond it."""
    rows = entries.rows
    kept = np.flatnonzero((rows["entry_bar"] >= 0) & (rows["entry_bar"] < bar) & (rows["exit_bar"] > bar))
    return entries.only(kept.tolist())


def _replay(study: Study, job: Job, entries: Entries, market: Market) -> Batch:
    rows = entries.under(posted_e8=study.capital_e8 * job.posted_share_e8 // E8, qty_share_e8=job.qty_share_e8)
    settings = job.under(terms(study))
    plan = settings.plan(job.rules, next_open=job.reaction == "next_open")
    return replay_batch(market, plan, job.rules, rows, keep="all")


def _before(batch: Batch, cut_ms: int) -> dict[str, npt.NDArray[Any]]:
    tables = {name: getattr(batch, name) for name in TABLES}
    return {name: table[table["time_ms"] < cut_ms] for name, table in tables.items()}


def _differences(
    job: Job, entries: Entries, cut_ms: int, ours: dict[str, npt.NDArray[Any]], theirs: dict[str, npt.NDArray[Any]]
) -> Iterator[Changed]:
    for name in TABLES:
        if ours[name].tolist() == theirs[name].tolist():
            continue
        for run, label in enumerate(entries.labels):
            a, b = (table[name][table[name]["run"] == run].tolist() for table in (ours, theirs))
            if a != b:
                place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
                row = (a if len(a) > place else b)[place]
                time_ms = int(row[(ours[name].dtype.names or ()).index("time_ms")])
                yield Changed(f"{job.strategy}/{label}/{job.reaction}", cut_ms, name, time_ms)
