"""The rules of generated pools, written with the author's API so that they can be compiled."""

from kernel_rules import ANY

from backtest import HOLD, close, every_bar, increase, move_margin, param, reduce, rule, set_leverage

TRADE = 6


@rule(
    wake=every_bar(),
    target=param(0.0, **ANY, help="0 opposite, 1 inverse, 2 other, 3 to 6 assets"),
    share=param(0.5, **ANY, help="share of the core, negative closes"),
)
def hedge(state, p):
    return (TRADE, p.share, int(p.target))


@rule(
    wake=every_bar(),
    target=param(0.0, **ANY, help="0 opposite, 1 inverse, 2 other, 3 to 6 assets"),
    share=param(0.5, **ANY, help="share of the core to keep hedged"),
    relief=param(1.0, **ANY, help="buffer at which the hedge is closed"),
)
def keep_hedged(state, p):
    """Use what the rule is shown of its layers."""
    target = int(p.target)
    held = state.layer_share[target]
    if state.buffer > p.relief:
        return (TRADE, -1.0, target) if held > 0.0 else HOLD
    if held < p.share and state.layers < 4.0:
        return (TRADE, p.share - held, target)
    return HOLD


@rule(
    wake=every_bar(),
    first=param(0.0, **ANY, help="turn to begin with"),
    size=param(0.3, **ANY, help="share"),
    target=param(0.0, **ANY, help="0 opposite, 1 inverse, 2 other, 3 to 6 assets"),
)
def pool_turns(state, p):
    """Ask for another thing at each call: every verb, and trades of a target most."""
    turn = (state.memory[0] + p.first) % 12.0
    state.memory[0] += 1.0
    if turn < 3.0:
        return (TRADE, p.size, int(p.target))
    if turn < 6.0:
        return (TRADE, -p.size, int(p.target))
    if turn == 6.0:
        return reduce(p.size, put_back=True)
    if turn == 7.0:
        return move_margin(p.size * state.initial_margin)
    if turn == 8.0:
        return increase(p.size)
    if turn == 9.0:
        return set_leverage(state.leverage * (0.5 + p.size))
    if turn == 10.0:
        return move_margin(-p.size * state.headroom, source="free")
    return reduce(p.size)


@rule(
    wake=every_bar(),
    target=param(3.0, **ANY, help="3 to 6: an asset"),
    share=param(1.0, **ANY, help="share to buy, twice at most"),
    dear=param(2.0, **ANY, help="share held above which it is sold"),
    relief=param(0.0, **ANY, help="buffer below which it is sold"),
)
def cash_in(state, p):
    """Buy an asset; sell it when it has become dear or margin is short, and move what is free to the margin."""
    target = int(p.target)
    held = state.layer_share[target]
    if state.memory[0] > 0.0:
        state.memory[0] = 0.0
        return move_margin(state.free, source="free")
    if held > 0.0 and (held > p.dear or state.buffer < p.relief):
        state.memory[0] = 1.0
        return (TRADE, -1.0, target)
    if held == 0.0 and state.memory[1] < 2.0:
        state.memory[1] += 1.0
        return (TRADE, p.share, target)
    return HOLD


@rule(wake=every_bar(), share=param(0.3, **ANY, help="share"), amount=param(1.0, **ANY, help="quote"))
def pool_moody(state, p):
    """Use all figures of the state."""
    state.memory[0] += 1.0
    if state.memory[0] == 2.0 or state.hours_since_action < 2.0:
        return HOLD
    if state.layers > 0.0 and state.unrealized_pnl > 0.0:
        return (TRADE, -p.share * (1.0 + state.layer_share[0]), 0)
    if state.buffer > 0.3 and state.side > 0.0:
        return move_margin(-state.headroom * p.share)
    if state.tier > 1.0 or state.reserve < p.amount:
        return reduce(p.share * (1.0 + state.wake), put_back=state.free < 1.0)
    if state.notional > 20.0 * state.wallet:
        return close()
    return move_margin(state.maintenance_margin * p.share + 0.1 * state.actions)
