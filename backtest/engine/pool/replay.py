"""The pool replay: every run of a batch through the bars, skipping what cannot matter. Contract: docs/pools.md.

The flow is that of one position (engine/replay.py): `begin` opens the legs or refuses them, `at_open` does the events
of a bar's open, `skip_clear` leaves out the bars in which nothing can happen, `walk` does the path of the first bar
where something might, `finish` writes the outcome. Visiting every bar (`plan.skip = 0`) gives the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.engine import cells as at
from backtest.engine.arithmetic import INT64_MAX, mul_div_floor, mul_floor
from backtest.engine.compile import inner, jit
from backtest.engine.dated import begin_feed
from backtest.engine.exposure import hours_e2
from backtest.engine.liquidation import R_DATA_END, R_REFUSED, RUNNING
from backtest.engine.plan import NONE
from backtest.engine.pool.books import buy_coin, coin_for, transfer
from backtest.engine.pool.forms import POOL_RUN, QUOTE
from backtest.engine.pool.legs import open_leg
from backtest.engine.pool.opening import at_open, close_all, first_bar_at, lay_opens, quantity
from backtest.engine.pool.path import walk
from backtest.engine.pool.skip import end_breaches, next_due, pass_segments, skip_clear
from backtest.engine.pool.units import see, wallet_of
from backtest.engine.pool.values import allows, notional_of
from backtest.engine.replay import BUFFER_NONE, CAP, GAP, KEEP_ACTIONS, KEEP_ALL, NO_STEP, SMALL

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run


@inner
def finish_data(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run) -> None:
    """End a run whose horizon lies beyond the data, at the last trade closes."""
    last = len(market.times_ms) - 1
    run.bar = last
    run.count_bound = last + 1
    run.time_ms = market.closes_ms[last]
    for i in range(plan.instrument_count):
        desk.marks[i] = desk.bases[i] = market.bars[last, i].trade_close_e8
    close_all(market, plan, desk, run, R_DATA_END, at.C_DATA_END)


@inner
def advance(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any) -> None:
    """Carry a run from its entry fills to its end."""
    bar = due = run.entry_bar
    opened = False
    while run.reason == RUNNING:
        if not opened:
            if bar == len(market.times_ms):
                finish_data(market, plan, desk, run)
                return
            if bar != due and plan.skip and bar == market.starts[run.segment + 1]:
                bar = pass_segments(market, plan, desk, run, bar, due)
            if bar == due or bar == market.starts[run.segment + 1]:
                if bar < len(market.times_ms):
                    at_open(market, plan, desk, run, entry, bar)
                    opened = True
                    due = next_due(market, plan, desk, run, entry, bar + 1)
                continue
        limit = min(market.starts[run.segment + 1], due)
        clear_to = skip_clear(market, plan, run, bar, limit) if plan.skip and bar < limit else bar
        if clear_to > bar:
            end_breaches(plan, run)
            bar = clear_to
            opened = False
        elif opened:
            walk(market, plan, desk, run, entry, bar)
            bar += 1
            opened = False
            due = next_due(market, plan, desk, run, entry, bar)
        else:
            at_open(market, plan, desk, run, entry, bar)
            opened = True
            due = next_due(market, plan, desk, run, entry, bar + 1)


# --- entry and outcome -----------------------------------------------------------------------------------------------


@inner
def sized(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, slot: int) -> int:
    """Give the entry quantity of a core leg: its part of the margin x leverage, in whole steps."""
    instrument, step = plan.leg_instrument[slot], entry.leg_step_e8[slot]
    margin = entry.sizing_margin_e8 // plan.core_count
    if market.inverse[instrument]:
        qty = mul_div_floor(margin, entry.leverage_e2, 100) // step * step
    else:
        qty = mul_div_floor(margin, entry.leverage_e2 * 1_000_000, desk.bases[instrument]) // step * step
    return mul_floor(qty, entry.qty_share_e8) // step * step


@inner
def refusal_of(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any) -> int:
    """Give why the venue would not take an entry, reason by reason over its legs, or NONE."""
    empty, small, capped = False, False, False
    for slot in range(plan.core_count):
        instrument = plan.leg_instrument[slot]
        mark = desk.marks[instrument]
        qty = sized(market, plan, desk, run, entry, slot)
        empty = empty or qty == 0
        small = small or notional_of(market, instrument, qty, mark) < entry.leg_min_notional_e8[slot]
        capped = capped or not allows(market, run, instrument, qty, mark, entry.leverage_e2)
    if empty:
        return NO_STEP
    if small:
        return SMALL
    return CAP if capped else NONE


@inner
def begin(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any) -> int:
    """Open the core legs of a run at its entry bar; give the refusal, or NONE."""
    bar = entry.entry_bar
    if bar < 0:
        return GAP
    run.time_ms = run.entry_ms = market.times_ms[bar]
    run.bar = run.entry_bar = run.counted_to = run.count_bound = bar
    run.segment = run.margins = entry.entry_segment
    run.capital = entry.capital_e8
    lay_opens(market, plan, desk, bar)
    for i in range(plan.instrument_count):
        run.table[i], run.taker[i] = market.segments[run.segment, i].table, market.segments[run.segment, i].taker_e8
    for slot in range(plan.slot_count):
        core = slot < plan.core_count
        run.side[slot] = entry.side if core else -entry.side
        if plan.leg_side[slot] != 0:
            run.side[slot] = plan.leg_side[slot]
        run.leverage_e2[slot] = entry.leverage_e2 if core else plan.leg_leverage_e2[slot]
    refusal = refusal_of(market, plan, desk, run, entry)
    if refusal != NONE:
        return refusal
    for wake in range(plan.wake_count):
        run.wake_due_ms[wake] = run.time_ms + plan.wake_value[wake]
    run.script_at = entry.script_start
    if entry.baseline_liquidation_ms >= 0:
        run.baseline_liq_bar = first_bar_at(market, entry.baseline_liquidation_ms, bar)
    if entry.baseline_exit_ms >= 0:
        run.baseline_exit_bar = first_bar_at(market, entry.baseline_exit_ms, bar)
    if plan.feed:
        begin_feed(plan, desk, run)
    enter_legs(market, plan, desk, run, entry)
    return NONE


@inner
def enter_legs(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any) -> None:
    """Pay in the capital, post the margin with its collateral, and open the core legs."""
    cause = at.C_ENTRY
    transfer(market, plan, desk, run, at.K_DEPOSIT, at.WORLD, at.RESERVE, QUOTE, run.capital, cause, -1)
    part = entry.posted_e8 // plan.core_count
    pooled = entry.posted_e8 - plan.isolated_count * part
    for slot in range(1, plan.core_count):
        if plan.leg_unit[slot] == slot:
            transfer(market, plan, desk, run, at.K_POST, at.RESERVE, wallet_of(slot), QUOTE, part, cause, -1)
    left = pooled
    for j in range(plan.collateral_count):
        budget = mul_floor(pooled, plan.collateral_share_e8[j])
        left -= budget
        i = plan.collateral_instrument[j]
        coin = coin_for(plan, desk, run, i, budget)
        buy_coin(market, plan, desk, run, i, coin, at.RESERVE, at.MARGIN, cause, -1)
    asset = plan.unit_asset[0]
    if asset == QUOTE:
        transfer(market, plan, desk, run, at.K_POST, at.RESERVE, at.MARGIN, QUOTE, left, cause, -1)
    else:
        coin = coin_for(plan, desk, run, asset - 1, left)
        buy_coin(market, plan, desk, run, asset - 1, coin, at.RESERVE, at.MARGIN, cause, -1)
    for slot in range(plan.core_count):
        run.entry_mark[slot] = desk.marks[plan.leg_instrument[slot]]
        open_leg(market, plan, desk, run, slot, sized(market, plan, desk, run, entry, slot), cause, -1)
    run.entry_qty = quantity(market, plan, run)
    run.first_qty = run.qty[0]
    run.entry_notional = run.turnover
    see(plan, run, desk.marks, desk.marks)


@inner
def finish(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, row: Any) -> None:
    """Send back what is in transit and write the outcome of a run."""
    cause = (at.C_LIQUIDATION, at.C_EXIT, at.C_RULE, at.C_DATA_END)[run.reason]
    in_transit = run.balance[QUOTE, at.TRANSIT]
    transfer(market, plan, desk, run, at.K_RETURN, at.TRANSIT, at.RESERVE, QUOTE, in_transit, cause, -1)
    if run.breached & ((1 << plan.core_count) - 1):
        run.partial = 1
    if not run.paired_done:
        run.paired_high = run.before_path_high if run.on_path else run.sum_high
        run.paired_low = run.before_path_low if run.on_path else run.sum_low
    if entry.baseline_liquidation_ms >= 0:
        row["qty_at_baseline_liquidation_e8"] = max(run.baseline_qty, 0)
    row["exit_ms"] = run.exit_ms
    row["reason"] = run.reason
    row["liquidated"] = 1 if run.breaches > 0 else 0
    row["cause"] = run.first_cause
    row["partial"] = run.partial
    row["forced_qty_e8"] = run.forced_qty
    row["liquidation_count"] = run.breaches
    row["layer_liquidations"] = run.layer_liquidations
    row["liquidation_ms"] = run.first_liq_ms
    row["liquidation_price_e8"] = run.first_liq_mark
    row["entry_qty_e8"] = run.entry_qty
    row["entry_notional_e8"] = run.entry_notional
    row["equity_end_e8"] = run.balance[QUOTE, at.FREE] + run.balance[QUOTE, at.RESERVE]
    row["fees_e8"] = run.fees
    row["funding_e8"] = run.funding
    row["slippage_e8"] = run.slippage
    row["premium_e8"] = run.premium
    row["clearance_fee_e8"] = run.clearance
    row["margin_added_e8"] = run.added
    row["turnover_e8"] = run.turnover
    row["notional_hours_e2"] = hours_e2(run.sum_high, run.sum_low, market.interval_ms)
    row["notional_hours_paired_e2"] = hours_e2(run.paired_high, run.paired_low, market.interval_ms)
    row["min_buffer_ppm"] = run.min_buffer
    row["max_margin_ratio_ppm"] = run.max_ratio
    row["largest_deficit_e8"] = -INT64_MAX
    row["actions"] = run.actions
    row["refused"] = run.refused
    row["exit_bar"] = run.bar
    row["last_segment"] = run.segment
    row["bars_visited"] = run.bars_visited


@inner
def refuse(entry: Any, row: Any, refusal: int) -> None:
    """Write the outcome of an entry that the venue would not have taken."""
    row["refusal"] = refusal
    row["reason"] = R_REFUSED
    row["equity_end_e8"] = entry.capital_e8
    row["min_buffer_ppm"] = BUFFER_NONE
    row["exit_ms"] = row["cause"] = row["liquidation_ms"] = row["liquidation_price_e8"] = NONE


def blank_pool_runs() -> Any:
    """Give the states a replay works with: the one in use, and the blank one it begins each run from."""
    runs = np.zeros(2, POOL_RUN)
    blank = runs[1]
    for name in (
        "reason",
        "baseline_qty",
        "baseline_liq_bar",
        "baseline_exit_bar",
        "first_liq_ms",
        "first_liq_mark",
        "first_cause",
        "entered_bar",
        "rule_last_ms",
    ):
        blank[name] = NONE
    blank["min_buffer"] = BUFFER_NONE
    blank["feed_due"] = INT64_MAX
    return runs


@jit
def replay_pools(
    market: PoolMarket, plan: Plan, desk: PoolDesk, entries: Any, outcomes: Any, first: int, last: int, keep: int
) -> int:
    """Replay the runs [first, last); give the first run whose rows did not fit. See `engine.replay.replay`."""
    run = desk.runs[0]
    cursor = desk.book.cursor
    for index in range(first, last):
        before = cursor[0], cursor[1], cursor[2]
        desk.runs[0] = desk.runs[1]
        desk.memory[:] = 0.0
        run.index = index
        entry, row = entries[index], outcomes[index]
        row["refusal"] = row["qty_at_baseline_liquidation_e8"] = NONE
        refusal = begin(market, plan, desk, run, entry)
        if refusal == NONE:
            advance(market, plan, desk, run, entry)
            finish(market, plan, desk, run, entry, row)
        else:
            refuse(entry, row, refusal)
        if cursor[3]:
            cursor[0], cursor[1], cursor[2] = before
            cursor[3] = 0
            return index
        if keep < KEEP_ALL and run.breaches == 0:
            cursor[0], cursor[1] = before[0], before[1]
            if keep < KEEP_ACTIONS:
                cursor[2] = before[2]
    return last
