"""Speed beyond the first workload: rules on every bar, a year's runs, pools, and a million runs.

As in test_bench_replay.py: results are compared before any clock starts, each side is warm, at its best of a few, and
figures are printed with `pytest -s`.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
import pytest
import vectorbt
from numba import njit
from vectorbt.portfolio import nb
from workload import DAYS, HORIZON_BARS, OF_THE_WALK, Workload, best_s, row, run_bars, tape_of

from backtest import HOLD, every_bar, param, reduce, rule
from backtest.data.sources import synthetic
from backtest.engine.batch import Batch, Terms, replay_batch
from backtest.engine.compiled import Rules, prepare
from backtest.engine.pool.batch import Form, pool_plan, replay_pool_batch
from backtest.engine.pool.forms import POOL_ENTRY
from backtest.engine.pool.market import PoolMarket, pool_market
from backtest.study.crew import crew
from backtest.study.rule_files import load_rules
from backtest.units import DAY_MS, E8, MINUTE_MS

pytestmark = pytest.mark.slow

TERMS = Terms(slippage_e8=20_000, liquidation_slippage_e8=100_000, clearance_e8=500_000)
YEAR_BARS = 365 * DAY_MS // MINUTE_MS
POOL_DAYS = 400
BARS_A_DAY = DAY_MS // MINUTE_MS


def same(a: Batch, b: Batch) -> None:
    """Hold two replays to the same bytes."""
    for name in a.outcomes.dtype.names or ():
        if name not in OF_THE_WALK:
            assert np.array_equal(a.outcomes[name], b.outcomes[name]), name
    for table in ("transfers", "fills", "actions"):
        assert getattr(a, table).tobytes() == getattr(b, table).tobytes(), table


def deleverage(trigger: float = 0.25) -> Rules:
    use = load_rules()["deleverage"]
    return prepare([(use, use.values({"trigger": trigger}), 0)])


# --- a rule on every bar -------------------------------------------------------------------------------------------


@rule(wake=every_bar(), trigger=param(0.25, help="share of the buffer left at which to act"))
def watch(state: Any, p: Any) -> Any:
    if state.buffer < p.trigger:
        return reduce(0.25, put_back=True)
    return HOLD


@njit
def enter_and_stop(c: Any, low: Any, high: Any, stop: Any, long: Any) -> Any:
    """Buy or sell at the first bar; leave where a fixed price is passed: a liquidation made by hand."""
    if c.i == 0:
        return nb.order_nb(size=1.0 if long[c.col] else -1.0, price=c.close[0, c.col], fees=0.0005)
    passed = low[c.i, c.col] <= stop[c.col] if long[c.col] else high[c.i, c.col] >= stop[c.col]
    if c.position_now != 0.0 and passed:
        return nb.order_nb(size=-c.position_now, price=stop[c.col], fees=0.0005)
    return nb.order_nothing_nb()


def test_a_rule_on_every_bar(m30: Workload) -> None:
    rules = prepare([(watch, watch.values({}), 0)])
    entries = m30.entries[[6 * day + form for day in range(0, DAYS - 30, 110) for form in range(6)]]
    plan, by_bar = (TERMS.plan(rules, next_open=False, skip=skip) for skip in (True, False))
    batch = replay_batch(m30.market, plan, rules, entries, keep="all")
    same(batch, replay_batch(m30.market, by_bar, rules, entries, keep="all"))
    assert batch.outcomes["actions"].sum() > 0
    ours = best_s(lambda: replay_batch(m30.market, plan, rules, entries), 3) / run_bars(batch, entries)

    few = entries[:12]
    place = few["entry_bar"][None, :] + np.arange(HORIZON_BARS + 1)[:, None]
    low, high, close = (getattr(m30.bars, f"mark_{name}_e8")[place] / E8 for name in ("low", "high", "close"))
    long = few["side"] > 0
    stop = close[0] * (1 - few["side"] * 100.0 / few["leverage_e2"])

    def peer() -> Any:
        return vectorbt.Portfolio.from_order_func(close, enter_and_stop, low, high, stop, long, init_cash=1e6)

    trades = peer().trades.records
    passed = np.where(long, (low <= stop)[1:].any(axis=0), (high >= stop)[1:].any(axis=0))
    assert (trades["status"].to_numpy() == 1).tolist() == passed.tolist()
    theirs = best_s(peer, 3) / close.size
    row("a bar of a rule on every bar (at most 40 ns)", f"{ours * 1e9:.1f} ns")
    row("the same, against vectorbt from_order_func", f"{ours * 1e9:.1f} ns", f"{theirs * 1e9:.1f} ns", theirs / ours)


# --- a year --------------------------------------------------------------------------------------------------------


def test_runs_of_a_year_at_twice(m30: Workload) -> None:
    rules = deleverage()
    entries = m30.entries[:: 6 * 3][: (DAYS - 365) // 3].copy()
    entries["leverage_e2"] = 200
    entries["side"] = np.where(np.arange(len(entries)) % 2 == 0, 1, -1)
    entries["exit_bar"] = entries["entry_bar"] + YEAR_BARS
    plan, by_bar = (TERMS.plan(rules, next_open=False, skip=skip) for skip in (True, False))
    few = entries[:: len(entries) // 6]
    slow = replay_batch(m30.market, by_bar, rules, few, keep="all")
    same(replay_batch(m30.market, plan, rules, few, keep="all"), slow)
    batch = replay_batch(m30.market, plan, rules, entries, keep="all")
    ours = best_s(lambda: replay_batch(m30.market, plan, rules, entries, keep="all")) / run_bars(batch, entries)
    bar_by_bar = best_s(lambda: replay_batch(m30.market, by_bar, rules, few, keep="all"), 2) / run_bars(slow, few)

    place = few["entry_bar"][None, :] + np.arange(YEAR_BARS + 1)[:, None]
    prices = {name: getattr(m30.bars, f"mark_{name}_e8")[place] / E8 for name in ("open", "high", "low", "close")}
    enter, leave = np.zeros((2, *place.shape), bool)
    enter[0], leave[-1] = True, True
    long = few["side"] > 0

    def peer() -> Any:
        return vectorbt.Portfolio.from_signals(
            prices["close"],
            entries=enter & long,
            exits=leave & long,
            short_entries=enter & ~long,
            short_exits=leave & ~long,
            open=prices["open"],
            high=prices["high"],
            low=prices["low"],
            sl_stop=0.5,
            size=1.0,
            init_cash=1e6,
            fees=0.0005,
            slippage=0.0002,
            engine="numba",
        )

    assert len(peer().trades.records) == len(few)
    theirs = best_s(peer, 2) / place.size
    row("a year at 2x: a run-bar, against vectorbt", f"{ours * 1e9:.4f} ns", f"{theirs * 1e9:.1f} ns", theirs / ours)
    ratio = bar_by_bar / ours
    row("a year at 2x: against bar by bar", f"{ours * 1e9:.4f} ns", f"{bar_by_bar * 1e9:.1f} ns", ratio)


# --- pools ---------------------------------------------------------------------------------------------------------


def pool_entries(market: PoolMarket) -> Any:
    """Give the entries of the first workload, each in five symbols at once."""
    days = POOL_DAYS - 31
    rows = np.zeros(6 * days, POOL_ENTRY)
    bar = np.repeat(np.arange(days) * BARS_A_DAY, 6)
    rows["entry_bar"], rows["entry_ms"], rows["exit_bar"] = bar, market.times_ms[bar], bar + HORIZON_BARS
    rows["entry_segment"] = np.searchsorted(market.starts, bar, side="right") - 1
    rows["side"], rows["leverage_e2"] = np.tile([1, 1, 1, -1, -1, -1], days), np.tile([500, 1000, 2000], 2 * days)
    rows["capital_e8"], rows["sizing_margin_e8"], rows["posted_e8"] = 10_000 * E8, 5_000 * E8, 5_000 * E8
    rows["qty_share_e8"], rows["leg_step_e8"], rows["leg_min_notional_e8"] = E8, 100_000, 5 * E8
    rows["baseline_liquidation_ms"] = rows["baseline_exit_ms"] = -1
    return rows


def test_a_pool_of_five_symbols_with_a_rule() -> None:
    market = pool_market([tape_of(synthetic.m30_bars(seed), POOL_DAYS) for seed in range(1, 6)], [False] * 5)
    rules = deleverage()
    terms = Terms(20_000, 100_000, 500_000, cross=True)
    plan, by_bar = (pool_plan(terms, Form(5), market, rules, next_open=False, skip=skip) for skip in (True, False))
    entries = pool_entries(market)
    few = entries[:: len(entries) // 24]
    slow = replay_pool_batch(market, by_bar, rules, few, keep="all")
    same(replay_pool_batch(market, plan, rules, few, keep="all"), slow)
    batch = replay_pool_batch(market, plan, rules, entries, keep="all")
    ours = best_s(lambda: replay_pool_batch(market, plan, rules, entries, keep="all"), 3) / run_bars(batch, entries)
    theirs = best_s(lambda: replay_pool_batch(market, by_bar, rules, few, keep="all"), 2) / run_bars(slow, few)
    lost = 100 * (batch.outcomes["liquidated"] == 1).mean()
    row("pool of five: runs; liquidated", f"{len(entries):,}", f"{lost:.1f} %")
    row(
        "pool of five: against bar by bar (at least 30 x)",
        f"{ours * 1e9:.2f} ns",
        f"{theirs * 1e9:.0f} ns",
        theirs / ours,
    )


# --- a million runs ------------------------------------------------------------------------------------------------


def test_a_million_runs(m30: Workload) -> None:
    triggers = np.linspace(0.05, 0.9, -(-1_000_000 // len(m30.entries))).round(4).tolist()
    strategies = [deleverage(trigger) for trigger in triggers]
    begin, used = time.perf_counter(), time.process_time()
    liquidated = runs = 0
    with crew(2) as hands:
        for rules in strategies:
            plan = TERMS.plan(rules, next_open=False)
            outcomes = hands.replay(m30.market, plan, rules, m30.entries, script=None).outcomes
            runs += len(outcomes)
            liquidated += int((outcomes["liquidated"] == 1).sum())
    seconds, processor = time.perf_counter() - begin, time.process_time() - used
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert runs >= 1_000_000
    assert liquidated > 0
    row("a million runs on two cores (under 15 s)", f"{runs:,}", f"{seconds:.1f} s")
    row("a million runs: processors used; memory", f"{processor / seconds:.2f}", f"{memory_mb:,.0f} MB")
