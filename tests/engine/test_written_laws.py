"""The laws of the ledger, each a test by name, over made-up worlds. They read only what the kernel wrote."""

from __future__ import annotations

import dataclasses
from collections import Counter
from decimal import Decimal

import pytest
from harness import run_kernel
from worlds import World, draw_world

from backtest.engine import oracle
from backtest.schema import ACCOUNTS

SEEDS = range(1_000, 1_120)
OWN = ("margin", "free", "reserve", "transit")


def balances(transfers: list[oracle.Transfer]) -> Counter[str]:
    """Rebuild all balances from the transfers alone."""
    total: Counter[str] = Counter(dict.fromkeys(ACCOUNTS, 0))
    for row in transfers:
        total[row.debit] -= row.amount_e8
        total[row.credit] += row.amount_e8
    return total


@pytest.fixture(scope="module")
def runs() -> list[tuple[World, oracle.Result]]:
    worlds = [draw_world(seed) for seed in SEEDS]
    return [(world, run_kernel(world.market, world.plan)) for world in worlds]


def entered(runs: list[tuple[World, oracle.Result]]) -> list[tuple[World, oracle.Result]]:
    return [(world, result) for world, result in runs if result.outcome["exit_reason"] != "refused"]


def test_conservation(runs: list[tuple[World, oracle.Result]]) -> None:
    """A transfer has two different known accounts and a positive amount; all balances add up to nothing."""
    for _, result in runs:
        for row in result.transfers:
            assert row.amount_e8 > 0
            assert row.debit != row.credit
            assert {row.debit, row.credit} <= set(ACCOUNTS)
        assert sum(balances(result.transfers).values()) == 0


def test_balances_rebuild(runs: list[tuple[World, oracle.Result]]) -> None:
    """What the outcome says of money is what the transfers add up to."""
    for _, result in entered(runs):
        total = balances(result.transfers)
        assert result.outcome["equity_end_e8"] == total["free"] + total["reserve"]
        assert result.outcome["fees_e8"] == total["fees"]
        assert result.outcome["funding_e8"] == total["funding"]


def test_positions_rebuild(runs: list[tuple[World, oracle.Result]]) -> None:
    """The fills of a finished run cancel out, and their values are its turnover."""
    for _, result in entered(runs):
        assert sum(row.qty_e8 for row in result.fills) == 0
        assert sum(row.cost_e8 for row in result.fills) == result.outcome["turnover_e8"]


def test_flat_means_empty(runs: list[tuple[World, oracle.Result]]) -> None:
    """After the end nothing is left with the position or on its way."""
    for _, result in runs:
        total = balances(result.transfers)
        assert total["margin"] == 0
        assert total["transit"] == 0


def test_solvency(runs: list[tuple[World, oracle.Result]]) -> None:
    """No own account but the margin wallet is ever negative, and that one not at the end of a run."""
    for _, result in entered(runs):
        running: Counter[str] = Counter()
        for row in result.transfers:
            running[row.debit] -= row.amount_e8
            running[row.credit] += row.amount_e8
            assert all(running[name] >= 0 for name in OWN if name != "margin")
        assert running["margin"] == 0


def test_null_rule(runs: list[tuple[World, oracle.Result]]) -> None:
    """A rule that never acts changes nothing: the same transfers as without rules."""
    for world, _ in runs[:60]:
        plan = dataclasses.replace(world.plan, rules=(), script=())
        idle = tuple(dataclasses.replace(rule, name="patient_top_up", params=_Never()) for rule in world.plan.rules)
        with_rules = run_kernel(world.market, dataclasses.replace(plan, rules=idle))
        assert with_rules.transfers == run_kernel(world.market, plan).transfers


class _Never:
    """Parameters with which `patient_top_up` waits for ever."""

    calls = 1e9
    amount = 1.0


def test_no_future(runs: list[tuple[World, oracle.Result]]) -> None:
    """Corrupting every price and rate after a bar changes nothing that was written before it."""
    for world, result in entered(runs)[:60]:
        bars = world.market.bars
        cut = len(bars) * 2 // 3
        factor = Decimal(2)
        later = [
            bar._replace(**{name: getattr(bar, name) * factor for name in bar._fields if name != "time_ms"})
            for bar in bars[cut:]
        ]
        market = dataclasses.replace(world.market, bars=(*bars[:cut], *later))
        changed = run_kernel(market, world.plan)
        border = bars[cut].time_ms if cut < len(bars) else 2**62
        assert _before(changed.transfers, border) == _before(result.transfers, border)
        assert _before(changed.actions, border) == _before(result.actions, border)


def _before(rows: list[oracle.Transfer] | list[oracle.Action], border_ms: int) -> list[object]:
    return [row for row in rows if row.time_ms < border_ms and getattr(row, "cause", "") not in ("data_end", "exit")]


def test_purity(runs: list[tuple[World, oracle.Result]]) -> None:
    """The same inputs give the same rows."""
    for world, result in runs[:40]:
        again = run_kernel(world.market, world.plan)
        assert (again.transfers, again.fills, again.actions) == (result.transfers, result.fills, result.actions)
        assert again.outcome == result.outcome


def test_zero_funding_is_no_funding(runs: list[tuple[World, oracle.Result]]) -> None:
    """Rates of zero write the same ledger as no rates at all."""
    for world, _ in runs[:60]:
        plan = dataclasses.replace(world.plan, rules=(), script=())
        nothing = dataclasses.replace(world.market, funding={})
        zero = dataclasses.replace(world.market, funding=dict.fromkeys(world.market.funding, Decimal(0)))
        assert run_kernel(nothing, plan).transfers == run_kernel(zero, plan).transfers


def test_more_margin_never_liquidates_earlier(runs: list[tuple[World, oracle.Result]]) -> None:
    """Under `hold`, posting more at entry moves the first liquidation later or away."""
    for world, _ in runs:
        plan = dataclasses.replace(world.plan, rules=(), script=())
        richer = dataclasses.replace(plan, capital=plan.capital * 2, posted_margin=plan.posted_margin + plan.capital)
        first = run_kernel(world.market, plan).outcome["liquidation_ms"]
        then = run_kernel(world.market, richer).outcome["liquidation_ms"]
        if then is not None:
            assert first is not None
            assert first <= then


def test_liquidation_at_the_first_mark_that_holds(runs: list[tuple[World, oracle.Result]]) -> None:
    """A held long or short is liquidated in the first bar whose marks reach the predicate, and in none before."""
    for world, _ in runs:
        plan = dataclasses.replace(world.plan, rules=(), script=(), fee_reserve=False, liquidation=True)
        market = dataclasses.replace(world.market, funding={}, tiers=world.market.tiers[:1])
        result = run_kernel(market, plan)
        if result.outcome["exit_reason"] == "refused":
            continue
        entry = result.fills[0]
        wallet = sum(
            row.amount_e8 * ((row.credit == "margin") - (row.debit == "margin"))
            for row in result.transfers
            if row.cause == "entry"
        )
        assert result.outcome["liquidation_ms"] == _first_breach(market, plan, entry, wallet)


def _first_breach(market: oracle.Market, plan: oracle.Plan, entry: oracle.Fill, wallet_e8: int) -> int | None:
    """Find the bar by plain fractions, from the entry fill and the wallet it left."""
    qty, cost = abs(entry.qty_e8), entry.cost_e8
    rows = market.tiers[0][1]
    for bar in market.bars:
        if bar.time_ms < plan.entry_ms or bar.time_ms >= plan.stop_ms:
            continue
        over = bar.time_ms >= plan.entry_ms + plan.horizon_ms
        for price in (bar.mark_open,) if over else (bar.mark_open, bar.mark_low, bar.mark_high):
            mark = int(price.scaleb(8))
            row = next((r for r in rows if r.cap is None or qty * mark <= int(r.cap.scaleb(16))), rows[-1])
            maintenance = -(-qty * mark * int(row.rate.scaleb(8)) // 10**16) - int(row.deduction.scaleb(8))
            value = qty * mark // 10**8 if plan.side > 0 else -(-qty * mark // 10**8)
            if wallet_e8 + plan.side * (value - cost) <= maintenance:
                return bar.time_ms
        if over:
            return None
    return None
