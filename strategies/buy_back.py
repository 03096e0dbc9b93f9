"""Buy back: close part when the buffer gets thin, and buy it back at a funding when the buffer has recovered."""

from backtest import HOLD, buffer_below, increase, move_margin, on_funding, param, reduce, rule


@rule(
    wake=buffer_below("trigger") | on_funding(),
    trigger=param(0.25, low=0.0, high=1.0, help="share of the entry's buffer left at which to close"),
    step=param(0.25, low=0.01, high=1.0, help="share of the open quantity to close"),
    recover=param(1.20, low=1.05, high=10.0, help="buffer, with the entry quantity, at which to buy back"),
    put_back=param(True, help="return to the position what the reduction freed"),
)
def buy_back(state, p):
    if state.wake == 0.0:
        return reduce(p.step, put_back=p.put_back)
    missing = state.entry_qty - state.qty
    if missing <= 0.0:
        return HOLD
    whole = state.entry_qty / state.qty
    room = (state.initial_margin - state.maintenance_margin) * whole
    if state.equity + state.free - state.maintenance_margin * whole < p.recover * room:
        return HOLD
    # The margin of what is bought must lie outside the position first; a little more for slippage and fee.
    need = missing * state.mark_price * (1.01 / state.leverage + 0.001)
    if state.free < need:
        return move_margin(state.free - need, source="free")
    # A hair more, so that rounding down to whole steps does not leave one step out.
    return increase(missing / state.qty + 1e-8)
