"""Top up: add margin from the reserve each time the buffer gets thin."""

from backtest import HOLD, buffer_below, move_margin, param, rule


@rule(
    wake=buffer_below("trigger"),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to act"),
    amount_pct=param(10.0, low=0.01, high=100.0, help="margin to add, per cent of capital"),
)
def top_up(state, p):
    amount = state.capital * p.amount_pct / 100.0
    if state.transit > 0.0:
        return HOLD  # one on its way is enough
    return move_margin(amount, source="reserve")
