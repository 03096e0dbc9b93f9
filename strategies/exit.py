"""Exit: close everything when the buffer gets thin."""

from backtest import buffer_below, close, param, rule


@rule(
    wake=buffer_below("trigger"),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to leave"),
)
def exit(state, p):
    return close()
