"""What a rule sees: the present, in natural units, as one record. No prices of other times, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.engine import cells as at
from backtest.engine.compile import inlined, inner
from backtest.engine.margin import tier_at
from backtest.engine.position import fill_value, measure_at
from backtest.engine.rules import EVENTS_MAX, SIGNALS_MAX
from backtest.schema import TARGETS

if TYPE_CHECKING:
    from backtest.engine.ledger import Run
    from backtest.engine.market import Market

MEMORY_SIZE = 8
STATE_FIELDS = {
    "mark_price": "mark price where the rule is called, quote",
    "entry_price": "cost of the open quantity over the quantity, quote",
    "qty": "open quantity, base",
    "entry_qty": "quantity at entry, base",
    "side": "+1 long, -1 short",
    "leverage": "leverage set",
    "wallet": "wallet of the margin unit, quote",
    "unrealized_pnl": "at mark, quote",
    "equity": "wallet + unrealised profit, quote",
    "initial_margin": "at mark notional and set leverage, quote",
    "maintenance_margin": "liquidation comes when equity is at or under it, quote",
    "margin_ratio": "maintenance / equity; 1 is liquidation",
    "headroom": "equity - maintenance, quote",
    "buffer": "headroom / (initial - maintenance): about 1 at entry, 0 at liquidation; NaN when null",
    "notional": "quantity x mark, quote",
    "free": "venue money outside positions, quote",
    "reserve": "capital outside the venue, quote",
    "transit": "sent by the reserve and not arrived, quote",
    "capital": "capital of the run, quote",
    "margin_added": "margin that rules added so far, quote",
    "funding_paid": "funding paid so far, negative when received, quote",
    "fees_paid": "taker fees so far, quote",
    "actions": "actions of this rule that were done",
    "hours_since_entry": "hours",
    "hours_since_action": "hours since this rule's last action; infinite before the first",
    "tier": "row of the risk table in force, from 1",
    "wake": "which of the rule's wakes called it, from 0",
    "layers": "hedge legs open",
}
STATE_ARRAYS = {
    "memory": (MEMORY_SIZE, "numbers of the rule's own, 0 at entry"),
    "layer_share": (
        len(TARGETS),
        "each layer by target: its notional over the core's, of an asset what is held over what share 1 would be",
    ),
    "signals": (SIGNALS_MAX, "values, known now, of the signals that the rule names; NaN: not known"),
    "hours_to_event": (EVENTS_MAX, "hours to the next event, as known now, of each kind it names; inf: none"),
    "hours_since_event": (EVENTS_MAX, "hours since the last event of each kind it names; inf: none"),
}
STATE_DTYPE = np.dtype(
    (
        np.record,
        [(name, "f8") for name in STATE_FIELDS] + [(name, "f8", (size,)) for name, (size, _) in STATE_ARRAYS.items()],
    )
)
HOUR_MS = 3_600_000.0


def blank_state() -> Any:
    """Give the record that rules are handed, as it is where no feed tells of signals and events."""
    states = np.zeros(1, STATE_DTYPE)
    states["signals"] = np.nan
    states["hours_to_event"] = states["hours_since_event"] = np.inf
    return states


@inner
def natural(value_e8: int) -> float:
    """Turn an e8 integer into natural units."""
    return float(value_e8) / 1e8


@inlined
def fill_margins(tape: Market, run: Run, s: Any, mark: int, in_quote: bool) -> None:
    """Write the ratios of a run's margins at a mark into a rule's record, and the margins themselves in quote."""
    equity, maintenance, initial = measure_at(tape, run, mark)
    room = initial - maintenance
    s.buffer = float(equity - maintenance) / float(room) if room > 0 else np.nan
    s.margin_ratio = float(maintenance) / float(equity) if equity > 0 else np.inf
    if in_quote:
        s.unrealized_pnl = natural(equity - run.balance[at.MARGIN])
        s.equity = natural(equity)
        s.initial_margin = natural(initial)
        s.maintenance_margin = natural(maintenance)
        s.headroom = natural(equity - maintenance)


@inlined
def fill_facts(tape: Market, run: Run, s: Any, rule: int, wake: int, mark: int) -> None:
    """Write the other numbers of the present of a run into a rule's record."""
    s.mark_price = natural(mark)
    s.entry_price = float(run.cost) / float(run.qty)
    s.qty = natural(run.qty)
    s.entry_qty = natural(run.entry_qty)
    s.side = float(run.side)
    s.leverage = float(run.leverage_e2) / 100.0
    s.wallet = natural(run.balance[at.MARGIN])
    s.notional = natural(fill_value(run.qty, mark, False))
    s.free = natural(run.balance[at.FREE])
    s.reserve = natural(run.balance[at.RESERVE])
    s.transit = natural(run.balance[at.TRANSIT])
    s.capital = natural(run.capital)
    s.margin_added = natural(run.added)
    s.funding_paid = natural(run.balance[at.FUNDING])
    s.fees_paid = natural(run.balance[at.FEES])
    s.actions = float(run.rule_actions[rule])
    s.hours_since_entry = float(run.time_ms - run.entry_ms) / HOUR_MS
    last = run.rule_last_ms[rule]
    s.hours_since_action = float(run.time_ms - last) / HOUR_MS if last >= 0 else np.inf
    s.tier = float(tier_at(tape, run.table, run.qty, mark) + 1)
    s.wake = float(wake)
    s.layers = 0.0
