"""Matched pairs: each entry under the baseline beside the same entry under a strategy.

A strategy that waits for no threshold is replayed once, with reaction `both`, and counts under both reactions.
Refused entries are in no pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.errors import DataError, InvariantError
from backtest.units import DAY_MS

if TYPE_CHECKING:
    import pyarrow as pa

BASELINE = "hold"
REACTIONS = ("intrabar", "next_open")
ENTRY_KEY = ("symbol", "entry_ms", "side", "leverage")

# Stands for "not liquidated" in `liquidation_ms`, so that "later" and "never" compare as numbers.
NEVER = int(np.iinfo(np.int64).max)

Column = npt.NDArray[Any]
Columns = Mapping[str, Column]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

# The columns that comparisons read.
_READ = (
    *ENTRY_KEY,
    *("strategy", "reaction", "exit_ms", "exit_reason", "liquidated", "certainty", "liquidation_ms", "entry_qty_e8"),
    *("entry_notional_e8", "qty_at_baseline_liquidation_e8", "equity_start_e8", "equity_end_e8", "fees_e8"),
    *("funding_e8", "slippage_e8", "premium_e8", "clearance_fee_e8", "margin_added_e8", "notional_hours_e2"),
    *("notional_hours_paired_e2", "baseline_notional_hours_paired_e2", "layer_liquidations", "actions", "refused"),
    *("run_id", "margin_to_survive_e8", "tier_fidelity", "near_gap"),
)
_FILL: dict[str, int | str] = {
    "liquidation_ms": NEVER,
    "exit_ms": NEVER,
    "qty_at_baseline_liquidation_e8": 0,
    "margin_to_survive_e8": -1,
    "certainty": "",
}


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs of one strategy under one reaction; row i of both sides is the same entry."""

    strategy: str
    reaction: str
    baseline: Columns
    treated: Columns

    def __len__(self) -> int:
        return len(self.treated["entry_ms"])

    def where(self, mask: BoolArray) -> Pairs:
        """Keep the pairs for which the mask is true."""
        return Pairs(
            self.strategy,
            self.reaction,
            {name: column[mask] for name, column in self.baseline.items()},
            {name: column[mask] for name, column in self.treated.items()},
        )

    @property
    def difference_e8(self) -> IntArray:
        """Equity at the end, less the cost of capital, under the strategy less under the baseline."""
        difference: IntArray = self.treated["net_end_e8"] - self.baseline["net_end_e8"]
        return difference

    @property
    def decided_ms(self) -> IntArray:
        """When a pair was decided: its first liquidation on either side, else the baseline's exit."""
        first: IntArray = np.minimum(self.baseline["liquidation_ms"], self.treated["liquidation_ms"])
        return np.minimum(first, self.baseline["exit_ms"])


def pair_up(outcomes: pa.Table, capital_cost_apr: float = 0.0) -> list[Pairs]:
    """Match every strategy with the baseline, under both reactions.

    `capital_cost_apr` is charged on the capital of a run from entry to exit (a fraction a year). Gives the pairs of
    each strategy and reaction: the baseline first, then strategies by name. Pairs are in the order of symbol, entry,
    side and leverage, whatever the order of the rows. A DataError says that there is no baseline.
    """
    rows = columns(outcomes)
    rows["net_end_e8"] = rows["equity_end_e8"] - _capital_cost_e8(rows, capital_cost_apr)
    entry = _entry_numbers(rows)
    entries = int(entry[-1]) + 1 if len(entry) else 0
    names = sorted(set(rows["strategy"].tolist()) - {BASELINE})
    held = {reaction: _row_of_entry(rows, entry, entries, BASELINE, reaction) for reaction in REACTIONS}
    if not any((row >= 0).any() for row in held.values()):
        raise DataError.at("outcomes", f'no run of the baseline "{BASELINE}" was entered', "replay the study again")
    result = []
    for name in (BASELINE, *names):
        for reaction in REACTIONS:
            row = _row_of_entry(rows, entry, entries, name, reaction)
            both = (row >= 0) & (held[reaction] >= 0)
            result.append(Pairs(name, reaction, _take(rows, held[reaction][both]), _take(rows, row[both])))
    return result


def columns(outcomes: pa.Table) -> dict[str, Column]:
    """Give the entered (not refused) runs as arrays, in the order of entry, strategy and reaction.

    Texts may be plain or dictionary-encoded.
    """
    import pyarrow.compute as pc

    entered = outcomes.select(_READ).filter(pc.not_equal(outcomes["exit_reason"], "refused"))
    result, ranks = {}, {}
    for name in _READ:
        if name != "run_id" and _is_text(entered.schema.field(name).type):
            result[name], ranks[name] = _words(entered[name], _FILL.get(name, ""))
            continue
        column = entered[name]
        result[name] = (column.fill_null(_FILL[name]) if column.null_count else column).to_numpy()
    keys = (*ENTRY_KEY, "strategy", "reaction")
    order = np.lexsort([ranks.get(name, result[name]) for name in reversed(keys)])
    return {name: column[order] for name, column in result.items()}


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind))


def _words(column: pa.ChunkedArray, missing: int | str) -> tuple[Column, IntArray]:
    """Give texts as an array that shares its few words, and the rank of each; null is `missing`."""
    import pyarrow as pa

    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    one = pa.concat_arrays(coded.unify_dictionaries().chunks) if coded.num_chunks else pa.array([], coded.type)
    words = [*one.dictionary.to_pylist(), missing]
    code = one.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
    rank = {word: place for place, word in enumerate(sorted(set(words)))}
    return np.array(words, object)[code], np.array([rank[word] for word in words], np.int64)[code]


def _capital_cost_e8(rows: Columns, apr: float) -> IntArray:
    years = (rows["exit_ms"] - rows["entry_ms"]) / (365 * DAY_MS)
    cost: IntArray = np.rint(rows["equity_start_e8"] * apr * years).astype(np.int64)
    return cost


def _entry_numbers(rows: Columns) -> IntArray:
    """Number the entries from 0: rows are sorted, so a new entry starts where a part of the key changes."""
    new = np.zeros(len(rows["entry_ms"]), dtype=np.int64)
    for name in ENTRY_KEY:
        new[1:] |= rows[name][1:] != rows[name][:-1]
    return np.cumsum(new)


def _row_of_entry(rows: Columns, entry: IntArray, entries: int, strategy: str, reaction: str) -> IntArray:
    """Give, for each entry, the row of this strategy and reaction, or -1."""
    reacted = (rows["reaction"] == reaction) | (rows["reaction"] == "both")
    mine = np.flatnonzero((rows["strategy"] == strategy) & reacted)
    row = np.full(entries, -1, dtype=np.int64)
    row[entry[mine]] = mine
    if np.count_nonzero(row >= 0) != len(mine):
        raise InvariantError.at("outcomes", f'"{strategy}" has two runs of one entry under {reaction}')
    return row


def _take(rows: Columns, index: IntArray) -> Columns:
    return {name: column[index] for name, column in rows.items()}
