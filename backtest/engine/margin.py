"""The margin formulas of `venues.margin` in exact integers at 1e-8, compiled.

Equity terms are rounded down, margin terms up, each once, from the exact product. The liquidation test compares sums
of these integers, with no tolerance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine.arithmetic import mul_div, ratio_ceil, scale_ceil, split_product
from backtest.engine.compile import inner, jit
from backtest.venues.margin import Arithmetic, margin_formulas

if TYPE_CHECKING:
    from backtest.engine.market import Tiered

Product = tuple[int, int]  # floor at 1e-8, and the remainder in 1e-16


@inner
def _down(value: Product) -> int:
    return value[0]


@inner
def _up(value: Product) -> int:
    return value[0] + (1 if value[1] > 0 else 0)


@inner
def _times_up(value: Product, rate: int) -> int:
    return scale_ceil(value[0], value[1], rate)


@inner
def _share_up(value: Product, numerator: int, denominator: int) -> int:
    return ratio_ceil(value[0], value[1], numerator, denominator)


@inner
def charge_up(amount: int, fee: int, numerator: int, denominator: int) -> int:
    return _share_up(split_product(amount, fee), numerator, denominator)


_FORMULAS = margin_formulas(
    Arithmetic(
        one=100,
        product=split_product,
        down=_down,
        up=_up,
        times_up=_times_up,
        share_up=_share_up,
        charge_up=charge_up,
    ),
    inner,
)
_tier, linear_profit, _maintenance, _initial = (
    _FORMULAS.tier,
    _FORMULAS.profit,
    _FORMULAS.maintenance,
    _FORMULAS.initial,
)
_fee_reserve, bankruptcy_value = _FORMULAS.fee_reserve, _FORMULAS.bankruptcy_value
buffer_at_most, ratio_at_least = _FORMULAS.buffer_at_most, _FORMULAS.ratio_at_least


@jit
def tier_index(tape: Tiered, table: int, whole: int, rest: int) -> int:
    """Give the row of a notional whole + rest / 1e8: the first whose cap is not passed, else the last."""
    return _tier(tape.tiers[table]["cap_e8"], tape.tiers[table, 0].count, (whole, rest))


@jit
def tier_at(tape: Tiered, table: int, qty: int, price: int) -> int:
    """Give the tier row of qty x price, from 0."""
    whole, rest = split_product(qty, price)
    return tier_index(tape, table, whole, rest)


@jit
def fee_reserve(cost: int, side: int, leverage_e2: int, taker: int) -> int:
    """Give Bybit's closing-fee reserve, ceil(cost (1 - side / L) taker)."""
    return _fee_reserve(cost, side, leverage_e2, taker)


@jit
def measure(
    tape: Tiered, table: int, side: int, qty: int, cost: int, wallet: int, leverage_e2: int, reserve: int, price: int
) -> tuple[int, int, int]:
    """Give equity, maintenance margin and initial margin of one position at a mark price.

    Long: equity = wallet + floor(q p) - cost; short: wallet + cost - ceil(q p). Maintenance = ceil(q p rate) -
    deduction + reserve; initial = ceil(q p / L) + reserve.
    """
    value = split_product(qty, price)
    row = tape.tiers[table, tier_index(tape, table, value[0], value[1])]
    return (
        wallet + linear_profit(side, value, cost),
        _maintenance(value, row.rate_e8, row.deduction_e8, reserve),
        _initial(value, leverage_e2, reserve),
    )


PPM = 1_000_000
RATIO_PPM_MAX = 1_000_000_000_000_000  # bound of ratio and buffer: where the one beneath is next to nothing
BUFFER_MAX = RATIO_PPM_MAX // PPM


@inner
def buffer_ppm(headroom: int, room: int) -> int:
    """Give floor(1e6 headroom / room), room > 0, within 1e15 either way."""
    if abs(headroom) // BUFFER_MAX >= room:
        return RATIO_PPM_MAX if headroom > 0 else -RATIO_PPM_MAX
    if headroom >= 0:
        return mul_div(headroom, PPM, room)[0]
    quotient, rest = mul_div(-headroom, PPM, room)
    return -quotient - (1 if rest > 0 else 0)


@inner
def ratio_ppm(equity: int, maintenance: int) -> int:
    """Give ceil(1e6 maintenance / equity), at most 1e15, which also stands for no equity."""
    if equity <= 0 or maintenance // BUFFER_MAX >= equity:
        return RATIO_PPM_MAX
    quotient, rest = mul_div(maintenance, PPM, equity)
    return min(quotient + (1 if rest > 0 else 0), RATIO_PPM_MAX)
