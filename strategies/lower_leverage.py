"""Lower the leverage: when the buffer gets thin, post the margin that a lower leverage asks for, then set it."""

from backtest import HOLD, buffer_below, every, move_margin, param, rule, set_leverage


@rule(
    wake=buffer_below("trigger") | every("1h"),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to act"),
    factor=param(0.50, low=0.1, high=0.95, help="leverage afterwards, as a share of that before; never under 1x"),
)
def lower_leverage(state, p):
    # memory[0]: the leverage for which margin was posted or sent, and which is not set yet.
    lower = state.memory[0] if state.memory[0] > 0.0 else max(1.0, state.leverage * p.factor)
    missing = state.notional / lower - state.equity
    if state.wake == 1.0:
        if state.memory[0] == 0.0 or missing > 0.0:
            return HOLD
        state.memory[0] = 0.0
        return set_leverage(lower)
    # A hair more, so that a small move before the next hour does not leave it short.
    amount = missing + 0.002 * state.notional
    if state.transit > 0.0 or lower >= state.leverage or missing <= 0.0 or amount > state.reserve:
        return HOLD
    state.memory[0] = lower
    return move_margin(amount, source="reserve")
