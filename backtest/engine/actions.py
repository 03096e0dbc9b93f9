"""Call a rule and do what it asks, or record why the venue would refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest.engine import cells as at
from backtest.engine.arithmetic import INT64_MAX, mul_ceil, mul_floor, ratio_ceil, split_product, to_fixed
from backtest.engine.compile import inlined, inner
from backtest.engine.dated import tell
from backtest.engine.exposure import settle_exposure
from backtest.engine.ledger import Book, record_action, record_fill, transfer
from backtest.engine.margin import tier_index
from backtest.engine.parts import FACTS, MARGINS, MEMORY, RATIOS
from backtest.engine.path import close_stretch
from backtest.engine.position import (
    fill_value,
    measure_at,
    reduce_position,
    refresh,
    slipped,
    steps_up,
)
from backtest.engine.state import MEMORY_SIZE, fill_facts, fill_margins

if TYPE_CHECKING:
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market

# Verbs, in the order of schema.VERBS.
V_HOLD, V_REDUCE, V_INCREASE, V_CLOSE, V_MOVE_MARGIN, V_SET_LEVERAGE, V_TRADE = range(7)
# What became of an action, in the order of schema.ACTION_STATUS.
(
    DONE,
    INSUFFICIENT_RESERVE,
    INSUFFICIENT_FREE,
    BELOW_STEP,
    BELOW_MIN_NOTIONAL,
    LEVERAGE_CAP,
    NOT_REMOVABLE,
    DAILY_CAP,
    INVALID_AMOUNT,
    NOT_SUPPORTED,
    DROPPED,
) = range(11)
DAY_MS = 86_400_000
AMOUNT_MAX = 9e10
FROM_RESERVE = 0


# What lies on the desk in one record, for each array that is handed on costs every call some time.
TRAY = np.dtype(
    (
        np.record,
        [
            ("queue", "i8", (at.QUEUE_ROWS, 3)),  # transfers on their way: arrival time, amount, rule
            ("params", "f8", (at.RULES_MAX, at.PARAMS_MAX)),
            ("memory", "f8", (at.RULES_MAX, MEMORY_SIZE)),
        ],
    )
)


class Desk(NamedTuple):
    """What a replay works with beside the tape and the plan: the book, and the rules with what they are handed."""

    book: Book
    rules: Any  # tuple of RULES_MAX functions (state, parameters) -> (verb, amount, target)
    state: Any  # record of state.STATE_DTYPE
    tray: Any  # record of TRAY
    agenda: Any  # (s + f,) records of plan.SCRIPT_ROW: scripted actions, then the feed


@inner
def leverage_allowed(tape: Market, table: int, qty: int, mark: int, leverage_e2: int) -> bool:
    """Tell whether the tier of qty x mark allows a leverage: an unknown maximum does, nothing above the last cap."""
    whole, rest = split_product(qty, mark)
    k = tier_index(tape, table, whole, rest)
    cap = tape.tiers[table, k].cap_e8
    if whole > cap or (whole == cap and rest > 0):
        return False
    limit = tape.tiers[table, k].max_leverage_e2
    return limit == 0 or leverage_e2 <= limit


@inlined
def do_reduce(plan: Plan, book: Book, run: Run, share: int, put_back: bool, base: int, mark: int, rule: int) -> int:
    """Close a share of the open quantity: up to the step, all of it if too little would remain."""
    if share <= 0:
        return INVALID_AMOUNT
    qty = steps_up(mul_ceil(run.qty, share), run.step) if share < 100_000_000 else run.qty
    if qty < run.qty and mul_floor(run.qty - qty, mark) < run.min_notional:
        qty = run.qty
    reduce_position(plan, book, run, min(qty, run.qty), base, mark, put_back, at.C_RULE, rule)
    return DONE


@inner
def do_increase(tape: Market, plan: Plan, book: Book, run: Run, share: int, base: int, mark: int, rule: int) -> int:
    """Add a share of the open quantity, its initial margin and fee taken from the free balance."""
    if share <= 0:
        return INVALID_AMOUNT
    qty = mul_floor(run.qty, share) // run.step * run.step
    if qty == 0:
        return BELOW_STEP
    buying = run.side > 0
    price = slipped(base, plan.slippage_e8, buying)
    value = fill_value(qty, price, buying)
    fee = mul_ceil(value, run.taker)
    margin = ratio_ceil(value, 0, 100, run.leverage_e2) + fee
    if margin > run.balance[at.FREE]:
        return INSUFFICIENT_FREE
    if not leverage_allowed(tape, run.table, run.qty + qty, mark, run.leverage_e2):
        return LEVERAGE_CAP
    transfer(book, run, at.K_ADD_MARGIN, at.FREE, at.MARGIN, margin, at.C_RULE, rule)
    run.qty += qty
    run.cost += value
    run.slippage += abs(value - fill_value(qty, base, buying))
    record_fill(book, run, qty if buying else -qty, price, value, mark, at.C_RULE, rule)
    transfer(book, run, at.K_FEE, at.MARGIN, at.FEES, fee, at.C_RULE, rule)
    refresh(plan, run)
    return DONE


@inner
def do_add_margin(plan: Plan, book: Book, run: Run, queue: Any, amount: int, source: int, rule: int) -> int:
    """Add margin from the reserve (after its latency) or from the free balance."""
    if source != FROM_RESERVE:
        if amount > run.balance[at.FREE]:
            return INSUFFICIENT_FREE
        transfer(book, run, at.K_ADD_MARGIN, at.FREE, at.MARGIN, amount, at.C_RULE, rule)
        run.added += amount
        return DONE
    if amount > run.balance[at.RESERVE]:
        return INSUFFICIENT_RESERVE
    day = run.time_ms // DAY_MS
    sent = run.day_sent if day == run.day else 0
    if plan.daily_cap_e8 >= 0 and sent + amount > plan.daily_cap_e8:
        return DAILY_CAP
    run.day = day
    run.day_sent = sent + amount
    if plan.latency_ms == 0:
        transfer(book, run, at.K_ADD_MARGIN, at.RESERVE, at.MARGIN, amount, at.C_RULE, rule)
        run.added += amount
        return DONE
    transfer(book, run, at.K_SEND, at.RESERVE, at.TRANSIT, amount, at.C_RULE, rule)
    place = run.queue_tail % at.QUEUE_ROWS
    queue[place, 0] = run.latency_from_ms + plan.latency_ms
    queue[place, 1] = amount
    queue[place, 2] = rule
    run.queue_tail += 1
    return DONE


@inner
def do_remove_margin(tape: Market, book: Book, run: Run, amount: int, source: int, mark: int, rule: int) -> int:
    """Take margin back: at most what leaves the initial margin covered (Binance FAQ 360038447311)."""
    equity, _, initial = measure_at(tape, run, mark)
    if amount > min(run.balance[at.MARGIN], equity - initial):
        return NOT_REMOVABLE
    target = at.RESERVE if source == FROM_RESERVE else at.FREE
    transfer(book, run, at.K_REMOVE_MARGIN, at.MARGIN, target, amount, at.C_RULE, rule)
    return DONE


@inner
def do_set_leverage(tape: Market, plan: Plan, run: Run, leverage: int, mark: int) -> int:
    """Set another leverage, in whole hundredths, if the tier allows it and equity covers the initial margin at it."""
    leverage_e2 = leverage // 1_000_000
    if leverage_e2 < 100:
        return INVALID_AMOUNT
    if not leverage_allowed(tape, run.table, run.qty, mark, leverage_e2):
        return LEVERAGE_CAP
    before = run.leverage_e2
    run.leverage_e2 = leverage_e2
    refresh(plan, run)
    equity, _, initial = measure_at(tape, run, mark)
    if initial > equity:
        run.leverage_e2 = before
        refresh(plan, run)
        return LEVERAGE_CAP
    return DONE


@inlined
def do_action(
    tape: Market,
    plan: Plan,
    book: Book,
    run: Run,
    queue: Any,
    verb: int,
    amount: float,
    target: int,
    base: int,
    mark: int,
    rule: int,
) -> int:
    """Do one verb at a base price and mark; give DONE or the reason of the refusal."""
    if not np.isfinite(amount) or abs(amount) >= AMOUNT_MAX:
        return INVALID_AMOUNT
    fixed = to_fixed(amount)
    if verb == V_REDUCE:
        return do_reduce(plan, book, run, fixed, target == 1, base, mark, rule)
    if verb == V_CLOSE:
        reduce_position(plan, book, run, run.qty, base, mark, target == 1, at.C_RULE, rule)
        return DONE
    if verb == V_INCREASE:
        return do_increase(tape, plan, book, run, fixed, base, mark, rule)
    if verb == V_SET_LEVERAGE:
        return do_set_leverage(tape, plan, run, fixed, mark)
    if verb == V_MOVE_MARGIN:
        if fixed > 0:
            return do_add_margin(plan, book, run, queue, fixed, target, rule)
        if fixed < 0:
            return do_remove_margin(tape, book, run, -fixed, target, mark, rule)
        return INVALID_AMOUNT
    return NOT_SUPPORTED


@inner
def perform(
    tape: Market, plan: Plan, desk: Desk, run: Run, wish: tuple[int, float, int], base: int, mark: int, rule: int
) -> bool:
    """Do an action and record it; a refused one leaves everything, the stretch included, as it was."""
    verb, amount, target = wish
    low, high, fees = run.stretch_low, run.stretch_high, run.balance[at.FEES]
    buffer, ratio, deficit = run.min_buffer, run.max_ratio, run.deficit
    close_stretch(tape, run)
    settle_exposure(tape, run)
    status = do_action(tape, plan, desk.book, run, desk.tray.queue, verb, amount, target, base, mark, rule)
    record_action(desk.book, run, verb, amount, target, mark, status, rule)
    if status != DONE:
        run.stretch_low = low
        run.stretch_high = high
        run.min_buffer = buffer
        run.max_ratio = ratio
        run.deficit = deficit
        run.known_wallet = INT64_MAX  # the band may be of what was noted in between
        return False
    run.paid_since_test += run.balance[at.FEES] - fees
    return True


@inlined
def call_rule(tape: Market, plan: Plan, desk: Desk, run: Run, wake: int, base: int, mark: int) -> bool:
    """Call the rule of a wake and do what it asks; tell whether it acted."""
    rule = plan.wake_rule[wake]
    s = desk.state
    parts = plan.parts_read[rule]
    if parts & (MARGINS | RATIOS):
        fill_margins(tape, run, s, mark, bool(parts & MARGINS))
    if parts & FACTS:
        fill_facts(tape, run, s, rule, plan.wake_index[wake], mark)
    if parts & MEMORY:
        for k in range(MEMORY_SIZE):
            s.memory[k] = desk.tray.memory[rule, k]
    if plan.feed:
        tell(plan, desk, run, s, rule)
    wish = desk.rules[rule](s, desk.tray.params[rule])
    if parts & MEMORY:
        for k in range(MEMORY_SIZE):
            desk.tray.memory[rule, k] = s.memory[k]
    if wish[0] == V_HOLD or not perform(tape, plan, desk, run, wish, base, mark, rule):
        return False
    run.rule_actions[rule] += 1
    run.rule_last_ms[rule] = run.time_ms
    return True
