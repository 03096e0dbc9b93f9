"""A study small enough to run in a test: sixty synthetic days, a position every five days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.data.manifest import Source
from backtest.data.sources import synthetic
from backtest.data.store import Lake, Piece
from backtest.engine.batch import Batch, replay_batch
from backtest.schema import RESULT_TABLES
from backtest.study.config import Study, parse_study
from backtest.study.jobs import Job
from backtest.study.runner import SymbolData, Totals, load, run, study_jobs, terms
from backtest.units import E8, HOUR_MS

DAYS = 60
SEED = 3  # with crashes: two of five runs under `hold` are liquidated
START = synthetic.START_MS


SMALL: dict[str, dict[str, object]] = {
    "study": {"name": "small", "seed": 1, "capital": "10_000"},
    "market": {
        "venue": "binance",
        "symbols": ["BTCUSDT"],
        "interval": "1h",
        "start": "2023-01-01",
        "stop": "2023-03-02",
    },
    "entries": {"every": "120h", "side": ["long", "short"], "leverage": [5, 20], "horizon": "10d"},
}
STRATEGIES = [
    {"name": "deleverage", "rules": [{"use": "deleverage", "trigger": 0.5, "step": 0.25}]},
    {"name": "top-up", "latency": "2h", "rules": [{"use": "top_up", "trigger": 0.25, "amount_pct": 10}]},
    {"name": "exit", "rules": [{"use": "exit", "trigger": 0.25}]},
]


def small_study(*, strategies: Sequence[dict[str, object]] = STRATEGIES, **sections: dict[str, object]) -> Study:
    """Give the small study, with other strategies, and with keys of its sections replaced."""
    form: dict[str, object] = {name: {**keys, **sections.get(name, {})} for name, keys in SMALL.items()}
    return parse_study({**sections, **form, "strategy": list(strategies)}, "small")


class Tables:
    """A sink that keeps everything in memory."""

    def __init__(self) -> None:
        self.parts: dict[str, list[pa.Table]] = {name: [] for name in RESULT_TABLES}

    def write(self, outcomes: pa.Table, ledger: dict[str, pa.Table]) -> None:
        for name, table in {"outcomes": outcomes, **ledger}.items():
            self.parts[name].append(table)


@dataclass(frozen=True)
class Ran:
    """A replayed study: what it ran on, its jobs and its tables."""

    study: Study
    data: SymbolData
    jobs: list[Job]
    totals: Totals
    tables: dict[str, pa.Table]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Give the outcomes as records."""
        return self.tables["outcomes"].to_pylist()

    def of(self, strategy: str, reaction: str | None = None) -> list[dict[str, Any]]:
        """Give a strategy's outcomes as records."""
        return [row for row in self.rows if row["strategy"] == strategy and reaction in (None, row["reaction"])]

    def job(self, strategy: str, reaction: str = "both") -> Job:
        return next(job for job in self.jobs if (job.strategy, job.reaction) == (strategy, reaction))

    def entries(self, job: Job) -> npt.NDArray[Any]:
        """Give the kernel's entries of a job."""
        posted = self.study.capital_e8 * job.posted_share_e8 // E8
        return self.data.entries.under(posted_e8=posted, qty_share_e8=job.qty_share_e8)

    def replay(self, job: Job, entries: npt.NDArray[Any]) -> Batch:
        """Replay a job's rules over entries, every row kept."""
        plan = job.under(terms(self.study)).plan(job.rules, next_open=job.reaction == "next_open")
        return replay_batch(self.data.market, plan, job.rules, entries, keep="all")


def ran(study: Study, lake: Lake) -> Ran:
    """Replay a study of one symbol."""
    sink, all_jobs = Tables(), study_jobs(study, "small")
    loaded = load(study, lake)
    totals = run(study, loaded, sink, all_jobs, "small")
    return Ran(
        study, loaded[0], all_jobs, totals, {name: pa.concat_tables(parts) for name, parts in sink.parts.items()}
    )


def make_lake(root: Path, holes: Sequence[int] = (), symbols: Sequence[str] = ("BTCUSDT",)) -> Lake:
    """Store the small study's market; `holes` are hours since its start at which mark and last price have no bar."""
    lake = Lake(root)
    pieces = synthetic.pieces(synthetic.generate(SEED, symbols=symbols, days=DAYS))
    lake.merge([_without(piece, holes) for piece in pieces])
    return lake


def _without(piece: Piece, holes: Sequence[int]) -> Piece:
    if not holes or piece.dataset.table not in ("klines", "mark_price"):
        return piece
    keep = np.setdiff1d(np.arange(len(piece.frame)), holes)
    return Piece(piece.dataset, piece.frame.take(pa.array(keep)), Source("with holes", piece.source.sha256))


def hour_ms(hour: int) -> int:
    """Give the time of an hour since the market's start."""
    return START + hour * HOUR_MS
