"""Run a study of continuous accounts: every account under every strategy, over each symbol's tape.

The links of an account wait for each other, so a worker plays one job over one symbol. The results are in the order of
symbols and jobs, whatever the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from backtest.engine.batch import Batch
from backtest.engine.plan import SCRIPT_ROW
from backtest.study.accounts import ACCOUNT_TABLES, account_tables
from backtest.study.chain import Chain, accounts_of, play
from backtest.study.config import Study
from backtest.study.crew import cores
from backtest.study.facts import Runs, facts_of
from backtest.study.jobs import Job
from backtest.study.kernels import replay_on
from backtest.study.naming import HOLD
from backtest.study.outcomes import REFUSED, ledger_tables, outcome_table
from backtest.study.rerun import again
from backtest.study.runner import Progress, Sink, SymbolData, Tally, Totals, require_an_entry, terms


def account_count(loaded: Sequence[SymbolData]) -> int:
    """Count the accounts of one job."""
    return sum(len(accounts_of(data.entries)) for data in loaded)


def run_accounts(
    study: Study,
    loaded: Sequence[SymbolData],
    sink: Sink,
    all_jobs: Sequence[Job],
    where: str,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    tally: Tally | None = None,
) -> tuple[dict[str, pa.Table], Totals]:
    """Play every account of a study; runs and their rows go to the sink. Give the tables of accounts, and the totals.

    `progress` counts accounts. Raises StudyError, with the file `where`, when the venue would have refused every entry.
    """
    totals, begin = Totals(), time.perf_counter()
    parts: dict[str, list[pa.Table]] = {name: [] for name in ACCOUNT_TABLES}
    work = [(data, job.on(data.times_ms, data.outside)) for data in loaded for job in all_jobs]
    done, expected = 0, len(all_jobs) * account_count(loaded)
    pool = ThreadPoolExecutor(workers or study.workers or cores(), thread_name_prefix="accounts")
    holds: list[Batch] = []
    try:
        for part in pool.map(lambda one: _play(study, *one), work):
            sink.write(part.outcomes, part.ledger)
            for name, table in part.accounts.items():
                parts[name].append(table)
            _count(totals, part)
            if part.chain.job.strategy == HOLD:
                holds.append(part.chain.batch)
            done += len(part.accounts["accounts"])
            if progress is not None:
                progress(done, expected)
            if tally is not None:
                job, lost = part.chain.job, int((part.chain.batch.outcomes["liquidated"] == 1).sum())
                tally(job.strategy, job.reaction, len(part.outcomes), lost)
    finally:
        pool.shutdown(cancel_futures=True)
    require_an_entry(holds, where)
    totals.replay_seconds = time.perf_counter() - begin
    return {name: pa.concat_tables(tables) for name, tables in parts.items()}, totals


@dataclass(frozen=True, slots=True)
class _Part:
    """What one job leaves over one symbol."""

    chain: Chain
    run_bars: int
    outcomes: pa.Table
    ledger: dict[str, pa.Table]
    accounts: dict[str, pa.Table]


def _play(study: Study, data: SymbolData, job: Job) -> _Part:
    assert study.entries.continuous is not None
    settings = job.under(terms(study))
    plan = data.plan(settings, job.rules, next_open=job.reaction == "next_open")
    chain = play(study, job, data.entries, lambda rows: replay_on(data.market, plan, job.rules, rows, keep="all"))
    outcome, entries = chain.batch.outcomes, chain.entries
    # A link has no pair under `hold`: it stands for its own.
    runs = Runs(job, settings, entries, np.zeros(0, SCRIPT_ROW), chain.batch)
    facts = facts_of(data, study.market.tiers, runs, runs, again)
    stop = np.searchsorted(data.times_ms, outcome["exit_ms"], side="right")
    return _Part(
        chain,
        run_bars=int((stop - entries.rows["entry_bar"])[outcome["reason"] != REFUSED].sum()),
        outcomes=outcome_table(study.market.venue, job, entries, chain.batch, facts),
        ledger=ledger_tables(job, entries, chain.batch, outcome["liquidated"] == 1),
        accounts=account_tables(data, chain, study.entries.continuous),
    )


def _count(totals: Totals, part: _Part) -> None:
    totals.runs += len(part.outcomes)
    totals.run_bars += part.run_bars
    totals.bars_visited += int(part.chain.batch.outcomes["bars_visited"].sum())
