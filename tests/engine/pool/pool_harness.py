"""Run the compiled pool kernel on the oracle's input and give its answer in the oracle's form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import harness
import numpy as np
from harness import BOOK_ROWS, UNCOMPARED, compare, to_outcome, to_outside, to_terms
from pool_worlds import POOL_RULES

from backtest import schema
from backtest.data.tape import tape_from_arrays
from backtest.engine import oracle
from backtest.engine.batch import Batch, Keep
from backtest.engine.compiled import Rules
from backtest.engine.oracle import pool as twin
from backtest.engine.plan import NONE, SCRIPT_ROW
from backtest.engine.pool import batch as batch_module
from backtest.engine.pool.batch import AssetTerms, Collateral, Form, Layer, pool_plan, replay_pool_batch
from backtest.engine.pool.forms import POOL_ENTRY
from backtest.engine.pool.market import PoolMarket, pool_market
from backtest.study.verify_pools import kernel_pool_result
from backtest.units import to_e8
from backtest.venues.tiers import TierTable

PRICES = ("trade_open", "trade_close", "mark_open", "mark_high", "mark_low", "mark_close")


def to_rules(uses: tuple[oracle.RuleUse, ...]) -> Rules:
    """Compile a plan's rules, those of pools too."""
    harness.RULES.update(POOL_RULES)
    return harness.to_rules(uses)


def to_tape(interval_ms: int, instrument: twin.Instrument, stop_ms: int) -> schema.Tape | None:
    """Lay one instrument out as a tape, without the bars at or after `stop_ms`; None where none is left."""
    bars = [bar for bar in instrument.bars if bar.time_ms < stop_ms]
    if not bars:
        return None
    opens = {bar.time_ms for bar in bars}
    lengths_ms = [bar.length_ms or interval_ms for bar in bars]
    return tape_from_arrays(
        min(lengths_ms),
        np.array([bar.time_ms for bar in bars], np.int64),
        *(np.array([to_e8(getattr(bar, name)) for bar in bars], np.int64) for name in PRICES),
        [(time, to_e8(rate)) for time, rate in sorted(instrument.funding.items()) if time in opens],
        [TierTable("TEST", first, first, tuple(harness._tiers(rows)), "test") for first, rows in instrument.tiers],
        [(time, to_e8(rate)) for time, rate in instrument.taker],
        np.array([bar.time_ms for bar in bars], np.int64) + lengths_ms,
    )


def to_asset_tape(interval_ms: int, asset: twin.Asset) -> schema.AssetTape:
    """Lay an asset out as a tape; all its rows, for its end is that of the last."""
    columns = zip(*((bar.time_ms, *map(to_e8, bar[1:])) for bar in asset.bars), strict=True)
    arrays = (np.array(column, np.int64) for column in columns)
    return schema.AssetTape(asset.name, interval_ms, to_e8(asset.fee), *arrays)


def to_market(market: twin.PoolMarket, plan: twin.PoolPlan) -> PoolMarket | None:
    """Lay a market out as the kernel reads it; None where no bar is left."""
    tapes = [to_tape(market.interval_ms, instrument, plan.stop_ms) for instrument in market.instruments]
    if any(tape is None for tape in tapes):
        return None
    inverse = [instrument.inverse for instrument in market.instruments]
    assets = [to_asset_tape(market.interval_ms, asset) for asset in market.assets]
    laid = [tape for tape in tapes if tape is not None]
    return pool_market(laid, inverse, assets=assets, sync=plan.joint == "sync")


def to_form(plan: twin.PoolPlan) -> Form:
    """Give the legs of a plan; the kernel's core instruments are the first ones."""
    assert [leg.instrument for leg in plan.core] == list(range(len(plan.core)))
    return Form(
        len(plan.core),
        tuple(Layer(twin.TARGETS.index(s.target), int(s.leverage * 100), s.instrument) for s in plan.layers),
        tuple(Collateral(c.instrument, to_e8(c.share), to_e8(c.ratio)) for c in plan.collaterals),
        plan.joint == "sync",
        tuple(to_asset_terms(spec) for spec in plan.assets),
        plan.isolated,
    )


def to_asset_terms(spec: twin.AssetSpec) -> AssetTerms:
    size_by = schema.SIZE_BY.index(spec.size_by)
    return AssetTerms(spec.side, spec.paid, spec.own_account, to_e8(spec.ratio), size_by, to_e8(spec.slippage))


def to_run(market: PoolMarket, plan: twin.PoolPlan) -> Any:
    """Give the entry of a plan as a record."""
    run = np.zeros(1, POOL_ENTRY)
    row, count = run[0], len(plan.core)
    entry = int(np.searchsorted(market.times_ms, plan.entry_ms))
    exists = entry < len(market.times_ms) and market.times_ms[entry] == plan.entry_ms
    row["entry_bar"] = entry if exists else NONE
    row["entry_segment"] = int(np.searchsorted(market.starts, entry, side="right")) - 1
    row["entry_ms"] = plan.entry_ms
    row["exit_bar"] = int(np.searchsorted(market.times_ms, plan.entry_ms + plan.horizon_ms))
    row["side"], row["leverage_e2"] = plan.side, int(plan.leverage * 100)
    row["capital_e8"] = to_e8(plan.capital)
    row["sizing_margin_e8"], row["qty_share_e8"] = to_e8(plan.sizing_margin), to_e8(plan.qty_share)
    row["posted_e8"], row["script_stop"] = to_e8(plan.posted_margin), len(plan.script)
    row["baseline_liquidation_ms"] = NONE if plan.baseline_liquidation_ms is None else plan.baseline_liquidation_ms
    row["baseline_exit_ms"] = NONE if plan.baseline_exit_ms is None else plan.baseline_exit_ms
    lots: dict[int, tuple[Any, Any]] = {slot: leg[1:] for slot, leg in enumerate(plan.core)}
    for spec in plan.layers:
        if spec.target == "opposite":
            lots |= {count + slot: leg[1:] for slot, leg in enumerate(plan.core)}
        else:
            lots[2 * count + twin.TARGETS.index(spec.target) - 1] = spec[3:]
    lots |= {2 * count + 2 + a: (spec.step, 0) for a, spec in enumerate(plan.assets)}
    for slot, (step, least) in lots.items():
        row["leg_step_e8"][slot], row["leg_min_notional_e8"][slot] = to_e8(step), to_e8(least)
    return run


@contextmanager
def direct_calls() -> Iterator[None]:
    """Call the compiled replay without a look at the types of its arguments."""
    compiled: Any = batch_module.replay_pools
    if getattr(compiled, "signatures", ()):
        batch_module.replay_pools = compiled.overloads[compiled.signatures[0]].entry_point
    try:
        yield
    finally:
        batch_module.replay_pools = compiled


def replay_market(
    market: PoolMarket, plan: twin.PoolPlan, rules: Rules, *, skip: bool = True, keep: Keep = "all", record: bool = True
) -> twin.PoolResult:
    """Replay one run in the kernel over a market that is laid out already."""
    rules = rules.fed(market.times_ms, to_outside(plan))
    next_open = plan.reaction == "next_open"
    kernel_plan = pool_plan(to_terms(plan), to_form(plan), market, rules, next_open=next_open, skip=skip)
    script = np.array([tuple(action) for action in plan.script], SCRIPT_ROW)
    entry = to_run(market, plan)
    options: dict[str, Any] = {"script": script, "keep": keep, "record": record, "book_rows": BOOK_ROWS}
    with direct_calls():
        batch = replay_pool_batch(market, kernel_plan, rules, entry, **options)
    return to_result(batch, plan)


def run_kernel(market: twin.PoolMarket, plan: twin.PoolPlan, *, skip: bool = True) -> twin.PoolResult:
    """Replay one run in the kernel."""
    laid = to_market(market, plan)
    if laid is None:
        raise ValueError("a world without bars")
    return replay_market(laid, plan, to_rules(plan.rules), skip=skip)


def to_result(batch: Batch, plan: twin.PoolPlan) -> twin.PoolResult:
    """Give the only run of a batch in the oracle's form."""
    return replace(kernel_pool_result(batch, 0), outcome=to_outcome(batch.outcomes[0], plan))


def disagreements(market: twin.PoolMarket, plan: twin.PoolPlan) -> list[str]:
    """Say where oracle, kernel, and kernel without skipping part on a run; nothing when they agree."""
    laid = to_market(market, plan)
    if laid is None:
        return []
    rules = to_rules(plan.rules)
    actual, visited = (replay_market(laid, plan, rules, skip=skip) for skip in (True, False))
    for result in (actual, visited):
        for name in UNCOMPARED:
            result.outcome.pop(name, None)
    lines = compare(twin.replay(market, plan), actual)
    return lines + [f"without skipping: {line}" for line in compare(actual, visited)]
