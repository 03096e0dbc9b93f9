"""Top up to a distance: when liquidation is near, add as much margin as moves it away again, or what is left."""

from backtest import HOLD, liq_distance_below, move_margin, param, rule


@rule(
    wake=liq_distance_below("trigger"),
    trigger=param(
        300.0, low=0.0, high=9000.0, help="distance to liquidation at which to act, basis points of the mark"
    ),
    target=param(1000.0, low=0.0, high=9000.0, help="distance to come back to, basis points of the mark"),
)
def top_up_distance(state, p):
    move = p.target / 10_000.0
    # There the position has lost its notional times the move, and maintenance has moved with the price.
    needed = state.notional * move + state.maintenance_margin * (1.0 - state.side * move)
    amount = min(needed - state.equity, state.reserve)
    if state.transit > 0.0 or amount <= 0.0:
        return HOLD  # one on its way is enough
    return move_margin(amount, source="reserve")
