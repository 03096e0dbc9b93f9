"""RSI: close part when the daily RSI enters the extreme that the position has profited from."""

from backtest import HOLD, param, reduce, rule, signal


@rule(
    wake=signal("rsi_14_1d_extreme"),
    signals=("rsi_14_1d_extreme",),
    share=param(0.50, low=0.01, high=1.0, help="share of the open quantity to close"),
)
def rsi_cut(state, p):
    if state.signals[0] * state.side <= 0.0:
        return HOLD
    return reduce(p.share, put_back=True)
