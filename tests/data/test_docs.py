"""The page about data says what is so: its recipes and keys are read, its views and venues are all there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest.data.ledger import VIEWS
from backtest.data.manifest import Dataset, Source
from backtest.data.pull.recipe import TABLES, read_section
from backtest.data.sql import query
from backtest.data.store import Lake, Piece
from backtest.schema import OUTCOMES, SERIES
from backtest.study.config import parse_study
from backtest.study.reader import Section
from backtest.study.regime import read_regimes
from backtest.units import DAY_MS, time_ms

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8")
BLOCKS = [tomllib.loads(text) for text in re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def test_its_recipe_is_one() -> None:
    (block,) = [block for block in BLOCKS if "pull" in block]
    assert len(read_section(block["pull"][0], "page").datasets) == 6


@pytest.mark.parametrize("market", [block["market"] for block in BLOCKS if "market" in block], ids=str)
def test_its_markets_are_read(market: dict[str, object]) -> None:
    own = {"venue": "binance", "symbols": ["BTCUSDT"], "interval": "1h", "start": "2020-01-01", "stop": "2022-01-01"}
    study = {
        "study": {"name": "page", "capital": "1000"},
        "market": own | market,
        "entries": {"every": "24h", "leverage": [5], "horizon": "30d"},
        "strategy": [],
        "window": [{"name": "2021-05-19", "from": "2021-05-18", "to": "2021-05-24"}] if "crash" in str(market) else [],
    }
    read = parse_study(study, "page").market
    assert read.finer_ms if "finer" in market else read.resample is not None


def test_its_regime_is_read() -> None:
    (block,) = [block for block in BLOCKS if "regime" in block]
    (spec,) = read_regimes(Section("page", "", block, []))
    assert spec.labels == ("under 20", "20 to 30", "30 or more", "not known")


def test_its_question_of_runs_by_a_series_is_answered(tmp_path: Path) -> None:
    times = [time_ms(f"2024-01-0{day}") for day in (1, 2, 3)]
    values = {"time_ms": times, "value": [11.0, 19.0, 29.0], "available_ms": [time + DAY_MS for time in times]}
    vix = Dataset("cboe", "series", "VIX", "event")
    Lake(tmp_path).merge([Piece(vix, pa.table(values, schema=SERIES.arrow()), Source("v.csv", "0" * 64))])
    blank = {"int64": 0, "float64": 0.0, "text": "", "bool": False, "int8": 0}
    row = {column.name: None if column.null else blank[column.type] for column in OUTCOMES.columns}
    runs = [row | {"strategy": "hold", "entry_ms": times[2] + hours * 3_600_000, "liquidated": hours > 0}
            for hours in (0, 1, 24, 25)]  # fmt: skip
    (tmp_path / "report").mkdir()
    pq.write_table(pa.Table.from_pylist(runs, schema=OUTCOMES.arrow()), tmp_path / "report/outcomes.parquet")
    (sql,) = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert query(tmp_path, sql, tmp_path / "report").to_pylist() == [
        {"vix": 20.0, "runs": 2, "liquidated": 1},
        {"vix": 30.0, "runs": 2, "liquidated": 2},
    ]


def test_it_names_every_view_and_every_venue() -> None:
    ledger = PAGE.partition("## The gap ledger")[2].partition("## What a study")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", ledger, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(VIEWS)
    pull = PAGE.partition("## Pull")[2].partition("## Import")[0]
    assert set(TABLES) <= set(re.findall(r"`([a-z-]+)`", pull))
