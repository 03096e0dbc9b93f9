"""Deleverage by margin ratio: close part of the position each time the ratio that the venue shows gets high."""

from backtest import margin_ratio_above, param, reduce, rule


@rule(
    wake=margin_ratio_above("trigger"),
    trigger=param(0.50, low=0.01, high=1.0, help="maintenance over equity at which to act; 1 is liquidation"),
    step=param(0.25, low=0.01, high=1.0, help="share of the open quantity to close"),
    put_back=param(True, help="return to the position what the reduction freed"),
)
def deleverage_ratio(state, p):
    return reduce(p.step, put_back=p.put_back)
