"""The open of a bar in a pool run: tables, funding, arrivals, tests, exit, remembered and woken rules, tests.

The order is that of one position: docs/semantics.md, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine import cells as at
from backtest.engine.compile import inner
from backtest.engine.dated import is_dated, note_due, renew_ways
from backtest.engine.liquidation import BY_FUNDING, BY_PRICE, BY_TIER_CHANGE, R_CLOSED, R_HORIZON, RUNNING
from backtest.engine.opening import is_remembered, is_woken, remember
from backtest.engine.plan import DATED, THRESHOLDS
from backtest.engine.pool.actions import bring, call_rule, perform
from backtest.engine.pool.books import count_opens, keep_pair, transfer
from backtest.engine.pool.forced import end_breach, end_run, liquidate, price_cause, test_after_action
from backtest.engine.pool.legs import close_leg, refresh, settle_asset
from backtest.engine.pool.units import close_stretch, figures, is_core_held, is_held, is_liquidated, see, wallet_of
from backtest.engine.pool.values import first_asset, funding_amount, in_quote, notional_of, qty_max

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run


@inner
def first_bar_at(market: PoolMarket, time_ms: int, start: int) -> int:
    """Give the first bar at or after a time, from a bar on; the number of bars when there is none."""
    low, high = start, len(market.times_ms)
    while low < high:
        middle = (low + high) // 2
        if market.times_ms[middle] < time_ms:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def lay_opens(market: PoolMarket, plan: Plan, desk: PoolDesk, bar: int) -> None:
    """Put marks and base prices at a bar's opens."""
    for i in range(plan.instrument_count):
        desk.marks[i] = market.bars[bar, i].mark_open_e8
        desk.bases[i] = market.bars[bar, i].trade_open_e8


@inner
def pay_funding(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run) -> bool:
    """Settle the funding of the segment that begins here, leg by leg; tell whether there was a rate."""
    funded = False
    for slot in range(plan.slot_count):
        if run.qty[slot] == 0:
            continue
        instrument, unit = plan.leg_instrument[slot], plan.leg_unit[slot]
        rate = market.segments[run.segment, instrument].funding_e8
        if rate == 0:
            continue
        funded = True
        pays = (rate > 0) == (run.side[slot] > 0)
        mark = desk.marks[instrument]
        amount = funding_amount(market, instrument, run.qty[slot], mark, abs(rate), pays)
        debit, credit = (wallet_of(unit), at.FUNDING) if pays else (at.FUNDING, wallet_of(unit))
        asset = plan.unit_asset[unit]
        transfer(market, plan, desk, run, at.K_FUNDING, debit, credit, asset, amount, at.C_FUNDING, -1)
        run.funding += in_quote(market, instrument, amount if pays else -amount, mark)
    return funded


@inner
def note_wallets(plan: Plan, run: Run, into: Any) -> None:
    """Write down the wallets of the core's units."""
    for unit in range(plan.core_count):
        into[unit] = run.balance[plan.unit_asset[unit], wallet_of(unit)]


@inner
def enter_segment(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, bar: int) -> None:
    """Put a segment's tables, fees and funding into force at its first bar; the marks are at its opens."""
    count_opens(market, plan, run, bar)
    close_stretch(market, plan, run)
    run.segment += 1
    run.time_ms = market.times_ms[bar]
    run.entered_bar = bar
    note_wallets(plan, run, run.old_wallet)
    run.old_margins, run.margins = run.margins, run.segment
    changed = False
    for i in range(plan.instrument_count):
        segment = market.segments[run.segment, i]
        run.old_table[i] = run.table[i]
        changed = changed or run.table[i] != segment.table or run.taker[i] != segment.taker_e8
        run.table[i], run.taker[i] = segment.table, segment.taker_e8
    for slot in range(plan.slot_count):
        run.old_fee_reserve[slot] = run.fee_reserve[slot]
        if changed and run.qty[slot] > 0:
            refresh(market, plan, run, slot)
    for slot in range(first_asset(plan), plan.slot_count):
        run.old_qty[slot], run.old_cost[slot] = run.qty[slot], run.cost[slot]
        if run.qty[slot] > 0 and qty_max(market, plan, run, slot) == 0:
            settle_asset(market, plan, desk, run, slot)
    note_wallets(plan, run, run.unfunded_wallet)
    run.funded = pay_funding(market, plan, desk, run)


@inner
def take_arrivals(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run) -> bool:
    """Add the transfers that have arrived by now; tell whether there were any."""
    arrived = False
    while run.queue_head < run.queue_tail:
        place = run.queue_head % len(desk.queue)
        if desk.queue[place, 0] > run.time_ms:
            break
        arrived = True
        bring(market, plan, desk, run, desk.queue[place, 1], at.TRANSIT, at.C_ARRIVAL, desk.queue[place, 2])
        run.queue_head += 1
    return arrived


@inner
def swap_terms(plan: Plan, run: Run) -> None:
    """Exchange tables, margins, fee reserves and legs of assets with those before this open."""
    run.margins, run.old_margins = run.old_margins, run.margins
    for i in range(plan.instrument_count):
        run.table[i], run.old_table[i] = run.old_table[i], run.table[i]
    for slot in range(plan.slot_count):
        run.fee_reserve[slot], run.old_fee_reserve[slot] = run.old_fee_reserve[slot], run.fee_reserve[slot]
    for slot in range(first_asset(plan), plan.slot_count):
        run.qty[slot], run.old_qty[slot] = run.old_qty[slot], run.qty[slot]
        run.cost[slot], run.old_cost[slot] = run.old_cost[slot], run.cost[slot]


@inner
def open_cause(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, unit: int, bar: int) -> int:
    """Name what turned the predicate of one of the core's units true at a bar's open."""
    if run.entered_bar != bar:
        return price_cause(market, plan, desk, run, unit)
    asset, account = plan.unit_asset[unit], wallet_of(unit)
    wallet = run.balance[asset, account]
    run.balance[asset, account] = run.old_wallet[unit]
    swap_terms(plan, run)
    equity, maintenance, _ = figures(market, plan, run, unit, desk.marks, False)
    cause = BY_FUNDING
    if equity <= maintenance:
        cause = price_cause(market, plan, desk, run, unit)
    swap_terms(plan, run)
    if cause == BY_FUNDING:
        run.balance[asset, account] = run.unfunded_wallet[unit]
        equity, maintenance, _ = figures(market, plan, run, unit, desk.marks, False)
        if equity <= maintenance:
            cause = BY_TIER_CHANGE
    run.balance[asset, account] = wallet
    return cause


@inner
def test_open(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, bar: int) -> None:
    """Make the liquidation test of every unit at a bar's open, before anything is done."""
    for unit in range(plan.slot_count):
        if run.reason == RUNNING and is_held(plan, run, unit):
            if is_liquidated(market, plan, run, unit, desk.marks):
                core = unit < plan.core_count
                cause = open_cause(market, plan, desk, run, unit, bar) if core else BY_PRICE
                liquidate(market, plan, desk, run, entry, unit, cause)
            else:
                end_breach(plan, run, unit)


@inner
def close_all(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, reason: int, cause: int) -> None:
    """Close every core leg at the end of a run, and its layers after them."""
    for slot in range(plan.core_count):
        if run.qty[slot] > 0:
            close_leg(market, plan, desk, run, slot, run.qty[slot], False, cause, plan.no_rule)
    end_run(market, plan, desk, run, reason, cause)


@inner
def after_action(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any) -> None:
    """End a run whose core a rule closed, else make the test."""
    if is_core_held(plan, run):
        test_after_action(market, plan, desk, run, entry)
    else:
        end_run(market, plan, desk, run, R_CLOSED, at.C_EXIT)


@inner
def wake_at_open(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, wake: int) -> None:
    """Call a rule at a bar's open, unless it cools down; make the test if it acted."""
    rule = plan.wake_rule[wake]
    last = run.rule_last_ms[rule]
    if last >= 0 and run.time_ms - last < plan.cooldown_ms[rule]:
        return
    if call_rule(market, plan, desk, run, entry, wake):
        after_action(market, plan, desk, run, entry)


@inner
def call_remembered(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any) -> None:
    """Call the remembered wakes whose time has come, in list order."""
    for wake in range(plan.wake_count):
        if run.reason == RUNNING and is_remembered(plan, run, wake):
            wake_at_open(market, plan, desk, run, entry, wake)
    run.latency_from_ms = run.time_ms


@inner
def play_script(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, bar: int) -> None:
    """Do the scripted actions of this bar."""
    stop = entry.script_stop
    while run.reason == RUNNING and run.script_at < stop and desk.agenda[run.script_at].bars <= bar - run.entry_bar:
        row = desk.agenda[run.script_at]
        run.script_at += 1
        if perform(market, plan, desk, run, entry, (row.verb, row.amount, row.target), plan.no_rule):
            after_action(market, plan, desk, run, entry)


@inner
def at_open(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, bar: int) -> None:
    """Do the events of a bar's open, steps 1 to 7; in the entry bar the entry fills have just been made."""
    lay_opens(market, plan, desk, bar)
    run.bar = bar
    run.time_ms = market.times_ms[bar]
    run.latency_from_ms = run.time_ms
    run.count_bound = bar
    if plan.feed:
        renew_ways(plan, desk, run, bar)
    arrived, filled = False, bar == run.entry_bar
    if bar > run.entry_bar:
        if bar == market.starts[run.segment + 1]:
            enter_segment(market, plan, desk, run, bar)
        arrived = take_arrivals(market, plan, desk, run)
        see(plan, run, desk.marks, desk.marks)
        test_open(market, plan, desk, run, entry, bar)
        if run.reason == RUNNING and bar == entry.exit_bar:
            close_all(market, plan, desk, run, R_HORIZON, at.C_EXIT)
        if run.reason == RUNNING:
            fills = run.rule_fills
            call_remembered(market, plan, desk, run, entry)
            play_script(market, plan, desk, run, entry, bar)
            filled = run.rule_fills != fills
    else:
        play_script(market, plan, desk, run, entry, bar)
    call_woken(market, plan, desk, run, entry, bar, arrived, filled)
    if plan.feed:
        note_due(plan, desk, run)
    test_after_action(market, plan, desk, run, entry)
    if bar == run.baseline_liq_bar:
        run.baseline_qty = quantity(market, plan, run)
    if bar == run.baseline_exit_bar:
        keep_pair(market, plan, run, bar)


@inner
def quantity(market: PoolMarket, plan: Plan, run: Run) -> int:
    """Give how much of the entry is held: one leg's quantity, or the notional of several at the entry's marks."""
    if plan.core_count == 1:
        return run.qty[0]
    total = 0
    for slot in range(plan.core_count):
        total += notional_of(market, plan.leg_instrument[slot], run.qty[slot], run.entry_mark[slot])
    return total


@inner
def call_woken(
    market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, entry: Any, bar: int, arrived: bool, filled: bool
) -> None:
    """Call the rules woken by arrival, funding, fill, clock or the feed at this open, in list order."""
    funded = run.entered_bar == bar and run.funded == 1 and bar > run.entry_bar
    for wake in range(plan.wake_count):
        if run.reason != RUNNING:
            return
        if plan.wake_kind[wake] < THRESHOLDS:
            continue
        dated = plan.wake_kind[wake] >= DATED
        if is_dated(plan, desk, run, wake) if dated else is_woken(plan, run, wake, funded, arrived, filled):
            if plan.reaction_ms > 0:
                remember(plan, run, wake, run.time_ms)
            else:
                wake_at_open(market, plan, desk, run, entry, wake)
