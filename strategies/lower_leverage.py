"""Lower the leverage: when the buffer gets thin, post the margin of a lower one, and set it at the next funding."""

from backtest import HOLD, buffer_below, move_margin, on_funding, param, rule, set_leverage


@rule(
    wake=buffer_below("trigger") | on_funding(),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to act"),
    factor=param(0.50, low=0.1, high=0.95, help="least leverage to go to, as a share of that before; never under 1x"),
)
def lower_leverage(state, p):
    # memory[0]: the leverage for which margin was posted or sent, and which is not set yet.
    if state.wake == 1.0:
        if state.memory[0] == 0.0 or state.notional > state.equity * state.memory[0]:
            return HOLD
        lower = state.memory[0]
        state.memory[0] = 0.0
        return set_leverage(lower)
    # A hair more than is asked for, so that a small move until then does not leave it short.
    value = 1.002 * state.notional
    least = max(1.0, state.leverage * p.factor, value / (state.equity + state.reserve))
    lower = int(least * 100.0 + 0.999) / 100.0  # venues take hundredths
    if state.transit > 0.0 or lower >= state.leverage:
        return HOLD
    state.memory[0] = lower
    return move_margin(min(state.reserve, value / lower - state.equity), source="reserve")
