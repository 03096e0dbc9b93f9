"""The margin formulas: equity, maintenance and initial margin as exact integers at 1e-8.

Equity terms are rounded down, margin terms up, each once, from the exact product. The liquidation test compares sums
of these integers, with no tolerance. Sources: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (maintenance = notional x
rate - amount, row by notional in (floor, cap]); Bybit help centre, Maintenance Margin (2026-04-16) and New Margin
Calculation (2025-09-18) (the closing-fee reserve in both margins).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.engine.arithmetic import E8, mul_div, mul_floor, ratio_ceil, scale_ceil, split_product
from backtest.engine.compile import inner, jit

if TYPE_CHECKING:
    from backtest.engine.market import Market


@jit
def tier_index(tape: Market, table: int, whole: int, rest: int) -> int:
    """Give the row of a notional whole + rest / 1e8: the first whose cap is not passed, else the last."""
    last = tape.tiers[table, 0].count - 1
    for k in range(last):
        cap = tape.tiers[table, k].cap_e8
        if whole < cap or (whole == cap and rest == 0):
            return k
    return last


@jit
def tier_at(tape: Market, table: int, qty: int, price: int) -> int:
    """Give the tier row of qty x price, from 0."""
    whole, rest = split_product(qty, price)
    return tier_index(tape, table, whole, rest)


@jit
def fee_reserve(cost: int, side: int, leverage_e2: int, taker: int) -> int:
    """Give Bybit's closing-fee reserve, ceil(cost (1 - side / L) taker).

    Source: Bybit help centre, New Margin Calculation (2025-09-18): taker fee at the bankruptcy price.
    """
    whole, rest = split_product(cost, taker)
    factor = leverage_e2 - 100 * side
    quotient = whole // leverage_e2
    left = whole - quotient * leverage_e2
    scale = leverage_e2 * E8
    return quotient * factor + ((left * E8 + rest) * factor + scale - 1) // scale


@jit
def measure(
    tape: Market, table: int, side: int, qty: int, cost: int, wallet: int, leverage_e2: int, reserve: int, price: int
) -> tuple[int, int, int]:
    """Give equity, maintenance margin and initial margin of one position at a mark price.

    Long: equity = wallet + floor(q p) - cost; short: wallet + cost - ceil(q p). Maintenance = ceil(q p rate) -
    deduction + reserve; initial = ceil(q p / L) + reserve.
    """
    whole, rest = split_product(qty, price)
    profit = whole - cost if side > 0 else cost - whole - (1 if rest > 0 else 0)
    k = tier_index(tape, table, whole, rest)
    maintenance = scale_ceil(whole, rest, tape.tiers[table, k].rate_e8) - tape.tiers[table, k].deduction_e8 + reserve
    initial = ratio_ceil(whole, rest, 100, leverage_e2) + reserve
    return wallet + profit, maintenance, initial


@inner
def buffer_at_most(equity: int, maintenance: int, initial: int, limit_e8: int) -> bool:
    """Tell whether (equity - maintenance) / (initial - maintenance) <= limit; never when the buffer is null."""
    room = initial - maintenance
    return room > 0 and equity - maintenance <= mul_floor(room, limit_e8)


@inner
def ratio_at_least(equity: int, maintenance: int, limit_e8: int) -> bool:
    """Tell whether maintenance / equity >= limit; true when equity is not positive."""
    if equity <= 0:
        return True
    whole, rest = split_product(equity, limit_e8)
    return maintenance >= whole + (1 if rest > 0 else 0)


PPM = 1_000_000
RATIO_PPM_MAX = 1_000_000_000_000_000


@inner
def buffer_ppm(headroom: int, room: int) -> int:
    """Give floor(1e6 headroom / room), room > 0."""
    if headroom >= 0:
        return mul_div(headroom, PPM, room)[0]
    quotient, rest = mul_div(-headroom, PPM, room)
    return -quotient - (1 if rest > 0 else 0)


@inner
def ratio_ppm(equity: int, maintenance: int) -> int:
    """Give ceil(1e6 maintenance / equity), at most 1e15, which also stands for no equity."""
    if equity <= 0 or maintenance // RATIO_PPM_MAX >= equity // PPM + 1:
        return RATIO_PPM_MAX
    quotient, rest = mul_div(maintenance, PPM, equity)
    return min(quotient + (1 if rest > 0 else 0), RATIO_PPM_MAX)
