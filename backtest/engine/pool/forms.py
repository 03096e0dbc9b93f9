"""The records of the pool replay: what is asked, what a run's state is, and the rows it leaves.

A leg has a slot: the core's legs first, then the opposite leg of each, then the inverse layer, the other one, and the
valued assets. A unit is named by the first slot it may hold: 0 the pool's, else that of the leg that stands alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.engine import cells as at
from backtest.engine.plan import ENTRY, OUTCOME_ROW, PLAN

CORE_MAX = 8
ASSETS_MAX = 4
SLOTS_MAX = 2 * CORE_MAX + 2 + ASSETS_MAX
INSTRUMENTS_MAX = 16
COLLATERALS_MAX = 4
QUOTE = 0  # the asset of all linear legs; asset k + 1 is the base coin of instrument k
OPPOSITE, INVERSE, OTHER, ASSET = range(4)  # targets of `trade`, in the order of schema.TARGETS; ASSET + a of asset a
CORE = -1
# What a leg is: a position under the venue's rules, or a valued asset: margined, or paid and written or bought.
VENUE, MARGINED, WRITTEN, BOUGHT = range(4)
BY_QUANTITY, BY_NOTIONAL, BY_CAPITAL = range(3)  # in the order of schema.SIZE_BY


def _names(*names: str) -> list[tuple[str, str]]:
    return [(name, "i8") for name in names]


def _fields(dtype: np.dtype[Any]) -> list[Any]:
    """List the fields of a record type, so that another can begin with them."""
    assert dtype.fields is not None
    return [(name, field[0]) for name, field in dtype.fields.items()]


POOL_PLAN = np.dtype(
    (
        np.record,
        [
            # first, so that numba does not take it for a PLAN, whose fields follow
            *_names("core_count", "slot_count", "instrument_count", "collateral_count", "isolated_count", "sync"),
            *_fields(PLAN),
            ("leg_instrument", "i8", (SLOTS_MAX,)),  # -1: the plan has no such layer
            ("leg_unit", "i8", (SLOTS_MAX,)),
            ("leg_target", "i8", (SLOTS_MAX,)),  # CORE, or the target of a layer
            ("leg_leverage_e2", "i8", (SLOTS_MAX,)),  # of layers
            ("leg_form", "i8", (SLOTS_MAX,)),  # VENUE, MARGINED, WRITTEN or BOUGHT
            ("leg_side", "i8", (SLOTS_MAX,)),  # of valued assets; 0: a layer against the core
            ("leg_slippage_e8", "i8", (SLOTS_MAX,)),
            ("leg_ratio_e8", "i8", (SLOTS_MAX,)),  # share of its value that a bought asset counts for
            ("leg_size_by", "i8", (SLOTS_MAX,)),  # of valued assets
            ("unit_asset", "i8", (SLOTS_MAX,)),
            ("collateral_instrument", "i8", (COLLATERALS_MAX,)),
            ("collateral_share_e8", "i8", (COLLATERALS_MAX,)),
            ("collateral_ratio_e8", "i8", (COLLATERALS_MAX,)),
        ],
    )
)
POOL_ENTRY = np.dtype(
    (
        np.record,
        [("leg_step_e8", "i8", (SLOTS_MAX,)), ("leg_min_notional_e8", "i8", (SLOTS_MAX,)), *_fields(ENTRY)],
    )
)
POOL_RUN = np.dtype(
    (
        np.record,
        [
            *_names("time_ms", "bar", "entry_ms", "entry_bar", "exit_ms", "index", "segment", "reason", "capital"),
            *_names(
                "entry_qty",
                "first_qty",
                "entry_notional",
                "forced_qty",
                "slippage",
                "fees",
                "funding",
                "turnover",
                "added",
                "premium",
            ),
            *_names("clearance", "rule_fills", "latency_from_ms", "actions", "refused", "breaches", "partial"),
            *_names("first_liq_ms", "first_liq_mark", "first_cause", "layer_liquidations"),
            *_names("min_buffer", "max_ratio", "seen", "counted_to", "count_bound", "sum_high", "sum_low", "on_path"),
            *_names("before_path_high", "before_path_low", "paired_high", "paired_low", "paired_done"),
            *_names(
                "baseline_qty",
                "baseline_liq_bar",
                "baseline_exit_bar",
                "entered_bar",
                "funded",
                "margins",
                "old_margins",
            ),
            *_names("day", "day_sent", "queue_head", "queue_tail", "script_at", "called", "pending", "bars_visited"),
            *_names("feed_due"),
            *_names("breached", "forced", "spent"),  # bit masks over the units
            ("qty", "i8", (SLOTS_MAX,)),
            ("cost", "i8", (SLOTS_MAX,)),
            ("side", "i8", (SLOTS_MAX,)),
            ("leverage_e2", "i8", (SLOTS_MAX,)),
            ("fee_reserve", "i8", (SLOTS_MAX,)),
            ("old_fee_reserve", "i8", (SLOTS_MAX,)),
            ("old_qty", "i8", (SLOTS_MAX,)),
            ("old_cost", "i8", (SLOTS_MAX,)),
            ("paid_since_test", "i8", (SLOTS_MAX,)),  # these three of the units
            ("old_wallet", "i8", (CORE_MAX,)),
            ("unfunded_wallet", "i8", (CORE_MAX,)),
            ("open_sum", "i8", (CORE_MAX,)),  # mark opens counted and not yet multiplied
            ("entry_mark", "i8", (CORE_MAX,)),
            ("table", "i8", (INSTRUMENTS_MAX,)),
            ("old_table", "i8", (INSTRUMENTS_MAX,)),
            ("taker", "i8", (INSTRUMENTS_MAX,)),
            ("low", "i8", (INSTRUMENTS_MAX,)),  # least and largest mark of the present stretch, while `seen`
            ("high", "i8", (INSTRUMENTS_MAX,)),
            ("lower", "i8", (INSTRUMENTS_MAX,)),  # marks moved by a distance to liquidation, while it is asked for
            ("upper", "i8", (INSTRUMENTS_MAX,)),
            ("balance", "i8", (INSTRUMENTS_MAX + 1, 9 + SLOTS_MAX)),  # by asset and account
            ("rule_actions", "i8", (at.RULES_MAX,)),
            ("rule_last_ms", "i8", (at.RULES_MAX,)),
            ("wake_due_ms", "i8", (at.WAKES_MAX,)),
            ("pending_ms", "i8", (at.WAKES_MAX,)),
            ("wake_at", "i8", (at.WAKES_MAX,)),
            ("wake_way", "i8", (at.WAKES_MAX,)),
        ],
    )
)
# What the less obvious ones hold:
#   entry_qty, forced_qty    of one core leg its quantity, of several their notional
#   cost                     value of the fills; 0 of a paid asset, whose price has changed hands
#   paid_since_test          fees out of a unit's wallet since its last test, in its asset
#   margins                  segment whose margins per unit are in force for valued assets
#   old_*                    what held before the present segment's first open: the cause of a breach
#   unfunded_wallet          wallets there after the settlement of ended assets, before funding
#   forced, spent            units forced on this way of the path; those tested again at its end

POOL_TRANSFER = np.dtype(
    [("time_ms", "i8"), ("amount_e8", "i8"), ("run", "i4"), ("rule", "i2")]
    + [(name, "i1") for name in ("kind", "debit", "credit", "cause", "asset")],
    align=True,
)
POOL_FILL = np.dtype(
    [(name, "i8") for name in ("time_ms", "qty_e8", "price_e8", "cost_e8", "mark_e8")]
    + [("run", "i4"), ("rule", "i2"), ("cause", "i1"), ("slot", "i1")],
    align=True,
)
POOL_OUTCOME = np.dtype([*_fields(OUTCOME_ROW), ("layer_liquidations", "i8"), ("premium_e8", "i8")])

# Kinds and causes that only pools have, after those of `cells`.
K_CONVERT, K_PREMIUM = at.K_TAKEOVER + 1, at.K_TAKEOVER + 2
C_EXPIRY = at.C_ARRIVAL + 1


class PoolBook(NamedTuple):
    """Where a pool replay writes its rows; see `ledger.Book`."""

    transfers: npt.NDArray[np.void]
    fills: npt.NDArray[np.void]
    actions: npt.NDArray[np.void]
    cursor: npt.NDArray[np.int64]  # transfers, fills, actions, overflow (1: a row did not fit)
    record: int


class PoolDesk(NamedTuple):
    """What a pool replay works with beside market and plan. Marks and prices are those of the present event."""

    book: PoolBook
    queue: npt.NDArray[np.int64]  # (q, 3) transfers on their way: arrival time, amount, rule
    rules: Any  # tuple of RULES_MAX functions (state, parameters) -> (verb, amount, target)
    params: npt.NDArray[np.float64]  # (RULES_MAX, p)
    state: Any  # (1,) record of state.STATE_DTYPE
    memory: npt.NDArray[np.float64]  # (RULES_MAX, MEMORY_SIZE)
    agenda: Any  # (s + f,) records of plan.SCRIPT_ROW: scripted actions, then the feed
    runs: Any  # (2,) records of POOL_RUN: the one in use and a blank one
    marks: npt.NDArray[np.int64]  # (i,) mark of each instrument
    bases: npt.NDArray[np.int64]  # (i,) price of each instrument before slippage
    starts: npt.NDArray[np.int64]  # (i,) where the present way of the path begins
    ends: npt.NDArray[np.int64]  # (i,) where it ends
    others: npt.NDArray[np.int64]  # (i,) where the way after it ends
    trial: npt.NDArray[np.int64]  # (i,) marks looked at


def wallet_of(unit: int) -> int:
    """Give the account of a unit's wallet."""
    return at.MARGIN if unit == 0 else at.INSURANCE + unit
