"""Explain a run of a finished study: from its folder and the lake to its story."""

from __future__ import annotations

from pathlib import Path

from backtest.data.store import Lake
from backtest.study.archive import decisions
from backtest.study.results import Results
from backtest.study.runner import load_symbol, study_jobs
from backtest.study.story import Ledger, Story, hold_id, replayed_ledger, tell


def explain(results: Results, run_id: str, lake: Path) -> tuple[Story, list[str]]:
    """Give the story of a run, and the parts of what decides the study that are not what they were.

    Its rows are read where they were kept, else made again by replaying it.
    """
    study = results.study
    outcome, hold = results.outcome(run_id), results.outcome(hold_id(run_id))
    all_jobs = study_jobs(study, str(results.folder))
    loaded = [load_symbol(study, Lake(lake), symbol) for symbol in study.market.symbols]
    data = next(data for data in loaded if data.symbol == outcome["symbol"])
    tables = results.ledger(run_id) or replayed_ledger(study, data, all_jobs, outcome)
    now = decisions(study, loaded, all_jobs)
    changed = [part for part, value in results.manifest["decided_by"].items() if now.get(part) != value]
    return tell(study, data, outcome, Ledger.of(tables), hold), changed
