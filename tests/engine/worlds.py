"""Made-up markets and runs, drawn from a seed and pushed to the edges where two programs would part.

A world is one run: a market of a few to 500 bars and a plan. Each seed switches a random part of the features on, so
that rare ones meet. Prices are drawn on the 1e-8 grid and then pulled onto the points where something turns: the
liquidation price, bankruptcy, tier borders, the entry price, each hit exactly or missed by 1e-8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from random import Random
from types import SimpleNamespace

from finer_worlds import mixed
from harness import RULES
from outside_worlds import draw_outside

from backtest.engine import oracle
from backtest.schema import VERBS

E8 = 10**8
EPOCH_MS = 1_609_459_200_000
MINUTE_MS = 60_000
INTERVALS_MS = (MINUTE_MS, 15 * MINUTE_MS, 60 * MINUTE_MS, 240 * MINUTE_MS)
PRICES_E8 = (7 * E8 // 100, E8, 123_45678901, 2_000 * E8, 45_678 * E8)
LEVERAGES = ("1", "2", "3", "5", "10", "12.5", "20", "50", "100")
RATES = ("0.004", "0.005", "0.01", "0.025", "0.05", "0.125", "0.5")
BARS_MAX = 500


@dataclass(frozen=True)
class World:
    """One generated run and the seed it came from."""

    seed: int
    market: oracle.Market
    plan: oracle.Plan


@dataclass(frozen=True)
class Hold:
    """The position of a run as entered, in units of 1e-8: where its edges are."""

    side: int
    qty: int
    cost: int
    fee: int
    taker: int


def decimal(units: int) -> Decimal:
    """Give units of 1e-8 as an exact decimal."""
    return Decimal(units).scaleb(-8)


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def draw_world(seed: int, bars: int | None = None) -> World:
    """Draw the world of a seed; `bars` sets its length."""
    r = Random(f"world {seed}")
    count = bars or r.choice((r.randint(2, 12), r.randint(4, 40), r.randint(4, 40), r.randint(30, 90)))
    if bars is None and r.random() < 0.03:
        count = r.randint(90, BARS_MAX)
    interval_ms = r.choice(INTERVALS_MS)
    start_ms = EPOCH_MS - interval_ms * r.randint(0, count)
    leverage = Decimal(r.choice(LEVERAGES))
    side = r.choice((1, -1))
    first = r.choice(PRICES_E8) * r.randint(90, 110) // 100
    rate = Decimal(r.choice(("0", "0.0004", "0.0005", "0.001", "0.01")))
    slippage = Decimal(r.choice(("0", "0.0002", "0.0002", "0.01")))
    margin, step, hold = draw_size(r, side, leverage, first, rate, slippage)
    posted = margin * r.choice((60, 100, 100, 100, 101, 130, 300)) // 100
    tiers = draw_tiers(r, hold, first, leverage)
    edges = edge_prices(hold, posted, tiers, first)
    prices = draw_prices(r, count, first, leverage, edges)
    if r.random() < 0.25:  # equity meets maintenance, or misses it by 1e-8, at a mark of the path
        posted = max(1, margin_for(hold, tiers, r.choice(r.choice(prices)[1:4])) + r.choice((-1, 0, 0, 1)))
    bars_drawn = draw_bars(r, prices, start_ms, interval_ms)
    plan = draw_plan(r, count, start_ms, interval_ms, posted, hold)
    plan = draw_outside(Random(f"outside {seed}"), plan, count, start_ms, interval_ms, first)
    if r.random() < 0.3:
        plan = replace(plan, baseline_liquidation_ms=r.choice(bars_drawn).time_ms)
    plan = replace(
        plan,
        side=side,
        leverage=leverage,
        sizing_margin=decimal(margin),
        posted_margin=decimal(posted),
        step=decimal(step),
        slippage=slippage,
    )
    tables = draw_tables(r, count, start_ms, interval_ms, tiers)
    if any(jumps(rows) for _, rows in tables):
        plan = replace(plan, liquidation=True)  # a probe looks at extremes: margin may not jump between them
    market = oracle.Market(
        interval_ms,
        bars_drawn,
        draw_funding(r, bars_drawn, count, start_ms, interval_ms),
        tables,
        draw_taker(r, count, start_ms, interval_ms, rate),
    )
    finer = Random(f"finer {seed}")
    if finer.random() < 0.3:
        market, plan = mixed(finer, market, plan, edges)
    return World(seed, market, replace(plan, reaction_ms=draw_reaction(seed, interval_ms)))


def draw_reaction(seed: int, interval_ms: int) -> int:
    """Draw how long a strategy takes to act, most often no time."""
    r = Random(f"reaction {seed}")
    return r.choice((0, 0, 0, 0, 0, 1, interval_ms // 2, interval_ms, interval_ms * 5 // 2))


# --- the position --------------------------------------------------------------------------------------------------


def draw_size(
    r: Random, side: int, leverage: Decimal, first: int, rate: Decimal, slippage: Decimal
) -> tuple[int, int, Hold]:
    """Draw a sizing margin and a quantity step, and work out the position they give at the first price."""
    margin = r.choice((10, 100, 1_000, 33_33333333 / E8, 7_777.7)) * E8
    margin = int(margin)
    whole = margin * int(leverage * 100) * E8 // (first * 100)
    step = r.choice((whole, whole // 2, whole // 3, whole // 7, whole // 50, whole // 1000, 1000, 1))
    step = max(1, step)
    if r.random() < 0.5:
        step = 10 ** (len(str(step)) - 1)
    qty = whole // step * step
    slip = int(slippage * E8)
    price = first + ceil_div(first * slip, E8) if side > 0 else first - ceil_div(first * slip, E8)
    cost = ceil_div(qty * price, E8) if side > 0 else qty * price // E8
    taker = int(rate * E8)
    return margin, step, Hold(side, qty, cost, ceil_div(cost * taker, E8), taker)


def draw_tiers(r: Random, hold: Hold, first: int, leverage: Decimal) -> tuple[oracle.TierRow, ...]:
    """Draw a risk table whose borders lie near the position's notional, some of them exactly on the grid."""
    count = r.choice((1, 1, 2, 3, 5))
    notional = max(hold.qty * first // E8, 1_000)
    caps = sorted({notional * r.randint(20, 180) // 100 + r.choice((-1, 0, 0, 1)) for _ in range(count - 1)})
    if r.random() < 0.3:  # exact products with the rates
        caps = sorted({max(cap // 10_000, 1) * 10_000 for cap in caps})
    elif caps and r.random() < 0.4:
        caps[0] = max(1, notional + r.choice((-1, 0, 1)))
        caps = sorted(set(caps))
    rates = sorted(r.sample(RATES[: max(3, count)], min(len(caps) + 1, 5)))
    if r.random() < 0.7:
        rates = [x for x in rates if Decimal(x) < 1 / leverage] or rates[:1]
    caps = caps[: len(rates) - 1]
    rows, deduction, honest = [], 0, r.random() < 0.85
    for k, rate in enumerate(rates):
        if k and honest:
            deduction += caps[k - 1] * int((Decimal(rate) - Decimal(rates[k - 1])) * E8) // E8
        cap = decimal(caps[k]) if k < len(caps) else None
        if cap is None and r.random() < 0.2:
            cap = decimal(notional * 2)
            if caps and notional * 2 <= caps[-1]:
                cap = decimal(caps[-1] * 2)
        limit = r.choice((None, Decimal(125), Decimal(150), leverage))
        if r.random() < 0.05:
            limit = max(Decimal(1), leverage // 2)
        rows.append(oracle.TierRow(cap, Decimal(rate), decimal(deduction), limit))
    return tuple(rows)


def jumps(rows: tuple[oracle.TierRow, ...]) -> bool:
    """Tell whether maintenance margin jumps at a border of a table."""
    return any(
        (above.rate - below.rate) * (below.cap or 0) != above.deduction - below.deduction
        for below, above in pairwise(rows)
    )


def maintenance(hold: Hold, tiers: tuple[oracle.TierRow, ...], price: int) -> int:
    """Give the maintenance margin of the whole position at a price."""
    notional = hold.qty * price
    row = next((t for t in tiers if t.cap is None or notional <= int(t.cap * E8) * E8), tiers[-1])
    return ceil_div(notional * int(row.rate * E8), E8 * E8) - int(row.deduction * E8)


def profit(hold: Hold, price: int) -> int:
    """Give the unrealised profit of the whole position at a price."""
    if hold.side > 0:
        return hold.qty * price // E8 - hold.cost
    return hold.cost - ceil_div(hold.qty * price, E8)


def margin_for(hold: Hold, tiers: tuple[oracle.TierRow, ...], price: int) -> int:
    """Give the posted margin with which equity is exactly maintenance at a price."""
    return maintenance(hold, tiers, price) + hold.fee - profit(hold, price)


def edge_prices(hold: Hold, posted: int, tiers: tuple[oracle.TierRow, ...], first: int) -> list[int]:
    """Give the marks at which something turns for the position as entered."""
    edges = [first]
    if hold.qty:
        edges += [int(t.cap * E8) * E8 // hold.qty for t in tiers if t.cap is not None]
        wallet = posted - hold.fee
        edges.append((hold.cost - hold.side * wallet) * E8 // hold.qty)
        low, high = first // 10, first * 4  # where the predicate turns, if it does between these
        if hold.side > 0:
            low, high = high, low
        if margin_for(hold, tiers, low) < posted <= margin_for(hold, tiers, high):
            while abs(high - low) > 1:
                middle = (low + high) // 2
                if margin_for(hold, tiers, middle) < posted:
                    low = middle
                else:
                    high = middle
            edges += [high] * 3
    return [edge for edge in edges if first // 20 < edge < first * 20]


# --- the market ----------------------------------------------------------------------------------------------------


def draw_prices(
    r: Random, count: int, first: int, leverage: Decimal, edges: list[int]
) -> list[tuple[int, int, int, int, int, int]]:
    """Draw (trade open, mark open, high, low, trade close, mark close) of every bar, pulled onto edges now and then."""
    swing = r.choice((0.02, 0.1, 0.3, 0.6, 1.0)) / float(leverage)
    pull = r.choice((0.0, 0.05, 0.3))
    grid = r.choice((1, 1, 10 ** (len(str(first)) - 4), 10 ** (len(str(first)) - 6)))
    grid = max(grid, 1)

    def near(price: int, reach: float) -> int:
        if r.random() < pull:
            return max(1, r.choice(edges) + r.choice((-1, 0, 0, 0, 1)))
        return max(1, int(price * (1.0 + reach * r.uniform(-1.0, 1.0))) // grid * grid)

    rows, price, basis = [], first, r.choice((0.0, 0.0005, 0.01))
    for index in range(count):
        opened = first if index == 0 else near(price, swing * r.choice((0.0, 0.2, 0.2, 2.0)))
        high = max(opened, near(opened, swing)) if r.random() < 0.9 else opened
        low = min(opened, near(opened, swing)) if r.random() < 0.9 else opened
        price = r.randint(low, high)
        trade = first if index == 0 else max(1, int(opened * (1.0 + basis * r.uniform(-1.0, 1.0))))
        close = max(1, int(price * (1.0 + basis * r.uniform(-1.0, 1.0))))
        rows.append((trade, opened, high, low, close, price))
    return rows


def draw_bars(
    r: Random, prices: list[tuple[int, int, int, int, int, int]], start_ms: int, interval_ms: int
) -> tuple[oracle.Bar, ...]:
    """Make bars of the prices; some markets miss some."""
    holes = r.choice((0.0, 0.0, 0.1, 0.4))
    bars = []
    for index, (trade, opened, high, low, close, _) in enumerate(prices):
        if index in (0, len(prices) - 1) or r.random() >= holes:
            time_ms = start_ms + index * interval_ms
            bars.append(oracle.Bar(time_ms, *(decimal(p) for p in (trade, close, opened, high, low))))
    return tuple(bars)


def draw_funding(
    r: Random, bars: tuple[oracle.Bar, ...], count: int, start_ms: int, interval_ms: int
) -> dict[int, Decimal]:
    """Draw funding by bar open: none, rare, or at every bar; zero, tiny and ruinous rates."""
    every = r.choice((0, 1, 3, 8, 24, 30, 60))
    rates = ("0", "0.00000001", "0.0001", "-0.0001", "0.0003", "-0.00075", "0.0075", "-0.03")
    if not every:
        return {}
    due = {start_ms + i * interval_ms for i in range(r.randint(0, every), count, every)}
    return {bar.time_ms: Decimal(r.choice(rates)) for bar in bars if bar.time_ms in due}


def draw_tables(
    r: Random, count: int, start_ms: int, interval_ms: int, tiers: tuple[oracle.TierRow, ...]
) -> tuple[tuple[int, tuple[oracle.TierRow, ...]], ...]:
    """Date the risk table; sometimes another, stricter or laxer, follows."""
    tables = [(start_ms - r.choice((0, 10**9)), tiers)]
    if r.random() < 0.4:
        for _ in range(r.randint(1, 2)):
            later = tables[-1][0] + interval_ms * r.randint(1, count) + r.choice((0, 0, interval_ms // 2))
            factor = r.choice(("2", "6", "12", "40"))
            size = r.choice((1, 1, 2))
            rows = [
                row._replace(
                    rate=row.rate * Decimal(factor) / 4,
                    deduction=decimal(int(row.deduction * Decimal(factor) * E8) // size // 4),
                    cap=row.cap and decimal(int(row.cap * E8) // size),
                )
                for row in tiers
            ]
            tables.append((max(later, start_ms), tuple(rows)))
    dated = dict(tables)
    return tuple(sorted(dated.items(), key=lambda table: table[0]))


def draw_taker(
    r: Random, count: int, start_ms: int, interval_ms: int, rate: Decimal
) -> tuple[tuple[int, Decimal], ...]:
    """Date the taker fee; sometimes it changes."""
    steps = {start_ms: rate}
    if r.random() < 0.2:
        steps[start_ms + interval_ms * r.randint(1, count)] = Decimal(r.choice(("0", "0.0002", "0.005")))
    return tuple(sorted(steps.items()))


# --- the plan ------------------------------------------------------------------------------------------------------


def draw_plan(r: Random, count: int, start_ms: int, interval_ms: int, posted: int, hold: Hold) -> oracle.Plan:
    """Draw what a run does; the caller puts in the position it has drawn."""
    bybit = r.random() < 0.35
    rules = tuple(draw_rule(r, interval_ms, posted) for _ in range(r.choice((0, 0, 1, 1, 2, 3, 4))))
    script: tuple[oracle.ScriptedAction, ...] = ()
    if r.random() < 0.12:
        script = tuple(draw_action(r, n, posted) for n in sorted(r.randint(0, count) for _ in range(r.randint(1, 5))))
    late = r.random()
    return oracle.Plan(
        entry_ms=start_ms + (interval_ms // 3 if late < 0.01 else 0),
        horizon_ms=interval_ms * r.choice((count // 2, count - 1, count, 3 * count)) + r.choice((0, 0, 1)),
        stop_ms=start_ms + interval_ms * r.choice((count, count, max(1, count * 2 // 3), 2 * count)),
        side=hold.side,
        leverage=Decimal(1),
        capital=decimal(posted * r.choice((100, 110, 150, 200, 400)) // 100),
        sizing_margin=Decimal(1),
        qty_share=Decimal(r.choice(("1", "1", "1", "0.75"))),
        posted_margin=Decimal(1),
        step=Decimal(1),
        min_notional=decimal(r.choice((0, 5 * E8, hold.cost // 3, hold.cost * r.randint(90, 101) // 100))),
        slippage=Decimal(0),
        liq_slippage=Decimal(r.choice(("0", "0.001", "0.001", "0.05"))),
        clearance_rate=Decimal(r.choice(("0", "0.005", "0.005", "0.05"))),
        margin_mode=r.choice(("isolated", "isolated", "cross")),
        procedure="takeover" if bybit else "ioc",
        fee_reserve=bybit if r.random() < 0.9 else not bybit,
        release=r.choice(("pro_rata", "pro_rata", "pro_rata", "keep")),
        reaction=r.choice(("intrabar", "intrabar", "next_open")),
        latency_ms=r.choice((0, 0, 1, interval_ms // 2, interval_ms, interval_ms * 5 // 2, interval_ms * 7)),
        daily_cap=decimal(posted * r.choice((5, 20, 100)) // 100) if r.random() < 0.25 else None,
        rules=rules,
        script=script,
        baseline_exit_ms=start_ms + interval_ms * r.randint(1, count) if r.random() < 0.3 else None,
        liquidation=bool(rules) or bool(script) or r.random() < 0.8,
    )


def draw_wake(r: Random, interval_ms: int, posted: int) -> oracle.Wake:
    """Draw one reason to call a rule; thresholds come from few values, so that rules meet at one price."""
    kind = r.choice(("buffer_below",) * 4 + ("margin_ratio_above", "headroom_below") * 2 + EVENTS)
    if kind == "buffer_below":
        return oracle.Wake(kind, Decimal(r.choice(("0", "0.1", "0.25", "0.25", "0.5", "0.5", "0.9", "1", "1.5"))))
    if kind == "margin_ratio_above":
        return oracle.Wake(kind, Decimal(r.choice(("0.1", "0.5", "0.8", "0.8", "1", "1.25"))))
    if kind == "headroom_below":
        return oracle.Wake(kind, decimal(posted * r.choice((0, 10, 25, 50, 50, 90)) // 100))
    if kind == "every":
        return oracle.Wake(kind, Decimal(interval_ms * r.choice((1, 2, 3, 10)) + r.choice((0, MINUTE_MS))) / 3_600_000)
    return oracle.Wake(kind)


EVENTS = ("every", "every_bar", "on_fill", "on_funding", "on_arrival")


def draw_rule(r: Random, interval_ms: int, posted: int) -> oracle.RuleUse:
    """Draw a rule of the test rules with its wakes, parameters and cooldown."""
    amount = float(decimal(posted * r.choice((1, 10, 33, 100, 500)) // 100))
    share = r.choice((0.0, 1e-9, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0, 1.5))
    name, params = r.choice(
        (
            ("deleverage", {"share": share, "put_back": float(r.randint(0, 1))}),
            ("deleverage", {"share": 0.25, "put_back": 1.0}),
            ("top_up", {"amount": amount}),
            ("top_up", {"amount": -amount}),
            ("leave", {}),
            ("top_up_share", {"share": r.choice((-0.5, 0.1, 0.5))}),
            ("grow", {"share": share}),
            ("from_free", {"amount": amount}),
            ("relever", {"leverage": r.choice((0.5, 1.0, 2.0, 3.337, 10.0, 50.0))}),
            ("moody", {"share": 0.3, "amount": amount}),
            ("patient_top_up", {"calls": 2.0, "amount": amount}),
            ("turns", {"first": float(r.randint(0, 7)), "size": r.choice((0.1, 0.3, 0.7))}),
            ("turns", {"first": float(r.randint(0, 7)), "size": 0.3}),
        )
    )
    wakes = tuple(draw_wake(r, interval_ms, posted) for _ in range(r.choice((1, 1, 2, 3))))
    cooldown_ms = interval_ms * r.choice((0, 0, 0, 1, 3)) + r.choice((0, 0, 1))
    return oracle.RuleUse(name, RULES[name].function, SimpleNamespace(**params), wakes, cooldown_ms)


def draw_action(r: Random, bars: int, posted: int) -> oracle.ScriptedAction:
    """Draw an action of a shuffled run."""
    verb = r.choice(("reduce", "reduce", "increase", "close", "move_margin", "move_margin", "set_leverage"))
    amount = {
        "reduce": r.choice((0.1, 0.5, 1.0, -1.0)),
        "increase": r.choice((0.1, 0.5)),
        "close": 0.0,
        "move_margin": float(decimal(posted)) * r.choice((0.1, 0.5, -0.1)),
        "set_leverage": r.choice((2.0, 5.0, 33.333)),
    }[verb]
    return oracle.ScriptedAction(bars, VERBS.index(verb), amount, r.randint(0, 1) if verb != "set_leverage" else 0)
