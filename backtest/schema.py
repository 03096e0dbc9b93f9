"""Every table, once: columns, types, units, meaning and sort key.

A column's type is one of `int64`, `float64`, `text`, `bool`, `int8`. `null=True` says that a value may be missing.
Lake tables hold natural units as doubles; result tables hold exact integers (`_e8`, `_e2`, `_ppm`, `_ms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    help: str
    null: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its name, columns in order, and the columns that sort it and are unique together."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    help: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def arrow(self) -> pa.Schema:
        """Give the Arrow schema."""
        import pyarrow as pa

        types = {
            "int64": pa.int64(),
            "float64": pa.float64(),
            "text": pa.string(),
            "bool": pa.bool_(),
            "int8": pa.int8(),
        }
        return pa.schema([pa.field(c.name, types[c.type], nullable=c.null) for c in self.columns])


def _bars(name: str, help: str, extra: tuple[Column, ...] = ()) -> Table:
    price = "in quote per base coin"
    return Table(
        name,
        (
            Column("open_time_ms", "int64", "bar open, UTC"),
            Column("open", "float64", price),
            Column("high", "float64", price),
            Column("low", "float64", price),
            Column("close", "float64", price),
            *extra,
            Column("available_ms", "int64", "when the bar is known: open + interval"),
        ),
        ("open_time_ms",),
        help,
    )


# --- the lake: partitioned by venue / table / symbol / interval / year ---------------------------------------------

KLINES = _bars(
    "klines",
    "last-price bars; decide fills, never liquidation",
    (
        Column("volume", "float64", "base coin (COIN-M: contracts)", null=True),
        Column("quote_volume", "float64", "quote", null=True),
        Column("trade_count", "int64", "trades in the bar", null=True),
    ),
)
MARK_PRICE = _bars("mark_price", "mark-price bars; decide liquidation, unrealised profit and funding")
INDEX_PRICE = _bars("index_price", "index-price bars")
PREMIUM_INDEX = _bars("premium_index", "premium-index bars, a fraction of the index, may be negative")
FUNDING_RATE = Table(
    "funding_rate",
    (
        Column("funding_time_ms", "int64", "the venue's own stamp, often some ms off the hour"),
        Column("funding_rate", "float64", "fraction of notional; longs pay when positive"),
        Column("mark_price", "float64", "mark at the stamp where the venue gives it", null=True),
        Column("available_ms", "int64", "when the rate is known: the stamp"),
    ),
    ("funding_time_ms",),
    "funding as it was settled",
)
SERIES = Table(
    "series",
    (
        Column("time_ms", "int64", "the period or moment the value speaks of"),
        Column("value", "float64", "in the unit of the series"),
        Column("available_ms", "int64", "when the value was published"),
    ),
    ("time_ms", "available_ms"),
    "any dated series: an index, a rate, breadth, a macro release",
)
_PER_UNIT = "in quote per unit"
ASSET_MARKS = Table(
    "asset_marks",
    (
        Column("time_ms", "int64", "bar open, UTC"),
        Column("open", "float64", _PER_UNIT),
        Column("high", "float64", _PER_UNIT),
        Column("low", "float64", _PER_UNIT),
        Column("close", "float64", _PER_UNIT),
        Column("initial_margin", "float64", f"{_PER_UNIT}; in force from the open on"),
        Column("maintenance_margin", "float64", f"{_PER_UNIT}; in force from the open on"),
        Column("available_ms", "int64", "when the bar is known: open + interval"),
    ),
    ("time_ms",),
    "what a valued asset (an option, a future, a share of a pool) is worth and needs; the partition `symbol` names it",
)
LAKE_TABLES = {t.name: t for t in (KLINES, MARK_PRICE, INDEX_PRICE, PREMIUM_INDEX, FUNDING_RATE, SERIES, ASSET_MARKS)}
BAR_TABLES = ("klines", "mark_price", "index_price", "premium_index")  # bars that a venue publishes of a symbol
INTERVAL_TABLES = (*BAR_TABLES, "asset_marks")  # whose rows are bars of one length

# --- the ledger ----------------------------------------------------------------------------------------------------

# Accounts of a run. A transfer has one debit and one credit among them; the last five are counter-accounts.
ACCOUNTS = ("margin", "free", "reserve", "transit", "world", "market", "fees", "funding", "insurance")
TRANSFER_KINDS = (
    "deposit",  # world -> reserve: the capital
    "post",  # reserve -> margin at entry
    "fee",  # margin -> fees: taker fee
    "profit",  # market -> margin: realised profit
    "loss",  # margin -> market: realised loss
    "funding",  # margin <-> funding
    "release",  # margin -> free: the closed share of an isolated wallet, or what is left when flat
    "put_back",  # free -> margin: a release returned to the position
    "add_margin",  # reserve or free -> margin (transit -> margin on arrival)
    "remove_margin",  # margin -> reserve or free
    "send",  # reserve -> transit: a transfer with latency leaves
    "return",  # transit -> reserve: it had not arrived when the run ended
    "clearance",  # margin -> insurance: clearance fee of a forced close
    "shortfall",  # insurance -> margin: a loss beyond the wallet
    "takeover",  # margin -> insurance: what a takeover at the bankruptcy price leaves behind
    "convert",  # quote into coin or coin into quote, each with the market
    "premium",  # margin <-> market: the price of a valued asset bought or sold
)
CAUSES = ("entry", "rule", "exit", "liquidation", "funding", "data_end", "arrival", "expiry")
VERBS = ("hold", "reduce", "increase", "close", "move_margin", "set_leverage", "trade")
ACTION_STATUS = (
    "done",
    "insufficient_reserve",
    "insufficient_free",
    "below_step",
    "below_min_notional",
    "leverage_cap",
    "not_removable",
    "daily_cap",
    "invalid_amount",
    "not_supported",
    "dropped",
    "insufficient_margin",
    "not_listed",
)
TARGETS = ("opposite", "inverse", "other", "asset", "asset2", "asset3", "asset4")  # layers that `trade` names
SIZE_BY = ("quantity", "notional", "capital")  # what a share of 1 of a valued asset is: the core's quantity, and so on

TRANSFERS = Table(
    "transfers",
    (
        Column("run_id", "text", "the run"),
        Column("sequence", "int64", "order inside the run, from 0"),
        Column("time_ms", "int64", "the bar open of the event"),
        Column("kind", "text", "what it is: " + ", ".join(TRANSFER_KINDS)),
        Column("debit", "text", "account the amount leaves"),
        Column("credit", "text", "account the amount reaches"),
        Column("asset", "text", "asset of the amount"),
        Column("amount_e8", "int64", "positive"),
        Column("cause", "text", "event that caused it: " + ", ".join(CAUSES)),
        Column("rule", "text", "the rule that caused it", null=True),
    ),
    ("run_id", "sequence"),
    "the ledger: one debit, one credit, one positive amount a row",
)
FILLS = Table(
    "fills",
    (
        Column("run_id", "text", "the run"),
        Column("sequence", "int64", "order inside the run, from 0"),
        Column("time_ms", "int64", "the bar open of the event"),
        Column("symbol", "text", "instrument"),
        Column("qty_e8", "int64", "signed: bought positive, sold negative"),
        Column("price_e8", "int64", "fill price, slippage included"),
        Column("cost_e8", "int64", "fill value in quote, always positive"),
        Column("mark_e8", "int64", "mark price where it was decided"),
        Column("cause", "text", "event that caused it"),
        Column("rule", "text", "the rule that caused it", null=True),
    ),
    ("run_id", "sequence"),
    "changes of position",
)
ACTIONS = Table(
    "actions",
    (
        Column("run_id", "text", "the run"),
        Column("sequence", "int64", "order inside the run, from 0"),
        Column("time_ms", "int64", "the bar open of the event"),
        Column("bars", "int64", "bars since entry"),
        Column("rule", "text", "the rule that acted"),
        Column("verb", "text", "what it asked: " + ", ".join(VERBS)),
        Column("amount", "float64", "share, or quote amount"),
        Column("mark_e8", "int64", "mark price where it was called"),
        Column("status", "text", "done, or why it was refused: " + ", ".join(ACTION_STATUS)),
    ),
    ("run_id", "sequence"),
    "what rules asked for, and what became of it",
)

# --- outcomes ------------------------------------------------------------------------------------------------------

EXIT_REASONS = ("liquidated", "horizon", "closed", "data_end", "refused")
LIQUIDATION_CAUSES = ("price", "funding", "fee", "premium", "tier_change", "hedge_margin")
TIER_FIDELITY = ("exact", "bounded", "current", "extrapolated")
REFUSALS = ("gap", "leverage_cap", "below_min_notional", "below_step")

OUTCOMES = Table(
    "outcomes",
    (
        Column("run_id", "text", "strategy/symbol/entry/side/leverage/reaction"),
        Column("strategy", "text", "strategy with its swept values"),
        Column("params", "text", "the rules and their parameters, canonical JSON"),
        Column("reaction", "text", "intrabar, next_open, or both where no rule waits for a threshold"),
        Column("venue", "text", "binance or bybit"),
        Column("symbol", "text", "instrument"),
        Column("side", "text", "long or short"),
        Column("leverage", "float64", "leverage set at entry"),
        Column("entry_ms", "int64", "bar open of the entry"),
        Column("exit_ms", "int64", "bar open of the exit (data_end: close of the last bar)", null=True),
        Column("exit_reason", "text", ", ".join(EXIT_REASONS)),
        Column("refusal", "text", "why the entry was refused: " + ", ".join(REFUSALS), null=True),
        Column("liquidated", "bool", "the core position had a liquidation, full or partial"),
        Column("certainty", "text", "certain or possible", null=True),
        Column("cause", "text", "event that turned the predicate true: " + ", ".join(LIQUIDATION_CAUSES), null=True),
        Column("partial", "bool", "a breach ended with quantity left"),
        Column("liquidated_share", "float64", "share of the entry quantity that forced closes took"),
        Column("liquidation_count", "int64", "breaches"),
        Column("layer_liquidations", "int64", "breaches of layers and other accounts"),
        Column("liquidation_ms", "int64", "bar open of the first breach", null=True),
        Column("liquidation_price_e8", "int64", "mark at which the first breach held", null=True),
        Column("entry_qty_e8", "int64", "quantity at entry"),
        Column("entry_notional_e8", "int64", "value of the entry fill"),
        Column("qty_at_baseline_liquidation_e8", "int64", "quantity held when the baseline was liquidated", null=True),
        Column("equity_start_e8", "int64", "capital"),
        Column("equity_end_e8", "int64", "position, free balance, reserve and layers"),
        Column("fees_e8", "int64", "taker fees paid"),
        Column("funding_e8", "int64", "funding paid; negative when received"),
        Column("slippage_e8", "int64", "lost to slippage, liquidation slippage included"),
        Column("premium_e8", "int64", "paid for valued assets, less what was received for them"),
        Column("clearance_fee_e8", "int64", "clearance fees of forced closes"),
        Column("margin_added_e8", "int64", "margin that rules added to the position"),
        Column("turnover_e8", "int64", "value of all fills"),
        Column("notional_hours_e2", "int64", "sum of quantity x mark open x hours"),
        Column("notional_hours_paired_e2", "int64", "the same while the baseline was open too"),
        Column("baseline_notional_hours_paired_e2", "int64", "the baseline's, while this run was open too"),
        Column("min_buffer_ppm", "int64", "least buffer at a segment extreme", null=True),
        Column("max_margin_ratio_ppm", "int64", "largest margin ratio at a segment extreme", null=True),
        Column(
            "margin_to_survive_e8", "int64", "least extra margin at entry with which a liquidated run lives", null=True
        ),
        Column("actions", "int64", "actions done"),
        Column("refused", "int64", "actions refused"),
        Column("tier_fidelity", "text", "worst of the tables in force: " + ", ".join(TIER_FIDELITY)),
        Column("near_gap", "bool", "a row is missing between entry - 24 h and exit"),
        Column("seed_run_id", "text", "donor of a shuffled run", null=True),
    ),
    ("run_id",),
    "one row a run and reaction",
)
RESULT_TABLES = {t.name: t for t in (OUTCOMES, TRANSFERS, FILLS, ACTIONS)}

# --- the tape ------------------------------------------------------------------------------------------------------

BLOCK_BARS = 24


class Tape(NamedTuple):
    """The ordered event tape of one symbol, as arrays: what the replay reads.

    Bar i opens at `time_ms[i]` and closes at `close_ms[i]`, not after the next open; bars may differ in length. A
    *segment* is a run of bars between two scheduled events (funding, a change of tier table or of taker fee): bars
    `segment_start[s]` up to, not including, `segment_start[s + 1]`. The events of a segment happen at the open of its
    first bar. Prices, rates and amounts are int64 at 1e-8.
    """

    interval_ms: int  # length of the shortest bars, which divides that of all others
    time_ms: Int64Array  # (n,)
    close_ms: Int64Array  # (n,)
    trade_open_e8: Int64Array  # (n,) last price
    trade_close_e8: Int64Array  # (n,)
    mark_open_e8: Int64Array  # (n,)
    mark_high_e8: Int64Array  # (n,)
    mark_low_e8: Int64Array  # (n,)
    mark_close_e8: Int64Array  # (n,)
    open_sum_e8: Int64Array  # (n,) sum of mark open x intervals from the segment's first bar to this one, both included
    block_low_e8: Int64Array  # (ceil(n / BLOCK_BARS),) least mark low of bars BLOCK_BARS * b and following
    block_high_e8: Int64Array  # the same for mark highs
    segment_start: Int64Array  # (s + 1,) the last entry is n
    segment_low_e8: Int64Array  # (s,) least mark low of the segment
    segment_high_e8: Int64Array  # (s,)
    segment_table: Int64Array  # (s,) tier table in force
    segment_funding_e8: Int64Array  # (s,) rate settled at the segment's first open; 0: none
    segment_taker_e8: Int64Array  # (s,) taker fee rate
    tier_cap_e8: Int64Array  # (t, k) largest notional of the tier; int64 maximum where there is no cap
    tier_rate_e8: Int64Array  # (t, k) maintenance margin rate
    tier_deduction_e8: Int64Array  # (t, k)
    tier_max_leverage_e2: Int64Array  # (t, k) hundredths; 0 where it is not known
    tier_count: Int64Array  # (t,) rows in use


class AssetTape(NamedTuple):
    """The dated marks of a valued asset as arrays: row i speaks of the bar that opens at `time_ms[i]`.

    Times strictly increase and are those of bars of `interval_ms`. Prices and margins are quote per unit, int64 at
    1e-8, not negative; initial is at least maintenance.
    """

    name: str
    interval_ms: int
    taker_e8: int  # fee rate of its fills
    time_ms: Int64Array  # (n,)
    open_e8: Int64Array  # (n,)
    high_e8: Int64Array  # (n,)
    low_e8: Int64Array  # (n,)
    close_e8: Int64Array  # (n,)
    initial_e8: Int64Array  # (n,) initial margin of one unit
    maintenance_e8: Int64Array  # (n,)
