"""Bands of the mark, against exact margins: nothing may happen, or be worse, at any mark inside one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backtest.engine import band
from backtest.engine import cells as at
from backtest.engine.compile import jit
from backtest.engine.margin import RATIO_PPM_MAX, measure
from backtest.engine.market import TIER, Market
from backtest.engine.plan import INT64_MIN, NONE, PLAN
from backtest.engine.replay import blank_runs

E8 = 10**8
STATES = 6_000
TIERS = ((50_000, 400_000, 0), (250_000, 500_000, 50), (3_000_000, 1_000_000, 1_300), (2**62 // E8, 2_500_000, 46_300))


@jit
def renew_clear(tape: Any, plan: Any, runs: Any, price: int) -> None:
    band.renew_clear_band(tape, plan, runs[0], price)


@jit
def renew_known(tape: Any, runs: Any, price: int) -> None:
    band.renew_known_band(tape, runs[0], price)


@jit
def in_bands(runs: Any, price: int) -> tuple[bool, bool]:
    return band.is_in_clear_band(runs[0], price, price), band.is_in_known_band(runs[0], price, price)


def market() -> Market:
    tiers = np.zeros((1, len(TIERS)), TIER)
    for row, (cap, rate_e8, deduction) in zip(tiers[0], TIERS, strict=True):
        row["cap_e8"], row["rate_e8"], row["deduction_e8"] = cap * E8, rate_e8, deduction * E8
        row["count"] = len(TIERS)
    nothing = np.zeros(1, TIER)
    return Market(3_600_000, nothing, nothing, nothing, tiers)


def some_state(draw: np.random.Generator) -> tuple[Any, Any, int]:
    """Give a run in a position, a plan with thresholds, and the present mark."""
    runs, plan = blank_runs(), np.zeros(1, PLAN)[0]
    run = runs[0]
    price = int(10 ** draw.uniform(4, 13))
    notional_e8 = int(10 ** draw.uniform(10, 15))
    run["qty"] = max(1, notional_e8 * E8 // price)
    run["cost"] = int(notional_e8 * draw.uniform(0.8, 1.25))
    run["side"] = draw.choice([1, -1])
    run["leverage_e2"] = draw.integers(100, 12_501)
    run["fee_reserve"] = draw.choice([0, notional_e8 // 2000])
    run["balance"][at.MARGIN] = int(notional_e8 * draw.uniform(-0.05, 0.4))
    run["deficit"] = int(notional_e8 * draw.uniform(-0.3, 0.05))
    run["min_buffer"] = int(draw.uniform(-0.5, 3.0) * 1e6)
    run["max_ratio"] = draw.choice([0, int(draw.uniform(0.0, 3.0) * 1e6), RATIO_PPM_MAX])
    plan["liquidate"] = draw.integers(2)
    plan["buffer_max_e8"] = draw.choice([NONE, int(draw.uniform(0, 2) * E8)])
    plan["ratio_min_e8"] = draw.choice([NONE, int(draw.uniform(0, 1.5) * E8)])
    plan["headroom_max_e8"] = draw.choice([INT64_MIN, int(notional_e8 * draw.uniform(-0.01, 0.2))])
    return runs, plan, price


def figures(tape: Market, run: Any, price: int) -> tuple[int, int, int]:
    names = ("side", "qty", "cost")
    values = [int(run[name]) for name in names]
    rest = (int(run["balance"][at.MARGIN]), int(run["leverage_e2"]), int(run["fee_reserve"]))
    equity, maintenance, initial = measure(tape, 0, *values, *rest, price)
    return int(equity), int(maintenance), int(initial)


def happens(plan: Any, equity: int, maintenance: int, initial: int) -> bool:
    headroom, room = equity - maintenance, initial - maintenance
    buffer, ratio = int(plan["buffer_max_e8"]), int(plan["ratio_min_e8"])
    return bool(
        (plan["liquidate"] and headroom <= 0)
        or headroom <= int(plan["headroom_max_e8"])
        or (buffer >= 0 and room > 0 and headroom * E8 <= buffer * room)
        or (ratio >= 0 and (equity <= 0 or maintenance * E8 >= ratio * equity))
    )


def is_worse(run: Any, equity: int, maintenance: int, initial: int) -> bool:
    headroom, room = equity - maintenance, initial - maintenance
    ratio = RATIO_PPM_MAX if equity <= 0 else min(RATIO_PPM_MAX, -(-maintenance * 10**6 // equity))
    return bool(
        -headroom > int(run["deficit"])
        or (room > 0 and headroom * 10**6 // room < int(run["min_buffer"]))
        or ratio > int(run["max_ratio"])
    )


def inside(draw: np.random.Generator, low: int, high: int) -> list[int]:
    """Give the ends of a band, marks next to them, and some between."""
    if low > high:
        return []
    return [m for m in (low, low + 1, high - 1, high, *draw.integers(low, high + 1, 6).tolist()) if low <= m <= high]


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_happens_and_nothing_is_worse_inside_a_band(seed: int) -> None:
    draw, tape = np.random.default_rng(seed), market()
    looked_at = {"clear": 0, "known": 0}
    for _ in range(STATES // 2):
        runs, plan, price = some_state(draw)
        run = runs[0]
        renew_clear(tape, plan, runs, price)
        renew_known(tape, runs, price)
        # A band holds for the wallet it was computed for and for every larger one.
        run["balance"][at.MARGIN] = max(int(run["clear_wallet"]), int(run["known_wallet"])) + draw.integers(3)
        for mark in inside(draw, int(run["clear_low"]), int(run["clear_high"])):
            looked_at["clear"] += 1
            assert not happens(plan, *figures(tape, run, mark)), (run, plan, mark)
        for mark in inside(draw, int(run["known_low"]), int(run["known_high"])):
            looked_at["known"] += 1
            assert not is_worse(run, *figures(tape, run, mark)), (run, mark)
    assert min(looked_at.values()) > 2_000


def test_a_band_reaches_almost_to_where_something_happens() -> None:
    draw, tape = np.random.default_rng(3), market()
    reached = 0
    for _ in range(STATES // 4):
        runs, plan, price = some_state(draw)
        renew_clear(tape, plan, runs, price)
        run = runs[0]
        run["balance"][at.MARGIN] = run["clear_wallet"]
        low, high = int(run["clear_low"]), int(run["clear_high"])
        if low <= high:
            margin = price // 10_000 + 100
            beyond = [figures(tape, run, mark) for mark in (low - margin, high + margin) if mark > 0]
            reached += any(happens(plan, *seen) for seen in beyond)
    assert reached > 300


def test_a_smaller_wallet_leaves_every_band() -> None:
    draw, tape = np.random.default_rng(4), market()
    seen = 0
    for _ in range(300):
        runs, plan, price = some_state(draw)
        renew_clear(tape, plan, runs, price)
        renew_known(tape, runs, price)
        clear, known = in_bands(runs, price)
        seen += clear and known
        runs[0]["balance"][at.MARGIN] = runs[0]["clear_wallet"] - 1
        assert in_bands(runs, price) == (False, False)
    assert seen > 20
