"""What the decimal oracle of several legs is given of a study's run, and the kernel's answer in its form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

import numpy as np

from backtest import schema
from backtest.engine.batch import Batch
from backtest.engine.oracle import pool as twin
from backtest.engine.plan import NONE
from backtest.engine.pool.batch import slots_of
from backtest.engine.pool.forms import ASSET, SLOTS_MAX, wallet_of
from backtest.engine.pool.market import PoolMarket
from backtest.engine.rules import Rule
from backtest.study.config import Study
from backtest.study.facts import Runs
from backtest.study.instruments import Instrument
from backtest.study.pools import Pool
from backtest.study.runner import SymbolData
from backtest.study.verify import Twin, kernel_actions, kernel_outcome, natural, oracle_market, oracle_plan, rows_of

ACCOUNTS = dict(enumerate(schema.ACCOUNTS)) | {wallet_of(slot): f"margin.{slot}" for slot in range(1, SLOTS_MAX)}


def twin_market(data: SymbolData, entry: int) -> twin.PoolMarket:
    """Give the instruments of a run over its bars, and the marks of its valued assets, as decimals."""
    row, market = data.entries.rows[entry], data.market
    assert isinstance(market, PoolMarket)
    exit_bar = int(row["exit_bar"])
    last_ms = int(market.times_ms[min(exit_bar, len(market.times_ms) - 1)])
    instruments = (
        _instrument(one, int(row["entry_ms"]), last_ms, row["entry_bar"] == NONE) for one in data.instruments
    )
    assets = (_asset(one.tape, int(row["entry_ms"]), last_ms) for one in data.assets)
    return twin.PoolMarket(int(market.interval_ms), tuple(instruments), tuple(assets))


def _asset(tape: schema.AssetTape, first_ms: int, last_ms: int) -> twin.Asset:
    """Give an asset's rows that decide from a time to another: from the last one before to the first one after."""
    first = max(int(np.searchsorted(tape.time_ms, first_ms, side="right")) - 1, 0)
    stop = int(np.searchsorted(tape.time_ms, last_ms)) + 1
    columns = (getattr(tape, f"{name}_e8")[first:stop] for name in twin.AssetBar._fields[1:])
    rows = zip(tape.time_ms[first:stop].tolist(), *(map(natural, column) for column in columns), strict=True)
    return twin.Asset(tape.name, tuple(twin.AssetBar(*one) for one in rows), natural(tape.taker_e8))


def _instrument(one: Instrument, first_ms: int, last_ms: int, is_gap: bool) -> twin.Instrument:
    """Give an instrument from a time to another; where the entry has no bar, from the bar before."""
    tape = one.result.tape
    first = max(int(np.searchsorted(tape.time_ms, first_ms)) - int(is_gap), 0)
    known = oracle_market(tape, first, int(np.searchsorted(tape.time_ms, last_ms)))
    bars = tuple(
        twin.PoolBar(*bar[:6], natural(tape.mark_close_e8[first + i]), bar.length_ms)
        for i, bar in enumerate(known.bars)
    )
    return twin.Instrument(one.symbol, one.is_inverse, bars, known.funding, known.tiers, known.taker)


def twin_plan(
    study: Study, pool: Pool, runs: Runs, run: int, rules: Mapping[str, Rule], *, more_e8: int = 0
) -> twin.PoolPlan:
    """Give the plan of one run: that of one position, and its legs; `more_e8` is posted on top."""
    plan, form, row = oracle_plan(study, runs, run, rules, more_e8=more_e8), pool.form, runs.entries.rows[run]

    def lots(slot: int) -> tuple[Decimal, Decimal]:
        return natural(row["leg_step_e8"][slot]), natural(row["leg_min_notional_e8"][slot])

    return twin.PoolPlan(
        **{field.name: getattr(plan, field.name) for field in fields(plan)},
        core=tuple(twin.CoreLeg(slot, *lots(slot)) for slot in range(form.core_count)),
        layers=tuple(
            twin.LayerSpec(
                schema.TARGETS[layer.target],
                layer.instrument,
                Decimal(layer.leverage_e2) / 100,
                *lots(slots_of(layer.target, form.core_count)[0]),
            )
            for layer in form.layers
        ),
        collaterals=tuple(
            twin.Collateral(one.instrument, natural(one.share_e8), natural(one.ratio_e8)) for one in form.collaterals
        ),
        assets=tuple(
            twin.AssetSpec(
                one.side,
                one.paid,
                one.own_account,
                natural(one.ratio_e8),
                schema.SIZE_BY[one.size_by],
                natural(row["leg_step_e8"][slot]),
                natural(one.slippage_e8),
            )
            for slot, one in enumerate(form.assets, slots_of(ASSET, form.core_count)[0])
        ),
        joint="sync" if form.sync else "worst",
        isolated=form.isolated,
    )


def kernel_pool_result(batch: Batch, run: int) -> twin.PoolResult:
    """Give what the pool kernel wrote of one run in the oracle's form."""
    return twin.PoolResult(
        [
            twin.PoolTransfer(
                int(t["time_ms"]),
                schema.TRANSFER_KINDS[t["kind"]],
                ACCOUNTS[int(t["debit"])],
                ACCOUNTS[int(t["credit"])],
                int(t["asset"]),
                int(t["amount_e8"]),
                schema.CAUSES[t["cause"]],
                int(t["rule"]),
            )
            for t in rows_of(batch.transfers, run)
        ],
        [
            twin.PoolFill(
                int(f["time_ms"]),
                int(f["slot"]),
                int(f["qty_e8"]),
                int(f["price_e8"]),
                int(f["cost_e8"]),
                int(f["mark_e8"]),
                schema.CAUSES[f["cause"]],
                int(f["rule"]),
            )
            for f in rows_of(batch.fills, run)
        ],
        kernel_actions(batch, run),
        kernel_outcome(batch.outcomes[run]),
    )


def _replay(
    market: Any, study: Study, data: SymbolData, runs: Runs, run: int, rules: Mapping[str, Rule], more_e8: int
) -> Any:
    assert data.pool is not None
    return twin.replay(market, twin_plan(study, data.pool, runs, run, rules, more_e8=more_e8))


POOL = Twin(twin_market, _replay, kernel_pool_result)
