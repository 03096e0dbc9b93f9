"""Cap leverage: once an hour, close what carries the position over a limit of notional to equity."""

from backtest import HOLD, every, on_fill, param, reduce, rule


@rule(
    wake=on_fill() | every("1h"),
    most=param(5.0, low=1.0, high=150.0, help="notional over equity to come back to"),
    band=param(0.25, low=0.01, high=1.0, help="share above the limit that is let pass, so that not every hour trades"),
)
def cap_leverage(state, p):
    if state.notional <= state.equity * p.most * (1.0 + p.band):
        return HOLD
    return reduce(1.0 - p.most * state.equity / state.notional, put_back=True)
