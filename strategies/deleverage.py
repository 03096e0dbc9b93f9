"""Deleverage: close part of the position each time the buffer gets thin."""

from backtest import buffer_below, param, reduce, rule


@rule(
    wake=buffer_below("trigger"),
    trigger=param(0.50, low=0.0, high=1.0, help="share of the entry's buffer left at which to act; 0 is liquidation"),
    step=param(0.25, low=0.01, high=1.0, help="share of the open quantity to close"),
    put_back=param(True, help="return to the position what the reduction freed"),
)
def deleverage(state, p):
    return reduce(p.step, put_back=p.put_back)
