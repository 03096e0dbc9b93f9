"""The page about signals says what is so: it names them all, and its own signals can be computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from backtest.data.store import Lake
from backtest.signals.compute import compute
from backtest.signals.registry import PRESETS, SIGNALS
from backtest.signals.spec import SignalSpec
from backtest.units import time_ms

from .history import FAR, FUNDING, KLINES, ask, bars, put, settlements

PAGE = (Path(__file__).parents[2] / "docs/signals.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_it_names_every_signal_and_its_parameters() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", PAGE, re.MULTILINE))
    assert rows.keys() == SIGNALS.keys()
    for name, row in rows.items():
        assert set(re.findall(r"`(\w+)`", row)) <= SIGNALS[name].settings.keys()


def test_it_names_every_preset() -> None:
    assert all(f"`{name}`" in PAGE for name in PRESETS)


def test_its_function_can_be_computed(tmp_path) -> None:
    path = tmp_path / "breakout.py"
    path.write_text(blocks("python")[0], encoding="utf-8")
    lake = put(Lake(tmp_path / "lake"), KLINES, bars(4 * 200))
    spec = SignalSpec("mine", "breakout", file=str(path))
    signal = compute(spec, lake, venue="binance", symbol="BTCUSDT", start_ms=0, stop_ms=FAR)
    assert set(np.unique(signal.value)) == {-1.0, 0.0, 1.0}


def test_its_query_can_be_asked(tmp_path) -> None:
    rates = settlements(50)
    rates["funding_rate"] *= 10
    lake = put(put(Lake(tmp_path), KLINES, bars(400)), FUNDING, rates)
    alone = ask(lake, "sql", query=blocks("sql")[0])
    assert set(alone.value) == {0.0, 1.0}
    rates["funding_rate"] *= -1  # settled at the same moments
    lake = put(
        put(lake, KLINES._replace(symbol="ETHUSDT"), bars(400, seed=2)), FUNDING._replace(symbol="ETHUSDT"), rates
    )
    beside = ask(lake, "sql", query=blocks("sql")[0])
    assert beside.available_ms.tolist() == alone.available_ms.tolist()
    assert beside.value.tolist() == alone.value.tolist(), "another symbol changes nothing"


def test_its_notebook_runs(tmp_path, monkeypatch) -> None:
    put(Lake(tmp_path / "datasets/lake"), KLINES, bars(24 * 400, start_ms=time_ms("2023-10-01")))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(blocks("python")[1], names)
    rsi = names["rsi"]
    assert str(rsi.index[0]) == "2024-01-01 00:00:00+00:00"
    assert rsi.notna().sum() > 1000
