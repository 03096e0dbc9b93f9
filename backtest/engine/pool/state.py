"""What a rule sees of a pool run: the core's unit in quote, and how large its layers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.engine import cells as at
from backtest.engine.compile import inner
from backtest.engine.pool.forms import ASSET, CORE, QUOTE
from backtest.engine.pool.layers import unit_share
from backtest.engine.pool.units import collateral_value, figures
from backtest.engine.pool.values import first_asset, notional_of, tier_of
from backtest.engine.state import HOUR_MS, natural

if TYPE_CHECKING:
    from backtest.engine.pool.forms import PoolDesk
    from backtest.engine.pool.market import PoolMarket
    from backtest.engine.pool.values import Plan, Run


@inner
def fill_state(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, s: Any, rule: int, wake: int) -> None:
    """Write the present of a run into a rule's record. Price, quantity and tier are of the first core leg."""
    first = plan.leg_instrument[0]
    mark, qty = desk.marks[first], run.qty[0]
    asset = plan.unit_asset[0]
    equity, maintenance, initial = figures(market, plan, run, 0, desk.marks, False)
    wallet = run.balance[asset, at.MARGIN]
    profit = equity - wallet
    for j in range(plan.collateral_count):
        profit -= collateral_value(plan, run, j, desk.marks[plan.collateral_instrument[j]])
    s.mark_price = natural(mark)
    s.entry_price = entry_price(market, run, first)
    s.qty = natural(qty)
    s.entry_qty = natural(run.first_qty)
    s.side = float(run.side[0])
    s.leverage = float(run.leverage_e2[0]) / 100.0
    s.wallet = worth(market, first, wallet, mark)
    s.unrealized_pnl = worth(market, first, profit, mark)
    s.equity = worth(market, first, equity, mark)
    s.initial_margin = worth(market, first, initial, mark)
    s.maintenance_margin = worth(market, first, maintenance, mark)
    s.margin_ratio = float(maintenance) / float(equity) if equity > 0 else np.inf
    s.headroom = worth(market, first, equity - maintenance, mark)
    room = initial - maintenance
    s.buffer = float(equity - maintenance) / float(room) if room > 0 else np.nan
    s.free = natural(run.balance[QUOTE, at.FREE])
    s.reserve = natural(run.balance[QUOTE, at.RESERVE])
    s.transit = natural(run.balance[QUOTE, at.TRANSIT])
    s.capital = natural(run.capital)
    s.margin_added = natural(run.added)
    s.funding_paid = natural(run.funding)
    s.fees_paid = natural(run.fees)
    s.actions = float(run.rule_actions[rule])
    s.hours_since_entry = float(run.time_ms - run.entry_ms) / HOUR_MS
    last = run.rule_last_ms[rule]
    s.hours_since_action = float(run.time_ms - last) / HOUR_MS if last >= 0 else np.inf
    s.tier = float(tier_of(market, run, first, qty, mark) + 1)
    s.wake = float(wake)
    fill_layers(market, plan, desk, run, s)


@inner
def worth(market: PoolMarket, instrument: int, amount: int, mark: int) -> float:
    """Give an amount of the core's asset in quote."""
    return natural(amount) * natural(mark) if market.inverse[instrument] else natural(amount)


@inner
def entry_price(market: PoolMarket, run: Run, instrument: int) -> float:
    """Give cost over quantity, or for a coin contract quantity over cost; not a number when the first leg is flat."""
    if run.qty[0] == 0:
        return np.nan
    if market.inverse[instrument]:
        return float(run.qty[0]) / float(run.cost[0])
    return float(run.cost[0]) / float(run.qty[0])


@inner
def fill_layers(market: PoolMarket, plan: Plan, desk: PoolDesk, run: Run, s: Any) -> None:
    """Write the core's notional, and of each target the layer's share of it; of an asset, of what share 1 would be."""
    core, layers = 0, 0
    for target in range(len(s.layer_share)):
        s.layer_share[target] = 0.0
    for slot in range(plan.slot_count):
        if run.qty[slot] > 0:
            instrument = plan.leg_instrument[slot]
            notional = notional_of(market, instrument, run.qty[slot], desk.marks[instrument])
            if plan.leg_target[slot] == CORE:
                core += notional
            else:
                layers += 1
                s.layer_share[plan.leg_target[slot]] += float(notional)
    s.notional = natural(core)
    s.layers = float(layers)
    for target in range(ASSET):
        s.layer_share[target] = s.layer_share[target] / float(core) if core > 0 else 0.0
    for slot in range(first_asset(plan), plan.slot_count):
        amount, price = unit_share(market, plan, desk, run, slot)
        held = run.qty[slot] if amount > 0 and price > 0 else 0
        s.layer_share[plan.leg_target[slot]] = float(held) / (float(amount) / natural(price)) if held > 0 else 0.0
