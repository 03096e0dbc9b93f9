"""Step aside: close part before FOMC statements and CPI releases, and buy it back after them if the buffer allows."""

from backtest import HOLD, after_event, before_event, increase, move_margin, on_funding, param, reduce, rule


@rule(
    wake=before_event("fomc", "fomc_before")
    | before_event("cpi", "cpi_before")
    | after_event("fomc", "fomc_after")
    | after_event("cpi", "cpi_after")
    | on_funding(),
    events=("fomc", "cpi"),
    share=param(0.50, low=0.01, high=0.95, help="share of the open quantity to close"),
    recover=param(1.05, low=0.0, high=10.0, help="buffer, with the quantity from before, at which to buy back"),
    fomc_before=param(24.0, low=0.0, high=720.0, help="hours before a statement at which to step aside"),
    fomc_after=param(2.0, low=0.0, high=720.0, help="hours after it at which to come back"),
    cpi_before=param(12.0, low=0.0, high=720.0, help="hours before a release at which to step aside"),
    cpi_after=param(1.0, low=0.0, high=720.0, help="hours after it at which to come back"),
)
def step_aside(state, p):
    # memory[0]: the quantity to come back to, 0 where it did not step aside.
    if state.wake < 2.0:
        if state.memory[0] > 0.0:
            return HOLD
        state.memory[0] = state.qty
        return reduce(p.share, put_back=True)
    missing = state.memory[0] - state.qty
    near_fomc = state.hours_to_event[0] <= p.fomc_before or state.hours_since_event[0] < p.fomc_after
    near_cpi = state.hours_to_event[1] <= p.cpi_before or state.hours_since_event[1] < p.cpi_after
    if near_fomc or near_cpi or missing <= 0.0:
        return HOLD
    whole = state.memory[0] / state.qty
    room = (state.initial_margin - state.maintenance_margin) * whole
    if state.equity + state.free - state.maintenance_margin * whole < p.recover * room:
        return HOLD
    # The margin of what is bought must lie outside the position first; a little more for slippage and fee.
    need = missing * state.mark_price * (1.01 / state.leverage + 0.001)
    if state.free < need:
        return move_margin(state.free - need, source="free")
    state.memory[0] = 0.0
    # A hair more, so that rounding down to whole steps does not leave one step out.
    return increase(missing / state.qty + 1e-8)
