"""The tracked studies on real history: kernel and decimal oracle agree transfer for transfer, to the last 1e-8."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from backtest.data.imports import ImportOptions, import_path
from backtest.data.store import Lake
from backtest.study.config import load_study, parse_study
from backtest.study.rule_files import load_rules
from backtest.study.verify import verify_runs
from backtest.study.verify_pools import POOL
from backtest.units import time_ms

from .small import Ran, ran

pytestmark = pytest.mark.real

REPORTS = Path(__file__).parents[2] / "reports"
STUDIES = ("btc", "eth", "xrp", "ltc")
EVERY = 50  # entry times: each has both sides and all leverages
MONTHS = (("2021-05-01", "2021-06-01"), ("2022-06-01", "2022-07-01"), ("2025-10-01", "2025-11-01"))
PARTS = 2  # processes


@pytest.fixture(scope="module")
def lake(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a lake with the hourly history: the one in BACKTEST_LAKE, else one made from the real data."""
    known = os.environ.get("BACKTEST_LAKE")
    if known and (Path(known) / "manifest.json").exists():
        return Path(known)
    root = Path(tmp_path_factory.mktemp("hourly"))
    import_path(Lake(root), real_data / "binance-usdm-freqtrade" / "full-history-1h", ImportOptions(venue="binance"))
    return root


def differences(studied: Ran, stored: pa.Table) -> dict[str, list[str]]:
    return verify_runs(studied.study, studied.data, studied.jobs, load_rules(), stored)


def test_runs_of_a_crash_agree(lake: Path) -> None:
    """Two runs of every strategy, control and reaction from May 2021, a liquidated one wherever there is one."""
    study = load_study(REPORTS / "btc-buffers")
    market = replace(study.market, start_ms=time_ms("2021-05-01"), stop_ms=time_ms("2021-06-15"))
    studied = ran(replace(study, market=market), Lake(lake))
    outcomes, rows = studied.tables["outcomes"], studied.rows
    chosen: list[int] = []
    for job in studied.jobs:
        mine = [i for i, row in enumerate(rows) if job.name == f"{row['strategy']} {row['reaction']}"]
        lost_first = sorted(mine, key=lambda i: not rows[i]["liquidated"])
        chosen += [lost_first[0], lost_first[len(mine) // 2]]
    stored = outcomes.take(pa.array(chosen))
    assert len(stored) >= 50
    assert pc.sum(stored["liquidated"]).as_py() > 20
    assert differences(studied, stored) == {}


def test_baskets_of_a_crash_agree(lake: Path) -> None:
    """Four majors in one account that coin backs in part, through May 2021: every third run."""
    form = {
        "study": {"name": "majors", "capital": "10_000"},
        "market": {
            "venue": "binance",
            "symbols": ["BTCUSDT", "ETHUSDT", "XRPUSDT", "LTCUSDT"],
            "interval": "1h",
            "start": "2021-05-01",
            "stop": "2021-06-15",
            "gaps": "flag",
        },
        "entries": {"every": "72h", "leverage": [5, 20], "horizon": "10d", "margin_mode": "cross", "basket": True},
        "collateral": [{"symbol": "BTCUSDT", "share": 0.3, "ratio": 0.95}],
        "strategy": [{"name": "deleverage", "rules": [{"use": "deleverage", "trigger": 0.5}]}],
    }
    studied = ran(parse_study(form, "majors"), Lake(lake))
    outcomes = studied.tables["outcomes"]
    stored = outcomes.take(pa.array(range(0, len(outcomes), 3)))
    assert pc.sum(stored["liquidated"]).as_py() > 20
    assert verify_runs(studied.study, studied.data, studied.jobs, load_rules(), stored, twin=POOL) == {}


# --- all of them ---------------------------------------------------------------------------------------------------


def entry_times(name: str, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Choose the entry times of a study whose runs are compared."""
    chosen = np.isin(times, times[::EVERY])
    if name == "btc":
        for first, stop in MONTHS:
            chosen |= (times >= time_ms(first)) & (times < time_ms(stop))
    return times[chosen]


def compare_part(lake: Path, name: str, part: int) -> tuple[int, int, dict[str, list[str]]]:
    """Compare one part of a study's runs: give how many, how many of them were liquidated, and the differences."""
    studied = ran(load_study(REPORTS / f"{name}-buffers"), Lake(lake))
    outcomes = studied.tables["outcomes"]
    entry = outcomes["entry_ms"].to_numpy()
    chosen = entry_times(name, np.unique(entry))[part::PARTS]
    stored = outcomes.filter(pa.array(np.isin(entry, chosen)))
    return len(stored), int(pc.sum(stored["liquidated"]).as_py()), differences(studied, stored)


def parts(lake: Path) -> Iterator[tuple[str, tuple[int, int, dict[str, list[str]]]]]:
    with ProcessPoolExecutor(PARTS, mp_context=multiprocessing.get_context("spawn")) as pool:
        asked = {(name, part): pool.submit(compare_part, lake, name, part) for name in STUDIES for part in range(PARTS)}
        for (name, _), found in asked.items():
            yield name, found.result()


@pytest.mark.slow
def test_every_chosen_run_of_the_tracked_studies_agrees(lake: Path) -> None:
    """About an hour. Print the counts with `pytest -s`."""
    compared, found = 0, {}
    for name, (count, liquidated, differing) in parts(lake):
        print(
            f"\n{name}: {count:,} runs compared, {liquidated:,} of them liquidated, {len(differing):,} differ", end=""
        )
        compared += count
        found |= differing
    print(f"\n{compared:,} runs compared")
    assert found == {}
    assert compared >= 3_000
