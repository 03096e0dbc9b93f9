"""The life of a run, rebuilt from its rows: it ends where the replay ended, in the state that decided."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from backtest.engine.margin import measure
from backtest.study.naming import HOLD
from backtest.study.runner import terms
from backtest.study.trace import COLUMNS, Life, life, liquidation_price_e8, trace
from backtest.units import E8, HOUR_MS

from .small import Ran

Told = tuple[dict[str, Any], Life, pa.Table, pa.Table, pa.Table]


def lost(ran: Ran, *strategies: str) -> list[dict[str, Any]]:
    return [row for name in strategies for row in ran.of(name) if row["exit_reason"] == "liquidated"]


def tell(ran: Ran, row: dict[str, Any]) -> Told:
    mine = pc.field("run_id") == row["run_id"]
    transfers, fills = ran.tables["transfers"].filter(mine), ran.tables["fills"].filter(mine)
    run = life(ran.data.result.tape, row, transfers, fills)
    return row, run, trace(ran.data.result.tape, ran.data.market, terms(ran.study), run), transfers, fills


@pytest.fixture(scope="module")
def told(small: Ran) -> list[Told]:
    """Follow liquidated runs of hold, and of a twin and a rule that changed their position before."""
    rows = lost(small, HOLD)[::4] + lost(small, "deleverage~shuffled")[:4] + lost(small, "top-up")[:4]
    assert len(rows) >= 10
    return [tell(small, row) for row in rows]


def test_a_trace_has_every_bar_from_entry_to_liquidation(told: list[Told]) -> None:
    for row, _, table, _, _ in told:
        assert tuple(table.column_names) == COLUMNS
        assert table["time_ms"].to_pylist() == list(range(row["entry_ms"], row["liquidation_ms"] + 1, HOUR_MS))


def test_the_last_row_is_the_state_that_was_liquidated(told: list[Told]) -> None:
    for row, run, table, transfers, fills in told:
        last = {name: values[-1] for name, values in table.to_pydict().items()}
        forced = [fill for fill in fills.to_pylist() if fill["cause"] == "liquidation"]
        assert last["qty"] == sum(abs(fill["qty_e8"]) for fill in forced) / E8
        assert last["mark_low"] <= row["liquidation_price_e8"] / E8 <= last["mark_high"]
        before = [t for t in transfers.to_pylist() if t["cause"] != "liquidation"]
        wallet = sum(t["amount_e8"] * ((t["credit"] == "margin") - (t["debit"] == "margin")) for t in before)
        assert last["wallet"] == wallet / E8 == run.wallet_e8[-1] / E8
        reached = last["mark_low"] <= last["liquidation_price"] <= last["mark_high"]
        assert reached, row["run_id"]


def test_the_cost_left_is_what_the_forced_closes_realised(told: list[Told]) -> None:
    """Value of the closes less what they realised is the cost, to the last 1e-8, whatever was reduced before."""
    for _, run, _, transfers, fills in told:
        value = sum(fill["cost_e8"] for fill in fills.to_pylist() if fill["cause"] == "liquidation")
        forced = [t for t in transfers.to_pylist() if t["cause"] == "liquidation"]
        realised = sum(t["amount_e8"] * ((t["kind"] == "profit") - (t["kind"] == "loss")) for t in forced)
        assert run.cost_e8[-1] == value - run.side * realised


def test_no_row_but_the_last_reaches_its_liquidation_price(told: list[Told]) -> None:
    for row, _, table, _, _ in told:
        for bar in table.to_pylist()[:-1]:
            if row["strategy"] != HOLD:
                continue  # a rule may act inside the bar, before the price that the open still showed
            if row["side"] == "long":
                assert bar["mark_low"] > bar["liquidation_price"]
            else:
                assert bar["mark_high"] < bar["liquidation_price"]


def test_ratio_and_buffer_follow_from_the_margins(told: list[Told]) -> None:
    for _, _, table, _, _ in told:
        for bar in table.to_pylist():
            room = bar["initial_margin"] - bar["maintenance_margin"]
            headroom = bar["equity"] - bar["maintenance_margin"]
            assert bar["buffer"] == pytest.approx(headroom / room, abs=1e-6)
            assert bar["margin_ratio"] == pytest.approx(bar["maintenance_margin"] / bar["equity"])
        first = table.slice(0, 1).to_pylist()[0]
        assert 0.8 < first["buffer"] <= 1.1, "about 1 at entry, less fee and slippage"


def test_the_predicate_turns_at_the_liquidation_price(told: list[Told], small: Ran) -> None:
    market, costs = small.data.market, terms(small.study)
    for _, run, _, _, _ in told:
        qty, cost, wallet = int(run.qty_e8[0]), int(run.cost_e8[0]), int(run.wallet_e8[0])
        price = liquidation_price_e8(market, costs, 0, (run.side, qty, cost, wallet, run.leverage_e2, 0))
        for at, holds in ((price, True), (price + run.side, False)):
            equity, maintenance, _ = measure(market, 0, run.side, qty, cost, wallet, run.leverage_e2, 0, at)
            assert (equity <= maintenance) == holds


def test_a_position_with_all_its_value_posted_has_no_liquidation_price_below(small: Ran) -> None:
    state = (1, E8, 20_000 * E8, 30_000 * E8, 500, 0)
    assert liquidation_price_e8(small.data.market, terms(small.study), 0, state) == 0
