"""The main job: a study from TOML to a folder with tables, summary and report. Joins `study` and `report`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from backtest.analysis.pairs import READ
from backtest.data.disk import write_atomic
from backtest.data.store import Lake
from backtest.errors import in_file
from backtest.report.accounts import AccountsInput, AccountsModel, accounts_csv, build_accounts
from backtest.report.accounts_page import accounts_markdown, render_accounts
from backtest.report.html import render_model
from backtest.report.markdown import render_markdown
from backtest.report.model import Model, ReportInput, build
from backtest.report.summary_csv import summary_csv
from backtest.study import evidence
from backtest.study.account_runs import account_count, run_accounts
from backtest.study.accounts import ACCOUNTS, BLOCKS
from backtest.study.archive import ParquetSink, decisions, staged, write_manifest, write_provenance
from backtest.study.assumptions import assumptions
from backtest.study.canonical import resolved
from backtest.study.config import Study
from backtest.study.jobs import Job
from backtest.study.runner import Progress, SymbolData, Tally, Totals, load, run, study_jobs
from backtest.study.sensitivity import sensitivity
from backtest.study.single_runs import SingleRuns
from backtest.study.unfinished import INTERRUPTED, Tracked, finished_before, kept_when_interrupted
from backtest.units import time_text


@dataclass(frozen=True, slots=True)
class Comparison:
    """A finished study: its tables and report model, what the replay did, and where it lies."""

    outcomes: pa.Table
    model: Model | AccountsModel
    totals: Totals
    folder: Path
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a comparison would do: its runs (`unit` names them), and by symbol the data and entries they rest on."""

    jobs: int
    runs: int
    symbols: list[dict[str, object]]
    unit: str
    finer: list[dict[str, object]]
    assets: list[dict[str, object]]


def dry_run(study: Study, lake_root: Path, where: str) -> DryRun:
    """Load everything a study needs and count its runs, without replaying any."""
    all_jobs = study_jobs(study, where)
    with in_file(where):
        loaded = load(study, Lake(lake_root))
    separate = study.entries.continuous is None
    symbols = [
        {
            "symbol": data.symbol,
            "bars": len(data.times_ms),
            "first": time_text(int(data.times_ms[0])),
            "last": time_text(int(data.times_ms[-1])),
            "holes": sum(len(one.result.holes) for one in data.instruments),
            "entries": len(data.entries.rows),
            "without a bar": int((data.entries.rows["entry_bar"] < 0).sum()),
            "tier tables": sum(len(one.tiers) for one in data.instruments),
        }
        for data in loaded
    ]
    count = sum(len(data.entries.rows) for data in loaded) if separate else account_count(loaded)
    unit = "runs" if separate else "continuous accounts"
    said = {"finer": evidence.finer(loaded), "assets": evidence.asset_coverage(loaded)}
    return DryRun(len(all_jobs), count * len(all_jobs), symbols, unit, **said)


def compare(
    study: Study,
    lake_root: Path,
    folder: Path,
    where: str,
    *,
    reproduce: list[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    tally: Tally | None = None,
    stage: Callable[[str], None] | None = None,
) -> Comparison:
    """Replay a study and write outcomes, ledger, summary, report, manifest and provenance into a folder.

    When it fails the folder is as it was. When it is interrupted, too, but for `.interrupted` in it, which holds the
    jobs that were finished: the next call of the same study goes on from them.
    """
    if study.entries.continuous is not None:
        return _compare_accounts(study, Lake(lake_root), folder, where, reproduce or [], workers, progress, tally)
    say = stage or (lambda _: None)
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    lake = Lake(lake_root)
    say("compiling the rules")
    all_jobs = study_jobs(study, where)
    seconds["rules"] = time.perf_counter() - begin
    with staged(folder) as staging:
        with in_file(where):
            loaded = load(study, lake)
        hashes = decisions(study, loaded, all_jobs)
        sink = ParquetSink(staging)
        tracked = Tracked(sink)
        with kept_when_interrupted(staging, tracked, hashes, len(loaded) * len(all_jobs)):
            say("replaying")
            totals = run(
                study, loaded, tracked, all_jobs, where,
                kept=finished_before(folder, hashes), workers=workers, progress=progress, tally=tally,
            )  # fmt: skip
            outcomes = sink.close()
            seconds["run"] = time.perf_counter() - begin - seconds["rules"]
            seconds["replay"] = totals.replay_seconds
            say("replaying under other assumptions")
            mark = time.perf_counter()
            replayed = sensitivity(study, loaded, all_jobs, workers)
            others = {name: table.select(READ) for name, table in replayed.items()}
            del replayed
            seconds["sensitivity"] = time.perf_counter() - mark
            say("writing the report")
            mark = time.perf_counter()
            model = build(_report_input(study, lake, loaded, all_jobs, outcomes, staging, reproduce or [], others))
            write_atomic(staging / "summary.csv", summary_csv(model.summary).encode())
            write_atomic(staging / "report.md", render_markdown(model).encode())
            write_atomic(staging / "report.html", render_model(model).encode())
            write_manifest(staging, study, hashes, sink.rows, model.input.coverage, model.input.reproduce)
            seconds["report"] = time.perf_counter() - mark
            seconds["all"] = time.perf_counter() - begin
            facts = {"runs": totals.runs, "run_bars": totals.run_bars, "bars_visited": totals.bars_visited}
            write_provenance(staging, seconds, facts)
    shutil.rmtree(folder / INTERRUPTED, ignore_errors=True)
    return Comparison(outcomes, model, totals, folder, seconds)


def _compare_accounts(
    study: Study,
    lake: Lake,
    folder: Path,
    where: str,
    reproduce: list[str],
    workers: int | None,
    progress: Progress | None,
    tally: Tally | None,
) -> Comparison:
    """Play a study of continuous accounts; when it fails or is interrupted the folder is as it was."""
    begin = time.perf_counter()
    all_jobs = study_jobs(study, where)
    with staged(folder) as staging:
        with in_file(where):
            loaded = load(study, lake)
        sink = ParquetSink(staging)
        tables, totals = run_accounts(
            study, loaded, sink, all_jobs, where, workers=workers, progress=progress, tally=tally
        )
        outcomes = sink.close()
        for name, table in tables.items():
            pq.write_table(table, staging / f"{name}.parquet", compression="zstd", write_page_checksum=True)
        model = build_accounts(_accounts_input(study, loaded, outcomes, tables, staging, reproduce))
        write_atomic(staging / "summary.csv", accounts_csv(model).encode())
        write_atomic(staging / "report.md", accounts_markdown(model).encode())
        write_atomic(staging / "report.html", render_accounts(model).encode())
        rows = sink.rows | {name: len(table) for name, table in tables.items()}
        write_manifest(staging, study, decisions(study, loaded, all_jobs), rows, model.input.coverage, reproduce)
        seconds = {"replay": totals.replay_seconds, "all": time.perf_counter() - begin}
        facts = {"runs": totals.runs, "run_bars": totals.run_bars, "bars_visited": totals.bars_visited}
        write_provenance(staging, seconds, facts)
    return Comparison(outcomes, model, totals, folder, seconds)


def _accounts_input(
    study: Study,
    loaded: list[SymbolData],
    outcomes: pa.Table,
    tables: dict[str, pa.Table],
    folder: Path,
    reproduce: list[str],
) -> AccountsInput:
    return AccountsInput(
        study=resolved(study),
        accounts=tables[ACCOUNTS.name],
        blocks=tables[BLOCKS.name],
        runs=len(outcomes),
        coverage=evidence.coverage(loaded),
        assumptions=assumptions(study, outcomes),
        reproduce=reproduce,
        synthetic=_is_synthetic(loaded),
        gaps=evidence.gaps(loaded),
        finer=evidence.finer(loaded),
        refused_actions=evidence.refused_actions(folder),
        large_fills=evidence.large_fills(loaded, outcomes, folder),
    )


def _is_synthetic(loaded: list[SymbolData]) -> bool:
    files = [entry for data in loaded for one in data.instruments for entry in one.result.entries]
    files += [entry for data in loaded for one in data.assets for entry in one.entries]
    return any(source.name.startswith("SYNTHETIC") for entry in files for source in entry.sources)


def _report_input(
    study: Study,
    lake: Lake,
    loaded: list[SymbolData],
    all_jobs: list[Job],
    outcomes: pa.Table,
    folder: Path,
    reproduce: list[str],
    others: dict[str, pa.Table],
) -> ReportInput:
    return ReportInput(
        study=resolved(study),
        outcomes=outcomes,
        coverage=evidence.coverage(loaded),
        assumptions=assumptions(study, outcomes),
        reproduce=reproduce,
        synthetic=_is_synthetic(loaded),
        runs=SingleRuns(study, loaded, all_jobs, outcomes),
        sensitivity=others,
        volatility=evidence.volatility(loaded),
        regimes=evidence.regimes(study, loaded),
        events=evidence.near_events(study, lake, outcomes),
        gaps=evidence.gaps(loaded),
        finer=evidence.finer(loaded),
        refused_actions=evidence.refused_actions(folder),
        large_fills=evidence.large_fills(loaded, outcomes, folder),
    )
