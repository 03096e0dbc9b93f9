"""The margin figures of a unit at given marks, the liquidation predicate, and the thresholds of rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine import cells as at
from backtest.engine.arithmetic import E8, mul_ceil, mul_div_ceil, mul_floor, scale_floor, split_product
from backtest.engine.compile import inner
from backtest.engine.distance import is_distance
from backtest.engine.margin import RATIO_PPM_MAX, buffer_at_most, buffer_ppm, ratio_at_least, ratio_ppm
from backtest.engine.plan import BUFFER_BELOW, INT64_MIN, LIQ_BPS_BELOW, MARGIN_RATIO_ABOVE
from backtest.engine.pool.forms import BOUGHT
from backtest.engine.pool.forms import wallet_of as _wallet_of
from backtest.engine.pool.values import asset_figures, first_asset, tier_of, venue_figures

if TYPE_CHECKING:
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run

wallet_of = inner(_wallet_of)
Figures = tuple[int, int, int]
ROUNDING = 64  # more than the roundings of all legs and collaterals together


@inner
def is_held(plan: Plan, run: Run, unit: int) -> bool:
    """Tell whether a leg of a unit has quantity."""
    for slot in range(unit, plan.slot_count):  # noqa: SIM110 (the compiler knows no `any`)
        if run.qty[slot] > 0 and plan.leg_unit[slot] == unit:
            return True
    return False


@inner
def is_at_risk(plan: Plan, run: Run, unit: int) -> bool:
    """Tell whether a leg of a unit has quantity that can owe something: any but a bought paid asset."""
    for slot in range(unit, plan.slot_count):
        if run.qty[slot] > 0 and plan.leg_unit[slot] == unit and plan.leg_form[slot] != BOUGHT:
            return True
    return False


@inner
def is_core_held(plan: Plan, run: Run) -> bool:
    """Tell whether a core leg has quantity."""
    for slot in range(plan.core_count):  # noqa: SIM110
        if run.qty[slot] > 0:
            return True
    return False


@inner
def collateral_value(plan: Plan, run: Run, j: int, mark: int) -> int:
    """Give what a collateral counts for: floor(coin x mark x ratio)."""
    coin = run.balance[plan.collateral_instrument[j] + 1, at.MARGIN]
    whole, rest = split_product(coin, mark)
    return scale_floor(whole, rest, plan.collateral_ratio_e8[j])


@inner
def least_of_assets(market: PoolMarket, plan: Plan, run: Run, unit: int, low: Any, high: Any) -> Figures:
    """Give the least that a unit's valued assets add to equity between two marks of each, and their margins.

    What is bought is worth least at the low, what is written or sold at the high; margins do not hang on the mark. A
    loop of its own: one for all legs would cost runs without assets a quarter of their time.
    """
    value, maintenance, initial = 0, 0, 0
    for slot in range(max(unit, first_asset(plan)), plan.slot_count):
        if run.qty[slot] > 0 and plan.leg_unit[slot] == unit:
            i = plan.leg_instrument[slot]
            mark = low[i] if run.side[slot] > 0 else high[i]
            leg_value, leg_maintenance, leg_initial = asset_figures(market, plan, run, slot, mark)
            value += leg_value
            maintenance += leg_maintenance
            initial += leg_initial
    return value, maintenance, initial


@inner
def figures(market: PoolMarket, plan: Plan, run: Run, unit: int, marks: Any, core_only: bool) -> Figures:
    """Give equity, maintenance and initial margin of a unit; of the core legs alone, as if layers were not there."""
    equity = run.balance[plan.unit_asset[unit], wallet_of(unit)]
    maintenance, initial = 0, 0
    for slot in range(unit, plan.core_count if core_only else first_asset(plan)):
        if run.qty[slot] > 0 and plan.leg_unit[slot] == unit:
            profit, leg_maintenance, leg_initial = venue_figures(
                market, plan, run, slot, marks[plan.leg_instrument[slot]]
            )
            equity += profit
            maintenance += leg_maintenance
            initial += leg_initial
    if plan.slot_count > first_asset(plan) and not core_only:
        value, held_maintenance, held_initial = least_of_assets(market, plan, run, unit, marks, marks)
        equity, maintenance, initial = equity + value, maintenance + held_maintenance, initial + held_initial
    if unit == 0:
        for j in range(plan.collateral_count):
            equity += collateral_value(plan, run, j, marks[plan.collateral_instrument[j]])
    return equity, maintenance, initial


@inner
def is_liquidated(market: PoolMarket, plan: Plan, run: Run, unit: int, marks: Any) -> bool:
    """Tell whether the liquidation predicate of a unit holds: equity <= maintenance while a leg of it is at risk."""
    if not plan.liquidate or not is_at_risk(plan, run, unit):
        return False
    equity, maintenance, _ = figures(market, plan, run, unit, marks, False)
    return equity <= maintenance


@inner
def wakes(market: PoolMarket, plan: Plan, run: Run, wake: int, marks: Any) -> bool:
    """Tell whether the threshold of a wake holds, on unit 0; none holds while that is flat."""
    if not is_held(plan, run, 0):
        return False
    if is_distance(plan, wake):
        return is_near(market, plan, run, wake, marks)
    equity, maintenance, initial = figures(market, plan, run, 0, marks, False)
    limit, kind = plan.wake_value[wake], plan.wake_kind[wake]
    if kind == BUFFER_BELOW:
        return buffer_at_most(equity, maintenance, initial, limit)
    if kind == MARGIN_RATIO_ABOVE:
        return ratio_at_least(equity, maintenance, limit)
    return headroom_in_quote(market, plan, equity - maintenance, marks) <= limit


@inner
def headroom_in_quote(market: PoolMarket, plan: Plan, headroom: int, marks: Any) -> int:
    """Give headroom of the core's unit in quote, rounded up: at or under a whole limit just if the exact one is."""
    first = plan.leg_instrument[0]
    if not market.inverse[first]:
        return headroom
    return mul_ceil(headroom, marks[first]) if headroom >= 0 else -mul_floor(-headroom, marks[first])


# --- the distance to liquidation -------------------------------------------------------------------------------------


@inner
def way_of_mark(plan: Plan, run: Run, wake: int, instrument: int, mark: int, first: int) -> int:
    """Give how far a wake's limit moves a mark, by itself at most; `first` is the mark of the first core instrument.

    A share of each mark; true ranges are those of the first core instrument, and the others move by the same share.
    """
    if plan.wake_kind[wake] == LIQ_BPS_BELOW:
        way = mul_ceil(mark, plan.wake_value[wake])
    else:
        way = run.wake_way[wake]
        if instrument != plan.leg_instrument[0]:
            way = mul_ceil(mark, mul_div_ceil(min(way, first), E8, first))
    return min(way, mark)


@inner
def moved_down(market: PoolMarket, instrument: int, mark: int, way: int) -> int:
    """Give a mark moved down, never under 1e-8; of an inverse instrument under a thousandth, for coin has its limit.

    That of an asset may be 0, and stays so.
    """
    return max(mark - way, (mark + 999) // 1000 if market.inverse[instrument] else min(mark, 1))


@inner
def is_near(market: PoolMarket, plan: Plan, run: Run, wake: int, marks: Any) -> bool:
    """Tell whether the core's unit would be liquidated with all marks moved together by a wake's limit, either way."""
    if not is_known(plan, run, wake) or not is_at_risk(plan, run, 0):
        return False
    first = marks[plan.leg_instrument[0]]
    for i in range(plan.instrument_count):
        way = way_of_mark(plan, run, wake, i, marks[i], first)
        run.lower[i], run.upper[i] = moved_down(market, i, marks[i], way), marks[i] + way
    equity, maintenance, _ = figures(market, plan, run, 0, run.lower, False)
    if equity <= maintenance:
        return True
    equity, maintenance, _ = figures(market, plan, run, 0, run.upper, False)
    return equity <= maintenance


@inner
def is_known(plan: Plan, run: Run, wake: int) -> bool:
    """Tell whether the limit of a distance is known: that of true ranges is while its signal is."""
    return bool(plan.wake_kind[wake] == LIQ_BPS_BELOW or run.wake_way[wake] >= 0)


@inner
def is_far(market: PoolMarket, plan: Plan, run: Run, low: Any, high: Any) -> bool:
    """Tell that between two marks of each instrument no distance can hold: a bound, never wrong."""
    first = low[plan.leg_instrument[0]]  # the lowest one: there a true range is the largest share
    for wake in range(plan.wake_count):
        if not is_distance(plan, wake) or not is_known(plan, run, wake):
            continue
        for i in range(plan.instrument_count):
            run.lower[i] = moved_down(market, i, low[i], way_of_mark(plan, run, wake, i, low[i], first))
            run.upper[i] = high[i] + way_of_mark(plan, run, wake, i, high[i], first)
        if not is_in_one_tier(market, plan, run, 0, run.lower, run.upper):
            return False
        equity, _, maintenance, _, _ = corner(market, plan, run, 0, run.lower, run.upper)
        if equity - ROUNDING <= maintenance:
            return False
    return True


# --- between lowest and highest marks --------------------------------------------------------------------------------


@inner
def corner(market: PoolMarket, plan: Plan, run: Run, unit: int, low: Any, high: Any) -> tuple[int, int, int, int, int]:
    """Give the least equity, and the least and largest maintenance and initial margin, each at its own marks.

    The least equity takes the worse end of each instrument for all that hangs on it, so that a hedge counts as one.
    """
    equity = run.balance[plan.unit_asset[unit], wallet_of(unit)]
    least_maintenance, most_maintenance, least_initial, most_initial = 0, 0, 0, 0
    for i in range(plan.instrument_count):
        at_low, at_high = 0, 0
        for slot in range(unit, first_asset(plan)):
            if run.qty[slot] > 0 and plan.leg_unit[slot] == unit and plan.leg_instrument[slot] == i:
                profit, maintenance, initial = venue_figures(market, plan, run, slot, low[i])
                other_profit, other_maintenance, other_initial = venue_figures(market, plan, run, slot, high[i])
                at_low += profit
                at_high += other_profit
                least_maintenance += min(maintenance, other_maintenance)
                most_maintenance += max(maintenance, other_maintenance)
                least_initial += min(initial, other_initial)
                most_initial += max(initial, other_initial)
        if unit == 0:
            for j in range(plan.collateral_count):
                if plan.collateral_instrument[j] == i:
                    at_low += collateral_value(plan, run, j, low[i])
                    at_high += collateral_value(plan, run, j, high[i])
        equity += min(at_low, at_high)
    if plan.slot_count > first_asset(plan):
        value, maintenance, initial = least_of_assets(market, plan, run, unit, low, high)
        equity += value
        least_maintenance, most_maintenance = least_maintenance + maintenance, most_maintenance + maintenance
        least_initial, most_initial = least_initial + initial, most_initial + initial
    return equity, least_maintenance, most_maintenance, least_initial, most_initial


@inner
def is_in_one_tier(market: PoolMarket, plan: Plan, run: Run, unit: int, low: Any, high: Any) -> bool:
    """Tell whether every leg of a unit stays in its tier: between, its maintenance is then what its ends say."""
    for slot in range(unit, first_asset(plan)):
        if run.qty[slot] > 0 and plan.leg_unit[slot] == unit:
            i = plan.leg_instrument[slot]
            if tier_of(market, run, i, run.qty[slot], low[i]) != tier_of(market, run, i, run.qty[slot], high[i]):
                return False
    return True


@inner
def is_clear(market: PoolMarket, plan: Plan, run: Run, low: Any, high: Any) -> bool:
    """Tell that between two marks of each instrument no predicate and no threshold can hold: a bound, never wrong."""
    for unit in range(plan.slot_count):
        if not is_at_risk(plan, run, unit) and (unit > 0 or not is_held(plan, run, 0)):
            continue
        if not is_in_one_tier(market, plan, run, unit, low, high):
            return False
        equity, least_maintenance, maintenance, _, initial = corner(market, plan, run, unit, low, high)
        equity -= ROUNDING
        headroom = equity - maintenance
        if plan.liquidate and headroom <= 0:
            return False
        if unit == 0:
            in_quote = headroom_in_quote(market, plan, headroom, low)
            if plan.headroom_max_e8 > INT64_MIN and (headroom <= 0 or in_quote <= plan.headroom_max_e8 + ROUNDING):
                return False
            if not is_above_thresholds(plan, equity, headroom, maintenance, initial - least_maintenance):
                return False
            if plan.distance and not is_far(market, plan, run, low, high):
                return False
    return True


@inner
def is_above_thresholds(plan: Plan, equity: int, headroom: int, maintenance: int, room: int) -> bool:
    """Tell that no buffer or ratio of a rule can hold, from the worst figures of the core's unit."""
    if plan.buffer_max_e8 >= 0 and (
        headroom <= 0 or headroom <= mul_floor(max(room, 0), plan.buffer_max_e8) + ROUNDING
    ):
        return False
    return plan.ratio_min_e8 < 0 or not ratio_at_least(equity, maintenance + ROUNDING, plan.ratio_min_e8)


# --- what was seen ---------------------------------------------------------------------------------------------------


@inner
def see(plan: Plan, run: Run, low: Any, high: Any) -> None:
    """Note that the marks were between these with the present state."""
    for i in range(plan.instrument_count):
        run.low[i] = min(run.low[i], low[i]) if run.seen else low[i]
        run.high[i] = max(run.high[i], high[i]) if run.seen else high[i]
    run.seen = 1


@inner
def close_stretch(market: PoolMarket, plan: Plan, run: Run) -> None:
    """Close a stretch of constant state, before a change: note the bounds of buffer and margin ratio."""
    if not run.seen:
        return
    run.seen = 0
    if not is_held(plan, run, 0):
        return
    equity, least_maintenance, maintenance, least_initial, initial = corner(market, plan, run, 0, run.low, run.high)
    headroom = equity - maintenance
    room = initial - least_maintenance if headroom >= 0 else least_initial - maintenance
    if room > 0:
        run.min_buffer = min(run.min_buffer, buffer_ppm(headroom, room))
    if run.max_ratio < RATIO_PPM_MAX:
        run.max_ratio = max(run.max_ratio, ratio_ppm(equity, maintenance))
