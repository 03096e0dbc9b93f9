"""Take back: once a day, return to the reserve what the position does not need."""

from backtest import HOLD, every, move_margin, param, rule


@rule(
    wake=every("24h"),
    keep=param(1.5, low=1.0, high=10.0, help="equity to leave, as a multiple of initial margin"),
    least_pct=param(1.0, low=0.01, high=100.0, help="least amount worth moving, per cent of capital"),
)
def take_back(state, p):
    spare = min(state.wallet, state.equity - p.keep * state.initial_margin)
    if spare < state.capital * p.least_pct / 100.0:
        return HOLD
    return move_margin(-spare, source="reserve")
