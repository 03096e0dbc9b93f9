"""Free to margin: when the buffer gets thin, add to it what is free at the venue, such as the money of a hedge."""

from backtest import HOLD, buffer_below, move_margin, param, rule


@rule(
    wake=buffer_below("trigger"),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to move it"),
)
def free_to_margin(state, p):
    return move_margin(state.free, source="free") if state.free > 0.0 else HOLD
