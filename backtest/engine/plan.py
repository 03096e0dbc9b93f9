"""What a replay is asked to do: the plan shared by all runs of a batch, and the entries, one a run.

Records of numbers, so that the compiled kernel can take them as they are.
"""

from __future__ import annotations

import numpy as np

from backtest.engine.cells import RULES_MAX, WAKES_MAX
from backtest.engine.rules import EVENTS_MAX, SIGNALS_MAX

# How a rule can be woken. The first five are thresholds on the state: they are looked for on the path. The last three
# have their dates in the feed.
(
    BUFFER_BELOW,
    MARGIN_RATIO_ABOVE,
    HEADROOM_BELOW,
    LIQ_BPS_BELOW,
    LIQ_ATR_BELOW,
    EVERY,
    EVERY_BAR,
    ON_FILL,
    ON_FUNDING,
    ON_ARRIVAL,
    SIGNAL,
    BEFORE_EVENT,
    AFTER_EVENT,
) = range(13)
WAKE_KINDS = (
    "buffer_below",
    "margin_ratio_above",
    "headroom_below",
    "liq_bps_below",
    "liq_atr_below",
    "every",
    "every_bar",
    "on_fill",
    "on_funding",
    "on_arrival",
    "signal",
    "before_event",
    "after_event",
)
THRESHOLDS = 5
DISTANCES = LIQ_BPS_BELOW  # from here to THRESHOLDS: thresholds on the distance to liquidation
DATED = SIGNAL
NONE = -1
# What a rule is told of the feed: its signals, then the next and then the last time of its kinds of event.
SLOTS = SIGNALS_MAX + 2 * EVENTS_MAX
NEXT_EVENT, LAST_EVENT = SIGNALS_MAX, SIGNALS_MAX + EVENTS_MAX


INT64_MIN = -9_223_372_036_854_775_808

# What every run of a batch has in common. Rates are int64 at 1e-8; flags are 0 or 1.
PLAN = np.dtype(
    (
        np.record,
        [
            (name, "i8")
            for name in (
                "slippage_e8",
                "liquidation_slippage_e8",
                "clearance_e8",
                "cross",
                "takeover",  # forced closes at the bankruptcy price (Bybit), not IOC at the mark (Binance)
                "fee_reserve",  # the closing fee is part of both margins (Bybit)
                "keep",  # a reduction releases nothing
                "latency_ms",  # of the reserve
                "daily_cap_e8",  # of the reserve; NONE without one
                "next_open",  # reaction: 0 intrabar, 1 next_open
                "reaction_ms",  # from a wake until its rule is called, at the first open that is late enough
                "remember",  # wakes on the path are not called there: next_open, or a reaction that takes time
                "liquidate",  # 0: probe without liquidation
                "skip",  # 0: visit every bar
                "buffer_max_e8",  # largest buffer threshold; NONE without one
                "ratio_min_e8",  # least margin-ratio threshold; NONE without one
                "headroom_max_e8",  # largest headroom threshold; INT64_MIN without one
                "every_bar",  # a rule is woken at every bar
                "on_funding",  # a rule is woken by funding
                "distance",  # a rule is woken by the distance to liquidation
                "feed",  # a rule is woken by the feed, or told of it
                "wake_count",
                "no_rule",  # -1, what a row says that no rule caused; a number, so that one compiled form serves both
            )
        ]
        + [
            ("wake_rule", "i8", (WAKES_MAX,)),  # rule of each wake, in list order
            ("wake_index", "i8", (WAKES_MAX,)),  # its place in the rule's own list
            ("wake_kind", "i8", (WAKES_MAX,)),
            ("wake_value", "i8", (WAKES_MAX,)),  # threshold at 1e-8, or milliseconds
            ("wake_rows", "i8", (WAKES_MAX, 2)),  # first row in the feed and the one after the last
            ("slot_rows", "i8", (RULES_MAX, SLOTS, 2)),
            ("cooldown_ms", "i8", (RULES_MAX,)),
            ("parts_read", "i8", (RULES_MAX,)),  # bits of engine/parts.py
        ],
    )
)

ENTRY = np.dtype(
    (
        np.record,
        [
            (name, "i8")
            for name in (
                "entry_bar",  # NONE: no bar at the entry time
                "entry_segment",
                "entry_ms",
                "exit_bar",  # first bar at or after entry + horizon; n when the data end before
                "side",
                "leverage_e2",
                "capital_e8",
                "sizing_margin_e8",  # quantity = floor(sizing margin x leverage / trade open)
                "qty_share_e8",
                "posted_e8",
                "step_e8",
                "min_notional_e8",
                "script_start",  # its scripted actions: rows script_start to script_stop
                "script_stop",
                "baseline_liquidation_ms",  # NONE: not liquidated
                "baseline_exit_ms",  # NONE: this run is its own pair
            )
        ],
    )
)
SCRIPT_ROW = np.dtype((np.record, [("bars", "i8"), ("verb", "i8"), ("amount", "f8"), ("target", "i8")]))
# A row of the feed has the form of a scripted action, for each array that is handed on costs every call some time:
# `bars` is the bar from which it is in force, `amount` its value.
FEED_ROW = SCRIPT_ROW

OUTCOME_ROW = np.dtype(
    [
        (name, "i8")
        for name in (
            "exit_ms",
            "reason",
            "refusal",
            "liquidated",
            "cause",
            "partial",
            "forced_qty_e8",
            "liquidation_count",
            "liquidation_ms",
            "liquidation_price_e8",
            "entry_qty_e8",
            "entry_notional_e8",
            "qty_at_baseline_liquidation_e8",
            "equity_end_e8",
            "fees_e8",
            "funding_e8",
            "slippage_e8",
            "clearance_fee_e8",
            "margin_added_e8",
            "turnover_e8",
            "notional_hours_e2",
            "notional_hours_paired_e2",
            "min_buffer_ppm",
            "max_margin_ratio_ppm",
            "largest_deficit_e8",
            "actions",
            "refused",
            "exit_bar",
            "last_segment",
            "bars_visited",
        )
    ]
)
