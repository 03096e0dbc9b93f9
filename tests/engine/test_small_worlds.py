"""Every small world against the oracle: all paths of 4 bars over 4 prices, 3 actions at each, 2 sides, both venues.

The mark opens each bar where it ended the last, so a bar's way is from one price to another. The prices are chosen so
that 80 is where a long from 100 has equity equal to maintenance, and 96 is the border between two tiers.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product

import numpy as np
import pytest
from harness import BOOK_ROWS, compare, direct_calls, to_result, to_rules, to_run, to_tape, to_terms

from backtest.engine import oracle
from backtest.engine.batch import replay_batch
from backtest.engine.market import market_of
from backtest.engine.plan import SCRIPT_ROW
from backtest.schema import VERBS

HOUR_MS = 3_600_000
PRICES = ("80", "96", "100", "121")
PATHS = tuple(product(PRICES, repeat=4))
REDUCE, TOP_UP = (VERBS.index("reduce"), 0.5, 1), (VERBS.index("move_margin"), 7.25, 0)
ACTIONS = (None, REDUCE, TOP_UP)
SCRIPTS = tuple(
    tuple(oracle.ScriptedAction(bar, *act) for bar, act in enumerate(acts, 1) if act is not None)
    for acts in product(ACTIONS, repeat=3)
)
D = Decimal
TIERS = (
    oracle.TierRow(D(96), D("0.01"), D(0), D(10)),
    oracle.TierRow(None, D("0.05"), D("3.84"), D(5)),
)
PLAN = oracle.Plan(
    entry_ms=0,
    horizon_ms=10 * HOUR_MS,
    stop_ms=4 * HOUR_MS,
    side=1,
    leverage=D(5),
    capital=D(35),
    sizing_margin=D(20),
    qty_share=D(1),
    posted_margin=D("20.85"),  # 0.8 + 20 + 0.05: a long of 1 from 100 is at equity = maintenance at 80
    step=D("0.1"),
    min_notional=D(5),
    slippage=D(0),
    liq_slippage=D("0.001"),
    clearance_rate=D("0.005"),
    margin_mode="isolated",
    procedure="ioc",
    fee_reserve=False,
)
VENUES = {"binance": {}, "bybit": {"procedure": "takeover", "fee_reserve": True}}


def small_market(path: tuple[str, ...]) -> oracle.Market:
    """Give the market in which bar i goes from its price to the next one, the last stays."""
    bars = []
    for hour, (first, last) in enumerate(zip(path, (*path[1:], path[-1]), strict=True)):
        a, b = D(first), D(last)
        bars.append(oracle.Bar(hour * HOUR_MS, a, b, a, max(a, b), min(a, b)))
    return oracle.Market(HOUR_MS, tuple(bars), {2 * HOUR_MS: D("0.001")}, ((0, TIERS),), ((0, D("0.0005")),))


def compare_path(path: tuple[str, ...], venue: str) -> int:
    """Compare every script and side on one path; give how many runs were liquidated."""
    market = small_market(path)
    plans = [replace(PLAN, side=side, script=script, **VENUES[venue]) for side in (1, -1) for script in SCRIPTS]
    tape = to_tape(market, PLAN.stop_ms)
    entries = np.concatenate([to_run(tape, plan) for plan in plans])
    stops = np.cumsum([len(plan.script) for plan in plans])
    entries["script_start"], entries["script_stop"] = stops - entries["script_stop"], stops
    script = np.array([tuple(action) for plan in plans for action in plan.script], SCRIPT_ROW)
    rules = to_rules(())
    with direct_calls():
        batch = replay_batch(
            market_of(tape),
            to_terms(plans[0]).plan(rules, next_open=False),
            rules,
            entries,
            script=script,
            keep="all",
            book_rows=BOOK_ROWS,
        )
    for run, plan in enumerate(plans):
        lines = compare(oracle.replay(market, plan), to_result(batch, plan, run))
        assert not lines, "\n".join([f"{venue} {path} side {plan.side} {plan.script}", *lines])
    return int(batch.outcomes["liquidated"].sum())


@pytest.mark.parametrize("venue", VENUES)
def test_a_tenth_of_all_small_worlds(venue: str) -> None:
    assert sum(compare_path(path, venue) for path in PATHS[::10]) > 100


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("first", PRICES)
def test_all_small_worlds(venue: str, first: str) -> None:
    """64 paths from each first price, 27 scripts, 2 sides: 27,648 runs in all."""
    paths = [path for path in PATHS if path[0] == first]
    assert len(paths) * len(SCRIPTS) * 2 == 3_456
    for path in paths:
        compare_path(path, venue)
