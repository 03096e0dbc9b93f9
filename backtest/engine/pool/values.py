"""What one leg is worth: fill values, notional, margins. Linear legs and valued assets in quote, inverse legs in coin.

An inverse value Q / p is kept as the pair (Q, p) until it is rounded, so that the formulas of `venues.margin` round
once here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.engine.arithmetic import (
    E8,
    mul_ceil,
    mul_div,
    mul_div_ceil,
    mul_div_floor,
    mul_floor,
    scale_ceil,
    scale_floor,
    split_product,
)
from backtest.engine.compile import inner
from backtest.engine.margin import charge_up, fee_reserve, linear_profit, measure, tier_at
from backtest.engine.pool.forms import BOUGHT, VENUE
from backtest.engine.position import fill_value
from backtest.venues.margin import Arithmetic, margin_formulas

if TYPE_CHECKING:
    from backtest.engine.pool.market import PoolMarket

Plan = Any  # record of forms.POOL_PLAN
Run = Any  # record of forms.POOL_RUN
Pair = tuple[int, int]  # quantity in quote, price


@inner
def _pair(qty: int, price: int) -> Pair:
    return qty, price


@inner
def _down(value: Pair) -> int:
    return mul_div_floor(value[0], E8, value[1])


@inner
def _up(value: Pair) -> int:
    return mul_div_ceil(value[0], E8, value[1])


@inner
def _times_up(value: Pair, rate: int) -> int:
    return mul_div_ceil(value[0], rate, value[1])


@inner
def _share_up(value: Pair, numerator: int, denominator: int) -> int:
    # neither value x numerator nor price x denominator is formed: they might leave 63 bits
    price = value[1]
    whole, rest = mul_div(value[0], E8, price)
    part = whole % denominator * numerator
    left = part % denominator + (rest * numerator + price - 1) // price
    return whole // denominator * numerator + part // denominator + (left + denominator - 1) // denominator


_INVERSE = margin_formulas(
    Arithmetic(one=100, product=_pair, down=_down, up=_up, times_up=_times_up, share_up=_share_up, charge_up=charge_up),
    inner,
)
_tier, _profit, _maintenance, _initial = _INVERSE.tier, _INVERSE.profit, _INVERSE.maintenance, _INVERSE.initial


@inner
def tier_of(market: PoolMarket, run: Run, instrument: int, qty: int, mark: int) -> int:
    """Give the tier row of a quantity at a mark, from 0."""
    table = run.table[instrument]
    if market.inverse[instrument]:
        return _tier(market.tiers[table]["cap_e8"], market.tiers[table, 0].count, (qty, mark))
    return tier_at(market, table, qty, mark)


@inner
def inverse_figures(
    market: PoolMarket, run: Run, instrument: int, side: int, qty: int, cost: int, terms: Pair, mark: int
) -> tuple[int, int, int]:
    """Give profit, maintenance and initial margin of an inverse leg in coin; `terms`: leverage and fee reserve."""
    row = market.tiers[run.table[instrument], tier_of(market, run, instrument, qty, mark)]
    value = (qty, mark)
    leverage_e2, reserve = terms
    return (
        _profit(-side, value, cost),
        _maintenance(value, row.rate_e8, row.deduction_e8, reserve),
        _initial(value, leverage_e2, reserve),
    )


@inner
def figures_of(
    market: PoolMarket, run: Run, instrument: int, side: int, qty: int, cost: int, terms: Pair, mark: int
) -> tuple[int, int, int]:
    """Give profit, maintenance and initial margin of a leg at a mark, in its asset."""
    if market.inverse[instrument]:
        return inverse_figures(market, run, instrument, side, qty, cost, terms, mark)
    leverage_e2, reserve = terms
    return measure(market, run.table[instrument], side, qty, cost, 0, leverage_e2, reserve, mark)


@inner
def first_asset(plan: Plan) -> int:
    """Give the slot of the first valued asset."""
    return 2 * plan.core_count + 2


@inner
def qty_max(market: PoolMarket, plan: Plan, run: Run, slot: int) -> int:
    """Give the largest quantity of a valued asset that may be held now; 0 where it is not listed."""
    return market.segments[run.segment, plan.leg_instrument[slot]].qty_max_e8


@inner
def asset_figures(market: PoolMarket, plan: Plan, run: Run, slot: int, mark: int) -> tuple[int, int, int]:
    """Give what a valued asset adds to equity, and its margins: its quantity times those of one unit.

    A bought paid asset counts for floor(q p ratio) and needs no margin; the others for their profit, which of a
    written one, whose cost is 0, is what it takes to buy it back.
    """
    value = split_product(run.qty[slot], mark)
    if plan.leg_form[slot] == BOUGHT:
        return scale_floor(value[0], value[1], plan.leg_ratio_e8[slot]), 0, 0
    each = market.segments[run.margins, plan.leg_instrument[slot]]
    return (
        linear_profit(run.side[slot], value, run.cost[slot]),
        mul_ceil(run.qty[slot], each.maintenance_e8),
        mul_ceil(run.qty[slot], each.initial_e8),
    )


@inner
def leg_figures(market: PoolMarket, plan: Plan, run: Run, slot: int, mark: int) -> tuple[int, int, int]:
    """Give profit (of a paid asset: value), maintenance and initial margin of the leg in a slot."""
    if plan.leg_form[slot] != VENUE:
        return asset_figures(market, plan, run, slot, mark)
    return venue_figures(market, plan, run, slot, mark)


@inner
def venue_figures(market: PoolMarket, plan: Plan, run: Run, slot: int, mark: int) -> tuple[int, int, int]:
    """Give profit, maintenance and initial margin of a leg under the venue's rules."""
    terms = (run.leverage_e2[slot], run.fee_reserve[slot])
    return figures_of(
        market, run, plan.leg_instrument[slot], run.side[slot], run.qty[slot], run.cost[slot], terms, mark
    )


@inner
def reserve_of(market: PoolMarket, plan: Plan, run: Run, slot: int, cost: int) -> int:
    """Give the closing-fee reserve of a leg: ceil(cost (1 -/+ side / L) taker), 0 where the venue has none."""
    if not plan.fee_reserve or cost == 0 or plan.leg_form[slot] != VENUE:
        return 0
    instrument = plan.leg_instrument[slot]
    direction = -run.side[slot] if market.inverse[instrument] else run.side[slot]
    return fee_reserve(cost, direction, run.leverage_e2[slot], run.taker[instrument])


@inner
def value_of(market: PoolMarket, instrument: int, qty: int, price: int, buying: bool) -> int:
    """Give the value of a fill in the leg's asset, rounded against us: up for a linear buyer and an inverse seller."""
    if not market.inverse[instrument]:
        return fill_value(qty, price, buying)
    return _down((qty, price)) if buying else _up((qty, price))


@inner
def notional_of(market: PoolMarket, instrument: int, qty: int, mark: int) -> int:
    """Give a notional in quote: floor(q p), or the quantity of an inverse contract."""
    return qty if market.inverse[instrument] else mul_floor(qty, mark)


@inner
def in_quote(market: PoolMarket, instrument: int, amount: int, mark: int) -> int:
    """Give an amount of a leg's asset in quote, its absolute amount rounded down."""
    if not market.inverse[instrument]:
        return amount
    return mul_floor(amount, mark) if amount >= 0 else -mul_floor(-amount, mark)


@inner
def funding_amount(market: PoolMarket, instrument: int, qty: int, mark: int, rate: int, pays: bool) -> int:
    """Give a funding payment, in the leg's asset: value x |rate|, up where we pay."""
    if market.inverse[instrument]:
        return mul_div_ceil(qty, rate, mark) if pays else mul_div_floor(qty, rate, mark)
    whole, rest = split_product(qty, mark)
    return scale_ceil(whole, rest, rate) if pays else scale_floor(whole, rest, rate)


@inner
def allows(market: PoolMarket, run: Run, instrument: int, qty: int, mark: int, leverage_e2: int) -> bool:
    """Tell whether the tier of a quantity at a mark allows a leverage; nothing above the last cap."""
    k = tier_of(market, run, instrument, qty, mark)
    row = market.tiers[run.table[instrument], k]
    above = _up((qty, mark)) > row.cap_e8 if market.inverse[instrument] else fill_value(qty, mark, True) > row.cap_e8
    return not above and (row.max_leverage_e2 == 0 or leverage_e2 <= row.max_leverage_e2)
