"""The workload of the speed figures, and how they are taken and printed.

2,628,000 made-up minutes with funding every 8 h; every 24 h six positions are opened (long and short; 5, 10 and 20
times) and held for 30 days under `deleverage` at a quarter of the buffer; every transfer is recorded. A run-bar is a
bar between entry and exit, the horizon's remainder not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy.typing as npt
import pytest

from backtest.data.sources import synthetic
from backtest.data.tape import tape_from_arrays
from backtest.engine.batch import Batch, replay_batch
from backtest.engine.compiled import Rules
from backtest.engine.market import Market, market_of
from backtest.schema import Tape
from backtest.study.config import parse_study
from backtest.study.entries import schedule
from backtest.study.runner import study_jobs, terms
from backtest.units import DAY_MS, MINUTE_MS, time_text
from backtest.venues.fees import taker_fee_steps
from backtest.venues.tiers import tier_tables

DAYS = 1825
HORIZON_DAYS = 30
HORIZON_BARS = HORIZON_DAYS * DAY_MS // MINUTE_MS
OF_THE_WALK = ("bars_visited", "exit_bar", "last_segment")  # how the kernel went, not what it found
Rows = npt.NDArray[Any]

M30: dict[str, object] = {
    "study": {"name": "m30", "capital": "10_000"},
    "market": {
        "venue": "binance",
        "symbols": ["BTCUSDT"],
        "interval": "1m",
        "start": time_text(synthetic.START_MS),
        "stop": time_text(synthetic.START_MS + DAYS * DAY_MS),
    },
    "entries": {"every": "24h", "leverage": [5, 10, 20], "horizon": f"{HORIZON_DAYS}d"},
    "strategy": [{"name": "deleverage", "rules": [{"use": "deleverage", "trigger": 0.25}]}],
}


def row(what: str, ours: str, peer: str = "", ratio: float | None = None) -> None:
    """Print one row of the table."""
    print(f"\n| {what:<52} | {ours:>16} | {peer:>28} | {'' if ratio is None else f'{ratio:,.1f} x':>10} |", end="")


def compared(what: str, ours_s: float, theirs_s: float) -> None:
    row(what, f"{ours_s * 1e9:.3f} ns", f"{theirs_s * 1e9:.2f} ns", theirs_s / ours_s)


def best_s(call: Callable[[], object], times: int = 5) -> float:
    """Give the least processor time of some calls: what others do on the machine is not counted."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


@dataclass
class Workload:
    """The workload, ready to be replayed."""

    bars: synthetic.Bars
    market: Market
    entries: Rows
    rules: Rules
    plan: Any
    plan_by_bar: Any

    def replay(self, entries: Rows | None = None, *, skip: bool = True) -> Batch:
        plan = self.plan if skip else self.plan_by_bar
        return replay_batch(self.market, plan, self.rules, self.entries if entries is None else entries, keep="all")

    @cached_property
    def batch(self) -> Batch:
        return self.replay()

    @cached_property
    def seconds(self) -> float:
        """Best time for all runs, taken when the results have been compared."""
        return best_s(self.replay)


def run_bars(batch: Batch, entries: Rows) -> int:
    """Count the bars that begin while a run is open; no minute is missing here."""
    return int((batch.outcomes["exit_ms"] - entries["entry_ms"]).sum()) // MINUTE_MS


@pytest.fixture(scope="module")
def m30() -> Workload:
    bars, study = synthetic.m30_bars(1), parse_study(M30, "m30")
    tape = tape_of(bars)
    assert len(tape.time_ms) == 2_628_000
    job = next(j for j in study_jobs(study, "m30") if (j.strategy, j.reaction) == ("deleverage", "intrabar"))
    plans = [terms(study).plan(job.rules, next_open=False, skip=skip) for skip in (True, False)]
    entries = schedule(study, "BTCUSDT", tape).rows
    return Workload(bars, market_of(tape), entries, job.rules, *plans)


def tape_of(bars: synthetic.Bars, days: int = DAYS) -> Tape:
    """Lay the first days of a market out as a tape."""
    last = days * DAY_MS // MINUTE_MS
    prices = (bars.last_open_e8, bars.last_close_e8)
    marks = (bars.mark_open_e8, bars.mark_high_e8, bars.mark_low_e8, bars.mark_close_e8)
    paid = bars.funding_ms <= bars.time_ms[last - 1]
    return tape_from_arrays(
        bars.interval_ms,
        *(column[:last] for column in (bars.time_ms, *prices, *marks)),
        list(zip(bars.funding_ms[paid].tolist(), bars.funding_e8[paid].tolist(), strict=True)),
        tier_tables("binance", "BTCUSDT"),
        taker_fee_steps("binance"),
    )
