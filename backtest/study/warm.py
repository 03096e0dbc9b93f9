"""Compile everything a first comparison needs, so that set-up waits for it and the user does not.

Run as `python -m backtest.study.warm`: a few runs of a made-up market, each shipped rule once; the replay of several
legs is compiled at the same time, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from backtest.analysis.money import Money, account
from backtest.data.sources import synthetic
from backtest.data.store import Lake
from backtest.study.config import parse_study
from backtest.study.jobs import jobs
from backtest.study.rule_files import load_rules, resolve_rules, try_rules
from backtest.study.runner import load, run
from backtest.units import HOUR_MS


class _Nowhere:
    """A sink that keeps nothing."""

    def write(self, outcomes: pa.Table, ledger: dict[str, pa.Table]) -> None:
        pass


def replay_once(**more: object) -> None:
    """Replay a three-day study; what is compiled for it stays in the cache."""
    study = parse_study(
        {
            "study": {"name": "warm", "capital": "10_000"},
            "market": {
                "venue": synthetic.VENUE,
                "symbols": ["BTCUSDT"],
                "interval": "1h",
                "start": "2023-01-01",
                "stop": "2023-01-04",
            },
            "entries": {"every": "24h", "leverage": [20], "horizon": "24h"},
            **more,
        },
        "warm",
    )
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        synthetic.write(lake, synthetic.generate(1, symbols=study.market.symbols, days=3))
        rules = load_rules()
        try_rules(rules.values())
        uses = resolve_rules(study.strategies, rules, "warm")  # hedges too: refused by the venue, and compiled
        run(study, load(study, lake), _Nowhere(), list(jobs(study, uses)), "warm")


def warm() -> None:
    """Replay with every shipped rule, and take the statistics of a run."""
    replay_once(strategy=[{"name": name.replace("_", "-"), "rules": [{"use": name}]} for name in load_rules()])
    walk = np.array([100.0, 101.0, 99.0])
    account([Money(np.arange(3) * HOUR_MS, walk, walk, ((0, -1.0), (2 * HOUR_MS, 1.0)))])  # vectorbt's statistics


def warm_pools() -> None:
    """Replay runs with a hedge."""
    replay_once(layer=[{"use": "opposite", "leverage": 10}])


if __name__ == "__main__":
    with subprocess.Popen([sys.executable, "-c", f"from {__spec__.name} import warm_pools; warm_pools()"]) as pools:
        warm()
    sys.exit(pools.returncode)
