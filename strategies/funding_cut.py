"""Funding: close part when funding gets extreme with the crowd on the position's own side."""

from backtest import HOLD, param, reduce, rule, signal


@rule(
    wake=signal("funding_extreme"),
    signals=("funding_extreme",),
    share=param(0.50, low=0.01, high=1.0, help="share of the open quantity to close"),
)
def funding_cut(state, p):
    # Longs pay where funding is extremely high, shorts where it is extremely low.
    if state.signals[0] * state.side <= 0.0:
        return HOLD
    return reduce(p.share, put_back=True)
