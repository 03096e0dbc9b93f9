"""Single runs of a study that has just been replayed, each brought back by replaying it: story, bars, money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backtest.analysis.money import Money
from backtest.study.config import Study
from backtest.study.equity import by_interval
from backtest.study.jobs import Job
from backtest.study.outcomes import ledger_tables
from backtest.study.rerun import find_job, rerun
from backtest.study.runner import SymbolData, terms
from backtest.study.story import Ledger, hold_id, replayed_ledger
from backtest.study.telling import bars, equity, narrate, tell_run
from backtest.units import E8


class SingleRuns:
    """What a report asks about single runs, by their names."""

    def __init__(self, study: Study, loaded: Sequence[SymbolData], all_jobs: Sequence[Job], outcomes: pa.Table) -> None:
        self._study, self._jobs, self._outcomes = study, all_jobs, outcomes
        self._data = {data.symbol: data for data in loaded}

    def _outcomes_of(self, run_ids: Sequence[str]) -> list[dict[str, Any]]:
        found = self._outcomes.filter(pc.is_in(self._outcomes["run_id"], pa.array(run_ids, pa.string())))
        by_id = {row["run_id"]: row for row in found.to_pylist()}
        return [by_id[run_id] for run_id in run_ids]

    def _rows(self, run_id: str) -> tuple[SymbolData, dict[str, Any], Mapping[str, pa.Table]]:
        (outcome,) = self._outcomes_of([run_id])
        data = self._data[outcome["symbol"]]
        return data, outcome, replayed_ledger(self._study, data, self._jobs, outcome)

    def story(self, run_id: str) -> Sequence[str]:
        """Tell a run line by line."""
        data, outcome, tables = self._rows(run_id)
        (hold,) = self._outcomes_of([hold_id(run_id)])
        return list(narrate(tell_run(self._study, data, outcome, Ledger.of(tables), hold)))

    def bars(self, run_id: str) -> pa.Table:
        """Give a run bar by bar, as `trace` does."""
        data, outcome, tables = self._rows(run_id)
        return bars(data, terms(self._study), outcome, tables)

    def money(self, run_ids: Sequence[str]) -> list[Money]:
        """Give what runs of one strategy, reaction and symbol did to the money; they are replayed together."""
        outcomes = self._outcomes_of(run_ids)
        data, one = self._data[outcomes[0]["symbol"]], outcomes[0]
        job = find_job(self._jobs, one["strategy"], one["reaction"])
        place = {label: i for i, label in enumerate(data.entries.labels)}
        chosen = [place[run_id.split("/", 1)[1].rsplit("/", 1)[0]] for run_id in run_ids]
        runs = rerun(self._study, data, self._jobs, job, chosen, [row["seed_run_id"] for row in outcomes])
        tables = ledger_tables(job, runs.entries, runs.batch, np.ones(len(run_ids), bool))
        return [run_money(data, outcome, _of(tables, outcome["run_id"])) for outcome in outcomes]


def _of(tables: Mapping[str, pa.Table], run_id: str) -> dict[str, pa.Table]:
    return {name: tables[name].filter(pc.equal(tables[name]["run_id"], run_id)) for name in tables}


def run_money(data: SymbolData, outcome: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> Money:
    """Give what a run did to the money, from all its rows."""
    curve = equity(data, outcome, tables)
    opens, closes = data.marks_e8
    first = int(np.searchsorted(data.times_ms, outcome["entry_ms"]))
    coin = np.concatenate([opens[first : first + 1], closes[first : first + len(curve.time_ms) - 1]]) / E8
    places, times_ms = by_interval(curve.time_ms, data.result.interval_ms)
    return Money(times_ms, curve.equity_e8[places] / E8, coin[places], _flows(outcome, tables["transfers"]))


def _flows(outcome: Mapping[str, Any], transfers: pa.Table) -> tuple[tuple[int, float], ...]:
    """Give what went between reserve and venue, and what the venue still held at the end."""
    flows: list[tuple[int, float]] = []
    inside = 0
    for row in transfers.to_pylist():
        into, out = row["debit"] == "reserve", row["credit"] == "reserve" and row["debit"] != "world"
        if into or out:
            flows.append((row["time_ms"], (-1 if into else 1) * row["amount_e8"] / E8))
        inside += (row["credit"] == "free") * row["amount_e8"] - (row["debit"] == "free") * row["amount_e8"]
    return (*flows, (outcome["exit_ms"], inside / E8))
