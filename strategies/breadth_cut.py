"""Breadth: close part once when most perpetuals of the venue went against the position in a day."""

from backtest import HOLD, param, reduce, rule, signal


@rule(
    wake=signal("breadth_1d"),
    signals=("breadth_1d",),
    level=param(60.0, low=0.0, high=100.0, help="advancers less decliners, per cent of both, against the position"),
    share=param(0.50, low=0.01, high=1.0, help="share of the open quantity to close"),
)
def breadth_cut(state, p):
    # memory[0]: 1 after it acted, until more went with the position than against it.
    with_it = state.signals[0] * state.side
    if with_it > 0.0:
        state.memory[0] = 0.0
    if with_it > -p.level or state.memory[0] > 0.0:
        return HOLD
    state.memory[0] = 1.0
    return reduce(p.share, put_back=True)
