"""From the kernel's integers to the tables of a study: outcomes, transfers, fills and actions with their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest import schema
from backtest.engine.batch import Batch
from backtest.engine.replay import BUFFER_NONE
from backtest.study.entries import Entries
from backtest.study.jobs import Job
from backtest.study.naming import side_name
from backtest.units import E8, HOUR_MS

Ints = npt.NDArray[np.int64]
BILLION = 1_000_000_000
REFUSED = schema.EXIT_REASONS.index("refused")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the replay does not know of a job's runs: pairing, coverage and survival, one value a run."""

    baseline_paired_e2: Ints
    fidelity: Ints
    near_gap: npt.NDArray[np.bool_]
    to_survive_e8: Ints | None  # negative where it is not known; None: not asked
    certain: npt.NDArray[np.bool_]  # of liquidated runs: whatever the order in which extremes of several marks came
    donors: list[str | None] | None


def names(codes: npt.NDArray[Any], words: Sequence[str]) -> pa.Array:
    """Turn codes into text; a negative code is null."""
    indices = pa.array(np.where(codes < 0, 0, codes).astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words)).cast(pa.string())


def coded(table: pa.Table) -> pa.Table:
    """Hold each word of an outcome table's texts once. Names of runs all differ and stay as they are."""
    for place, column in enumerate(schema.OUTCOMES.columns):
        if column.type == "text" and column.name != "run_id":
            table = table.set_column(place, column.name, table[column.name].dictionary_encode())
    return table


def outcome_table(venue: str, job: Job, entries: Entries, batch: Batch, facts: Facts) -> pa.Table:
    """Give a job's outcomes in the form of `schema.OUTCOMES`."""
    row, entry = batch.outcomes, entries.rows
    count = len(row)
    taken = row["reason"] != REFUSED

    def always(text: str) -> pa.Array:
        return pa.repeat(pa.scalar(text), count)

    def null_below_zero(name: str) -> pa.Array:
        return pa.array(row[name], mask=row[name] < 0)

    def of_pools(name: str) -> Ints:
        """Give a figure that only runs with several legs have."""
        return np.asarray(row[name] if name in (row.dtype.names or ()) else np.zeros(count, np.int64))

    share = np.divide(row["forced_qty_e8"], row["entry_qty_e8"], out=np.zeros(count), where=row["entry_qty_e8"] > 0)
    certainty = pa.array(np.where(facts.certain, "certain", "possible"), mask=row["liquidated"] == 0)
    survive = facts.to_survive_e8
    columns: dict[str, Any] = {
        "run_id": pa.array([f"{job.strategy}/{label}/{job.reaction}" for label in entries.labels]),
        "strategy": always(job.strategy),
        "params": always(job.params_json),
        "reaction": always(job.reaction),
        "venue": always(venue),
        "symbol": always(entries.symbol),
        "side": names((1 - entry["side"]) // 2, [side_name(1), side_name(-1)]),
        "leverage": entry["leverage_e2"] / 100.0,
        "entry_ms": entry["entry_ms"],
        "exit_ms": null_below_zero("exit_ms"),
        "exit_reason": names(row["reason"], schema.EXIT_REASONS),
        "refusal": names(row["refusal"], schema.REFUSALS),
        "liquidated": row["liquidated"] == 1,
        "certainty": certainty,
        "cause": names(row["cause"], schema.LIQUIDATION_CAUSES),
        "partial": row["partial"] == 1,
        "liquidated_share": share,
        "layer_liquidations": of_pools("layer_liquidations"),
        "premium_e8": of_pools("premium_e8"),
        "liquidation_ms": null_below_zero("liquidation_ms"),
        "liquidation_price_e8": null_below_zero("liquidation_price_e8"),
        "qty_at_baseline_liquidation_e8": null_below_zero("qty_at_baseline_liquidation_e8"),
        "equity_start_e8": entry["capital_e8"],
        "baseline_notional_hours_paired_e2": facts.baseline_paired_e2,
        "min_buffer_ppm": pa.array(row["min_buffer_ppm"], mask=row["min_buffer_ppm"] == BUFFER_NONE),
        "max_margin_ratio_ppm": pa.array(row["max_margin_ratio_ppm"], mask=~taken),
        "margin_to_survive_e8": pa.nulls(count, pa.int64()) if survive is None else pa.array(survive, mask=survive < 0),
        "tier_fidelity": names(facts.fidelity, schema.TIER_FIDELITY),
        "near_gap": facts.near_gap,
        "seed_run_id": pa.array(facts.donors or [None] * count, pa.string()),
    }
    arrays = [columns[c.name] if c.name in columns else row[c.name] for c in schema.OUTCOMES.columns]
    return pa.table([pa.array(a) for a in arrays], schema=schema.OUTCOMES.arrow())


def ledger_tables(job: Job, entries: Entries, batch: Batch, keep: npt.NDArray[np.bool_]) -> dict[str, pa.Table]:
    """Give the rows of the runs that are kept, in the form of `schema.TRANSFERS`, `FILLS` and `ACTIONS`."""
    run_ids = pa.array([f"{job.strategy}/{label}/{job.reaction}" for label in entries.labels])
    uses = [name for name, _ in job.rules.names]

    def common(rows: npt.NDArray[Any]) -> dict[str, Any]:
        start = np.searchsorted(rows["run"], rows["run"])
        rule = rows["rule"].astype(np.int64)
        return {
            "run_id": run_ids.take(pa.array(rows["run"])),
            "sequence": np.arange(len(rows)) - start,
            "rule": names(rule, uses) if uses else pa.nulls(len(rows), pa.string()),
        }

    def table(form: schema.Table, rows: npt.NDArray[Any], **special: Any) -> pa.Table:
        rows = rows[keep[rows["run"]]]
        columns = common(rows) | {name: make(rows) for name, make in special.items()}
        arrays = [columns[c.name] if c.name in columns else rows[c.name] for c in form.columns]
        return pa.table([pa.array(a) for a in arrays], schema=form.arrow())

    codes = entries.names

    def place(rows: npt.NDArray[Any], field: str) -> npt.NDArray[np.int64]:
        """Give which of several assets or legs a row is of; rows of a single position do not say."""
        return rows[field].astype(np.int64) if field in (rows.dtype.names or ()) else np.zeros(len(rows), np.int64)

    return {
        "transfers": table(
            schema.TRANSFERS,
            batch.transfers,
            kind=lambda r: names(r["kind"], schema.TRANSFER_KINDS),
            debit=lambda r: names(r["debit"], codes.accounts),
            credit=lambda r: names(r["credit"], codes.accounts),
            cause=lambda r: names(r["cause"], schema.CAUSES),
            asset=lambda r: names(place(r, "asset"), codes.assets),
        ),
        "fills": table(
            schema.FILLS,
            batch.fills,
            symbol=lambda r: names(place(r, "slot"), codes.symbols),
            cause=lambda r: names(r["cause"], schema.CAUSES),
        ),
        "actions": table(
            schema.ACTIONS,
            batch.actions,
            bars=lambda r: r["bars"].astype(np.int64),
            verb=lambda r: names(r["verb"], schema.VERBS),
            status=lambda r: names(r["status"], schema.ACTION_STATUS),
            rule=lambda r: names(r["rule"].astype(np.int64), uses) if uses else pa.repeat(pa.scalar("script"), len(r)),
        ),
    }


def baseline_paired(tape: schema.Tape, hold: Batch, own_exit_ms: Ints, entries: Entries) -> Ints:
    """Give the baseline's notional-hours over the bars that begin before the earlier end of run and baseline.

    Exact: quantity x summed mark opens as Python integers, one half-even rounding. A partly liquidated baseline is
    summed fill by fill.
    """
    outcome = hold.outcomes
    paired = outcome["notional_hours_paired_e2"].copy()
    short = np.flatnonzero((own_exit_ms >= 0) & (own_exit_ms < outcome["exit_ms"]))
    if not len(short):
        return np.asarray(paired, np.int64)
    weighted_e8 = tape.mark_open_e8 * ((tape.close_ms - tape.time_ms) // tape.interval_ms)
    # In two words, for the sum over a long run may pass 63 bits.
    billions, rest = (np.concatenate([[0], np.cumsum(word)]) for word in np.divmod(weighted_e8, BILLION))
    first = entries.rows["entry_bar"][short]
    stop = np.searchsorted(tape.time_ms, own_exit_ms[short])
    for place, run in enumerate(short.tolist()):
        begin, end = int(first[place]), int(stop[place])
        if outcome["partial"][run]:
            value = _summed_by_fill(tape, weighted_e8, hold, run, begin, end)
        else:
            opens_e8 = int(billions[end] - billions[begin]) * BILLION + int(rest[end] - rest[begin])
            value = int(outcome["entry_qty_e8"][run]) * opens_e8
        paired[run] = _hours_e2(value, tape.interval_ms)
    return np.asarray(paired, np.int64)


def _summed_by_fill(tape: schema.Tape, weighted_e8: Ints, hold: Batch, run: int, first: int, stop: int) -> int:
    """Sum quantity x weighted open, with the quantity after each: a fill on the path counts from the next bar on."""
    fills = hold.fills[hold.fills["run"] == run]
    held = np.zeros(stop - first, np.int64)
    for fill, bar in zip(fills, np.searchsorted(tape.time_ms, fills["time_ms"]).tolist(), strict=True):
        on_path = fill["mark_e8"] != tape.mark_open_e8[min(bar, stop)]
        held[max(bar + on_path - first, 0) :] += fill["qty_e8"]
    return sum(abs(qty) * mark for qty, mark in zip(held.tolist(), weighted_e8[first:stop].tolist(), strict=True))


def _hours_e2(value: int, interval_ms: int) -> int:
    """Round a sum at 1e-16 times the bar's hours to 1e-2, half even."""
    scale = HOUR_MS * E8 * E8 // 100
    quotient, rest = divmod(value * interval_ms, scale)
    return quotient + (2 * rest > scale or (2 * rest == scale and quotient % 2 == 1))
