"""Speed of the replay, as ratios measured in one run; results are compared before any clock starts.

Each side is warm, taken at its best of five, in seconds of one processor. Print the figures with `pytest -s`.

The workload is that of workload.py. For vectorbt, which walks a column to its end whatever happened in it, all bars of
its columns are counted: that flatters it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from workload import DAYS, HORIZON_BARS, HORIZON_DAYS, OF_THE_WALK, Workload, best_s, row, run_bars

from backtest.data.imports import import_path
from backtest.data.store import Lake
from backtest.study.outcomes import REFUSED
from backtest.units import E8

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PEER_DAYS = range(30, DAYS - HORIZON_DAYS, 178)  # 10 entry days: 60 columns of 43,201 bars
BY_BAR_DAYS = range(0, DAYS, 110)  # 17 entry days: 102 runs


def test_the_workload_is_what_it_says(m30: Workload) -> None:
    outcomes, bars = m30.batch.outcomes, run_bars(m30.batch, m30.entries)
    liquidated = float((outcomes["liquidated"] == 1).mean())
    assert len(outcomes) == 6 * DAYS
    assert not (outcomes["reason"] == REFUSED).any()
    row("runs; run-bars", f"{len(outcomes):,}", f"{bars:,}")
    row("runs liquidated", f"{100 * liquidated:.1f} %", "at least 20 %")
    row("bars visited, of all run-bars", f"{100 * outcomes['bars_visited'].sum() / bars:.2f} %", "under 10 %")
    row("transfers written", f"{len(m30.batch.transfers):,}")
    row("a run", f"{m30.seconds / len(outcomes) * 1e6:.2f} µs", f"all: {m30.seconds:.3f} s")
    row("a run-bar", f"{m30.seconds / bars * 1e9:.3f} ns")


def test_skipping_gives_the_same_bytes_as_every_bar_and_is_faster(m30: Workload) -> None:
    entries = m30.entries[[6 * day + form for day in BY_BAR_DAYS for form in range(6)]]
    skipping, by_bar = m30.replay(entries), m30.replay(entries, skip=False)
    assert by_bar.outcomes["bars_visited"].sum() > 0.9 * run_bars(by_bar, entries)
    for name in skipping.outcomes.dtype.names:
        if name not in OF_THE_WALK:
            assert np.array_equal(skipping.outcomes[name], by_bar.outcomes[name]), name
    for table in ("transfers", "fills", "actions"):
        assert np.array_equal(getattr(skipping, table), getattr(by_bar, table)), table

    ours = m30.seconds / run_bars(m30.batch, m30.entries)
    theirs = best_s(lambda: m30.replay(entries, skip=False)) / run_bars(by_bar, entries)
    row(
        "a run-bar, against the same kernel bar by bar", f"{ours * 1e9:.3f} ns", f"{theirs * 1e9:.2f} ns", theirs / ours
    )


@dataclass(frozen=True)
class Columns:
    """Entries as vectorbt takes them: one column each, from its entry bar to its horizon, stops at 1 / leverage."""

    prices: dict[str, npt.NDArray[np.float64]]  # open, high, low, close: (bars, columns)
    side: npt.NDArray[np.int64]
    stop: npt.NDArray[np.float64]

    @classmethod
    def of(cls, workload: Workload) -> Columns:
        entries = workload.entries[[6 * day + form for day in PEER_DAYS for form in range(6)]]
        place = entries["entry_bar"][None, :] + np.arange(HORIZON_BARS + 1)[:, None]
        marks = workload.bars
        names = {"open": "mark_open_e8", "high": "mark_high_e8", "low": "mark_low_e8", "close": "mark_close_e8"}
        prices = {name: getattr(marks, column)[place] / E8 for name, column in names.items()}
        return cls(prices, entries["side"], 100.0 / entries["leverage_e2"])

    def run(self) -> Any:
        import vectorbt

        enter, leave = np.zeros((2, *self.prices["close"].shape), bool)
        enter[0], leave[-1] = True, True
        long = self.side > 0
        return vectorbt.Portfolio.from_signals(
            self.prices["close"],
            entries=enter & long,
            exits=leave & long,
            short_entries=enter & ~long,
            short_exits=leave & ~long,
            open=self.prices["open"],
            high=self.prices["high"],
            low=self.prices["low"],
            sl_stop=self.stop[None, :],
            size=1.0,
            init_cash=1e6,
            fees=0.0005,
            slippage=0.0002,
            engine="numba",
        )

    def stopped_at(self) -> npt.NDArray[np.int64]:
        """Give the bar at which each column's stop is passed, or the last bar: what vectorbt must find."""
        entry = self.prices["close"][0]
        low = self.prices["low"] <= entry * (1 - self.stop)
        high = self.prices["high"] >= entry * (1 + self.stop)
        passed = np.where(self.side > 0, low, high)
        passed[0], passed[-1] = False, True
        return np.argmax(passed, axis=0)


def test_a_run_bar_against_vectorbt(m30: Workload) -> None:
    peer = Columns.of(m30)
    trades = peer.run().trades.records
    assert trades["col"].tolist() == list(range(len(peer.side)))
    # vectorbt adds slippage to the price its stop counts from: a bar or a few lie between
    apart = np.abs(trades["exit_idx"].to_numpy() - peer.stopped_at())
    assert np.mean(apart <= 5) > 0.9
    theirs = best_s(peer.run) / peer.prices["close"].size
    ours = m30.seconds / run_bars(m30.batch, m30.entries)
    row(
        "a run-bar, against vectorbt from_signals(sl_stop)",
        f"{ours * 1e9:.3f} ns",
        f"{theirs * 1e9:.2f} ns",
        theirs / ours,
    )


# --- the command ---------------------------------------------------------------------------------------------------


def child(*argv: str) -> tuple[float, float, str]:
    """Run a command of ours in a process of its own: seconds, peak memory in MB, what it printed."""
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "backtest", *argv],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, argv
    return time.perf_counter() - begin, used.ru_maxrss / 1024, out


def test_help() -> None:
    child("--help")
    seconds = min(child("--help")[0] for _ in range(5))
    row("backtest --help", f"{seconds:.2f} s", "under 0.5 s")


@pytest.fixture(scope="module")
def real_lake(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a lake with the real history: the one in BACKTEST_LAKE, else one made from the real data."""
    known = os.environ.get("BACKTEST_LAKE")
    if known and (Path(known) / "manifest.json").exists():
        return Path(known)
    lake = Lake(Path(tmp_path_factory.mktemp("lake")))
    import_path(lake, real_data)
    return lake.root


@pytest.mark.real
def test_the_btc_study(real_lake: Path, tmp_path: Path) -> None:
    command = ("compare", "reports/btc-buffers", "--lake", str(real_lake), "--out", str(tmp_path), "--json")
    first = json.loads(child(*command)[2])
    seconds, memory_mb, out = child(*command)
    told = json.loads(out)
    assert (told["runs"], told["run_bars"]) == (first["runs"], first["run_bars"])
    row("BTC study: runs; run-bars", f"{told['runs']:,}", f"{told['run_bars']:,}")
    row("BTC study: bars visited", f"{100 * told['bars_visited'] / told['run_bars']:.2f} %", "under 10 %")
    row("BTC study: replay", f"{told['seconds']['replay']:.2f} s", "under 5 s")
    row("BTC study: whole command", f"{seconds:.1f} s", "under 30 s")
    row("BTC study: peak memory", f"{memory_mb:,.0f} MB", "under 1,000 MB")
