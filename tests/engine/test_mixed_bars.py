"""Mixed tapes: finer bars in place of some coarse ones. What they may change of a run, and what they may not."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from random import Random

import numpy as np
import pytest
from finer_worlds import mixed
from harness import compare, disagreements, run_kernel, to_tape
from worlds import draw_world, jumps

from backtest.engine import oracle
from backtest.engine.pool.market import pool_market
from backtest.errors import DataError

WORLDS = 300
HOUR_MS = 3_600_000
PLAN = {"rules": (), "script": (), "liquidation": True, "min_notional": Decimal(0)}


def test_generated_worlds_are_of_both_kinds() -> None:
    lengths = [len({bar.length_ms for bar in draw_world(seed).market.bars}) for seed in range(WORLDS)]
    assert 0.6 < lengths.count(1) / WORLDS < 0.9
    assert max(lengths) == 3  # a market's own, and finer bars of two kinds


def test_where_nothing_acts_finer_bars_lose_the_same_runs_in_the_same_coarse_bar() -> None:
    """A run on coarse bars only sees what its finer bars see: it dies with them, or with neither."""
    dead = 0
    for seed in range(WORLDS):
        world = draw_world(seed)
        if any(bar.length_ms for bar in world.market.bars) or any(jumps(rows) for _, rows in world.market.tiers):
            continue
        plan = replace(world.plan, **PLAN)
        steady = replace(world.market, funding={}, tiers=world.market.tiers[:1], taker=world.market.taker[:1])
        finer, _ = mixed(Random(seed), steady, plan, [])
        coarse, fine = (run_kernel(market, plan).outcome for market in (replace(finer, bars=world.market.bars), finer))
        assert coarse["liquidated"] == fine["liquidated"], seed
        if coarse["liquidated"]:
            dead += 1
            assert 0 <= fine["liquidation_ms"] - coarse["liquidation_ms"] < world.market.interval_ms, seed
    assert dead > 50


def flat_market(price: Decimal, lengths_ms: list[int]) -> oracle.Market:
    """Give bars end to end at one price."""
    opens = np.cumsum([0, *lengths_ms]).tolist()
    bars = tuple(oracle.Bar(at, *[price] * 5, length) for at, length in zip(opens, lengths_ms, strict=False))
    tiers = ((0, (oracle.TierRow(None, Decimal("0.005"), Decimal(0), None),)),)
    return oracle.Market(HOUR_MS, bars, {}, tiers, ((0, Decimal(0)),))


def held(hours: int, margin: Decimal) -> oracle.Plan:
    """Give a long at leverage 2 that nothing touches."""
    return replace(
        draw_world(1).plan,
        **PLAN,
        entry_ms=0,
        horizon_ms=hours * HOUR_MS,
        stop_ms=1000 * HOUR_MS,
        side=1,
        leverage=Decimal(2),
        capital=2 * margin,
        sizing_margin=margin,
        posted_margin=2 * margin,
        qty_share=Decimal(1),
        step=Decimal("0.1"),
        slippage=Decimal(0),
        signals={},
        events={},
        baseline_liquidation_ms=None,
        baseline_exit_ms=None,
    )


def test_notional_hours_count_each_bar_by_its_length() -> None:
    market = flat_market(Decimal(100), [HOUR_MS, *[HOUR_MS // 4] * 4, HOUR_MS, HOUR_MS])
    outcome = run_kernel(market, held(3, Decimal(50))).outcome
    assert outcome["notional_hours_e2"] == 3 * 100_00
    assert outcome["exit_ms"] == 3 * HOUR_MS


def test_a_sum_of_marks_over_a_long_run_may_pass_63_bits() -> None:
    """At 1e-8, marks of 2e10 pass 63 bits in five hours: what was counted is multiplied before it could."""
    market, plan = flat_market(Decimal(20_000_000_000), [HOUR_MS] * 60), held(50, Decimal(10_000_000_000))
    assert not disagreements(market, plan)
    assert run_kernel(market, plan).outcome["notional_hours_e2"] == 50 * 20_000_000_000_00


def test_a_run_over_hours_in_quarters_pays_what_it_pays_over_hours() -> None:
    """Flat bars taken apart: the same ledger, figures that only count bars apart."""
    lengths = [[HOUR_MS] * 6, [HOUR_MS, *[HOUR_MS // 4] * 8, *[HOUR_MS] * 3]]
    funding = {2 * HOUR_MS: Decimal("0.0001")}
    plan = held(5, Decimal(50))
    coarse, fine = (run_kernel(replace(flat_market(Decimal(100), one), funding=funding), plan) for one in lengths)
    assert not compare(coarse, replace(fine, outcome={k: v for k, v in fine.outcome.items() if k in FIGURES}))
    assert sum(t.kind == "funding" for t in fine.transfers) == 1


FIGURES = ("exit_ms", "equity_end_e8", "notional_hours_e2", "funding_e8", "turnover_e8", "min_buffer_ppm")


def test_legs_whose_bars_differ_in_length_are_refused() -> None:
    hours, quarters = [HOUR_MS] * 3, [HOUR_MS, *[HOUR_MS // 4] * 4, HOUR_MS]
    tapes = [to_tape(flat_market(Decimal(100), [*lengths, HOUR_MS]), 1000 * HOUR_MS) for lengths in (hours, quarters)]
    assert len(pool_market([tapes[1], tapes[1]], [False, False]).times_ms) == 7
    with pytest.raises(DataError, match="differ in interval"):
        pool_market(tapes, [False, False])


def test_lengths_that_are_no_multiple_of_one_another_are_refused() -> None:
    with pytest.raises(DataError, match="no multiple"):
        to_tape(flat_market(Decimal(100), [HOUR_MS, HOUR_MS * 2 // 3]), 1000 * HOUR_MS)
