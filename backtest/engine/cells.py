"""The state of a run, and the codes written into ledger rows.

A run's state is one record: its money in `balance`, by the accounts named here in the order of `schema.ACCOUNTS`, and
everything else in named int64 fields. `_high`/`_low` pairs are two-word sums in base 1e18.
"""

import numpy as np

MARGIN, FREE, RESERVE, TRANSIT, WORLD, MARKET, FEES, FUNDING, INSURANCE = range(9)
RULES_MAX = 8
WAKES_MAX = 32
PARAMS_MAX = 16  # of one rule
QUEUE_ROWS = 4096  # transfers on their way at once

_FIELDS = [
    "qty",
    "cost",
    "side",
    "leverage_e2",
    "step",
    "min_notional",
    "table",
    "taker",
    "fee_reserve",
    "time_ms",
    "bar",
    "entry_ms",
    "entry_bar",
    "exit_ms",
    "index",
    "segment",
    "reason",
    "capital",
    "entry_qty",
    "entry_value",
    "slippage",
    "turnover",
    "added",
    "rule_fills",
    "latency_from_ms",
    "clearance",
    "actions",
    "refused",
    "breached",
    "breaches",
    "forced_qty",
    "partial",
    "first_liq_ms",
    "first_liq_mark",
    "first_cause",
    "deficit",
    "paid_since_test",
    "stretch_low",
    "stretch_high",
    "min_buffer",
    "max_ratio",
    "clear_low",
    "clear_high",
    "clear_wallet",
    "drawn_low",
    "drawn_high",
    "known_low",
    "known_high",
    "known_wallet",
    "open_sum",
    "counted_to",
    "count_bound",
    "sum_high",
    "sum_low",
    "before_path_high",
    "before_path_low",
    "on_path",
    "paired_high",
    "paired_low",
    "paired_done",
    "baseline_qty",
    "baseline_liq_bar",
    "baseline_exit_bar",
    "entered_bar",
    "old_margin",
    "old_table",
    "old_fee_reserve",
    "funded",
    "day",
    "day_sent",
    "queue_head",
    "queue_tail",
    "script_at",
    "called",
    "pending",
    "bars_visited",
    "feed_due",
]
# What the less obvious ones hold:
#   stretch_low, stretch_high    least and largest mark seen since the state last changed; -1: none yet
#   clear_*, known_*             bands of the mark, each with the least wallet for which it holds: see band.py
#   drawn_low, drawn_high        marks of the tier in which the clear band was drawn
#   count_bound                  bars before this one have had the present quantity
#   before_path_high, _low       notional-hours at the start of a path, in case the run ends on it
#   rule_fills                   fills of rules and scripts so far
#   latency_from_ms              from when a transfer asked for now is on its way
#   entered_bar, old_*           bar at which a segment was entered and what held just before: the cause of a breach
#   called, pending              bit masks over the wakes: called in this bar, remembered for an open to come
#   pending_ms                   of a remembered wake: it is called at the first open from then on
#   feed_due                     first bar at which a row of the feed comes into force that a wake has not taken
#   wake_at                      of a wake that the feed tells: the next row of it
#   wake_way                     how far from liquidation it wakes, in true ranges known now; -1: not known
RUN_STATE = np.dtype(
    (
        np.record,
        [(name, "i8") for name in _FIELDS]
        + [
            ("balance", "i8", (9,)),
            ("rule_actions", "i8", (RULES_MAX,)),
            ("rule_last_ms", "i8", (RULES_MAX,)),
            ("wake_due_ms", "i8", (WAKES_MAX,)),
            ("pending_ms", "i8", (WAKES_MAX,)),
            ("wake_at", "i8", (WAKES_MAX,)),
            ("wake_way", "i8", (WAKES_MAX,)),
        ],
    )
)

# Kinds of transfer, in the order of schema.TRANSFER_KINDS.
(
    K_DEPOSIT,
    K_POST,
    K_FEE,
    K_PROFIT,
    K_LOSS,
    K_FUNDING,
    K_RELEASE,
    K_PUT_BACK,
    K_ADD_MARGIN,
    K_REMOVE_MARGIN,
    K_SEND,
    K_RETURN,
    K_CLEARANCE,
    K_SHORTFALL,
    K_TAKEOVER,
) = range(15)
# Causes of a row, in the order of schema.CAUSES.
C_ENTRY, C_RULE, C_EXIT, C_LIQUIDATION, C_FUNDING, C_DATA_END, C_ARRIVAL = range(7)
