"""Valued assets for generated pools: bought and written, paid and margined, pushed to where two programs would part.

An asset's mark goes with the first core contract, against it, or its own way; it may be 0, jump, miss rows, begin after
the entry and end inside the run, at a funding stamp, at the horizon or where the run is liquidated. One edge is met
exactly: a mark, or a margin per unit, at which equity is maintenance in the account that holds the asset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from types import SimpleNamespace

import pool_rules
import worlds as single
from worlds import E8, ceil_div, decimal, draw_wake

from backtest.engine import oracle
from backtest.engine.oracle import pool as twin
from backtest.engine.oracle.pool.assets import VALUE_LIMIT, AssetLeg
from backtest.engine.oracle.pool.path import ways_of
from backtest.engine.oracle.pool.run import _Run
from backtest.engine.oracle.pool.tape import Step
from backtest.schema import VERBS

SIZES = ("quantity", "notional", "capital")
FIRST_TARGET = twin.TARGETS.index("asset")
Four = tuple[int, int, int, int]  # open, high, low, close


@dataclass(frozen=True)
class Ground:
    """What assets are drawn on: the clock, the core's mark in every bar, and the run's size in quote."""

    market: twin.PoolMarket
    plan: twin.PoolPlan
    start_ms: int
    marks: list[Four]
    notional: int

    @property
    def first(self) -> int:
        return self.marks[0][0]


def with_assets(r: Random, market: twin.PoolMarket, plan: twin.PoolPlan) -> tuple[twin.PoolMarket, twin.PoolPlan]:
    """Give a run assets, rules that trade them, and money to pay for them."""
    if r.random() < 0.9:
        more = r.choice((1, 1, 2, 3))
        posted, capital = plan.posted_margin * more, plan.capital * more * r.choice((1, 2, 3, 5))
        plan = replace(plan, latency_ms=0, daily_cap=None, posted_margin=posted, capital=capital)
    ground = ground_of(market, plan)
    scales = [draw_scale(r, ground) for _ in range(r.choice((1, 1, 1, 2, 2, 3, 4)))]
    plan = replace(plan, assets=tuple(draw_spec(r, ground, scale) for scale in scales))
    rules = tuple(draw_asset_rule(r, ground, plan.assets, buys=n == 0) for n in range(r.choice((1, 2, 2, 3))))
    plan = replace(plan, rules=(rules + plan.rules if r.random() < 0.7 else plan.rules + rules)[-8:])
    plan = replace(plan, script=tuple(draw_asset_action(r, action, len(scales)) for action in plan.script))
    end = draw_end(r, ground)
    ends = [end if r.random() < 0.4 else draw_end(r, ground) for _ in scales]
    assets = (draw_asset(r, ground, scale, end, n) for n, (scale, end) in enumerate(zip(scales, ends, strict=True)))
    market = replace(market, assets=tuple(assets))
    return (meet(r, market, plan), plan) if r.random() < 0.6 else (market, plan)


def ground_of(market: twin.PoolMarket, plan: twin.PoolPlan) -> Ground:
    """Look at the market that is there; a bar that the core's contract misses stands still."""
    bars = market.instruments[0].bars
    by_time = {bar.time_ms: bar for bar in bars}
    marks: list[Four] = []
    for time_ms in range(bars[0].time_ms, bars[-1].time_ms + 1, market.interval_ms):
        bar = by_time.get(time_ms)
        if bar is None:
            marks.append((marks[-1][3],) * 4)
        else:
            marks.append(tuple(int(p * E8) for p in (bar.mark_open, bar.mark_high, bar.mark_low, bar.mark_close)))
    notional = int(plan.sizing_margin * plan.leverage * E8)
    return Ground(market, plan, bars[0].time_ms, marks, max(notional, E8))


# --- terms ---------------------------------------------------------------------------------------------------------


def draw_scale(r: Random, ground: Ground) -> int:
    """Draw the first price of an asset, so that one for each unit of the core can be paid for; or next to nothing."""
    if r.random() < 0.04:
        return r.choice((1, 100, 10_000))
    return max(1000, int(ground.first * r.choice((0.1, 0.5, 1.0, 3.0)) / float(ground.plan.leverage)))


def draw_spec(r: Random, ground: Ground, scale: int) -> twin.AssetSpec:
    """Draw how an asset is held. Only a pool in quote has a core account that takes one."""
    plan = ground.plan
    pooled = plan.margin_mode == "cross" and not ground.market.instruments[plan.core[0].instrument].inverse
    size_by = r.choice(SIZES)
    whole = ground.notional * E8 // ground.first
    if size_by == "capital":
        whole = int(plan.capital * E8) * E8 // scale
    step = min(max(1, whole // r.choice((3, 20, 50, 100, 1000))), 10**9 * E8)
    side, paid = r.choice((1, 1, 1, -1, -1)), r.random() < 0.65
    own_account, ratio = not pooled or r.random() < 0.25, r.choice(("1", "1", "0.9", "0.5", "0.33333333", "0"))
    return twin.AssetSpec(
        side=side,
        paid=paid,
        own_account=own_account,
        ratio=Decimal(ratio if side > 0 and paid and not own_account else 1),
        size_by=size_by,
        step=decimal(r.choice((step, 10 ** (len(str(step)) - 1), 10 ** (len(str(step)) - 1), 1))),
        slippage=Decimal(r.choice(("0", "0", "0.0002", "0.01", "0.3"))),
    )


def draw_asset_rule(r: Random, ground: Ground, specs: tuple[twin.AssetSpec, ...], *, buys: bool) -> oracle.RuleUse:
    """Draw a rule that trades an asset; `buys`: that opens it, at the entry or soon."""
    share, number = r.choice((0.1, 0.25, 1 / 3, 0.5, 1.0, 1.0, 1.0, 1.5, 5.0)), r.randrange(len(specs))
    if r.random() < 0.05:
        share = 1e-9
    if specs[number].size_by == "notional":
        share /= float(ground.plan.leverage)
    target = float(FIRST_TARGET + number) if r.random() < 0.97 else float(r.randint(3, 6))
    rule, params = r.choice(
        (
            (pool_rules.hedge, {"target": target, "share": share}),
            (pool_rules.hedge, {"target": target, "share": share}),
            (pool_rules.hedge, {"target": target, "share": -share}),
            (pool_rules.keep_hedged, {"target": target, "share": share, "relief": r.choice((0.5, 0.9, 2.0))}),
            (pool_rules.pool_turns, {"first": float(r.randint(0, 11)), "size": r.choice((0.1, 0.7)), "target": target}),
            (pool_rules.cash_in, {"target": target, "share": share, "dear": share * r.choice((1.2, 2.0, 9.0))}),
            (pool_rules.cash_in, {"target": target, "share": share, "dear": share * r.choice((1.2, 2.0, 9.0))}),
        )
    )
    if buys:
        rule, params = pool_rules.hedge, {"target": target, "share": share}
    if rule is pool_rules.cash_in:
        params["relief"] = r.choice((0.0, 0.3, 0.8))
    interval_ms, posted = ground.market.interval_ms, int(ground.plan.posted_margin * E8)
    wakes = tuple(draw_wake(r, interval_ms, posted) for _ in range(r.choice((0, 1, 1, 2))))
    wakes = (oracle.Wake(r.choice(("on_fill", "on_fill", "every_bar"))), *wakes)
    cooldown_ms = interval_ms * r.choice((0, 0, 1, 3, 10**6))
    return oracle.RuleUse(rule.name, rule.function, SimpleNamespace(**params), wakes, cooldown_ms)


def draw_asset_action(r: Random, action: oracle.ScriptedAction, count: int) -> oracle.ScriptedAction:
    """Turn some actions of a shuffled run into trades of an asset."""
    if r.random() < 0.4:
        return action
    share, target = r.choice((0.25, 0.5, 1.0, 1.0, -0.5, -1.0)), FIRST_TARGET + r.randrange(count)
    return action._replace(verb=VERBS.index("trade"), amount=share, target=target)


# --- marks and margins ---------------------------------------------------------------------------------------------


def draw_asset(r: Random, ground: Ground, scale: int, end: int, number: int) -> twin.Asset:
    """Draw the rows of an asset."""
    rows = [tuple(p if p * 1000 > scale else 0 for p in row) for row in draw_marks(r, ground, scale)]
    margins = draw_margins(r, ground, [row[0] for row in rows], scale)
    begin = r.choice((0, 0, 0, r.randrange(len(rows))))
    last = max(begin, min(end, len(rows)) - 1)
    if r.random() < 0.03:
        rows[last] = spiked(r, ground, rows[last], scale)
    holes = r.choice((0.0, 0.0, 0.1, 0.5))
    bars = tuple(
        twin.AssetBar(ground.start_ms + n * ground.market.interval_ms, *map(decimal, (*rows[n], *margins[n])))
        for n in range(begin, last + 1)
        if n in (begin, last) or r.random() >= holes
    )
    return twin.Asset(f"V{number}", bars, Decimal(r.choice(("0", "0", "0.0003", "0.03"))))


def spiked(r: Random, ground: Ground, row: Four, scale: int) -> Four:
    """Give a row a high at which the quantity that is bought may pass the limit of the arithmetic."""
    whole = r.choice((ground.notional * E8 // ground.first, ground.notional * E8 // scale))
    opened, high, low, close = row
    most = VALUE_LIMIT // max(1, whole) * E8 * r.choice((1, 2, 3)) // 2
    return opened, max(high, min(most, 10**9 * E8)), low, close


def draw_end(r: Random, ground: Ground) -> int:
    """Draw the number of the bar where an asset ends: often never, or where something else happens."""
    count, interval_ms = len(ground.marks), ground.market.interval_ms
    kind = r.choice(("never", "never", "somewhere", "horizon", "funding", "liquidation"))
    if kind == "never":
        return count + 1
    moments = [ground.start_ms + interval_ms * r.randint(1, count)]
    if kind == "horizon":
        moments = [ground.plan.entry_ms + ground.plan.horizon_ms]
    if kind == "funding":
        moments = sorted(ground.market.instruments[0].funding) or moments
    if kind == "liquidation":
        first = twin.replay(replace(ground.market, assets=()), replace(ground.plan, assets=())).outcome
        moments = moments if first["liquidation_ms"] is None else [int(str(first["liquidation_ms"]))]
    return ceil_div(r.choice(moments) - ground.start_ms, interval_ms) + r.choice((0, 0, 0, 1, -1))


def draw_marks(r: Random, ground: Ground, scale: int) -> list[Four]:
    """Draw the four marks of every bar: of an option or a future on the core, of something else, or of steps."""
    kind, count = r.choice(("put", "put", "call", "future", "walk", "steps")), len(ground.marks)
    if kind == "walk":
        leverage = Decimal(r.choice((1, 3)))
        return [row[1:4] + row[5:] for row in single.draw_prices(r, count, scale, leverage, [scale, 1])]
    if kind == "steps":
        levels, level, rows = (0, scale // 3, scale, 4 * scale), scale, []
        for _ in range(count):
            before, level = level, r.choice((*levels, level, level, level, level))
            opened = r.choice((before, level))
            rows.append((opened, max(opened, level), min(opened, level), level))
        return rows
    strike, reach, lasting = ground.first * r.choice((90, 100, 110)) // 100, r.choice((0, 0, 3, 50)), r.choice((0, 1))

    def value(price: int, left: int) -> int:
        if kind == "future":
            return max(0, scale + price - ground.first)
        inside = strike - price if kind == "put" else price - strike
        return max(0, inside) + lasting * scale * left // count

    rows = []
    for n, bar in enumerate(ground.marks):
        noise = (1000 + r.randint(-reach, reach) for _ in bar)
        opened, high, low, close = (value(p, count - n) * f // 1000 for p, f in zip(bar, noise, strict=True))
        rows.append((opened, max(opened, high, low, close), min(opened, high, low, close), close))
    return rows


def draw_margins(r: Random, ground: Ground, opens: list[int], scale: int) -> list[tuple[int, int]]:
    """Draw initial and maintenance margin per unit of every bar: none, level, with the mark, or in steps."""
    kind, share = r.choice(("none", "level", "level", "mark", "steps")), r.choice((2, 10, 50))
    more, rows = r.choice((10, 10, 15, 30)), []
    level = scale * share // 100
    for opened in opens:
        if kind == "steps" and r.random() < 0.2:
            level = r.choice((0, scale * share // 100, scale * share // 10, level + 1))
        maintenance = opened + scale * share // 100 if kind == "mark" else level if kind != "none" else 0
        rows.append((maintenance * more // 10, maintenance))
    return rows


# --- edges ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edge:
    """A field of an asset's row, and the value of it at which a predicate turns."""

    asset: int
    time_ms: int
    field: str
    value: int


class Probe(_Run):
    """A run that notes, bar by bar, what would bring an account that holds an asset to its end."""

    def __init__(self, r: Random, market: twin.PoolMarket, plan: twin.PoolPlan) -> None:
        super().__init__(market, plan)
        self.r = r
        self.edges: list[Edge] = []

    def _path(self, step: Step) -> None:
        for leg in self.pool.asset_legs:
            if leg.qty and self.r.random() < 0.3:
                self.edges += self.edges_on_path(leg, step)
                if step.number + 1 < len(self.tape.steps):
                    self.edges += self.edges_at_open(leg, self.tape.steps[step.number + 1])
        super()._path(step)

    def edge(self, leg: AssetLeg, step: Step, field: str, value: int) -> Edge:
        asset = leg.instrument - len(self.market.instruments)
        return Edge(asset, step.time_ms, field, max(0, value + self.r.choice((-1, 0, 0, 0, 1))))

    def edges_on_path(self, leg: AssetLeg, step: Step) -> Iterator[Edge]:
        """Look at the end of the first way: the others at their adverse extremes."""
        marks, present = ways_of(self.pool, step)[0].end, step.mark_open[leg.instrument]
        for field, end in (("low", 0), ("high", 4 * present)):
            value = self.turning_mark(leg, marks, present, end)
            if value is not None:
                yield self.edge(leg, step, field, value)

    def edges_at_open(self, leg: AssetLeg, step: Step) -> Iterator[Edge]:
        """Look at the open of the next bar: the asset's mark, or its margin, with all else as it will be there."""
        present = step.mark_open[leg.instrument]
        for end in (0, 4 * present):
            value = self.turning_mark(leg, step.mark_open, present, end)
            if value is not None:
                yield self.edge(leg, step, "open", value)
        if leg.at_risk:
            figures = self.pool.figures(self.pool.unit_of(leg.slot), step.mark_open)
            left = figures.headroom + leg.maintenance(present)
            if left > 0:
                yield self.edge(leg, step, "maintenance", left * E8 // leg.qty)

    def turning_mark(self, leg: AssetLeg, marks: tuple[int, ...], safe: int, end: int) -> int | None:
        """Give the asset's first mark on the way to an end at which the predicate of its account holds."""
        unit = self.pool.unit_of(leg.slot)

        def dead(mark: int) -> bool:
            return self.pool.liquidated(unit, (*marks[: leg.instrument], mark, *marks[leg.instrument + 1 :]))

        return bisected(dead, safe, end)


def bisected(dead: Callable[[int], bool], safe: int, end: int) -> int | None:
    """Give the first number from a safe one to an end that is not safe; None where that is not so."""
    if dead(safe) or not dead(end):
        return None
    while abs(end - safe) > 1:
        middle = (end + safe) // 2
        safe, end = (safe, middle) if dead(middle) else (middle, end)
    return end


def meet(r: Random, market: twin.PoolMarket, plan: twin.PoolPlan) -> twin.PoolMarket:
    """Set one row of an asset so that equity meets maintenance there, or misses it by 1e-8 of the mark or margin."""
    probe = Probe(r, market, plan)
    probe.play()
    if not probe.edges:
        return market
    edge = r.choice(probe.edges)
    asset = market.assets[edge.asset]
    value, time_ms = decimal(edge.value), edge.time_ms
    bars = tuple(moved(bar, edge.field, value) if bar.time_ms == time_ms else bar for bar in asset.bars)
    assets = (*market.assets[: edge.asset], replace(asset, bars=bars), *market.assets[edge.asset + 1 :])
    return replace(market, assets=assets)


def moved(bar: twin.AssetBar, field: str, value: Decimal) -> twin.AssetBar:
    """Set a field of a row, and keep what must hold between its fields."""
    bar = bar._replace(**{field: value})
    if field == "maintenance":
        return bar._replace(initial=max(bar.initial, value))
    if field == "low":
        return bar._replace(open=max(bar.open, value), high=max(bar.high, value), close=max(bar.close, value))
    if field == "high":
        return bar._replace(open=min(bar.open, value), low=min(bar.low, value), close=min(bar.close, value))
    return bar._replace(high=max(bar.high, value), low=min(bar.low, value))
