"""A put on real history: priced from real marks through a crash, held in the tracked studies, told so by the oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from backtest.data.imports import ImportOptions, import_file
from backtest.data.manifest import Dataset
from backtest.data.store import Lake
from backtest.pricing.rolled import Series
from backtest.study.config import load_study
from backtest.study.priced import Volatility, make_asset
from backtest.study.rule_files import load_rules
from backtest.study.verify import verify_runs
from backtest.study.verify_pools import POOL
from backtest.units import DAY_MS, time_ms

from .small import ran

pytestmark = pytest.mark.real

REPORTS = Path(__file__).parents[2] / "reports"
FIRST_MS, STOP_MS = time_ms("2021-05-01"), time_ms("2021-06-15")
PUT = Series("put", 1.0, 45 * DAY_MS, 7 * DAY_MS, roll_cost=0.01, contracts=100.0)


@pytest.fixture(scope="module")
def lake(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Give a lake with BTC's hourly history, and the put of the tracked studies from May 2021 on."""
    made = Lake(Path(tmp_path_factory.mktemp("puts")))
    for file in sorted((real_data / "binance-usdm-freqtrade" / "full-history-1h").glob("BTC_*")):
        import_file(made, file, ImportOptions(venue="binance"))
    marks = Dataset("binance", "mark_price", "BTCUSDT", "1h")
    recent = Volatility(realised_ms=30 * DAY_MS, factor=1.1)
    make_asset(made, "BTC-PUT-45D", marks, PUT, recent, start_ms=FIRST_MS, stop_ms=STOP_MS)
    return made


def test_the_put_is_worth_a_multiple_in_the_crash(lake: Lake) -> None:
    rows = lake.read(Dataset("model", "asset_marks", "BTC-PUT-45D", "1h"))
    by_time = dict(zip(rows["time_ms"].to_pylist(), rows["high"].to_pylist(), strict=True))
    assert by_time[time_ms("2021-05-19T13:00")] > 2 * by_time[time_ms("2021-05-18T13:00")]


@pytest.mark.parametrize("name", ["puts", pytest.param("puts-own", marks=pytest.mark.slow)])
def test_runs_with_a_put_through_a_crash_agree(lake: Lake, name: str) -> None:
    """A few runs of every strategy, control and reaction, a liquidated one wherever there is one."""
    study = load_study(REPORTS / name)
    market = replace(study.market, start_ms=FIRST_MS, stop_ms=STOP_MS)
    entries = replace(study.entries, every_ms=2 * DAY_MS, horizon_ms=10 * DAY_MS)
    studied = ran(replace(study, market=market, entries=entries), lake)
    chosen: list[int] = []
    for job in studied.jobs:
        mine = [i for i, row in enumerate(studied.rows) if job.name == f"{row['strategy']} {row['reaction']}"]
        lost_first = sorted(mine, key=lambda i: not studied.rows[i]["liquidated"])
        chosen += [lost_first[0], lost_first[len(mine) // 2], lost_first[-1]]
    stored = studied.tables["outcomes"].take(pa.array(chosen))
    assert pc.sum(stored["liquidated"]).as_py() > 20
    assert pc.sum(pc.not_equal(stored["premium_e8"], 0)).as_py() > 15
    assert verify_runs(studied.study, studied.data, studied.jobs, load_rules(), stored, twin=POOL) == {}
