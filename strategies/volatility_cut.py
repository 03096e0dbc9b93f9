"""Volatility: close part when the coin's 30-day volatility rises into the highest third of all that was seen."""

from backtest import HOLD, param, reduce, rule, signal


@rule(
    wake=signal("vol_30d_regime"),
    signals=("vol_30d_regime",),
    share=param(0.50, low=0.01, high=1.0, help="share of the open quantity to close"),
)
def volatility_cut(state, p):
    if state.signals[0] < 2.0:
        return HOLD
    return reduce(p.share, put_back=True)
