"""The open of a bar: tier table, funding, arrivals, test, exit, remembered and woken rules, test.

The order of docs/semantics.md, section 3, steps 1 to 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine import cells as at
from backtest.engine.actions import call_rule, perform
from backtest.engine.arithmetic import INT64_MAX, rated
from backtest.engine.band import is_in_clear_band
from backtest.engine.compile import inlined, inner
from backtest.engine.dated import is_dated, note_due, renew_ways
from backtest.engine.exposure import count_opens, keep_pair, settle_exposure
from backtest.engine.ledger import transfer, transfer_at_once
from backtest.engine.liquidation import (
    BY_FUNDING,
    BY_PRICE,
    BY_TIER_CHANGE,
    R_CLOSED,
    R_HORIZON,
    RUNNING,
    end_breach,
    end_run,
    is_liquidated,
    liquidate,
    test_after_fill,
)
from backtest.engine.margin import measure
from backtest.engine.path import close_stretch, see
from backtest.engine.plan import DATED, EVERY, EVERY_BAR, ON_ARRIVAL, ON_FILL, ON_FUNDING, THRESHOLDS
from backtest.engine.position import reduce_position, refresh

if TYPE_CHECKING:
    from backtest.engine.actions import Desk
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market


@inner
def first_bar_at(tape: Market, time_ms: int, start: int) -> int:
    """Give the first bar at or after a time, from a bar on; the number of bars when there is none."""
    low, high = start, len(tape.bars)
    if start < high:
        guess = start + max(0, (time_ms - tape.bars[start].time_ms + tape.interval_ms - 1) // tape.interval_ms)
        if guess < high:
            if tape.bars[guess].time_ms == time_ms:
                return guess
            high = guess  # missing and longer bars only make the index smaller
    while low < high:
        middle = (low + high) // 2
        if tape.bars[middle].time_ms < time_ms:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def funding_of(tape: Market, run: Run, segment: int) -> int:
    """Give the funding that the position pays where a segment begins; negative: it receives."""
    rate, mark = tape.segments[segment].funding_e8, tape.segments[segment].mark_open_e8
    pays = (rate > 0) == (run.side > 0)
    amount = rated(run.qty, mark, abs(rate), pays)
    return amount if pays else -amount


@inlined
def pay_funding(desk: Desk, run: Run, amount: int) -> None:
    """Book the funding of a segment."""
    debit, credit = (at.MARGIN, at.FUNDING) if amount > 0 else (at.FUNDING, at.MARGIN)
    transfer_at_once(desk.book, run, at.K_FUNDING, debit, credit, abs(amount), at.C_FUNDING, -1)


@inlined
def take_arrivals(tape: Market, plan: Plan, desk: Desk, run: Run) -> bool:
    """Add the transfers that have arrived by now; tell whether there were any."""
    arrived = False
    while run.queue_head < run.queue_tail:
        place = run.queue_head % at.QUEUE_ROWS
        if desk.tray.queue[place, 0] > run.time_ms:
            break
        if not arrived:
            close_stretch(tape, run)
        arrived = True
        amount = desk.tray.queue[place, 1]
        transfer(
            desk.book, run, at.K_ADD_MARGIN, at.TRANSIT, at.MARGIN, amount, at.C_ARRIVAL, desk.tray.queue[place, 2]
        )
        run.added += amount
        run.queue_head += 1
    return arrived


@inlined
def enter_segment(tape: Market, plan: Plan, desk: Desk, run: Run, bar: int) -> None:
    """Put a segment's tier table, fee and funding into force at its first bar."""
    count_opens(tape, run, bar)
    close_stretch(tape, run)
    run.segment += 1
    run.time_ms = tape.segments[run.segment].time_ms
    run.entered_bar = bar
    run.old_margin = run.balance[at.MARGIN]
    run.old_table = run.table
    run.old_fee_reserve = run.fee_reserve
    table, taker = tape.segments[run.segment].table, tape.segments[run.segment].taker_e8
    if table != run.table or taker != run.taker:
        run.table, run.taker = table, taker
        refresh(plan, run)
    run.funded = tape.segments[run.segment].funding_e8 != 0
    pay_funding(desk, run, funding_of(tape, run, run.segment))


@inner
def open_cause(tape: Market, run: Run, bar: int) -> int:
    """Name what turned the predicate true at a bar's open: the price, a tier change or funding."""
    if run.entered_bar != bar:
        return BY_PRICE
    mark = tape.bars[bar].mark_open_e8
    for cause, table, reserve in (
        (BY_PRICE, run.old_table, run.old_fee_reserve),
        (BY_TIER_CHANGE, run.table, run.fee_reserve),
    ):
        equity, maintenance, _ = measure(
            tape, table, run.side, run.qty, run.cost, run.old_margin, run.leverage_e2, reserve, mark
        )
        if equity <= maintenance:
            return cause
    return BY_FUNDING


@inlined
def wake_at_open(tape: Market, plan: Plan, desk: Desk, run: Run, bar: int, wake: int) -> bool:
    """Call a rule at a bar's open, unless it cools down; make the test if it acted. Tell whether it acted."""
    rule = plan.wake_rule[wake]
    last = run.rule_last_ms[rule]
    if last >= 0 and run.time_ms - last < plan.cooldown_ms[rule]:
        return False
    mark = tape.bars[bar].mark_open_e8
    if not call_rule(tape, plan, desk, run, wake, tape.bars[bar].trade_open_e8, mark):
        return False
    if run.qty == 0:
        end_run(run, R_CLOSED, run.time_ms)
    else:
        test_after_fill(tape, plan, desk, run, mark)
    return True


@inner
def remember(plan: Plan, run: Run, wake: int, from_ms: int) -> None:
    """Keep a wake until the reaction has had its time, counted from a moment; the first of several counts."""
    if not (run.pending >> wake) & 1:
        run.pending |= 1 << wake
        run.pending_ms[wake] = from_ms + plan.reaction_ms


@inner
def is_remembered(plan: Plan, run: Run, wake: int) -> bool:
    """Tell whether a remembered wake calls its rule at this open, and forget it then.

    Without a reaction latency what it sends is on its way from the close of the bar that woke it.
    """
    if not (run.pending >> wake) & 1 or run.pending_ms[wake] > run.time_ms:
        return False
    run.pending ^= 1 << wake
    if plan.reaction_ms == 0:
        run.latency_from_ms = run.pending_ms[wake]
    return True


@inner
def first_remembered(plan: Plan, run: Run) -> int:
    """Give the least time at which a remembered wake may call its rule."""
    due = INT64_MAX
    for wake in range(plan.wake_count):
        if (run.pending >> wake) & 1:
            due = min(due, run.pending_ms[wake])
    return due


@inlined
def call_remembered(tape: Market, plan: Plan, desk: Desk, run: Run, bar: int) -> None:
    """Call the remembered wakes whose time has come, in list order."""
    if run.pending == 0:
        return
    for wake in range(plan.wake_count):
        if run.reason == RUNNING and is_remembered(plan, run, wake):
            wake_at_open(tape, plan, desk, run, bar, wake)
    run.latency_from_ms = run.time_ms


@inlined
def play_script(tape: Market, plan: Plan, desk: Desk, run: Run, bar: int, stop: int) -> None:
    """Do the scripted actions of this bar."""
    mark = tape.bars[bar].mark_open_e8
    while run.reason == RUNNING and run.script_at < stop and desk.agenda[run.script_at].bars <= bar - run.entry_bar:
        row = desk.agenda[run.script_at]
        run.script_at += 1
        wish = (row.verb, row.amount, row.target)
        if perform(tape, plan, desk, run, wish, tape.bars[bar].trade_open_e8, mark, plan.no_rule):
            if run.qty == 0:
                end_run(run, R_CLOSED, run.time_ms)
            else:
                test_after_fill(tape, plan, desk, run, mark)


@inlined
def is_woken(plan: Plan, run: Run, wake: int, funded: bool, arrived: bool, filled: bool) -> bool:
    """Tell whether an event wake is woken at this open; move a clock on that is."""
    kind = plan.wake_kind[wake]
    if kind == EVERY:
        if run.time_ms < run.wake_due_ms[wake]:
            return False
        period = plan.wake_value[wake]
        run.wake_due_ms[wake] = run.entry_ms + ((run.time_ms - run.entry_ms) // period + 1) * period
        return True
    if kind == EVERY_BAR:
        return bool(run.bar > run.entry_bar)
    return (kind == ON_FUNDING and funded) or (kind == ON_ARRIVAL and arrived) or (kind == ON_FILL and filled)


@inner
def close_all(tape: Market, plan: Plan, desk: Desk, run: Run, base: int, mark: int, cause: int) -> None:
    """Close the whole position at the end of a run."""
    settle_exposure(tape, run)
    reduce_position(plan, desk.book, run, run.qty, base, mark, cause == at.C_RULE, cause, plan.no_rule)


@inlined
def at_open(tape: Market, plan: Plan, desk: Desk, run: Run, entry: Any, bar: int, scheduled: bool) -> bool:
    """Do the events of a bar's open, steps 1 to 7; tell whether anything but a call that does nothing took place.

    In the entry bar the entry fill has just been made. Where nothing is scheduled, all that can happen in the clear
    band is that rules are called.
    """
    mark = tape.bars[bar].mark_open_e8
    run.bar = bar
    run.time_ms = tape.bars[bar].time_ms
    run.latency_from_ms = run.time_ms
    run.count_bound = bar
    eventful = scheduled or not is_in_clear_band(run, mark, mark)
    arrived = filled = False
    if eventful:
        arrived, filled = do_events(tape, plan, desk, run, entry, bar, mark)
    else:
        see(run, mark, mark)
        end_breach(run)
    eventful |= call_woken(tape, plan, desk, run, bar, arrived, filled)
    if eventful:
        end_open(tape, plan, desk, run, bar, mark)
    return eventful


@inner
def do_events(tape: Market, plan: Plan, desk: Desk, run: Run, entry: Any, bar: int, mark: int) -> tuple[bool, bool]:
    """Do the steps before the calls of woken rules; tell whether transfers arrived and whether rules filled."""
    if plan.feed and renew_ways(plan, desk, run, bar):
        run.clear_wallet = INT64_MAX
    arrived = False
    if bar > run.entry_bar:
        if bar == tape.segments[run.segment + 1].start:
            enter_segment(tape, plan, desk, run, bar)
        arrived = take_arrivals(tape, plan, desk, run)
        see(run, mark, mark)
        if is_liquidated(tape, plan, run, mark):
            liquidate(tape, plan, desk, run, mark, open_cause(tape, run, bar))
        else:
            end_breach(run)
        if run.reason == RUNNING and bar == entry.exit_bar:
            close_stretch(tape, run)
            close_all(tape, plan, desk, run, tape.bars[bar].trade_open_e8, mark, at.C_EXIT)
            end_run(run, R_HORIZON, run.time_ms)
    fills = run.rule_fills
    call_remembered(tape, plan, desk, run, bar)
    play_script(tape, plan, desk, run, bar, entry.script_stop)
    return arrived, bar == run.entry_bar or run.rule_fills != fills


@inlined
def call_woken(tape: Market, plan: Plan, desk: Desk, run: Run, bar: int, arrived: bool, filled: bool) -> bool:
    """Call the rules woken by arrival, funding, fill, clock or the feed at this open, in list order.

    Tells whether any acted, or will be called once it has had its time.
    """
    funded = run.entered_bar == bar and run.funded == 1 and bar > run.entry_bar
    acted = False
    for wake in range(plan.wake_count):
        if run.reason != RUNNING:
            break
        if plan.wake_kind[wake] < THRESHOLDS:
            continue
        dated = plan.wake_kind[wake] >= DATED
        if is_dated(plan, desk, run, wake) if dated else is_woken(plan, run, wake, funded, arrived, filled):
            if plan.reaction_ms > 0:
                remember(plan, run, wake, run.time_ms)
                acted = True
            else:
                acted |= wake_at_open(tape, plan, desk, run, bar, wake)
    return acted


@inner
def end_open(tape: Market, plan: Plan, desk: Desk, run: Run, bar: int, mark: int) -> None:
    """Make the last test of a bar's open, and keep what the run is compared by."""
    if plan.feed:
        note_due(plan, desk, run)
    if run.reason == RUNNING and run.qty > 0:
        see(run, mark, mark)
        if is_liquidated(tape, plan, run, mark):
            test_after_fill(tape, plan, desk, run, mark)
        else:
            end_breach(run)
    if bar == run.baseline_liq_bar:
        run.baseline_qty = run.qty
    if bar == run.baseline_exit_bar:
        keep_pair(tape, run, bar)
