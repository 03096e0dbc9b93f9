"""Run the compiled kernel on the oracle's input and give its answer in the oracle's form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import kernel_rules
import numpy as np

from backtest import schema
from backtest.data.tape import tape_from_arrays
from backtest.engine import batch as batch_module
from backtest.engine import oracle
from backtest.engine.batch import Batch, Keep, Terms, replay_batch
from backtest.engine.compiled import Rules, prepare
from backtest.engine.feed import Steps
from backtest.engine.market import market_of
from backtest.engine.plan import ENTRY, NONE, SCRIPT_ROW
from backtest.engine.replay import BUFFER_NONE
from backtest.engine.rules import Rule, Wake, Wakes
from backtest.study.outside import Outside
from backtest.study.verify import kernel_result
from backtest.units import E8, to_e8
from backtest.venues.tiers import Tier, TierTable

RULES: dict[str, Rule] = {name: value for name, value in vars(kernel_rules).items() if isinstance(value, Rule)}
RULES["exit"] = RULES["leave"]


def to_rules(uses: tuple[oracle.RuleUse, ...]) -> Rules:
    """Compile an oracle plan's rules, with the wakes it names."""
    prepared = []
    for use in uses:
        rule = RULES[use.name]
        wakes = Wakes(
            Wake(w.kind, None if w.value is None else float(w.value) * (3_600_000 if w.kind == "every" else 1), w.name)
            for w in use.wakes
        )
        values: dict[str, float | bool] = {name: float(getattr(use.params, name)) for name in rule.params}
        mine = dataclasses.replace(rule, wakes=wakes, signals=use.signals, events=use.events)
        prepared.append((mine, values, use.cooldown_ms))
    return prepare(prepared)


class Said(NamedTuple):
    """An oracle's statement with the names that the kernel's side has for it."""

    event_id: str
    scheduled_ms: int | None
    known_ms: int


def to_outside(plan: oracle.Plan) -> Outside:
    """Give a plan's signals and events as the kernel's side takes them."""

    def steps(name: str) -> Steps:
        rows = plan.signals[name]
        return Steps(np.array([r.available_ms for r in rows], np.int64), np.array([r.value for r in rows], np.float64))

    return Outside(steps, lambda kind: [Said(*statement) for statement in plan.events[kind]])


BAR_FIELDS = ("trade_open", "trade_close", "mark_open", "mark_high", "mark_low", "mark_open")


def to_tape(market: oracle.Market, stop_ms: int) -> schema.Tape | None:
    """Lay a market out as a tape, without the bars at or after `stop_ms`; None where none is left."""
    bars = [bar for bar in market.bars if bar.time_ms < stop_ms]
    if not bars:
        return None
    columns = [np.array([to_e8(getattr(bar, name)) for bar in bars], np.int64) for name in BAR_FIELDS]
    opens = {bar.time_ms for bar in bars}  # a rate without its bar is not paid: the oracle's rates are joined already
    tables = [TierTable("TEST", first, first, tuple(_tiers(rows)), "test") for first, rows in market.tiers]
    lengths_ms = [bar.length_ms or market.interval_ms for bar in bars]
    return tape_from_arrays(
        min(lengths_ms),
        np.array([bar.time_ms for bar in bars], np.int64),
        *columns,
        [(time, to_e8(rate)) for time, rate in sorted(market.funding.items()) if time in opens],
        tables,
        [(time, to_e8(rate)) for time, rate in market.taker],
        np.array([bar.time_ms for bar in bars], np.int64) + lengths_ms,
    )


def _tiers(rows: tuple[oracle.TierRow, ...]) -> list[Tier]:
    floor, out = 0, []
    for row in rows:
        cap = None if row.cap is None else to_e8(row.cap)
        leverage = None if row.max_leverage is None else int(row.max_leverage * 100)
        out.append(Tier(floor, cap, to_e8(row.rate), to_e8(row.deduction), leverage))
        floor = cap or 0
    return out


def to_terms(plan: oracle.Plan) -> Terms:
    return Terms(
        to_e8(plan.slippage),
        to_e8(plan.liq_slippage),
        to_e8(plan.clearance_rate),
        plan.margin_mode == "cross",
        plan.procedure == "takeover",
        plan.fee_reserve,
        plan.release == "keep",
        plan.latency_ms,
        plan.reaction_ms,
        None if plan.daily_cap is None else to_e8(plan.daily_cap),
    )


def to_run(tape: schema.Tape, plan: oracle.Plan) -> Any:
    run = np.zeros(1, ENTRY)
    row = run[0]
    entry = int(np.searchsorted(tape.time_ms, plan.entry_ms))
    exists = entry < len(tape.time_ms) and tape.time_ms[entry] == plan.entry_ms
    row["entry_bar"] = entry if exists else NONE
    row["entry_segment"] = int(np.searchsorted(tape.segment_start, entry, side="right")) - 1
    row["entry_ms"] = plan.entry_ms
    row["exit_bar"] = int(np.searchsorted(tape.time_ms, plan.entry_ms + plan.horizon_ms))
    row["side"], row["leverage_e2"] = plan.side, int(plan.leverage * 100)
    row["capital_e8"] = to_e8(plan.capital)
    row["sizing_margin_e8"], row["qty_share_e8"] = to_e8(plan.sizing_margin), to_e8(plan.qty_share)
    row["posted_e8"], row["step_e8"] = to_e8(plan.posted_margin), to_e8(plan.step)
    row["min_notional_e8"], row["script_stop"] = to_e8(plan.min_notional), len(plan.script)
    row["baseline_liquidation_ms"] = NONE if plan.baseline_liquidation_ms is None else plan.baseline_liquidation_ms
    row["baseline_exit_ms"] = NONE if plan.baseline_exit_ms is None else plan.baseline_exit_ms
    return run


BOOK_ROWS = 1 << 12


@contextmanager
def direct_calls() -> Iterator[None]:
    """Call the compiled replay without a look at the types of its arguments: half the time of a small run."""
    compiled: Any = batch_module.replay
    if getattr(compiled, "signatures", ()):
        batch_module.replay = compiled.overloads[compiled.signatures[0]].entry_point
    try:
        yield
    finally:
        batch_module.replay = compiled


def run_kernel(market: oracle.Market, plan: oracle.Plan, *, skip: bool = True) -> oracle.Result:
    """Replay one run in the kernel."""
    tape = to_tape(market, plan.stop_ms)
    if tape is None:
        raise ValueError("a world without bars")
    return replay_tape(tape, plan, to_rules(plan.rules), skip=skip)


def replay_tape(
    tape: schema.Tape, plan: oracle.Plan, rules: Rules, *, skip: bool = True, keep: Keep = "all", record: bool = True
) -> oracle.Result:
    """Replay one run in the kernel over a tape that is laid out already."""
    rules = rules.fed(tape.time_ms, to_outside(plan))
    next_open = plan.reaction == "next_open"
    kernel_plan = to_terms(plan).plan(rules, next_open=next_open, liquidate=plan.liquidation, skip=skip)
    script = np.array([tuple(action) for action in plan.script], SCRIPT_ROW)
    with direct_calls():
        batch = replay_batch(
            market_of(tape),
            kernel_plan,
            rules,
            to_run(tape, plan),
            script=script,
            keep=keep,
            record=record,
            book_rows=BOOK_ROWS,
        )
    return to_result(batch, plan)


def to_result(batch: Batch, plan: oracle.Plan, run: int = 0) -> oracle.Result:
    """Give one run of a batch in the oracle's form."""
    return dataclasses.replace(kernel_result(batch, run), outcome=to_outcome(batch.outcomes[run], plan))


def to_outcome(row: Any, plan: oracle.Plan) -> dict[str, object]:
    value = {name: int(row[name]) for name in row.dtype.names}
    refused = value["reason"] == schema.EXIT_REASONS.index("refused")
    entry_qty = value["entry_qty_e8"]
    share = _half_even(value["forced_qty_e8"] * E8, entry_qty) if entry_qty else 0
    named: dict[str, object] = {
        "exit_reason": schema.EXIT_REASONS[value["reason"]],
        "refusal": schema.REFUSALS[value["refusal"]] if value["refusal"] >= 0 else None,
        "liquidated": bool(value["liquidated"]),
        "cause": schema.LIQUIDATION_CAUSES[value["cause"]] if value["cause"] >= 0 else None,
        "partial": bool(value["partial"]),
        "liquidated_share_e8": share,
        "equity_start_e8": to_e8(plan.capital),
        "min_buffer_ppm": None if value["min_buffer_ppm"] == BUFFER_NONE else value["min_buffer_ppm"],
        "max_margin_ratio_ppm": None if refused else value["max_margin_ratio_ppm"],
    }
    if refused:
        named["max_margin_ratio_ppm"] = None
    if refused:
        named["largest_deficit_e8"] = None
    for name in ("exit_ms", "liquidation_ms", "liquidation_price_e8", "qty_at_baseline_liquidation_e8"):
        named[name] = value[name] if value[name] >= 0 else None
    return {**value, **named}


def _half_even(a: int, b: int) -> int:
    quotient, rest = divmod(a, b)
    return quotient + (2 * rest > b or (2 * rest == b and quotient % 2 == 1))


def compare(expected: oracle.Result, actual: oracle.Result, *, probe: bool = False) -> list[str]:
    """Say where two results differ: the first row of each table, and every outcome figure both know.

    The largest deficit is what a probe is for; beside it the two mean different things by it.
    """
    lines = []
    for table in ("transfers", "fills", "actions"):
        ours, theirs = getattr(expected, table), getattr(actual, table)
        if ours != theirs:
            same = min(len(ours), len(theirs))
            at = next((i for i in range(same) if ours[i] != theirs[i]), same)
            rows = [rows[at] if at < len(rows) else "nothing" for rows in (ours, theirs)]
            lines.append(f"{table}[{at}]: {rows[0]} != {rows[1]}")
    for name, value in expected.outcome.items():
        if name in actual.outcome and value != actual.outcome[name] and (probe or name != "largest_deficit_e8"):
            lines.append(f"{name}: {value} != {actual.outcome[name]}")
    return lines


UNCOMPARED = ("bars_visited", "exit_bar", "last_segment")  # how the kernel got there, not what happened


def disagreements(market: oracle.Market, plan: oracle.Plan) -> list[str]:
    """Say where oracle, kernel, and kernel without skipping part on a run; nothing when they agree."""
    expected = oracle.replay(market, plan)
    tape = to_tape(market, plan.stop_ms)
    if tape is None:
        return []
    rules = to_rules(plan.rules)
    actual = replay_tape(tape, plan, rules)
    lines = compare(expected, actual, probe=not (plan.liquidation or plan.rules or plan.script))
    visited = replay_tape(tape, plan, rules, skip=False)
    for result in (actual, visited):
        for name in UNCOMPARED:
            result.outcome.pop(name)
    return lines + [f"without skipping: {line}" for line in compare(actual, visited, probe=True)]
