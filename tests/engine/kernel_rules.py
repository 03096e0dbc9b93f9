"""The rules of scenarios and generated worlds, written with the author's API so that they can be compiled."""

from backtest import HOLD, close, every_bar, increase, move_margin, param, reduce, rule, set_leverage

ANY = {"low": -1e12, "high": 1e12}


@rule(wake=every_bar(), share=param(0.5, **ANY, help="share"), put_back=param(0.0, **ANY, help="1: put back"))
def deleverage(state, p):
    return reduce(p.share, put_back=p.put_back != 0.0)


@rule(wake=every_bar(), amount=param(1.0, **ANY, help="quote"))
def top_up(state, p):
    return move_margin(p.amount)


@rule(wake=every_bar())
def leave(state, p):
    return close()


@rule(wake=every_bar(), share=param(1.0, **ANY, help="share"))
def top_up_share(state, p):
    return move_margin(p.share * state.headroom)


@rule(wake=every_bar(), share=param(1.0, **ANY, help="share"))
def grow(state, p):
    return increase(p.share)


@rule(wake=every_bar(), amount=param(1.0, **ANY, help="quote"))
def from_free(state, p):
    return move_margin(p.amount, source="free")


@rule(wake=every_bar(), leverage=param(1.0, **ANY, help="leverage"))
def relever(state, p):
    return set_leverage(p.leverage)


@rule(wake=every_bar(), share=param(0.3, **ANY, help="share"), amount=param(1.0, **ANY, help="quote"))
def moody(state, p):
    """Use what the rule is shown: memory, counts, times, and the figures themselves."""
    state.memory[0] += 1.0
    if state.memory[0] == 2.0 or state.hours_since_action < 2.0:
        return HOLD
    if state.buffer > 0.3 and state.side > 0.0:
        return move_margin(-state.headroom * p.share)
    if state.tier > 1.0 or state.reserve < p.amount:
        return reduce(p.share * (1.0 + state.wake), put_back=state.free < 1.0)
    return move_margin(state.maintenance_margin * p.share + 0.1 * state.actions)


@rule(wake=every_bar(), share=param(0.2, **ANY, help="share"), amount=param(1.0, **ANY, help="quote"))
def informed(state, p):
    """Use what the rule is told from outside: signals, and hours to and from events."""
    if state.signals[0] > 0.5 or state.hours_to_event[0] < 3.0:
        return reduce(p.share, put_back=state.signals[1] > 0.0)
    if state.hours_since_event[0] <= 1.0 or state.hours_to_event[1] < 100.0:
        return move_margin(p.amount)
    if state.signals[7] == state.signals[7]:
        return close()
    return move_margin(p.share * (state.signals[1] if state.signals[1] == state.signals[1] else 1.0))


@rule(wake=every_bar(), calls=param(2.0, **ANY, help="calls"), amount=param(1.0, **ANY, help="quote"))
def patient_top_up(state, p):
    state.memory[0] += 1.0
    if state.memory[0] < p.calls:
        return HOLD
    return move_margin(p.amount)


@rule(wake=every_bar(), first=param(0.0, **ANY, help="verb to begin with"), size=param(0.3, **ANY, help="share"))
def turns(state, p):
    """Ask for another verb at each call: every kind of action, some of which the venue refuses."""
    turn = (state.memory[0] + p.first) % 8.0
    state.memory[0] += 1.0
    if turn == 0.0:
        return reduce(p.size, put_back=True)
    if turn == 1.0:
        return move_margin(p.size * state.initial_margin)
    if turn == 2.0:
        return increase(p.size)
    if turn == 3.0:
        return move_margin(-p.size * (state.equity - state.initial_margin))
    if turn == 4.0:
        return set_leverage(state.leverage * (0.5 + p.size))
    if turn == 5.0:
        return move_margin(p.size * state.free, source="free")
    if turn == 6.0:
        return reduce(p.size)
    return move_margin(-p.size * state.wallet, source="free")
