"""MACD: close part when the daily MACD crosses its signal line against the position."""

from backtest import HOLD, param, reduce, rule, signal


@rule(
    wake=signal("macd_12_26_9_1d_cross"),
    signals=("macd_12_26_9_1d_cross",),
    share=param(0.50, low=0.01, high=1.0, help="share of the open quantity to close"),
)
def macd_cut(state, p):
    if state.signals[0] * state.side >= 0.0:
        return HOLD
    return reduce(p.share, put_back=True)
