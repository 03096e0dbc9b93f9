"""What a rule sees: the present, in natural units, as one record. No prices of other times, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.engine import cells as at
from backtest.engine.compile import jit
from backtest.engine.margin import tier_at
from backtest.engine.position import fill_value, measure_at

if TYPE_CHECKING:
    from backtest.engine.ledger import Int64Array
    from backtest.schema import Tape

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
STATE_DTYPE = np.dtype((np.record, [(name, "f8") for name in STATE_FIELDS] + [("memory", "f8", (MEMORY_SIZE,))]))
HOUR_MS = 3_600_000.0


@jit
def natural(value_e8: int) -> float:
    """Turn an e8 integer into natural units."""
    return float(value_e8) / 1e8


@jit
def fill_state(tape: Tape, a: Int64Array, s: Any, rule: int, wake: int, mark: int) -> None:
    """Write the present of a run into a rule's record."""
    equity, maintenance, initial = measure_at(tape, a, mark)
    s.mark_price = natural(mark)
    s.entry_price = float(a[at.COST]) / float(a[at.QTY])
    s.qty = natural(a[at.QTY])
    s.entry_qty = natural(a[at.ENTRY_QTY])
    s.side = float(a[at.SIDE])
    s.leverage = float(a[at.LEVERAGE]) / 100.0
    s.wallet = natural(a[at.MARGIN])
    s.unrealized_pnl = natural(equity - a[at.MARGIN])
    s.equity = natural(equity)
    s.initial_margin = natural(initial)
    s.maintenance_margin = natural(maintenance)
    s.margin_ratio = float(maintenance) / float(equity) if equity > 0 else np.inf
    s.headroom = natural(equity - maintenance)
    room = initial - maintenance
    s.buffer = float(equity - maintenance) / float(room) if room > 0 else np.nan
    s.notional = natural(fill_value(a[at.QTY], mark, False))
    s.free = natural(a[at.FREE])
    s.reserve = natural(a[at.RESERVE])
    s.transit = natural(a[at.TRANSIT])
    s.capital = natural(a[at.CAPITAL])
    s.margin_added = natural(a[at.ADDED])
    s.funding_paid = natural(a[at.FUNDING])
    s.fees_paid = natural(a[at.FEES])
    s.actions = float(a[at.ACTIONS_OF_RULE + rule])
    s.hours_since_entry = float(a[at.TIME] - a[at.ENTRY_TIME]) / HOUR_MS
    last = a[at.LAST_ACTION_OF_RULE + rule]
    s.hours_since_action = float(a[at.TIME] - last) / HOUR_MS if last >= 0 else np.inf
    s.tier = float(tier_at(tape, a[at.TABLE], a[at.QTY], mark) + 1)
    s.wake = float(wake)
    s.layers = 0.0
