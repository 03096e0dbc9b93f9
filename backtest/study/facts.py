"""What is said of a job's runs beside their replay: the baseline's exposure, certainty, tier tables and gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.engine.batch import Batch, Terms
from backtest.engine.compiled import Rules, prepare
from backtest.study.entries import fidelities, near_gap
from backtest.study.jobs import Job
from backtest.study.kernels import AnyMarket
from backtest.study.outcomes import Facts, baseline_paired

if TYPE_CHECKING:
    from backtest.study.entries import Entries
    from backtest.study.pools import Pool
    from backtest.study.runner import SymbolData

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]
# Market, plan, rules, entries and script, to what they leave; ledger rows need not be kept.
Replay = Callable[[AnyMarket, Any, Rules, Rows, Rows | None], Batch]


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one job: what the kernel was given, and what it wrote.

    `entries.rows[i]` is the entry of run i of `batch`; `script` holds the actions of shuffled runs.
    """

    job: Job
    terms: Terms
    entries: Entries
    script: Rows
    batch: Batch


def facts_of(
    data: SymbolData,
    tiers_mode: str,
    runs: Runs,
    hold: Runs,
    replay: Replay,
    *,
    to_survive_e8: Ints | None = None,
    donors: list[str | None] | None = None,
) -> Facts:
    """Give the facts of a job's runs, beside those of `hold` on the same entries."""
    entry_ms, exit_ms = runs.entries.rows["entry_ms"], runs.batch.outcomes["exit_ms"]
    end_ms = np.maximum(entry_ms, exit_ms)  # a refused entry has no exit
    worst = [fidelities(one.tiers, entry_ms, end_ms, tiers_mode) for one in data.instruments]
    holes = (
        *(hole for one in data.instruments for hole in one.result.holes),
        *(hole for one in data.assets for hole in one.holes),
    )
    return Facts(
        baseline_paired_e2=_paired_e2(data, hold, exit_ms, replay),
        fidelity=np.max(worst, axis=0),
        near_gap=near_gap(holes, entry_ms, end_ms),
        to_survive_e8=to_survive_e8,
        certain=_certain(data, runs, replay),
        donors=donors,
    )


def _paired_e2(data: SymbolData, hold: Runs, exit_ms: Ints, replay: Replay) -> Ints:
    """Give the baseline's notional-hours over the bars that begin before the earlier end of run and baseline.

    With several legs the baseline is replayed again for the runs that ended before it, and cut where they ended.
    """
    if data.pool is None:
        return baseline_paired(data.result.tape, hold.batch, exit_ms, hold.entries)
    outcome = hold.batch.outcomes
    paired = outcome["notional_hours_paired_e2"].astype(np.int64)
    short = np.flatnonzero((exit_ms >= 0) & (exit_ms < outcome["exit_ms"]))
    if len(short):
        rows = hold.entries.rows[short]
        rows["baseline_exit_ms"] = exit_ms[short]
        nothing = prepare([])
        plan = data.plan(hold.terms, nothing, next_open=False)
        paired[short] = replay(data.market, plan, nothing, rows, None).outcomes["notional_hours_paired_e2"]
    return np.asarray(paired, np.int64)


def _certain(data: SymbolData, runs: Runs, replay: Replay) -> npt.NDArray[np.bool_]:
    """Tell which liquidations come whatever the order in which the extremes of several marks were reached.

    A position that is alone in its account knows one mark, which did reach its extreme: all of its are certain. Others
    are where they come when only opens and closes are visited, too. The rows of liquidated runs must be kept.
    """
    lost = runs.batch.outcomes["liquidated"] == 1
    if data.pool is None or not lost.any():
        return np.asarray(lost)
    synced, job = data.synced(), runs.job
    plan = synced.plan(runs.terms, job.rules, next_open=job.reaction == "next_open")
    certain = np.asarray(lost & ~_shares_account(data.pool, plan, runs.batch))
    asked = lost & ~certain
    if asked.any():
        again = replay(synced.market, plan, job.rules, runs.entries.rows[asked], runs.script)
        certain[asked] = again.outcomes["liquidated"] == 1
    return certain


def _shares_account(pool: Pool, plan: Any, batch: Batch) -> npt.NDArray[np.bool_]:
    """Tell which liquidated runs ever had anything beside the first core leg in its account."""
    if pool.form.core_count > 1 or pool.form.collaterals:
        return np.ones(len(batch.outcomes), bool)
    slots = batch.fills["slot"].astype(np.int64)
    beside = (slots > 0) & (plan["leg_unit"][slots] == 0)
    found = np.zeros(len(batch.outcomes), bool)
    found[batch.fills["run"][beside]] = True
    return found
