"""Hedge short: when the buffer gets thin, open the contract's other side too, and close it after a recovery."""

from backtest import HOLD, buffer_below, every, move_margin, param, rule, trade


@rule(
    wake=buffer_below("trigger") | every("1h"),
    trigger=param(0.50, low=0.0, high=1.0, help="share of the entry's buffer left at which to hedge"),
    share=param(0.50, low=0.01, high=1.0, help="share of the position to hedge"),
    recover_pct=param(2.0, low=0.0, high=100.0, help="gain of the position since then at which to close the hedge"),
    margin_pct=param(6.0, low=0.0, high=100.0, help="of the hedge's notional, sent for its margin; 0 in isolated mode"),
)
def hedge_short(state, p):
    if state.layer_share[0] > 0.0:
        gain = state.side * (state.mark_price - state.memory[1])
        # As much as the position, at most what is held.
        return trade("opposite", -1.0) if gain >= p.recover_pct / 100.0 * state.memory[1] else HOLD
    if state.buffer > p.trigger and state.memory[0] == 0.0:
        return HOLD
    # In one account with the position, the venue opens nothing while equity is under initial margin.
    missing = p.share * state.notional * p.margin_pct / 100.0 + state.initial_margin - state.equity
    if p.margin_pct > 0.0 and missing > 0.0:
        if missing > state.reserve:
            return HOLD
        state.memory[0] = 1.0
        return move_margin(missing)
    state.memory[0] = 0.0
    state.memory[1] = state.mark_price
    return trade("opposite", p.share)
