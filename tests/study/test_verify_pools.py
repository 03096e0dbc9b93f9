"""Stored runs of several legs agree with their own oracle, row for row, and what is wrong in them is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from backtest.data.sources import synthetic
from backtest.data.store import Lake
from backtest.study.rule_files import load_rules
from backtest.study.verify import verify_runs
from backtest.study.verify_pools import POOL

from .small import DAYS, SEED, Ran, ran, small_study

SYMBOLS = ["BTCUSDT", "ETHUSDT"]
COIN = "BTCUSD_PERP"
FORMS: dict[str, dict[str, Any]] = {
    "basket": {
        "market": {"symbols": SYMBOLS},
        "entries": {"basket": True, "margin_mode": "cross", "leverage": [20]},
        "collateral": [{"symbol": "BTCUSDT", "share": 0.4, "ratio": 0.95}],
        "layer": [{"use": "opposite", "leverage": 20}],
    },
    "coin": {"market": {"symbols": [COIN]}, "entries": {"leverage": [20]}},
    "hedged": {
        "entries": {"leverage": [20]},
        "layer": [{"use": "opposite", "leverage": 20}, {"use": "inverse", "symbol": COIN, "leverage": 5}],
    },
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Give a lake of two symbols, and a coin contract at the prices of the first."""
    made = Lake(Path(tmp_path_factory.mktemp("verified")))
    pieces = synthetic.pieces(synthetic.generate(SEED, symbols=SYMBOLS, days=DAYS))
    first = [piece for piece in pieces if piece.dataset.symbol == SYMBOLS[0]]
    made.merge([*pieces, *(replace(piece, dataset=piece.dataset._replace(symbol=COIN)) for piece in first)])
    return made


def sampled(done: Ran, step: int) -> pa.Table:
    outcomes = done.tables["outcomes"]
    return outcomes.take(pa.array(range(0, len(outcomes), step)))


@pytest.mark.parametrize("form", FORMS)
def test_stored_runs_of_several_legs_agree_with_their_oracle(lake: Lake, form: str) -> None:
    done = ran(small_study(**FORMS[form]), lake)
    stored = sampled(done, 17)
    assert sum(stored["liquidated"].to_pylist()) > 3
    assert verify_runs(done.study, done.data, done.jobs, load_rules(), stored, twin=POOL) == {}
    row = next(row for row in done.rows if row["liquidated"])
    for column in ("equity_end_e8", "fees_e8", "min_buffer_ppm", "layer_liquidations"):
        wrong = pa.Table.from_pylist([{**row, column: row[column] + 1}], schema=stored.schema)
        found = verify_runs(done.study, done.data, done.jobs, load_rules(), wrong, twin=POOL)
        assert [line.split(":")[0] for line in found[row["run_id"]]] == [column]
