"""Buy put: at entry, or when the buffer gets thin, spend a share of the capital on an asset, once, and keep it."""

from backtest import HOLD, buffer_below, param, rule, trade


@rule(
    wake=buffer_below("trigger"),
    trigger=param(1.00, low=0.0, high=1.0, help="share of the entry's buffer left at which to buy; 1: at entry"),
    premium_pct=param(5.0, low=0.01, high=100.0, help='of capital, spent on a layer with size_by = "capital"'),
)
def buy_put(state, p):
    if state.memory[0] == 1.0:
        return HOLD
    state.memory[0] = 1.0
    return trade("asset", p.premium_pct / 100.0)
