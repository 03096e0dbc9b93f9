"""Ladder: close one more share of the entry quantity at each of three buffers, each once."""

from backtest import HOLD, buffer_below, param, reduce, rule


@rule(
    wake=buffer_below("upper") | buffer_below("middle") | buffer_below("lower"),
    upper=param(0.75, low=0.0, high=1.0, help="share of the entry's buffer left at which to act first"),
    middle=param(0.50, low=0.0, high=1.0, help="share of the entry's buffer left at which to act again"),
    lower=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to act last"),
    share=param(0.25, low=0.01, high=1.0, help="share of the entry quantity to close each time"),
    put_back=param(True, help="return to the position what the reduction freed"),
)
def ladder(state, p):
    rung = int(state.wake)
    if state.memory[rung] > 0.0:
        return HOLD
    state.memory[rung] = 1.0
    # A hair less, so that rounding up to whole steps does not close one step more.
    return reduce(min(1.0, p.share * state.entry_qty / state.qty - 1e-8), put_back=p.put_back)
