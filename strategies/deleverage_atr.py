"""Deleverage by range: close part each time liquidation is within a few average daily ranges of the mark."""

from backtest import liq_distance_below, param, reduce, rule


@rule(
    wake=liq_distance_below("trigger", unit="atr"),
    trigger=param(3.0, low=0.0, high=20.0, help="distance to liquidation at which to act, in ATR(14) of days"),
    step=param(0.25, low=0.01, high=1.0, help="share of the open quantity to close"),
    put_back=param(True, help="return to the position what the reduction freed"),
)
def deleverage_atr(state, p):
    return reduce(p.step, put_back=p.put_back)
