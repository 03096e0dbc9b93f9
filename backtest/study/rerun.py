"""Bring single runs of a study back: the same replay over chosen entries, with every ledger row kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.engine.batch import Batch
from backtest.engine.compiled import Rules
from backtest.engine.plan import NONE, SCRIPT_ROW
from backtest.errors import StudyError, did_you_mean
from backtest.study.chain import link_rows
from backtest.study.config import Study
from backtest.study.entries import Entries
from backtest.study.facts import Runs
from backtest.study.jobs import Job
from backtest.study.kernels import AnyMarket, replay_on
from backtest.study.naming import HOLD
from backtest.study.runner import SymbolData, terms
from backtest.study.scripts import play_back
from backtest.units import E8

Rows = npt.NDArray[Any]


def find_job(all_jobs: Sequence[Job], strategy: str, reaction: str) -> Job:
    """Give the job of a strategy and reaction; StudyError with the nearest name where there is none."""
    for job in all_jobs:
        if (job.strategy, job.reaction) == (strategy, reaction):
            return job
    names = {job.strategy for job in all_jobs}
    if strategy in names:
        reactions = " or ".join(f'"{job.reaction}"' for job in all_jobs if job.strategy == strategy)
        raise StudyError.at(strategy, f'has no reaction "{reaction}"', f"it has {reactions}")
    raise StudyError.at(strategy, "is no strategy of this study", did_you_mean(strategy, names))


def rerun(
    study: Study,
    data: SymbolData,
    all_jobs: Sequence[Job],
    job: Job,
    chosen: Sequence[int],
    donors: Sequence[str | None] = (),
    capitals_e8: Sequence[int] = (),
) -> Runs:
    """Replay the chosen entries (places in `data.entries`) under one job, paired with `hold` as in the study.

    `donors` names, for each chosen entry of a shuffled job, the run whose actions it plays back. `capitals_e8` says
    what each link of a continuous account began with; a link has no pair.
    """
    job = job.on(data.times_ms, data.outside)
    separate = study.entries.continuous is None
    entries = _under(study, data, job, chosen) if separate else _links(study, data, job, chosen, capitals_e8)
    rows = entries.rows
    if job.strategy != HOLD and separate:
        hold = rerun(study, data, all_jobs, find_job(all_jobs, HOLD, all_jobs[0].reaction), chosen).batch.outcomes
        rows["baseline_liquidation_ms"] = np.where(hold["liquidated"] == 1, hold["liquidation_ms"], NONE)
        rows["baseline_exit_ms"] = hold["exit_ms"]
    script = np.zeros(0, SCRIPT_ROW)
    if job.shuffled_of is not None:
        donor_job = find_job(all_jobs, job.shuffled_of, job.reaction)
        script = _script(study, data, all_jobs, donor_job, rows, donors)
    settings = job.under(terms(study))
    plan = data.plan(settings, job.rules, next_open=job.reaction == "next_open")
    batch = replay_on(data.market, plan, job.rules, rows, script=script, keep="all")
    return Runs(job, settings, entries, script, batch)


def _under(study: Study, data: SymbolData, job: Job, chosen: Sequence[int]) -> Entries:
    posted = study.capital_e8 * job.posted_share_e8 // E8
    rows = data.entries.under(posted_e8=posted, qty_share_e8=job.qty_share_e8)
    return replace(data.entries, rows=rows).only(chosen)


def _links(study: Study, data: SymbolData, job: Job, chosen: Sequence[int], capitals_e8: Sequence[int]) -> Entries:
    entries = data.entries.only(chosen)
    return replace(entries, rows=link_rows(study, job, entries, capitals_e8))


def _script(
    study: Study,
    data: SymbolData,
    all_jobs: Sequence[Job],
    donor_job: Job,
    rows: Rows,
    donors: Sequence[str | None],
) -> Rows:
    """Replay the donors, point each row at its donor's accepted actions, and give these as a script."""
    place = {f"{donor_job.strategy}/{label}/{donor_job.reaction}": i for i, label in enumerate(data.entries.labels)}
    used = sorted({place[donor] for donor in donors if donor is not None})
    batch = rerun(study, data, all_jobs, donor_job, used).batch
    drawn = [NONE if donor is None else used.index(place[donor]) for donor in donors]
    clock = data.clock(data.entries.rows["entry_ms"][used])
    return play_back(rows, np.array(drawn, np.int64), batch, clock)


def again(market: AnyMarket, plan: Any, rules: Rules, rows: Rows, script: Rows | None) -> Batch:
    """Replay in this thread for outcomes alone: a `facts.Replay`."""
    return replay_on(market, plan, rules, rows, script=script, record=False)
