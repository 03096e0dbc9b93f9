"""A report's input, made up: outcomes from the generator, one drawn liquidation, plain assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from backtest.analysis.money import Money
from backtest.report.accounts import AccountsInput
from backtest.report.model import ReportInput
from backtest.study.accounts import ACCOUNTS, BLOCKS
from backtest.units import HOUR_MS
from tests.analysis import fake


def study(symbols: tuple[str, ...] = ("BTCUSDT",)) -> dict[str, object]:
    """Give a resolved study that fits the generator."""
    names = [name for name in fake.STRATEGIES if name not in ("hold", "post-all") and "~" not in name]
    return {
        "study": {"name": "btc-buffers", "seed": 1, "capital": "10000"},
        "market": {
            "venue": "binance", "symbols": list(symbols), "interval": "1h", "start": "2020-01-01T00:00:00",
            "stop": "2024-01-01T00:00:00", "tiers": "as-of", "gaps": "flag", "release": "pro_rata",
        },
        "entries": {
            "every": "24h", "side": ["long", "short"], "leverage": ["5", "10", "20"], "margin_mode": "isolated",
            "margin_share": "0.5", "horizon": "30d",
        },
        "costs": {
            "taker_fee_bps": "as-of", "slippage_bps": "2", "liquidation_slippage_bps": "10",
            "clearance_fee_bps": "as-of", "capital_cost_apr": "0",
        },
        "reserve": {"latency": "0s"},
        "strategy": [_strategy(name) for name in names if not name.startswith("smaller")],
        "window": [],
    }  # fmt: skip


def _strategy(name: str) -> dict[str, object]:
    base, _, trigger = name.rpartition("-")
    if base != "deleverage":
        return {"name": name, "rules": [{"use": name.replace("-", "_"), "trigger": 0.25}]}
    return {"name": name, "base_name": base, "rules": [{"use": base, "trigger": float(trigger), "step": 0.25}]}


def trace() -> pa.Table:
    """Give the hourly life of a long of 1 BTC at 10 times that is liquidated after nine days."""
    random = np.random.default_rng(3)
    hours = 216
    walk = np.concatenate([[0.0], np.cumsum(random.normal(0, 160, hours - 1))])
    bridge = walk - np.linspace(0, walk[-1], hours)
    path = np.maximum(40_000 + bridge - 3_820 * np.linspace(0, 1, hours) ** 6, 36_300)
    path[-1] = 36_180
    equity = 4_000 + (path - 40_000)
    maintenance = path * 0.005
    return pa.table(
        {
            "time_ms": fake.START_MS + np.arange(hours) * 3_600_000,
            "mark_open": path, "mark_high": path * 1.003, "mark_low": path * 0.997, "qty": np.ones(hours),
            "wallet": np.full(hours, 4_000.0), "equity": equity, "initial_margin": path / 10,
            "maintenance_margin": maintenance, "liquidation_price": np.full(hours, 36_180.9),
            "margin_ratio": maintenance / equity, "buffer": (equity - maintenance) / (path / 10 - maintenance),
        }
    )  # fmt: skip


@dataclass
class FakeRuns:
    """Tell every run alike: the drawn liquidation, and a month in which the coin falls and the run falls faster."""

    words: str = "2020-01-01 00:00  entry"

    def story(self, run_id: str) -> list[str]:
        return [f"Run {run_id}", self.words]

    def bars(self, run_id: str) -> pa.Table:
        return trace()

    def money(self, run_ids: Sequence[str]) -> list[Money]:
        return [self._money(run_id) for run_id in run_ids]

    def _money(self, run_id: str) -> Money:
        entry = int(run_id.split("/")[2])
        hours = np.arange(721)
        coin = 40_000 * (1 + 0.05 * np.sin(hours / 40.0))
        equity = 10_000 * (1 + 2 * (coin / coin[0] - 1))
        flows = ((entry, -5_000.0), (entry + 720 * HOUR_MS, float(equity[-1]) - 5_000.0))
        return Money(entry + hours * HOUR_MS, equity, coin, flows)


def volatility() -> pa.Table:
    """Give volatilities that rise with time."""
    entry = fake.START_MS + np.arange(2_000) * fake.DAY_MS
    return pa.table(
        {"symbol": ["BTCUSDT"] * 2_000, "entry_ms": entry, "volatility_pct": np.linspace(20.0, 120.0, 2_000)}
    )


def report_input(outcomes: pa.Table | None = None, **changes: object) -> ReportInput:
    """Give a complete report input."""
    values: dict[str, object] = {
        "study": study(),
        "outcomes": fake.outcomes(400) if outcomes is None else outcomes,
        "coverage": [
            {"table": name, "symbol": "BTCUSDT", "first": "2020-01-01", "last": "2024-01-01", "rows": rows, "gaps": n}
            for name, rows, n in (("mark_price", 35_064, 3), ("klines", 35_064, 0), ("funding_rate", 4_383, 0))
        ],
        "assumptions": [
            ("Liquidation", "when equity is at or below maintenance margin at the mark price"),
            ("Path inside a bar", "open, adverse extreme, other extreme, close"),
            ("Reaction", "two bounds: inside the bar at the crossing price, or at the next open"),
            ("Fees", "taker 4 bps through 2022, 5 bps after"),
        ],
        "runs": FakeRuns(),
        "volatility": volatility(),
        "events": [{"window": "FOMC window: 1d before to 2h after", "windows": 8, "% of the time": 2.37, "inside": 9}],
        "gaps": [{"symbol": "BTCUSDT", "first missing": "2020-02-01 00:00", "bars": 3}],
        "refused_actions": [{"strategy": "top-up", "rule": "top_up", "reason": "insufficient reserve", "actions": 4}],
        "large_fills": [{"symbol": "BTCUSDT", "fills": "entries", "number": 9, "above 1 % of their bar": 1}],
        "reproduce": ["backtest compare study.toml", "backtest verify ."],
        "synthetic": True,
    }  # fmt: skip
    return ReportInput(**(values | changes))  # type: ignore[arg-type]


def accounts(name: str) -> AccountsInput:
    """Give the accounts of `hold` and of one strategy over two years: what is made up are the counts."""
    form = study()
    form["entries"] = {**form["entries"], "continuous": True, "on_liquidation": "refill", "block": "year"}  # type: ignore[dict-item]
    form["strategy"] = [{"name": name, "rules": []}]
    whole, parts = [], []
    for strategy, lost in (("hold", 4), (name, 1)):
        numbers = dict.fromkeys((*ACCOUNTS.names, *BLOCKS.names), lost) | {"span_minutes": 1_051_200, "leverage": 10}
        words = {"account_id": f"{strategy}/BTCUSDT/long/10x/both", "strategy": strategy, "reaction": "both"}
        words |= {"symbol": "BTCUSDT", "side": "long", "end": "open", "refusal": None}
        whole.append({**numbers, **words})
        parts += [{**numbers, **words, "block": year} for year in ("2020", "2021")]
    tables = [pa.Table.from_pylist(rows, schema=t.arrow()) for rows, t in ((whole, ACCOUNTS), (parts, BLOCKS))]
    coverage = [{"table": "klines", "symbol": "BTCUSDT", "rows": 17_520}]
    return AccountsInput(form, tables[0], tables[1], 7, coverage, [("Funding", "paid")], ["backtest compare"], True)
