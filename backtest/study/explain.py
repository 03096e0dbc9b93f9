"""Explain a run of a finished study: from its folder and the lake to its story."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from backtest.analysis.money import Money
from backtest.data.store import Lake
from backtest.study.archive import decisions
from backtest.study.results import Results
from backtest.study.runner import load, study_jobs, terms
from backtest.study.single_runs import run_money
from backtest.study.story import Ledger, hold_id, replayed_ledger
from backtest.study.telling import AnyStory, bars, tell_run


@dataclass(frozen=True, slots=True)
class Explanation:
    """One run explained: its story, its bars, its money, and the parts of what decides the study that have changed."""

    story: AnyStory
    bars: pa.Table | None  # None for a refused entry
    money: Money | None
    changed: tuple[str, ...]


def explain(results: Results, run_id: str, lake: Path, *, debug: bool = False) -> Explanation:
    """Explain a run of a finished study.

    Its rows are read where they were kept, else made again by replaying it; with `debug` it is always replayed, and
    its rules are called for nothing else.
    """
    study = results.study
    outcome = results.outcome(run_id)
    hold = results.outcome(hold_id(run_id)) if study.entries.continuous is None else None  # a link has no pair
    all_jobs = study_jobs(study, str(results.folder), tried=not debug)
    loaded = load(study, Lake(lake))
    data = next(data for data in loaded if data.symbol == outcome["symbol"])
    kept = None if debug else results.ledger(run_id)
    tables = kept or replayed_ledger(study, data, all_jobs, outcome)
    now = decisions(study, loaded, all_jobs)
    changed = tuple(part for part, value in results.manifest["decided_by"].items() if now.get(part) != value)
    story = tell_run(study, data, outcome, Ledger.of(tables), hold)
    if outcome["exit_reason"] == "refused":
        return Explanation(story, None, None, changed)
    followed = bars(data, terms(study), outcome, tables)
    return Explanation(story, followed, run_money(data, outcome, tables), changed)
