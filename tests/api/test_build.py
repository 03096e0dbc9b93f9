"""A study from Python objects is the study that TOML gives: same value, same messages, same bytes."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study.small import make_lake

import backtest as bt
from backtest.api import build
from backtest.cli import run
from backtest.errors import StudyError
from backtest.study.config import load_study, parse_study

ROOT = Path(__file__).parents[2]
TEXT = """
[study]
name = "both"
seed = 7
capital = "10_000"
[market]
venue = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
start = 2023-01-01
stop = 2023-03-02
tiers = "current"
[entries]
every = "120h"
side = "long"
leverage = [5, 12.5]
horizon = "10d"
margin_share = 0.4
[costs]
slippage_bps = 2.5
[reserve]
latency = "2h"
daily_cap = "1_000"
[[strategy]]
name = "deleverage"
latency = "1h"
cooldown = "4h"
rules = [{ use = "deleverage", trigger = [0.25, 0.5], put_back = false }]
[[strategy]]
name = "exit"
rules = [{ use = "exit" }]
[[window]]
name = "january"
from = 2023-01-01
to = 2023-02-01
[[regime]]
name = "VIX"
series = "synthetic/VIX"
edges = [20, 30]
enter = ["20 to 30", "30 or more"]
"""


def built(**changes: Any) -> bt.Study:
    given: dict[str, Any] = {
        "seed": 7,
        "capital": "10_000",
        "market": bt.Market(
            venue="binance",
            symbols=["BTCUSDT"],
            interval="1h",
            start=dt.date(2023, 1, 1),
            stop="2023-03-02",
            tiers="current",
        ),
        "entries": bt.Entries(every="120h", side="long", leverage=[5, 12.5], horizon="10d", margin_share=0.4),
        "costs": bt.Costs(slippage_bps=2.5),
        "reserve": bt.Reserve(latency="2h", daily_cap="1_000"),
        "strategies": [
            bt.strategy(
                "deleverage",
                bt.use("deleverage", trigger=[0.25, 0.5], put_back=False),
                latency=dt.timedelta(hours=1),
                cooldown="4h",
            ),
            bt.strategy("exit", bt.use("exit")),
        ],
        "windows": [bt.window("january", "2023-01-01", dt.date(2023, 2, 1))],
        "regimes": [bt.regime("VIX", "synthetic/VIX", np.array([20, 30]), enter=("20 to 30", "30 or more"))],
    }
    return bt.make_study("both", **(given | changes))


def from_toml() -> dict[str, Any]:
    return tomllib.loads(TEXT, parse_float=Decimal)


def test_python_and_toml_give_one_study(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TEXT)
    assert built() == load_study(tmp_path)
    assert load_study(bt.write_study(built(), tmp_path / "written.toml")) == built()


def test_the_legs_of_a_study_are_those_of_its_file(tmp_path: Path) -> None:
    study = bt.make_study(
        "legs",
        capital="10_000",
        market=bt.Market(
            venue="binance", symbols=["BTCUSDT", "ETHUSDT"], interval="1h", start="2023-01-01", stop="2023-03-02"
        ),
        entries=bt.Entries(every="24h", leverage=10, horizon="5d", margin_mode="cross", basket=True),
        layers=[bt.layer("opposite", 20), bt.layer("inverse", 5, "BTCUSD_PERP")],
        collaterals=[bt.collateral("BTCUSDT", share=0.5, ratio=0.95)],
    )
    assert load_study(bt.write_study(study, tmp_path / "study.toml")) == study
    assert [layer.use for layer in study.form.layers] == ["opposite", "inverse"]
    assert (study.form.basket, study.form.collaterals[0].ratio_e8) == (True, 95_000_000)


def test_values_may_be_those_of_numpy_pandas_and_datetime() -> None:
    entries = bt.Entries(
        every=pd.Timedelta(days=5),
        side=("long",),
        leverage=np.array([5.0, 12.5]),  # type: ignore[typeddict-item]
        horizon=dt.timedelta(days=10),
        margin_share=np.float64(0.4),
    )
    market = bt.Market(
        venue="binance",
        symbols="BTCUSDT",
        interval=dt.timedelta(hours=1),
        start=pd.Timestamp("2023-01-01"),
        stop=dt.datetime(2023, 3, 2, tzinfo=dt.UTC),
        tiers="current",
    )
    assert built(entries=entries, market=market, seed=np.int64(7), capital=10_000) == built()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("market", "venue", "binnance"),
        ("market", "symbol", ["BTCUSDT"]),
        ("market", "interval", "7h"),
        ("market", "start", "2024-01-01"),
        ("entries", "leverage", 0.5),
        ("entries", "leverage", []),
        ("entries", "horizont", "10d"),
        ("entries", "margin_share", 1.5),
        ("costs", "slippage_bps", "two"),
        ("reserve", "latency", 3),
    ],
)
def test_a_mistake_is_told_as_for_toml(section: str, key: str, value: Any) -> None:
    form = from_toml()
    form[section][key] = value
    with pytest.raises(StudyError) as toml:
        parse_study(form, "s.toml")
    with pytest.raises(StudyError) as python:
        built(**{section: form[section]})
    assert [str(one) for one in python.value.problems] == [
        str(one).replace("s.toml: ", f"{build.WHERE}: ", 1) for one in toml.value.problems
    ]


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        built(capital=0.1, strategies=[bt.strategy("hold", bt.use("exit"), cooldown="x"), bt.strategy("none")])
    places = [problem.where for problem in caught.value.problems]
    assert places == [
        f"study: {key}" for key in ("study.capital", "strategy[1].name", "strategy[1].cooldown", "strategy[2].rules")
    ]


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # in vectorbt
def test_the_trades_of_a_vectorbt_portfolio_are_entries() -> None:
    """Entries and ends of its readable records, whatever its columns hold beside them."""
    import vectorbt as vbt

    index = pd.date_range("2023-01-05", periods=60, freq="h")
    price = pd.Series(np.linspace(100.0, 110.0, 60), index=index, name="BTCUSDT")
    size = pd.Series(0.0, index=index)
    size.iloc[[3, 20, 30, 45]] = [1.0, -1.0, 1.0, -1.0]
    trades = vbt.Portfolio.from_orders(price, size, init_cash=1_000, freq="1h").trades.records_readable
    entries = bt.Entries(list=bt.listed(trades, symbol="BTCUSDT", leverage=10), horizon="10d")
    assert [one.text for one in built(entries=entries).entries.listed] == [
        "2023-01-05T03:00:00 BTCUSDT long 10x until 2023-01-05T20:00:00",
        "2023-01-06T06:00:00 BTCUSDT long 10x until 2023-01-06T21:00:00",
    ]


def test_a_table_of_trades_says_what_it_lacks() -> None:
    trades = pd.DataFrame({"open_date": pd.to_datetime(["2023-01-05", "2023-01-06"]), "is_short": [True, False]})
    trades["close_date"] = pd.to_datetime(["2023-01-07", None])
    assert bt.listed(trades, symbol="BTC/USDT:USDT", leverage=2.5) == [
        "2023-01-05T00:00:00 BTC/USDT:USDT short 2.5 until 2023-01-07T00:00:00",
        "2023-01-06T00:00:00 BTC/USDT:USDT long 2.5",
    ]
    with pytest.raises(StudyError, match="trades: has no column symbol or pair"):
        bt.listed(trades, leverage=2)
    with pytest.raises(StudyError, match="trades: has no column leverage"):
        bt.listed(trades, symbol="BTCUSDT")


def test_python_and_the_command_line_leave_the_same_bytes(tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake")
    (tmp_path / "toml").mkdir()
    (tmp_path / "toml" / "study.toml").write_text(TEXT)
    assert run(["compare", str(tmp_path / "toml"), "--lake", str(lake.root)]) == 0
    result = bt.compare(built(), lake.root, tmp_path / "python")
    assert load_study(result.folder) == built()
    ours, theirs = (
        {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in ("provenance.json", "study.toml")}
        for folder in (tmp_path / "python", tmp_path / "toml")
    )
    assert len(ours) == 8
    assert ours == theirs


def test_importing_the_package_loads_nothing() -> None:
    """Names are found when they are used, so that the command line and a rule file start at once."""
    program = (
        "import sys; before = set(sys.modules); import backtest; assert 'compare' in dir(backtest); "
        "print(sorted(name.split('.')[0] for name in set(sys.modules) - before if not name.startswith('backtest')))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "numba", "vectorbt", "plotly", "pyarrow", "duckdb"} & set(eval(done.stdout))
