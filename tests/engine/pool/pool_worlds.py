"""Made-up runs with several legs, drawn from a seed and pushed to the edges where two programs would part.

As in tests/engine/worlds.py, for baskets, hedges in the same contract, in coin and on another symbol, coins as
collateral, and cores settled in coin. The edges are those of the pool as entered: marks of one instrument at which the
predicate of unit 0 turns with all others at their first, and tier borders of each leg.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from types import SimpleNamespace

import pool_rules
import worlds as single
from asset_worlds import with_assets
from finer_worlds import mixed_pool
from harness import RULES
from outside_worlds import draw_outside
from worlds import E8, EPOCH_MS, INTERVALS_MS, LEVERAGES, PRICES_E8, Hold, decimal, draw_rule, draw_wake

from backtest.engine import oracle
from backtest.engine.oracle import pool as twin
from backtest.engine.oracle.pool.books import At
from backtest.engine.oracle.pool.entry import enter, refusal, sizes
from backtest.engine.oracle.pool.pool import Pool
from backtest.engine.oracle.pool.tape import Step
from backtest.engine.rules import Rule
from backtest.schema import VERBS

POOL_RULES: dict[str, Rule] = RULES | {n: v for n, v in vars(pool_rules).items() if isinstance(v, Rule)}
BARS_MAX = 200


@dataclass(frozen=True)
class World:
    """One generated run and the seed it came from."""

    seed: int
    market: twin.PoolMarket
    plan: twin.PoolPlan


@dataclass(frozen=True)
class Shape:
    """What a run is made of: instruments (is it inverse?), core, targets, collaterals, by index."""

    inverse: tuple[bool, ...]
    core: tuple[int, ...]
    layers: tuple[tuple[str, int | None], ...]
    collaterals: tuple[int, ...]
    cross: bool


def draw_world(seed: int, bars: int | None = None) -> World:
    """Draw the world of a seed; `bars` sets its length."""
    r = Random(f"pool {seed}")
    count = bars or r.choice((r.randint(2, 12), r.randint(4, 40), r.randint(4, 40), r.randint(30, 90)))
    if bars is None and r.random() < 0.05:
        count = r.randint(90, BARS_MAX)
    interval_ms = r.choice(INTERVALS_MS)
    start_ms = EPOCH_MS - interval_ms * r.randint(0, count)
    shape, leverage = draw_shape(r), Decimal(r.choice(LEVERAGES))
    firsts = draw_firsts(r, shape)
    margin = int(r.choice((10, 100, 1_000, 33.33333333, 7_777.7)) * E8) * len(shape.core)
    posted = margin * r.choice((60, 100, 100, 101, 130, 200, 300)) // 100
    plan = draw_plan(r, shape, count, start_ms, interval_ms, margin, posted)
    plan = replace(plan, leverage=leverage, **draw_slots(r, shape, firsts, leverage, margin))
    plan = replace(plan, isolated=draw_isolated(seed, shape))
    if shape.layers[:1] == (("opposite", None),) and r.random() < 0.4:
        plan = locked(r, plan)
    rate = Decimal(r.choice(("0", "0.0004", "0.0005", "0.001", "0.01")))
    terms = [draw_terms(r, shape, i, firsts, plan, margin, rate) for i in range(len(firsts))]
    still = market_of(shape, interval_ms, [[still_bar(first)] for first in firsts], terms, start_ms)
    edges = edge_prices(still, replace(plan, entry_ms=start_ms), firsts)
    prices = draw_prices(r, count, firsts, leverage, edges)
    market = market_of(shape, interval_ms, prices, terms, start_ms)
    if r.random() < 0.25:  # equity meets maintenance, or misses it by 1e-8, at marks of the path
        plan = meet(r, still, replace(plan, entry_ms=start_ms), prices, plan.entry_ms)
    market = disturb(r, market, count, start_ms)
    plan = draw_outside(Random(f"pool outside {seed}"), plan, count, start_ms, interval_ms, firsts[0])
    if r.random() < 0.3:
        plan = replace(plan, baseline_liquidation_ms=r.choice(shared_times(market)))
    plan = replace(plan, reaction_ms=single.draw_reaction(seed, interval_ms))
    own = Random(f"pool assets {seed}")
    finer = Random(f"pool finer {seed}")
    if own.random() < 1 / 3:
        market, plan = with_assets(own, market, plan)
    elif finer.random() < 1 / 3:
        market, plan = mixed_pool(finer, market, plan, shared_times(market))
    return World(seed, market, plan)


# --- what a run is made of -----------------------------------------------------------------------------------------


def draw_shape(r: Random) -> Shape:
    """Draw instruments and who uses them."""
    kind = r.choice(("basket", "basket", "single", "single", "single", "coin"))
    inverse = [kind == "coin"]
    core = [0]
    if kind == "basket":
        core = list(range(r.choice((2, 2, 2, 3, 3, 4, 8))))
        inverse = [False] * len(core)
    cross = kind == "basket" or r.random() < 0.6
    layers: list[tuple[str, int | None]] = []
    if r.random() < 0.6:
        layers.append(("opposite", None))
    if r.random() < 0.35:
        if kind == "coin" and r.random() < 0.5:
            layers.append(("inverse", 0))
        else:
            inverse.append(True)
            layers.append(("inverse", len(inverse) - 1))
    if r.random() < 0.4:
        inverse.append(r.random() < 0.15)
        layers.append(("other", len(inverse) - 1))
    collaterals = []
    if cross and kind != "coin" and r.random() < 0.4:
        held = len(inverse)
        for _ in range(r.choice((0, 1, 1, 2))):
            collaterals.append(len(inverse))
            inverse.append(False)
        if not collaterals or r.random() < 0.3:
            collaterals.append(r.randrange(held))
    return Shape(tuple(inverse), tuple(core), tuple(layers), tuple(collaterals), cross)


def draw_isolated(seed: int, shape: Shape) -> tuple[int, ...]:
    """Draw the core slots of a basket that stand beside the pool; drawn apart, so that all else stays as it was."""
    r = Random(f"pool isolated {seed}")
    beside = [slot for slot in shape.core[1:] if r.random() < 0.6]
    return tuple(beside) if r.random() < 0.4 else ()


def draw_firsts(r: Random, shape: Shape) -> list[int]:
    """Draw first prices: the inverse contract of a coin beside the linear one, others anywhere."""
    first = r.choice(PRICES_E8) * r.randint(90, 110) // 100
    if any(shape.inverse):
        first = max(first, E8)
    firsts = [first]
    for inverse in shape.inverse[1:]:
        near = first * r.randint(995, 1005) // 1000
        firsts.append(near if inverse or r.random() < 0.3 else r.choice(PRICES_E8) * r.randint(90, 110) // 100)
    return firsts


def draw_step(r: Random, whole: int, least: int) -> int:
    """Draw a quantity step near the quantity itself, or small."""
    step = r.choice((whole, whole // 2, whole // 3, whole // 7, whole // 50, whole // 1000, 1000, 1))
    step = max(least, step)
    return int(10 ** (len(str(step)) - 1)) if r.random() < 0.5 and step > 10 * least else step


def draw_slots(r: Random, shape: Shape, firsts: list[int], leverage: Decimal, margin: int) -> dict[str, object]:
    """Draw lots of the legs, leverages of the layers, and shares of the collaterals."""
    notional = margin // len(shape.core) * int(leverage * 100) // 100

    def lots(instrument: int, part: int = 1) -> tuple[Decimal, Decimal]:
        inverse = shape.inverse[instrument]
        whole = notional if inverse else notional * E8 // firsts[instrument]
        least = decimal(r.choice((0, 0, 5 * E8, notional // 20, notional // 3)))
        if r.random() < 0.05:
            least = decimal(notional * r.randint(90, 101) // 100)
        return decimal(draw_step(r, whole // r.choice((1, part)), E8 // 100 if inverse else 1)), least

    part = 50 if ("opposite", None) in shape.layers else 1
    core = tuple(twin.CoreLeg(instrument, *lots(instrument, part)) for instrument in shape.core)
    leverages = (leverage, leverage, leverage, *map(Decimal, LEVERAGES))
    layers = tuple(
        twin.LayerSpec(target, instrument, r.choice(leverages), *lots(instrument or 0, 50))
        for target, instrument in shape.layers
    )
    ratios, most = ("1", "1", "0.95", "0.7", "0", "0.33333333"), 100 // max(1, len(shape.collaterals))
    collaterals = tuple(
        twin.Collateral(i, Decimal(r.choice((10, 33, most))) / 100, Decimal(r.choice(ratios)))
        for i in shape.collaterals
    )
    return {"core": core, "layers": layers, "collaterals": collaterals}


def draw_terms(
    r: Random, shape: Shape, instrument: int, firsts: list[int], plan: twin.PoolPlan, margin: int, rate: Decimal
) -> tuple[tuple[oracle.TierRow, ...], Decimal]:
    """Draw a risk table around the size of a leg, in the asset of the contract, and a taker rate."""
    notional = margin // len(shape.core) * int(plan.leverage * 100) // 100
    asset = notional * E8 // firsts[instrument] if shape.inverse[instrument] else notional
    hold = Hold(plan.side, max(asset, 1), 0, 0, 0)
    return single.draw_tiers(r, hold, E8, plan.leverage), rate if r.random() < 0.7 else Decimal("0.0002")


# --- prices --------------------------------------------------------------------------------------------------------

Prices = tuple[int, int, int, int, int, int]  # trade open, mark open, high, low, trade close, mark close


def still_bar(price: int) -> Prices:
    return (price,) * 6


def market_of(
    shape: Shape,
    interval_ms: int,
    prices: list[list[Prices]],
    terms: list[tuple[tuple[oracle.TierRow, ...], Decimal]],
    start_ms: int,
) -> twin.PoolMarket:
    """Make a market of prices and terms, without funding or changes of terms."""
    instruments = []
    for i, (rows, (tiers, taker)) in enumerate(zip(prices, terms, strict=True)):
        bars = tuple(
            twin.PoolBar(start_ms + n * interval_ms, *map(decimal, (trade, close, opened, high, low, end)))
            for n, (trade, opened, high, low, close, end) in enumerate(rows)
        )
        dated = ((start_ms, tiers),), ((start_ms, taker),)
        instruments.append(twin.Instrument(f"I{i}", shape.inverse[i], bars, {}, *dated))
    return twin.PoolMarket(interval_ms, tuple(instruments))


def entered(still: twin.PoolMarket, plan: twin.PoolPlan) -> Pool | None:
    """Give the pool as entered at the first prices; None where the entry is refused."""
    pool = Pool(still, plan, twin.PoolResult())
    for i, instrument in enumerate(still.instruments):
        pool.take_terms(i, instrument.tiers[0][1], int(instrument.taker[0][1] * E8))
    firsts = tuple(int(instrument.bars[0].mark_open * E8) for instrument in still.instruments)
    step = Step(0, plan.entry_ms, plan.entry_ms, *(firsts,) * 6)
    qtys = sizes(pool, step)
    if refusal(pool, qtys, step):
        return None
    enter(pool, At(plan.entry_ms, firsts, firsts, "entry"), qtys)
    return pool


def edge_prices(still: twin.PoolMarket, plan: twin.PoolPlan, firsts: list[int]) -> list[list[int]]:
    """Give by instrument the marks at which something turns for the pool as entered."""
    pool, edges = entered(still, plan), [[first] for first in firsts]
    if pool is None:
        return edges
    for i, first in enumerate(firsts):
        dead = turning_price(pool, firsts, i, first // 10), turning_price(pool, firsts, i, first * 4)
        edges[i] += [price for price in dead if price is not None] * 3
        for leg in pool.core:
            if leg.instrument == i:
                caps = [row.cap for row in leg.rows if row.cap is not None]
                edges[i] += [leg.qty * E8 // cap if leg.inverse else cap * E8 // leg.qty for cap in caps]
        edges[i] = [edge for edge in edges[i] if first // 20 < edge < first * 20]
    return edges


def turning_price(pool: Pool, firsts: list[int], instrument: int, end: int) -> int | None:
    """Give the first mark on the way to an end at which the predicate of a core unit holds, others at their first."""

    def dead(price: int) -> bool:
        marks = (*firsts[:instrument], price, *firsts[instrument + 1 :])
        return any(pool.liquidated(unit, marks) for unit in pool.units if unit.holds_core)

    safe = firsts[instrument]
    if dead(safe) or not dead(end):
        return None
    while abs(end - safe) > 1:
        middle = (end + safe) // 2
        safe, end = (safe, middle) if dead(middle) else (middle, end)
    return end


def draw_prices(
    r: Random, count: int, firsts: list[int], leverage: Decimal, edges: list[list[int]]
) -> list[list[Prices]]:
    """Draw each instrument's prices: its own way, or the first one's scaled, with some noise."""
    paths = [single.draw_prices(r, count, firsts[0], leverage, edges[0])]
    for first, own_edges in zip(firsts[1:], edges[1:], strict=True):
        if r.random() < 0.4:
            paths.append(single.draw_prices(r, count, first, leverage, own_edges))
        else:
            noise = r.choice((0, 0, 100, 10_000)), r.choice((0.0, 0.02, 0.1)), own_edges
            paths.append([scaled(r, row, first, firsts[0], *noise) for row in paths[0]])
            paths[-1][0] = (first, first, *paths[-1][0][2:])
            paths[-1][0] = ordered(paths[-1][0])
    return [[floored(row, first // 50) for row in path] for path, first in zip(paths, firsts, strict=True)]


def scaled(r: Random, row: Prices, first: int, base: int, ppm: int, pull: float, edges: list[int]) -> Prices:
    moved = [max(1, p * first // base * (1_000_000 + r.randint(-ppm, ppm)) // 1_000_000) for p in row]
    if r.random() < pull:
        moved[r.randrange(1, 4)] = max(1, r.choice(edges) + r.choice((-1, 0, 0, 1)))
    return ordered(tuple(moved))


def ordered(row: tuple[int, ...]) -> Prices:
    """Let high and low hold open and close of the mark."""
    trade, opened, high, low, close, end = row
    return trade, opened, max(opened, high, low, end), min(opened, high, low, end), close, end


def floored(row: Prices, least: int) -> Prices:
    """Keep prices away from 0: a coin's quantity must stay in range."""
    trade, opened, high, low, close, end = (max(price, least, 1) for price in row)
    return trade, opened, high, low, close, end


def meet(
    r: Random, still: twin.PoolMarket, plan: twin.PoolPlan, prices: list[list[Prices]], entry_ms: int
) -> twin.PoolPlan:
    """Set the posted margin so that a core unit's equity is maintenance at the marks of a bar, or 1e-8 beside."""
    pool = entered(still, plan)
    bar, column = r.randrange(len(prices[0])), r.choice((1, 2, 3))
    if pool is None or plan.collaterals or pool.units[0].coin.asset:
        return replace(plan, entry_ms=entry_ms)
    unit = pool.unit_of(r.choice(plan.isolated)) if plan.isolated else pool.units[0]
    headroom = pool.figures(unit, tuple(path[bar][column] for path in prices)).headroom
    change = r.choice((-1, 0, 0, 1)) - headroom
    posted = int(plan.posted_margin * E8) + change
    if plan.isolated:
        posted = (int(plan.posted_margin * E8) // len(plan.core) + change) * len(plan.core)
    capital = max(int(plan.capital * E8), posted)
    changed = {"posted_margin": decimal(posted), "capital": decimal(capital)} if posted > 0 else {}
    return replace(plan, entry_ms=entry_ms, **changed)


def disturb(r: Random, market: twin.PoolMarket, count: int, start_ms: int) -> twin.PoolMarket:
    """Take bars out, settle funding, and change tables and fees."""
    interval_ms, instruments = market.interval_ms, []
    for instrument in market.instruments:
        holes = r.choice((0.0, 0.0, 0.0, 0.1, 0.3))
        last = len(instrument.bars) - 1
        bars = tuple(b for n, b in enumerate(instrument.bars) if n in (0, last) or r.random() >= holes)
        rate = instrument.taker[0][1]
        instruments.append(
            replace(
                instrument,
                bars=bars,
                funding=single.draw_funding(r, bars, count, start_ms, interval_ms),
                tiers=single.draw_tables(r, count, start_ms, interval_ms, instrument.tiers[0][1]),
                taker=single.draw_taker(r, count, start_ms, interval_ms, rate),
            )
        )
    return replace(market, instruments=tuple(instruments))


def shared_times(market: twin.PoolMarket) -> list[int]:
    """Give the bar opens that all instruments have."""
    return sorted(set.intersection(*({bar.time_ms for bar in instrument.bars} for instrument in market.instruments)))


# --- the plan ------------------------------------------------------------------------------------------------------


def draw_plan(
    r: Random, shape: Shape, count: int, start_ms: int, interval_ms: int, margin: int, posted: int
) -> twin.PoolPlan:
    """Draw what a run does; the caller puts in leverage and legs."""
    hold = Hold(r.choice((1, -1)), 0, 0, 0, 0)
    base = single.draw_plan(r, count, start_ms, interval_ms, posted, hold)
    targets = [twin.TARGETS.index(target) for target, _ in shape.layers]
    rules = tuple(draw_pool_rule(r, interval_ms, posted, targets) for _ in range(r.choice((0, 1, 1, 2, 3, 4))))
    script = tuple(draw_pool_action(r, action, targets) for action in base.script)
    own: dict[str, object] = {"rules": rules, "script": script, "liquidation": True, "sizing_margin": decimal(margin)}
    own |= {"posted_margin": decimal(posted), "margin_mode": "cross" if shape.cross else "isolated"}
    own["capital"] = decimal(posted * r.choice((100, 110, 150, 200, 400, 1000)) // 100)
    own |= {"latency_ms": base.latency_ms if r.random() < 0.4 else 0, "daily_cap": base.daily_cap}
    own |= {"slippage": Decimal(r.choice(("0", "0.0002", "0.0002", "0.01")))}
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__} | own
    return twin.PoolPlan(**fields, joint=r.choice(("worst", "worst", "worst", "sync")))


def locked(r: Random, plan: twin.PoolPlan) -> twin.PoolPlan:
    """Hedge the core whole from the first bar on: what is left to lose is margin."""
    share = r.choice((0.9, 1.0, 1.0, 1.2))
    use = oracle.RuleUse(
        "hedge",
        POOL_RULES["hedge"].function,
        SimpleNamespace(target=0.0, share=share),
        (oracle.Wake("on_fill"),),
        10**12,
    )
    posted, high = plan.posted_margin * r.choice((1, 1, 2, 3)), Decimal(r.choice(("50", "100")))
    layers = (plan.layers[0]._replace(leverage=high), *plan.layers[1:])
    return replace(plan, rules=(use, *plan.rules[:1]), posted_margin=posted, capital=posted * 2, layers=layers)


def draw_pool_rule(r: Random, interval_ms: int, posted: int, targets: list[int]) -> oracle.RuleUse:
    """Draw a rule of the pool's own, or one of those for one position."""
    if r.random() < 0.25 or not targets:
        return draw_rule(r, interval_ms, posted)
    share = r.choice((1e-9, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0, 1.5))
    target = float(r.choice((*targets, *targets, *targets, r.randint(0, 2))))
    amount = float(decimal(posted * r.choice((1, 10, 33)) // 100))
    name, params = r.choice(
        (
            ("hedge", {"target": target, "share": share}),
            ("hedge", {"target": target, "share": -share}),
            ("keep_hedged", {"target": target, "share": share, "relief": r.choice((0.5, 0.9, 2.0))}),
            ("keep_hedged", {"target": target, "share": share, "relief": 0.9}),
            ("pool_turns", {"first": float(r.randint(0, 11)), "size": r.choice((0.1, 0.3, 0.7)), "target": target}),
            ("pool_turns", {"first": 0.0, "size": 0.5, "target": target}),
            ("pool_moody", {"share": 0.3, "amount": amount}),
        )
    )
    wakes = tuple(draw_wake(r, interval_ms, posted) for _ in range(r.choice((1, 1, 2, 3))))
    if r.random() < 0.4:
        wakes = (oracle.Wake(r.choice(("on_fill", "on_fill", "every_bar"))), *wakes)
    cooldown_ms = interval_ms * r.choice((0, 0, 0, 1, 3)) + r.choice((0, 0, 1))
    return oracle.RuleUse(name, POOL_RULES[name].function, SimpleNamespace(**params), wakes, cooldown_ms)


def draw_pool_action(r: Random, action: oracle.ScriptedAction, targets: list[int]) -> oracle.ScriptedAction:
    """Turn some actions of a shuffled run into trades of a layer."""
    if r.random() < 0.5 or not targets:
        return action
    share, target = r.choice((0.25, 0.5, 1.0, -0.5, -1.0)), r.choice((*targets, *targets, r.randint(0, 2)))
    return action._replace(verb=VERBS.index("trade"), amount=share, target=target)
