"""Put to margin: when the buffer gets thin and the asset has gained, sell it; `free_to_margin` then moves its money."""

from backtest import HOLD, buffer_below, param, rule, trade


@rule(
    wake=buffer_below("trigger"),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to sell"),
    worth_pct=param(7.5, low=0.0, high=1000.0, help='of capital that it must be worth; needs size_by = "capital"'),
)
def put_to_margin(state, p):
    if state.layer_share[3] == 0.0 or state.layer_share[3] < p.worth_pct / 100.0:
        return HOLD
    # As much as a hundred times the capital buys: at most what is held is sold.
    return trade("asset", -100.0)
