"""False binary: once, close a share when the buffer gets thin: between holding (0) and leaving (1) there is a scale."""

from backtest import HOLD, buffer_below, param, reduce, rule


@rule(
    wake=buffer_below("trigger"),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to choose"),
    share=param(0.50, low=0.0, high=1.0, help="share of the position to close: 0 holds, 1 leaves"),
)
def false_binary(state, p):
    if state.actions > 0.0 or p.share == 0.0:
        return HOLD
    return reduce(p.share, put_back=True)
