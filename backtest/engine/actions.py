"""Call a rule and do what it asks, or record why the venue would refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest.engine import cells as at
from backtest.engine.arithmetic import mul_ceil, mul_floor, ratio_ceil, split_product, to_fixed
from backtest.engine.compile import jit
from backtest.engine.exposure import settle_exposure
from backtest.engine.ledger import Book, record_action, record_fill, transfer
from backtest.engine.margin import fee_reserve, tier_index
from backtest.engine.path import close_stretch
from backtest.engine.position import (
    fill_value,
    measure_at,
    reduce_position,
    refresh_fee_reserve,
    slipped,
    steps_up,
)
from backtest.engine.state import fill_state

if TYPE_CHECKING:
    import numpy.typing as npt

    from backtest.engine.ledger import Int64Array
    from backtest.engine.plan import Plan
    from backtest.schema import Tape

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


class Desk(NamedTuple):
    """What a replay works with beside the tape and the plan: the book, and the rules with what they are handed."""

    book: Book
    queue: Int64Array  # (q, 3) transfers on their way: arrival time, amount, rule
    rules: Any  # tuple of at.RULES_MAX functions (state, parameters) -> (verb, amount, target)
    params: npt.NDArray[np.float64]  # (at.RULES_MAX, p)
    state: Any  # (1,) record of state.STATE_DTYPE
    memory: npt.NDArray[np.float64]  # (at.RULES_MAX, MEMORY_SIZE)
    script: npt.NDArray[np.void]  # rows of plan.SCRIPT_ROW


@jit
def leverage_allowed(tape: Tape, table: int, qty: int, mark: int, leverage_e2: int) -> bool:
    """Tell whether the tier of qty x mark allows a leverage: an unknown maximum does, nothing above the last cap."""
    whole, rest = split_product(qty, mark)
    k = tier_index(tape, table, whole, rest)
    cap = tape.tier_cap_e8[table, k]
    if whole > cap or (whole == cap and rest > 0):
        return False
    limit = tape.tier_max_leverage_e2[table, k]
    return limit == 0 or leverage_e2 <= limit


@jit
def do_reduce(
    plan: Plan, book: Book, a: Int64Array, share: int, put_back: bool, base: int, mark: int, rule: int
) -> int:
    """Close a share of the open quantity: up to the step, all of it if too little would remain."""
    if share <= 0:
        return INVALID_AMOUNT
    qty = steps_up(mul_ceil(a[at.QTY], share), a[at.STEP]) if share < 100_000_000 else a[at.QTY]
    if qty < a[at.QTY] and mul_floor(a[at.QTY] - qty, mark) < a[at.MIN_NOTIONAL]:
        qty = a[at.QTY]
    reduce_position(plan, book, a, min(qty, a[at.QTY]), base, mark, put_back, at.C_RULE, rule)
    return DONE


@jit
def do_increase(tape: Tape, plan: Plan, book: Book, a: Int64Array, share: int, base: int, mark: int, rule: int) -> int:
    """Add a share of the open quantity, its initial margin and fee taken from the free balance."""
    if share <= 0:
        return INVALID_AMOUNT
    qty = mul_floor(a[at.QTY], share) // a[at.STEP] * a[at.STEP]
    if qty == 0:
        return BELOW_STEP
    if not leverage_allowed(tape, a[at.TABLE], a[at.QTY] + qty, mark, a[at.LEVERAGE]):
        return LEVERAGE_CAP
    buying = a[at.SIDE] > 0
    price = slipped(base, plan.slippage_e8, buying)
    value = fill_value(qty, price, buying)
    fee = mul_ceil(value, a[at.TAKER])
    margin = ratio_ceil(value, 0, 100, a[at.LEVERAGE]) + fee
    if plan.fee_reserve:
        margin += fee_reserve(value, a[at.SIDE], a[at.LEVERAGE], a[at.TAKER])
    if margin > a[at.FREE]:
        return INSUFFICIENT_FREE
    transfer(book, a, at.K_ADD_MARGIN, at.FREE, at.MARGIN, margin, at.C_RULE, rule)
    a[at.QTY] += qty
    a[at.COST] += value
    a[at.SLIPPAGE] += abs(value - fill_value(qty, base, buying))
    record_fill(book, a, qty if buying else -qty, price, value, mark, at.C_RULE, rule)
    transfer(book, a, at.K_FEE, at.MARGIN, at.FEES, fee, at.C_RULE, rule)
    refresh_fee_reserve(plan, a)
    return DONE


@jit
def do_add_margin(plan: Plan, book: Book, a: Int64Array, queue: Int64Array, amount: int, source: int, rule: int) -> int:
    """Add margin from the reserve (after its latency) or from the free balance."""
    if source != FROM_RESERVE:
        if amount > a[at.FREE]:
            return INSUFFICIENT_FREE
        transfer(book, a, at.K_ADD_MARGIN, at.FREE, at.MARGIN, amount, at.C_RULE, rule)
        a[at.ADDED] += amount
        return DONE
    if amount > a[at.RESERVE]:
        return INSUFFICIENT_RESERVE
    day = a[at.TIME] // DAY_MS
    sent = a[at.DAY_SENT] if day == a[at.DAY] else 0
    if plan.daily_cap_e8 >= 0 and sent + amount > plan.daily_cap_e8:
        return DAILY_CAP
    a[at.DAY] = day
    a[at.DAY_SENT] = sent + amount
    if plan.latency_ms == 0:
        transfer(book, a, at.K_ADD_MARGIN, at.RESERVE, at.MARGIN, amount, at.C_RULE, rule)
        a[at.ADDED] += amount
        return DONE
    transfer(book, a, at.K_SEND, at.RESERVE, at.TRANSIT, amount, at.C_RULE, rule)
    place = a[at.QUEUE_TAIL] % len(queue)
    queue[place, 0] = a[at.TIME] + plan.latency_ms
    queue[place, 1] = amount
    queue[place, 2] = rule
    a[at.QUEUE_TAIL] += 1
    return DONE


@jit
def do_remove_margin(tape: Tape, book: Book, a: Int64Array, amount: int, source: int, mark: int, rule: int) -> int:
    """Take margin back: at most what leaves the initial margin covered (Binance FAQ 360038447311)."""
    equity, _, initial = measure_at(tape, a, mark)
    if amount > min(a[at.MARGIN], equity - initial):
        return NOT_REMOVABLE
    target = at.RESERVE if source == FROM_RESERVE else at.FREE
    transfer(book, a, at.K_REMOVE_MARGIN, at.MARGIN, target, amount, at.C_RULE, rule)
    return DONE


@jit
def do_set_leverage(tape: Tape, plan: Plan, a: Int64Array, leverage: float, mark: int) -> int:
    """Set another leverage, if the tier allows it and equity covers the initial margin at it."""
    leverage_e2 = int(np.floor(leverage * 100.0 + 0.5))
    if leverage_e2 < 100:
        return INVALID_AMOUNT
    if not leverage_allowed(tape, a[at.TABLE], a[at.QTY], mark, leverage_e2):
        return LEVERAGE_CAP
    before = a[at.LEVERAGE]
    a[at.LEVERAGE] = leverage_e2
    refresh_fee_reserve(plan, a)
    equity, _, initial = measure_at(tape, a, mark)
    if initial > equity:
        a[at.LEVERAGE] = before
        refresh_fee_reserve(plan, a)
        return LEVERAGE_CAP
    return DONE


@jit
def do_action(
    tape: Tape,
    plan: Plan,
    book: Book,
    a: Int64Array,
    queue: Int64Array,
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
    if verb == V_SET_LEVERAGE:
        return do_set_leverage(tape, plan, a, amount, mark)
    fixed = to_fixed(amount)
    if verb == V_REDUCE:
        return do_reduce(plan, book, a, fixed, target == 1, base, mark, rule)
    if verb == V_CLOSE:
        reduce_position(plan, book, a, a[at.QTY], base, mark, False, at.C_RULE, rule)
        return DONE
    if verb == V_INCREASE:
        return do_increase(tape, plan, book, a, fixed, base, mark, rule)
    if verb == V_MOVE_MARGIN:
        if fixed > 0:
            return do_add_margin(plan, book, a, queue, fixed, target, rule)
        if fixed < 0:
            return do_remove_margin(tape, book, a, -fixed, target, mark, rule)
        return INVALID_AMOUNT
    return NOT_SUPPORTED


@jit
def perform(
    tape: Tape, plan: Plan, desk: Desk, a: Int64Array, wish: tuple[int, float, int], base: int, mark: int, rule: int
) -> bool:
    """Do an action and record it; a refused one leaves everything, the stretch included, as it was."""
    verb, amount, target = wish
    low, high, fees = a[at.STRETCH_LOW], a[at.STRETCH_HIGH], a[at.FEES]
    buffer, ratio, deficit = a[at.MIN_BUFFER], a[at.MAX_RATIO], a[at.DEFICIT]
    close_stretch(tape, a)
    settle_exposure(tape, a)
    status = do_action(tape, plan, desk.book, a, desk.queue, verb, amount, target, base, mark, rule)
    record_action(desk.book, a, verb, amount, target, mark, status, rule)
    if status != DONE:
        a[at.STRETCH_LOW] = low
        a[at.STRETCH_HIGH] = high
        a[at.MIN_BUFFER] = buffer
        a[at.MAX_RATIO] = ratio
        a[at.DEFICIT] = deficit
        return False
    a[at.PAID_SINCE_TEST] += a[at.FEES] - fees
    return True


@jit
def call_rule(tape: Tape, plan: Plan, desk: Desk, a: Int64Array, wake: int, base: int, mark: int) -> bool:
    """Call the rule of a wake and do what it asks; tell whether it acted."""
    rule = plan.wake_rule[wake]
    s = desk.state[0]
    fill_state(tape, a, s, rule, plan.wake_index[wake], mark)
    for k in range(desk.memory.shape[1]):
        s.memory[k] = desk.memory[rule, k]
    wish = desk.rules[rule](s, desk.params[rule])
    for k in range(desk.memory.shape[1]):
        desk.memory[rule, k] = s.memory[k]
    if wish[0] == V_HOLD or not perform(tape, plan, desk, a, wish, base, mark, rule):
        return False
    a[at.ACTIONS_OF_RULE + rule] += 1
    a[at.LAST_ACTION_OF_RULE + rule] = a[at.TIME]
    return True
