"""Drawdown: close part of a long once when the coin closes far under its highest close."""

from backtest import HOLD, param, reduce, rule, signal


@rule(
    wake=signal("drawdown"),
    signals=("drawdown",),
    limit=param(30.0, low=0.0, high=100.0, help="fall from the highest daily close at which to act, per cent"),
    recover=param(20.0, low=0.0, high=100.0, help="fall at which it may act anew, per cent"),
    share=param(0.50, low=0.01, high=1.0, help="share of the open quantity to close"),
)
def drawdown_cut(state, p):
    # memory[0]: 1 after it acted, until the fall has been made good enough.
    if state.signals[0] <= p.recover:
        state.memory[0] = 0.0
    if state.side < 0.0 or state.signals[0] < p.limit or state.memory[0] > 0.0:
        return HOLD
    state.memory[0] = 1.0
    return reduce(p.share, put_back=True)
