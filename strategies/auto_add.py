"""Auto-add margin, as Bybit does it: just before liquidation add the initial margin once more, down to 1x leverage."""

from backtest import HOLD, margin_ratio_above, move_margin, param, rule


@rule(
    wake=margin_ratio_above("trigger"),
    trigger=param(0.95, low=0.5, high=1.0, help="maintenance over equity at which to act; 1 is liquidation"),
)
def auto_add(state, p):
    value = state.qty * state.entry_price
    amount = min(value / state.leverage, state.reserve, value - state.wallet)
    if state.transit > 0.0 or amount <= 0.0:
        return HOLD
    return move_margin(amount, source="reserve")
