"""Bands of the mark: inside one nothing can happen; inside the other nothing is worse than what was seen before.

Inside a tier every figure is linear in the notional, so a band is where a few lines are positive by more than floats
err (`glance.rounding`). It is computed for a wallet a little smaller than the present one and holds for every larger
one, so that funding seldom asks for a new one. What lies outside is looked at more closely: a band decides nothing
else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine import cells as at
from backtest.engine.compile import inlined, inner
from backtest.engine.distance import is_distance, moved
from backtest.engine.glance import UNIT, about_tier, initial_of, maintenance_of, profit_of, rounding
from backtest.engine.margin import PPM, RATIO_PPM_MAX
from backtest.engine.plan import INT64_MIN, LIQ_BPS_BELOW

if TYPE_CHECKING:
    from backtest.engine.ledger import Plan, Run
    from backtest.engine.market import Market

Line = tuple[float, float]  # value at notional 0, slope
Range = tuple[float, float]
ROOM = 1e-3  # of the notional: by how much the wallet may shrink before a band must be computed anew
REACH = 4.0  # times the present notional: how far up a band goes


@inlined
def is_in_clear_band(run: Run, low: int, high: int) -> bool:
    """Tell whether certainly nothing happens between two marks; False says nothing."""
    return run.clear_low <= low and high <= run.clear_high and run.balance[at.MARGIN] >= run.clear_wallet


@inlined
def is_in_known_band(run: Run, low: int, high: int) -> bool:
    """Tell whether certainly nothing between two marks is worse than what was seen; False says nothing."""
    return run.known_low <= low and high <= run.known_high and run.balance[at.MARGIN] >= run.known_wallet


@inlined
def positive(within: Range, line: Line, off: float) -> Range:
    """Give the part of a range in which a line is above what it can be off."""
    low, high = within
    at_zero, slope = line[0] - off, line[1]
    if slope > 0.0:
        return max(low, -at_zero / slope), high
    if slope < 0.0:
        return low, min(high, -at_zero / slope)
    return low, high if at_zero > 0.0 else 0.0


@inlined
def lines(tape: Market, run: Run, price: int, wallet: float) -> tuple[Range, Line, Line, Line]:
    """Give the range of notionals of the tier at a mark, and equity, maintenance and initial margin in it."""
    notional = float(run.qty) * UNIT * float(price)
    k = about_tier(tape, run, notional)
    row = tape.tiers[run.table, k]
    low = float(tape.tiers[run.table, k - 1].cap_e8) * (1.0 + 1e-12) + 1.0 if k > 0 else 0.0
    high = notional * REACH
    if k < tape.tiers[run.table, 0].count - 1:
        high = min(high, float(row.cap_e8) * (1.0 - 1e-12) - 1.0)
    rate, leverage, reserve = float(row.rate_e8), float(run.leverage_e2), float(run.fee_reserve)
    equity = wallet + profit_of(run.side, 0.0, float(run.cost)), float(run.side)
    maintenance = maintenance_of(0.0, rate, float(row.deduction_e8), reserve), rate * UNIT
    return (low, high), equity, maintenance, (initial_of(0.0, leverage, reserve), 100.0 / leverage)


@inlined
def minus(a: Line, factor: float, b: Line) -> Line:
    """Give a - factor b."""
    return a[0] - factor * b[0], a[1] - factor * b[1]


@inlined
def marks(run: Run, within: Range) -> tuple[int, int]:
    """Turn a range of notionals into marks, a little inside; an empty one into one that holds no mark."""
    low, high = within
    if not low < high:
        return 1, 0
    qty = float(run.qty) * UNIT
    return int(low / qty * (1.0 + 1e-12)) + 2, int(high / qty * (1.0 - 1e-12)) - 2


@inlined
def smaller_wallet(run: Run, price: int) -> int:
    """Give the wallet for which bands are computed."""
    return run.balance[at.MARGIN] - int(float(run.qty) * UNIT * float(price) * ROOM)


@inner
def distant(tape: Market, plan: Plan, run: Run, price: int, wallet: float, within: Range) -> Range:
    """Give the part of a range of notionals in which no threshold on the distance to liquidation holds.

    The moved mark has a tier of its own. Where the marks of that tier lie before they are moved says the inverse of
    the move, a unit of the price inside what its rounding can do.
    """
    low, high = within
    side, unit = float(run.side), float(run.qty) * UNIT
    for wake in range(plan.wake_count):
        far = moved(plan, run, wake, price) if is_distance(plan, wake) else -1
        if far < 0:
            continue
        reach, equity, maintenance, _ = lines(tape, run, far, wallet)
        first, last = positive(reach, minus(equity, 1.0, maintenance), 4.0 * rounding(run, reach[1]))
        by_share = plan.wake_kind[wake] == LIQ_BPS_BELOW
        factor = 1.0 - side * float(plan.wake_value[wake]) * UNIT if by_share else 1.0
        shift = 0.0 if by_share else unit * float(run.wake_way[wake])
        low = max(low, shift, (first + unit + side * shift) / factor)
        high = min(high, (last - unit + side * shift) / factor)
    return low, high


@inner
def draw_clear_band(tape: Market, plan: Plan, run: Run, price: int, wallet: int) -> None:
    """Find the marks around one at which, with a wallet or more, neither the predicate nor any threshold holds."""
    run.clear_wallet = wallet
    within, equity, maintenance, initial = lines(tape, run, price, float(wallet))
    run.drawn_low, run.drawn_high = marks(run, within)
    off = 4.0 * rounding(run, within[1])
    headroom = minus(equity, 1.0, maintenance)
    if plan.liquidate:
        within = positive(within, headroom, off)
    if plan.headroom_max_e8 > INT64_MIN:
        within = positive(within, headroom, off + float(plan.headroom_max_e8))
    if plan.buffer_max_e8 >= 0:
        limit = float(plan.buffer_max_e8) * UNIT
        within = positive(within, minus(headroom, limit, minus(initial, 1.0, maintenance)), off * (1.0 + limit))
    if plan.ratio_min_e8 >= 0:
        limit = float(plan.ratio_min_e8) * UNIT
        within = positive(within, equity, off)
        within = positive(within, minus((limit * equity[0], limit * equity[1]), 1.0, maintenance), off * (1.0 + limit))
    if plan.distance:
        within = distant(tape, plan, run, price, float(wallet), within)
    run.clear_low, run.clear_high = marks(run, within)


@inlined
def renew_clear_band(tape: Market, plan: Plan, run: Run, price: int) -> None:
    """Find a clear band around a mark that lasts while the wallet shrinks a little."""
    draw_clear_band(tape, plan, run, price, smaller_wallet(run, price))


@inner
def renew_known_band(tape: Market, run: Run, price: int) -> None:
    """Find the marks around one at which deficit, buffer and margin ratio are no worse than the worst seen."""
    run.known_wallet = smaller_wallet(run, price)
    within, equity, maintenance, initial = lines(tape, run, price, float(run.known_wallet))
    off = 4.0 * rounding(run, within[1])
    headroom = minus(equity, 1.0, maintenance)
    within = positive(within, headroom, off - float(run.deficit))
    limit = float(run.min_buffer) / PPM
    within = positive(within, minus(headroom, limit, minus(initial, 1.0, maintenance)), off * (1.0 + abs(limit)))
    if run.max_ratio < RATIO_PPM_MAX:
        limit = float(run.max_ratio) / PPM
        within = positive(within, equity, off)
        within = positive(within, minus((limit * equity[0], limit * equity[1]), 1.0, maintenance), off * (1.0 + limit))
    run.known_low, run.known_high = marks(run, within)
