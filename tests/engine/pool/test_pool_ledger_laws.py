"""The laws of a ledger with several legs, wallets and assets, each by name, over the kernel alone.

Nothing here knows how the kernel works: the laws read what a run wrote, the market, and plain integers.
"""

from __future__ import annotations

from collections import defaultdict

from pool_laws import (
    LIVES,
    asset_number,
    asset_of,
    bar_of,
    fee_rate_of,
    flows,
    instrument_of,
    is_inverse,
    lived,
    side_of,
    slippage_of,
    wallet_of,
)
from pool_worlds import World, shared_times
from worlds import ceil_div

from backtest.units import E8, to_e8


def test_conservation_in_every_asset() -> None:
    """Every row moves a positive amount between two accounts; what is in a run was paid in, won, or bought."""
    for world, result in lived():
        market: dict[int, int] = defaultdict(int)
        for t in result.transfers:
            assert t.amount_e8 > 0
            assert t.debit != t.credit
            if t.kind in ("profit", "loss", "premium"):
                market[t.asset] += t.amount_e8 * ((t.credit == "market") - (t.debit == "market"))
        worth: dict[int, int] = defaultdict(int)
        for f in result.fills:  # who buys pays the value; of a coin contract the value is received
            paid = f.cost_e8 * (1 if f.qty_e8 > 0 else -1)
            asset = asset_of(world, f.slot)
            worth[asset] += paid if asset == 0 else -paid
        assert {k: v for k, v in market.items() if v} == {k: v for k, v in worth.items() if v}
        total = flows(result)
        assert {asset: v for (name, asset), v in total.items() if name == "world"} == {0: -to_e8(world.plan.capital)}


def test_coin_is_bought_and_sold_at_no_better_than_the_base_price() -> None:
    """A purchase or sale is two rows, quote against coin; at an open nobody does better than the trade price."""
    seen = 0
    for world, result in lived():
        opens = [{b.time_ms: to_e8(b.trade_open) for b in i.bars} for i in world.market.instruments]
        coin = [t for t in result.transfers if t.kind == "convert" and t.asset]
        quote = [t for t in result.transfers if t.kind == "convert" and not t.asset]
        for row in coin:
            bought = row.debit == "market"
            if row.cause not in ("entry", "exit") or row.rule >= 0 or row.time_ms not in opens[row.asset - 1]:
                continue
            if row.cause == "exit" and result.outcome["exit_reason"] != "horizon":
                continue
            value = opens[row.asset - 1][row.time_ms] * row.amount_e8
            paid = [t.amount_e8 for t in quote if t.time_ms == row.time_ms and (t.credit == "market") == bought]
            seen += 1
            if bought:
                assert any(amount >= ceil_div(value, E8) for amount in paid)
            else:
                assert not paid or any(amount <= value // E8 for amount in paid)
    assert seen


def test_balances_rebuild() -> None:
    """The outcome's figures are sums over the rows; those of coin are valued, so only quote is compared."""
    for _, result in lived():
        outcome, total = result.outcome, flows(result)
        assert outcome["equity_end_e8"] == total["free", 0] + total["reserve", 0]
        assert outcome["actions"] == sum(a.status == "done" for a in result.actions)
        assert outcome["refused"] == sum(a.status != "done" for a in result.actions)
        if not any(t.asset for t in result.transfers):
            of = {kind: sum(t.amount_e8 for t in result.transfers if t.kind == kind) for kind in ("fee", "clearance")}
            assert (outcome["fees_e8"], outcome["clearance_fee_e8"]) == (of["fee"], of["clearance"])
            assert outcome["funding_e8"] == total["funding", 0]
            assert outcome["premium_e8"] == sum(
                t.amount_e8 if t.credit == "market" else -t.amount_e8 for t in result.transfers if t.kind == "premium"
            )
            assert outcome["turnover_e8"] == sum(f.cost_e8 for f in result.fills)


def test_solvency() -> None:
    """Free balance, reserve and transit never owe."""
    for _, result in lived():
        kept: dict[str, int] = dict.fromkeys(LIVES, 0)
        for t in result.transfers:
            for name, sign in ((t.debit, -1), (t.credit, 1)):
                if name in kept:
                    assert t.asset == 0
                    kept[name] += sign * t.amount_e8
                    assert kept[name] >= 0


def test_flat_means_empty() -> None:
    """A run ends with no leg, no wallet in any asset and nothing on its way; no leg ever turns around."""
    for world, result in lived():
        qty: dict[int, int] = defaultdict(int)
        for f in result.fills:
            qty[f.slot] += f.qty_e8 * side_of(world, f.slot)
            assert qty[f.slot] >= 0
        assert not any(qty.values())
        outside = ("world", "market", "fees", "funding", "insurance")
        left = {place: v for place, v in flows(result).items() if v and place[0] not in outside}
        assert all(place in (("free", 0), ("reserve", 0)) for place in left)


def test_fees_are_the_rate_of_the_value() -> None:
    """Each fill that is chosen pays ceil(value x taker) in its asset, in order, out of its own wallet."""
    for world, result in lived():
        if world.plan.collaterals:
            continue  # their sale pays its fee from the wallet too
        last = max(t for t in shared_times(world.market) if t < world.plan.stop_ms)
        due = []
        for f in result.fills:
            fee = ceil_div(f.cost_e8 * fee_rate_of(world, f.slot, min(f.time_ms, last)), E8)
            if f.cause not in ("liquidation", "expiry") and fee:
                due.append((wallet_of(world, f.slot), asset_of(world, f.slot), fee))
        paid = [(t.debit, t.asset, t.amount_e8) for t in result.transfers if t.kind == "fee"]
        assert due == [row for row in paid if row[0].startswith("margin")]


def test_values_are_rounded_against_the_run() -> None:
    """Who pays quote pays more, who gets coin gets less; entries and exits fill at the open made worse by slippage."""
    for world, result in lived():
        for f in result.fills:
            inverse, buying, qty = is_inverse(world, f.slot), f.qty_e8 > 0, abs(f.qty_e8)
            top, bottom = (qty * E8, f.price_e8) if inverse else (qty * f.price_e8, E8)
            assert f.cost_e8 == (ceil_div(top, bottom) if buying != inverse else top // bottom)
            if f.cause == "entry" or (f.cause == "exit" and result.outcome["exit_reason"] == "horizon"):
                base = to_e8(bar_of(world, f.slot, f.time_ms).trade_open)
                assert f.price_e8 == base + (1 if buying else -1) * ceil_div(base * slippage_of(world, f.slot), E8)


def test_funding_is_paid_by_every_leg_on_its_own_notional() -> None:
    """Both sides of a hedge settle, each rounded against the account; rates of bars left out are added."""
    legs = 0
    for world, result in lived():
        rows = [
            (t.time_ms, t.asset, t.credit == "funding", t.amount_e8) for t in result.transfers if t.kind == "funding"
        ]
        expected, previous = [], world.plan.entry_ms
        end = min(int(str(result.outcome["exit_ms"])), world.plan.stop_ms - 1)
        for time_ms in [t for t in shared_times(world.market) if previous < t <= end]:
            qty: dict[int, int] = defaultdict(int)
            for f in result.fills:
                qty[f.slot] += f.qty_e8 if f.time_ms < time_ms and f.cause != "data_end" else 0
            for slot in sorted(s for s, amount in qty.items() if amount and asset_number(world, s) < 0):
                expected += settled(world, slot, qty[slot], previous, time_ms)
            legs = max(legs, len(qty))
            previous = time_ms
        assert rows == expected
    assert legs > 2


def settled(world: World, slot: int, qty: int, previous_ms: int, time_ms: int) -> list[tuple[int, int, bool, int]]:
    """Give the funding of a leg at a bar that is used."""
    instrument = world.market.instruments[instrument_of(world, slot)]
    stamps = [b.time_ms for b in instrument.bars if previous_ms < b.time_ms <= time_ms]
    rate = sum(to_e8(instrument.funding[t]) for t in stamps if t in instrument.funding)
    mark = next(to_e8(b.mark_open) for b in instrument.bars if b.time_ms == time_ms)
    exact, unit = abs(qty) * abs(rate), E8 * E8
    exact, unit = (exact, mark) if instrument.inverse else (exact * mark, unit)
    paying = qty * rate > 0
    amount = ceil_div(exact, unit) if paying else exact // unit
    return [(time_ms, asset_of(world, slot), paying, amount)] if amount else []


def test_the_laws_run_on_what_they_say() -> None:
    """The laws are not empty: what they speak of occurs in what they read."""
    kinds = {t.kind for _, result in lived() for t in result.transfers}
    assert kinds >= {"funding", "release", "clearance", "add_margin", "convert", "post", "shortfall", "premium"}
    causes = {f.cause for _, result in lived() for f in result.fills}
    assert causes >= {"entry", "exit", "rule", "liquidation", "expiry"}
    assert {t.asset > 0 for _, result in lived() for t in result.transfers} == {True, False}
