"""Deleverage to a target: when the margin ratio gets high, close as much as brings it back down."""

from backtest import HOLD, margin_ratio_above, param, reduce, rule


@rule(
    wake=margin_ratio_above("trigger"),
    trigger=param(0.50, low=0.01, high=1.0, help="maintenance over equity at which to act; 1 is liquidation"),
    target=param(0.25, low=0.01, high=1.0, help="maintenance over equity to come back to"),
)
def deleverage_to(state, p):
    # With what is freed put back, equity stays (but for the fee) and maintenance shrinks with the quantity.
    if state.margin_ratio <= p.target:
        return HOLD
    return reduce(1.0 - p.target / state.margin_ratio, put_back=True)
