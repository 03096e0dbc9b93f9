"""Top up to a target: when the buffer gets thin, add as much margin as makes it that wide again, or what is left."""

from backtest import HOLD, buffer_below, move_margin, param, rule


@rule(
    wake=buffer_below("trigger"),
    trigger=param(0.25, low=0.0, high=2.0, help="share of the entry's buffer left at which to act"),
    target=param(0.75, low=0.0, high=3.0, help="buffer to come back to; 1 is that of the entry"),
)
def top_up_to(state, p):
    missing = p.target * (state.initial_margin - state.maintenance_margin) - state.headroom
    amount = min(missing, state.reserve)
    if state.transit > 0.0 or amount <= 0.0:
        return HOLD  # one on its way is enough
    return move_margin(amount, source="reserve")
