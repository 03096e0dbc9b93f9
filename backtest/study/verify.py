"""Replay runs of a study in the decimal oracle, and compare: transfers, fills, actions and outcome to the last 1e-8.

The oracle is given the same tape and entry as decimals, and the rules as plain Python functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from backtest import schema
from backtest.engine import oracle
from backtest.engine.batch import Batch
from backtest.engine.feed import Steps
from backtest.engine.plan import NONE
from backtest.engine.replay import BUFFER_NONE
from backtest.engine.rules import Rule, Wake
from backtest.study.config import Study
from backtest.study.facts import Runs
from backtest.study.jobs import Job
from backtest.study.outcomes import REFUSED
from backtest.study.rerun import find_job, rerun
from backtest.study.runner import SymbolData
from backtest.units import HOUR_MS, float_to_e8

Report = Callable[[int, int], None]  # runs done, runs in all
INT64_MAX = np.iinfo(np.int64).max
# Outcome columns that a run's oracle and its stored row both have, under one name and in one form.
STORED = (
    "exit_ms",
    "exit_reason",
    "refusal",
    "liquidated",
    "cause",
    "partial",
    "liquidation_count",
    "liquidation_ms",
    "liquidation_price_e8",
    "entry_qty_e8",
    "entry_notional_e8",
    "qty_at_baseline_liquidation_e8",
    "equity_start_e8",
    "equity_end_e8",
    "fees_e8",
    "funding_e8",
    "slippage_e8",
    "clearance_fee_e8",
    "margin_added_e8",
    "turnover_e8",
    "notional_hours_e2",
    "notional_hours_paired_e2",
    "min_buffer_ppm",
    "max_margin_ratio_ppm",
    "actions",
    "refused",
    "layer_liquidations",  # of runs with several legs
)


# --- the oracle's input --------------------------------------------------------------------------------------------


def natural(value_e8: int) -> Decimal:
    """Give units of 1e-8 as an exact decimal."""
    return Decimal(int(value_e8)).scaleb(-8)


def oracle_market(tape: schema.Tape, first_bar: int, last_bar: int) -> oracle.Market:
    """Give the bars `first_bar` to `last_bar`, both included, with all that is in force over them, as decimals."""
    stop = min(last_bar + 1, len(tape.time_ms))
    bars = tuple(
        oracle.Bar(
            int(tape.time_ms[i]),
            natural(tape.trade_open_e8[i]),
            natural(tape.trade_close_e8[i]),
            natural(tape.mark_open_e8[i]),
            natural(tape.mark_high_e8[i]),
            natural(tape.mark_low_e8[i]),
            int(tape.close_ms[i] - tape.time_ms[i]),
        )
        for i in range(first_bar, stop)
    )
    first = int(np.searchsorted(tape.segment_start, first_bar, side="right")) - 1
    last = int(np.searchsorted(tape.segment_start, stop, side="left"))
    starts = [(segment, int(tape.time_ms[tape.segment_start[segment]])) for segment in range(first, last)]
    return oracle.Market(
        tape.interval_ms,
        bars,
        {time: natural(tape.segment_funding_e8[s]) for s, time in starts if tape.segment_funding_e8[s]},
        tuple((time, _tiers(tape, int(tape.segment_table[s]))) for s, time in starts),
        tuple((time, natural(tape.segment_taker_e8[s])) for s, time in starts),
    )


def _tiers(tape: schema.Tape, table: int) -> tuple[oracle.TierRow, ...]:
    return tuple(
        oracle.TierRow(
            None if tape.tier_cap_e8[table, k] == INT64_MAX else natural(tape.tier_cap_e8[table, k]),
            natural(tape.tier_rate_e8[table, k]),
            natural(tape.tier_deduction_e8[table, k]),
            Decimal(int(tape.tier_max_leverage_e2[table, k])) / 100 if tape.tier_max_leverage_e2[table, k] else None,
        )
        for k in range(int(tape.tier_count[table]))
    )


def oracle_plan(study: Study, runs: Runs, run: int, rules: Mapping[str, Rule], *, more_e8: int = 0) -> Any:
    """Give the plan (`oracle.Plan`) of one run: its entry, its rules as plain functions, its script.

    `more_e8` comes on top of the capital and is posted.
    """
    row, job, terms = runs.entries.rows[run], runs.job, runs.terms
    script = runs.script[int(row["script_start"]) : int(row["script_stop"])]
    return oracle.Plan(
        entry_ms=int(row["entry_ms"]),
        horizon_ms=int(runs.entries.held_ms[run]),
        stop_ms=study.market.stop_ms,
        side=int(row["side"]),
        leverage=Decimal(int(row["leverage_e2"])) / 100,
        capital=natural(row["capital_e8"] + more_e8),
        sizing_margin=natural(row["sizing_margin_e8"]),
        qty_share=natural(row["qty_share_e8"]),
        posted_margin=natural(row["posted_e8"] + more_e8),
        step=natural(row["step_e8"]),
        min_notional=natural(row["min_notional_e8"]),
        slippage=natural(terms.slippage_e8),
        liq_slippage=natural(terms.liquidation_slippage_e8),
        clearance_rate=natural(terms.clearance_e8),
        margin_mode=study.entries.margin_mode,
        procedure="takeover" if terms.takeover else "ioc",
        fee_reserve=terms.fee_reserve,
        release=study.release,
        reaction="next_open" if job.reaction == "next_open" else "intrabar",
        latency_ms=job.latency_ms,
        reaction_ms=job.reaction_ms,
        daily_cap=None if terms.daily_cap_e8 is None else natural(terms.daily_cap_e8),
        rules=oracle_rules(job, rules),
        script=tuple(
            oracle.ScriptedAction(int(a["bars"]), int(a["verb"]), float(a["amount"]), int(a["target"])) for a in script
        ),
        baseline_liquidation_ms=_time(row["baseline_liquidation_ms"]),
        baseline_exit_ms=_time(row["baseline_exit_ms"]),
        **_told(job, row),
    )


def _told(job: Job, row: Any) -> dict[str, Any]:
    """Give what a job's rules are told, as rows and statements."""
    outside = job.outside
    if outside is None:
        return {}
    return {
        "signals": {name: _readings(outside.signal(name), row) for name in job.rules.signals},
        "events": {
            kind: tuple(oracle.Statement(s.event_id, s.scheduled_ms, s.known_ms) for s in outside.statements(kind))
            for kind in job.rules.events
        },
    }


def _readings(steps: Steps, row: Any) -> tuple[oracle.Reading, ...]:
    """Give the rows of a signal from the last one that was known at a run's entry."""
    first = max(int(np.searchsorted(steps.available_ms, row["entry_ms"], side="right")) - 1, 0)
    pairs = zip(steps.available_ms[first:].tolist(), steps.value[first:].tolist(), strict=True)
    return tuple(oracle.Reading(known_ms, value) for known_ms, value in pairs)


def _time(value_ms: int) -> int | None:
    return None if value_ms == NONE else int(value_ms)


def oracle_rules(job: Job, rules: Mapping[str, Rule]) -> tuple[oracle.RuleUse, ...]:
    """Give a job's rules as the oracle takes them: the author's functions, wakes with their values filled in."""
    uses = []
    for (name, values), cooldown_ms in zip(job.rules.names, job.rules.cooldown_ms.tolist(), strict=False):
        rule = rules[name]
        wakes = tuple(_oracle_wake(wake, values) for wake in rule.wakes)
        params = SimpleNamespace(**values)
        uses.append(oracle.RuleUse(name, rule.function, params, wakes, cooldown_ms, rule.signals, rule.events))
    return tuple(uses)


def _oracle_wake(wake: Wake, values: Mapping[str, float | bool]) -> oracle.Wake:
    value = values[wake.value] if isinstance(wake.value, str) else wake.value
    if value is None:
        return oracle.Wake(wake.kind, None, wake.name)
    if wake.kind == "every":
        return oracle.Wake(wake.kind, Decimal(int(value)) / HOUR_MS)
    if wake.kind in ("before_event", "after_event"):
        return oracle.Wake(wake.kind, Decimal(round(value * HOUR_MS)) / HOUR_MS, wake.name)
    return oracle.Wake(wake.kind, natural(float_to_e8(float(value))), wake.name)


# --- the kernel's answer -------------------------------------------------------------------------------------------


def rows_of(rows: Any, run: int) -> Any:
    """Give the ledger rows of one run of a batch."""
    return rows[slice(*np.searchsorted(rows["run"], [run, run + 1]))]


def kernel_result(batch: Batch, run: int) -> oracle.Result:
    """Give what the kernel wrote of one run in the oracle's form."""
    return oracle.Result(
        transfers=[
            oracle.Transfer(
                int(t["time_ms"]),
                schema.TRANSFER_KINDS[t["kind"]],
                schema.ACCOUNTS[t["debit"]],
                schema.ACCOUNTS[t["credit"]],
                int(t["amount_e8"]),
                schema.CAUSES[t["cause"]],
                int(t["rule"]),
            )
            for t in rows_of(batch.transfers, run)
        ],
        fills=[
            oracle.Fill(
                int(f["time_ms"]),
                int(f["qty_e8"]),
                int(f["price_e8"]),
                int(f["cost_e8"]),
                int(f["mark_e8"]),
                schema.CAUSES[f["cause"]],
                int(f["rule"]),
            )
            for f in rows_of(batch.fills, run)
        ],
        actions=kernel_actions(batch, run),
        outcome=kernel_outcome(batch.outcomes[run]),
    )


def kernel_actions(batch: Batch, run: int) -> list[oracle.Action]:
    """Give the actions of one run in the oracle's form."""
    return [
        oracle.Action(
            int(a["time_ms"]),
            int(a["bars"]),
            int(a["rule"]),
            schema.VERBS[a["verb"]],
            float(a["amount"]),
            int(a["mark_e8"]),
            schema.ACTION_STATUS[a["status"]],
        )
        for a in rows_of(batch.actions, run)
    ]


def kernel_outcome(row: Any) -> dict[str, object]:
    """Name what is coded, and give None for what does not exist."""
    value: dict[str, object] = {name: int(row[name]) for name in row.dtype.names}
    for name in ("exit_ms", "liquidation_ms", "liquidation_price_e8", "qty_at_baseline_liquidation_e8"):
        value[name] = None if row[name] < 0 else int(row[name])
    return value | {
        "exit_reason": schema.EXIT_REASONS[row["reason"]],
        "refusal": schema.REFUSALS[row["refusal"]] if row["refusal"] >= 0 else None,
        "liquidated": bool(row["liquidated"]),
        "cause": schema.LIQUIDATION_CAUSES[row["cause"]] if row["cause"] >= 0 else None,
        "partial": bool(row["partial"]),
        "min_buffer_ppm": None if row["min_buffer_ppm"] == BUFFER_NONE else int(row["min_buffer_ppm"]),
        "max_margin_ratio_ppm": None if row["reason"] == REFUSED else int(row["max_margin_ratio_ppm"]),
    }


# --- the comparison ------------------------------------------------------------------------------------------------


def compare_run(expected: oracle.Result, actual: oracle.Result) -> list[str]:
    """List where a run differs from its oracle: the first differing row of each table, each outcome figure."""
    found = []
    for name in ("transfers", "fills", "actions"):
        ours, theirs = getattr(actual, name), getattr(expected, name)
        if ours != theirs:
            found.append(f"{name} {_first_difference(theirs, ours)}")
    return found + compare_outcome(expected.outcome, actual.outcome, "kernel")


def compare_outcome(expected: Mapping[str, object], actual: Mapping[str, object], whose: str) -> list[str]:
    """List the figures of an outcome that both have and that differ."""
    return [
        f"{name}: oracle {expected[name]}, {whose} {actual[name]}"
        for name in STORED
        if name in actual and name in expected and expected[name] != actual[name]
    ]


def _first_difference(expected: Sequence[Any], actual: Sequence[Any]) -> str:
    for place, (theirs, ours) in enumerate(zip(expected, actual, strict=False)):
        if theirs != ours:
            return f"row {place}: oracle {tuple(theirs)}, kernel {tuple(ours)}"
    return f"has {len(expected)} rows in the oracle, {len(actual)} in the kernel"


class Twin(NamedTuple):
    """A kind of run's oracle: its market (of data and an entry), its replay (of market, study, data, runs, run, rules
    and what is posted on top), and the kernel's answer in its form (of batch and run)."""

    market: Callable[[SymbolData, int], Any]
    replay: Callable[[Any, Study, SymbolData, Runs, int, Mapping[str, Rule], int], Any]
    result: Callable[[Batch, int], Any]


def _market_of_run(data: SymbolData, entry: int) -> oracle.Market:
    row = data.entries.rows[entry]
    first = int(row["entry_bar"])
    if first == NONE:  # the bars around a missing one: the oracle must find out for itself
        first = max(int(np.searchsorted(data.result.tape.time_ms, row["entry_ms"])) - 1, 0)
    return oracle_market(data.result.tape, first, int(row["exit_bar"]))


def _replay(
    market: Any, study: Study, data: SymbolData, runs: Runs, run: int, rules: Mapping[str, Rule], more_e8: int
) -> Any:
    return oracle.replay(market, oracle_plan(study, runs, run, rules, more_e8=more_e8))


POSITION = Twin(_market_of_run, _replay, kernel_result)


def verify_runs(
    study: Study,
    data: SymbolData,
    all_jobs: Sequence[Job],
    rules: Mapping[str, Rule],
    stored: pa.Table,
    report: Report | None = None,
    twin: Twin = POSITION,
) -> dict[str, list[str]]:
    """Replay stored runs of one symbol (rows of `outcomes`) in kernel and oracle; give the differences by run.

    Compared are kernel and oracle row for row, the stored outcome, and what a stored margin to survive claims.
    """
    place = {label: i for i, label in enumerate(data.entries.labels)}
    by_job: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in stored.to_pylist():
        by_job.setdefault((row["strategy"], row["reaction"]), []).append(row)
    markets: dict[int, Any] = {}
    found: dict[str, list[str]] = {}
    done = 0
    for (strategy, reaction), rows in by_job.items():
        job = find_job(all_jobs, strategy, reaction)
        chosen = [place[_label(row["run_id"])] for row in rows]
        donors = [row["seed_run_id"] for row in rows]
        runs = rerun(study, data, all_jobs, job, chosen, donors, [row["equity_start_e8"] for row in rows])
        for run, (row, entry) in enumerate(zip(rows, chosen, strict=True)):
            if entry not in markets:
                if study.entries.continuous is not None:  # to the end of the data: one of them is enough to hold
                    markets.clear()
                markets[entry] = twin.market(data, entry)

            def told(more_e8: int, runs: Runs = runs, run: int = run, market: Any = markets[entry]) -> Any:
                return twin.replay(market, study, data, runs, run, rules, more_e8)

            lines = _verify_run(told, twin.result(runs.batch, run), row)
            if lines:
                found[row["run_id"]] = lines
            done += 1
            if report is not None:
                report(done, len(stored))
    return found


def _label(run_id: str) -> str:
    """Take strategy and reaction off a run's name."""
    return run_id.split("/", 1)[1].rsplit("/", 1)[0]


def _verify_run(told: Callable[[int], Any], actual: Any, row: Mapping[str, Any]) -> list[str]:
    """Compare a run with its oracle, which is asked with an amount posted on top."""
    expected = told(0)
    lines = compare_run(expected, actual)
    lines += compare_outcome(expected.outcome, row, "stored")
    least = row["margin_to_survive_e8"]
    for more, alive in () if least is None else ((least - 1, False), (least, True)):
        if told(more).outcome["liquidated"] == alive:
            lines.append(
                f"margin_to_survive_e8: stored {least}, but with {more} the oracle {'dies' if alive else 'lives'}"
            )
    return lines
