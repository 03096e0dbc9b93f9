"""Hedge inverse: when the buffer gets thin, open the coin-margined contract's other side, in a wallet of its own."""

from backtest import HOLD, buffer_below, every, param, rule, trade


@rule(
    wake=buffer_below("trigger") | every("1h"),
    trigger=param(0.50, low=0.0, high=1.0, help="share of the entry's buffer left at which to hedge"),
    share=param(0.50, low=0.01, high=1.0, help="share of the position's notional to hedge"),
    recover_pct=param(2.0, low=0.0, high=100.0, help="gain of the position since then at which to close the hedge"),
)
def hedge_inverse(state, p):
    if state.layer_share[1] > 0.0:
        gain = state.side * (state.mark_price - state.memory[0])
        # As much as the position, at most what is held.
        return trade("inverse", -1.0) if gain >= p.recover_pct / 100.0 * state.memory[0] else HOLD
    if state.buffer > p.trigger:
        return HOLD
    state.memory[0] = state.mark_price
    return trade("inverse", p.share)
