"""Matched pairs: each entry under the baseline beside the same entry under a strategy.

A strategy that waits for no threshold is replayed once, with reaction `both`, and counts under both reactions.
Refused entries are in no pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

# The columns of the outcomes that comparisons read.
READ = (
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
        return Pairs(self.strategy, self.reaction, _where(self.baseline, mask), _where(self.treated, mask))

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
            result.append(Pairs(name, reaction, _Taken(rows, held[reaction][both]), _Taken(rows, row[both])))
    return result


def columns(outcomes: pa.Table) -> dict[str, Column]:
    """Give the entered (not refused) runs as arrays, in the order of entry, strategy and reaction.

    Texts may be plain or dictionary-encoded.
    """
    import pyarrow.compute as pc

    kept = np.flatnonzero(pc.not_equal(outcomes["exit_reason"], "refused").to_numpy())
    ranks = [_ranks(outcomes[name])[kept] for name in reversed((*ENTRY_KEY, "strategy", "reaction"))]
    order = kept[np.lexsort(ranks)]
    return {name: _values(name, outcomes[name])[order] for name in READ}


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind))


def _values(name: str, column: pa.ChunkedArray) -> Column:
    """Give a column without nulls. Texts share their few words, except names of runs, which all differ."""
    if name == "run_id" or not _is_text(column.type):
        plain: Column = (column.fill_null(_FILL[name]) if column.null_count else column).to_numpy()
        return plain
    words, code = _coded(column)
    return np.array([*words, _FILL.get(name, "")], object)[code]


def _ranks(column: pa.ChunkedArray) -> Column:
    """Give numbers in the order of a column's values."""
    if not _is_text(column.type):
        plain: Column = column.to_numpy()
        return plain
    words, code = _coded(column)
    rank = {word: place for place, word in enumerate(sorted(set(words)))}
    return np.array([*(rank[word] for word in words), -1], np.int64)[code]


def _coded(column: pa.ChunkedArray) -> tuple[list[str], IntArray]:
    """Give the words of a text column, and for each row its word's place; null has the place after the last."""
    import pyarrow as pa

    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    one = pa.concat_arrays(coded.unify_dictionaries().chunks) if coded.num_chunks else pa.array([], coded.type)
    words = one.dictionary.to_pylist()
    return words, one.indices.fill_null(len(words)).to_numpy(zero_copy_only=False).astype(np.int64)


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


class _Taken(Mapping[str, Column]):
    """Some rows of columns, each column taken when asked for: copies of all pairs would be most of the memory."""

    __slots__ = ("_columns", "_index")

    def __init__(self, columns: Columns, index: IntArray) -> None:
        self._columns, self._index = columns, index

    def where(self, mask: BoolArray) -> _Taken:
        """Take of these rows those for which the mask is true."""
        return _Taken(self._columns, self._index[mask])

    def __getitem__(self, name: str) -> Column:
        return self._columns[name][self._index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _where(columns: Columns, mask: BoolArray) -> Columns:
    if isinstance(columns, _Taken):
        return columns.where(mask)
    return {name: column[mask] for name, column in columns.items()}
