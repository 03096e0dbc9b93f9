"""Hedge ladder: hedge the more of the position the thinner its buffer, in its own account, a step an hour."""

from backtest import HOLD, every, move_margin, on_fill, param, rule, trade


@rule(
    wake=on_fill() | every("1h"),
    upper=param(1.00, low=0.0, high=10.0, help="buffer under which half of the position is hedged, above it a quarter"),
    middle=param(0.60, low=0.0, high=10.0, help="buffer under which three quarters are hedged"),
    lower=param(0.35, low=0.0, high=10.0, help="buffer under which all of it is hedged"),
    rearm=param(0.10, low=0.0, high=1.0, help="buffer beyond these at which a step is taken back"),
    margin_pct=param(6.0, low=0.0, high=100.0, help="of a step's notional, sent from the reserve for its margin"),
)
def hedge_ladder(state, p):
    held = state.layer_share[0]
    if state.memory[0] > 0.0:
        step = state.memory[0]
        state.memory[0] = 0.0
        return trade("opposite", step)
    # The buffer of the position alone: a hedge's own margin is no thinner buffer of it.
    maintenance = state.maintenance_margin / (1.0 + held)
    buffer = (state.equity - maintenance) / (state.notional / state.leverage - maintenance)
    wanted = 1.0 if buffer < p.lower else 0.75 if buffer < p.middle else 0.5 if buffer <= p.upper else 0.25
    if wanted < held - 0.01:
        eased = buffer - p.rearm
        wanted = 1.0 if eased < p.lower else 0.75 if eased < p.middle else 0.5 if eased <= p.upper else 0.25
        return trade("opposite", max(wanted - held, -1.0)) if wanted < held - 0.01 else HOLD
    if wanted < held + 0.01 or state.hours_since_action < 1.0:
        return HOLD
    # The venue opens nothing while equity is under initial margin.
    step = wanted - held
    missing = step * state.notional * p.margin_pct / 100.0 + state.initial_margin - state.equity
    if missing <= 0.0:
        return trade("opposite", step)
    if missing > state.reserve:
        return HOLD
    state.memory[0] = step
    return move_margin(missing)
