"""Grid: buy at evenly spaced prices from entry towards liquidation, and sell each part again one rung higher."""

from backtest import HOLD, every, increase, move_margin, on_fill, param, reduce, rule


@rule(
    wake=on_fill() | every("1h"),
    rungs=param(3.0, low=1.0, high=20.0, help="how many times to buy between entry and a loss of the initial margin"),
    share=param(0.50, low=0.01, high=10.0, help="share of the entry quantity to buy at each rung"),
    ready_pct=param(40.0, low=1.0, high=100.0, help="money to hold ready, per cent of capital"),
)
def grid(state, p):
    # memory[0]: 0 before the money was sent for, 1 before it lies beside the position, 2 after. [1]: rungs held.
    # [2]: the entry price, which buying changes.
    if state.memory[0] == 0.0:
        state.memory[0] = 1.0
        state.memory[2] = state.entry_price
        return move_margin(min(state.reserve, state.capital * p.ready_pct / 100.0), source="reserve")
    if state.memory[0] == 1.0:
        spare = min(state.margin_added, state.equity - state.initial_margin)
        if state.transit > 0.0 or spare <= 0.0:
            return HOLD
        state.memory[0] = 2.0
        return move_margin(-spare, source="free")
    held = state.memory[1]
    loss = state.side * (1.0 - state.mark_price / state.memory[2])
    reached = loss * state.leverage * (p.rungs + 1.0)
    lot = p.share * state.entry_qty / state.qty
    if held > 0.0 and reached <= held - 1.0:
        state.memory[1] = held - 1.0
        # A hair less, so that rounding up to whole steps does not close one step more.
        return reduce(lot - 1e-8)
    # A little more than the margin of what is bought, for slippage and fee.
    if reached < held + 1.0 or held >= p.rungs or state.free < lot * state.notional * (1.01 / state.leverage + 0.001):
        return HOLD
    state.memory[1] = held + 1.0
    # A hair more, so that rounding down to whole steps does not leave one step out.
    return increase(lot + 1e-8)
