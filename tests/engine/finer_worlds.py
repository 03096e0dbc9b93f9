"""Mixed tapes: some bars of a made-up market, taken apart into finer ones that join to them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

from backtest.engine import oracle
from backtest.engine.oracle import pool as twin

MINUTE_MS = 60_000
PARTS = ((2,), (3,), (5,), (12,), (4, 2), (12, 3))  # into how many bars: of one length, or of two
FUNDING = ("0", "0.0001", "-0.00075", "0.0075")
AnyBar = oracle.Bar | twin.PoolBar


def units(price: Decimal) -> int:
    return int(price.scaleb(8))


def decimal(price: int) -> Decimal:
    return Decimal(price).scaleb(-8)


def apart(
    r: Random, bar: AnyBar, length_ms: int, parts: int, edges: Sequence[int] = ()
) -> list[tuple[oracle.Bar, int]]:
    """Take a bar apart, and say where the mark closes: each extreme is reached at least once, nothing lies beyond."""
    high, low = units(bar.mark_high), units(bar.mark_low)
    inside = [edge for edge in edges if low <= edge <= high] or [low, high]

    def draw() -> int:
        return r.choice(inside) if r.random() < 0.2 else r.randint(low, high)

    at_low, at_high = r.randrange(parts), r.randrange(parts)
    last_close = units(bar.mark_close) if isinstance(bar, twin.PoolBar) else draw()
    found = []
    for part in range(parts):
        opened = units(bar.mark_open) if part == 0 else draw()
        close = last_close if part == parts - 1 else draw()
        reached = [opened, close, *[low] * (part == at_low), *[high] * (part == at_high)]
        trade_open = bar.trade_open if part == 0 else decimal(max(1, opened + r.choice((-1, 0, 1))))
        trade_close = bar.trade_close if part == parts - 1 else decimal(close)
        marks = (decimal(opened), decimal(max(reached)), decimal(min(reached)))
        time_ms = bar.time_ms + part * length_ms
        found.append((oracle.Bar(time_ms, trade_open, trade_close, *marks, length_ms), close))
    return found


def mixed(
    r: Random, market: oracle.Market, plan: oracle.Plan, edges: Sequence[int]
) -> tuple[oracle.Market, oracle.Plan]:
    """Take a part of a market's bars apart; funding and the baseline's times may then fall on finer opens, too."""
    share, kinds = r.choice((0.1, 0.5, 0.5, 0.9)), _kinds(r, market.interval_ms)
    bars: list[oracle.Bar] = []
    for bar in market.bars:
        parts = r.choice(kinds) if r.random() < share else 1
        finer = apart(r, bar, market.interval_ms // parts, parts, edges)
        bars += [bar] if parts == 1 else [one for one, _ in finer]
    opens = [bar.time_ms for bar in bars]
    return replace(market, bars=tuple(bars), funding=_funding(r, market.funding, opens)), _plan(r, plan, opens)


def mixed_pool(
    r: Random, market: twin.PoolMarket, plan: twin.PoolPlan, shared_ms: Sequence[int]
) -> tuple[twin.PoolMarket, twin.PoolPlan]:
    """Take a part of the bars that all instruments have apart, those of all of them alike."""
    share, kinds = r.choice((0.1, 0.5, 0.5, 0.9)), _kinds(r, market.interval_ms)
    into = {time_ms: r.choice(kinds) for time_ms in shared_ms if r.random() < share}
    lengths = {time_ms: market.interval_ms // parts for time_ms, parts in into.items()}
    opens = [ms + part * lengths.get(ms, 0) for ms in shared_ms for part in range(into.get(ms, 1))]

    def finer(instrument: twin.Instrument) -> twin.Instrument:
        bars: list[twin.PoolBar] = []
        for bar in instrument.bars:
            parts = into.get(bar.time_ms, 1)
            found = apart(r, bar, market.interval_ms // parts, parts)
            taken = [twin.PoolBar(*one[:6], decimal(close), one.length_ms) for one, close in found]
            bars += [bar] if parts == 1 else taken
        return replace(instrument, bars=tuple(bars), funding=_funding(r, instrument.funding, opens))

    return replace(market, instruments=tuple(map(finer, market.instruments))), _plan(r, plan, opens)


def _kinds(r: Random, interval_ms: int) -> tuple[int, ...]:
    """Draw into how many bars to take others apart: whole minutes long, as funding stamps are read."""
    return r.choice([kinds for kinds in PARTS if interval_ms % (max(kinds) * MINUTE_MS) == 0] or [(1,)])


def _funding(r: Random, funding: Mapping[int, Decimal], opens: Sequence[int]) -> dict[int, Decimal]:
    """Add stamps at some of the opens to those of a market that has funding."""
    stamps = r.sample(opens, min(len(opens), r.choice((0, 1, 3)))) if funding else []
    return {**funding, **{stamp_ms: Decimal(r.choice(FUNDING)) for stamp_ms in stamps}}


def _plan(r: Random, plan: oracle.Plan, opens: Sequence[int]) -> oracle.Plan:
    if plan.baseline_liquidation_ms is not None:
        plan = replace(plan, baseline_liquidation_ms=r.choice(opens))
    if plan.baseline_exit_ms is not None and r.random() < 0.7:
        plan = replace(plan, baseline_exit_ms=r.choice(opens))
    return plan
