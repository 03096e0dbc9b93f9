"""Post once: at entry, or when the buffer gets thin, add a share of the capital to margin, once."""

from backtest import HOLD, buffer_below, move_margin, param, rule


@rule(
    wake=buffer_below("trigger"),
    trigger=param(1.00, low=0.0, high=1.0, help="share of the entry's buffer left at which to post; 1: at entry"),
    amount_pct=param(5.0, low=0.01, high=100.0, help="of capital, once: what `buy_put` spends on a put instead"),
)
def post_once(state, p):
    if state.memory[0] == 1.0:
        return HOLD
    state.memory[0] = 1.0
    return move_margin(state.capital * p.amount_pct / 100.0)
