"""Average down: hold money ready at the venue, and buy more each time the buffer gets thin, until it is spent."""

from backtest import HOLD, buffer_below, increase, move_margin, on_fill, on_funding, param, rule


@rule(
    wake=on_fill() | on_funding() | buffer_below("trigger"),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to buy more"),
    share=param(0.50, low=0.01, high=10.0, help="share of the open quantity to buy"),
    ready_pct=param(40.0, low=1.0, high=100.0, help="money to hold ready, per cent of capital"),
)
def average_down(state, p):
    # memory[0]: 0 before the money was sent for, 1 before it lies beside the position, 2 after.
    if state.memory[0] == 0.0:
        state.memory[0] = 1.0
        return move_margin(min(state.reserve, state.capital * p.ready_pct / 100.0), source="reserve")
    if state.memory[0] == 1.0:
        spare = min(state.margin_added, state.equity - state.initial_margin)
        if state.transit > 0.0 or spare <= 0.0:
            return HOLD
        state.memory[0] = 2.0
        return move_margin(-spare, source="free")
    # A little more than the margin of what is bought, for slippage and fee.
    affordable = state.free / (state.notional * (1.01 / state.leverage + 0.001))
    if state.wake != 2.0 or affordable < 0.01:
        return HOLD
    return increase(min(p.share, affordable))
