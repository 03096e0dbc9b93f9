"""Brace: before FOMC statements and CPI releases add margin up to a wider buffer, and take it back after them."""

from backtest import HOLD, after_event, before_event, move_margin, param, rule


@rule(
    wake=before_event("fomc", "fomc_before")
    | before_event("cpi", "cpi_before")
    | after_event("fomc", "fomc_after")
    | after_event("cpi", "cpi_after"),
    floor=param(1.5, low=0.0, high=10.0, help="buffer to have through the event; 1 is that of the entry"),
    fomc_before=param(24.0, low=0.0, high=720.0, help="hours before a statement at which to add"),
    fomc_after=param(2.0, low=0.0, high=720.0, help="hours after it at which to take back"),
    cpi_before=param(12.0, low=0.0, high=720.0, help="hours before a release at which to add"),
    cpi_after=param(1.0, low=0.0, high=720.0, help="hours after it at which to take back"),
)
def brace(state, p):
    # memory[0]: what was added and is not back yet.
    if state.wake < 2.0:
        missing = p.floor * (state.initial_margin - state.maintenance_margin) - state.headroom
        amount = min(missing, state.reserve)
        if amount <= 0.0:
            return HOLD
        state.memory[0] += amount
        return move_margin(amount, source="reserve")
    spare = min(state.memory[0], state.wallet, state.equity - state.initial_margin)
    if spare <= 0.0:
        return HOLD
    state.memory[0] -= spare
    return move_margin(-spare, source="reserve")
