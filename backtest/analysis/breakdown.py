"""Where a difference comes from: the comparison again over parts of the pairs, and under other assumptions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backtest.analysis.effects import Counts, count
from backtest.analysis.pairs import REACTIONS, BoolArray, Pairs, pair_up
from backtest.units import time_ms

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class CrashWindow:
    """A named stretch of market history; UTC dates, `stop` excluded."""

    name: str
    start: str
    stop: str


# Days on which leveraged crypto positions were closed by force in great number, as the BTCUSDT mark shows them.
CRASH_WINDOWS = (
    CrashWindow("Pandemic crash", "2020-03-08", "2020-03-17"),
    CrashWindow("Leverage flush", "2021-04-17", "2021-04-26"),
    CrashWindow("China ban", "2021-05-12", "2021-05-24"),
    CrashWindow("Terra collapse", "2022-05-05", "2022-05-13"),
    CrashWindow("Celsius and 3AC", "2022-06-10", "2022-06-19"),
    CrashWindow("FTX collapse", "2022-11-06", "2022-11-11"),
    CrashWindow("Yen unwind", "2024-08-01", "2024-08-07"),
    CrashWindow("Tariff flush", "2025-10-09", "2025-10-13"),
)


@dataclass(frozen=True, slots=True)
class PartRow:
    """One strategy over one part of the pairs, under both reactions."""

    strategy: str
    intrabar: Counts
    next_open: Counts


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the pairs, such as side = long, or the pairs under another assumption."""

    dimension: str
    value: str
    rows: tuple[PartRow, ...]


def part(dimension: str, value: str, groups: Sequence[Pairs], keep: Callable[[Pairs], BoolArray] | None = None) -> Part:
    """Compare every strategy with the baseline over the pairs that `keep` selects."""
    kept: dict[str, dict[str, Counts]] = {}
    for pairs in groups:
        chosen = pairs if keep is None else pairs.where(keep(pairs))
        kept.setdefault(pairs.strategy, {})[pairs.reaction] = count(chosen)
    return Part(dimension, value, tuple(PartRow(name, by["intrabar"], by["next_open"]) for name, by in kept.items()))


def breakdowns(groups: Sequence[Pairs]) -> list[Part]:
    """Compare by side, leverage, symbol, calendar year of the entry and tier fidelity, where there is more than one."""
    readers: dict[str, Callable[[Pairs], np.ndarray[tuple[int, ...], np.dtype[np.object_]]]] = {
        "side": lambda pairs: pairs.baseline["side"],
        "leverage": lambda pairs: pairs.baseline["leverage"],
        "symbol": lambda pairs: pairs.baseline["symbol"],
        "entry year": lambda pairs: _year(pairs.baseline["entry_ms"]),
        "tier fidelity": lambda pairs: pairs.baseline["tier_fidelity"],
    }
    result = []
    for dimension, read in readers.items():
        values = sorted({value for pairs in groups for value in np.unique(read(pairs)).tolist()})
        if len(values) > 1:
            result += [part(dimension, _text(v), groups, lambda p, read=read, v=v: read(p) == v) for v in values]  # type: ignore[misc]
    return result


def crash_windows(groups: Sequence[Pairs]) -> list[Part]:
    """Compare over the pairs that were decided in a named crash; windows without a liquidation are left out."""
    result = []
    for window in CRASH_WINDOWS:
        start, stop = time_ms(window.start), time_ms(window.stop)
        one = part(window.name, f"{window.start} to {window.stop}", groups, lambda p, a=start, b=stop: _inside(p, a, b))  # type: ignore[misc]
        if any(max(row.intrabar.baseline_liquidated, row.intrabar.liquidated) for row in one.rows):
            result.append(one)
    return result


def sensitivity(groups: Sequence[Pairs], others: Mapping[str, pa.Table]) -> list[Part]:
    """Compare under other assumptions: those that the outcomes hold already, then other outcome sets by name.

    The main comparison comes first. "certain only" keeps the pairs in which no liquidation is merely possible;
    "no gap near" those without a missing row from a day before the entry to the exit.
    """
    rows = [part("assumptions", "as stated", groups)]
    marked = {
        "certain liquidations only": _certain,
        "without runs near a data gap": lambda p: ~(p.baseline["near_gap"] | p.treated["near_gap"]),
    }
    for name, keep in marked.items():
        if any(not keep(pairs).all() for pairs in groups):
            rows.append(part("pairs", name, groups, keep))
    return rows + [part("replayed", name, pair_up(table)) for name, table in others.items()]


def _certain(pairs: Pairs) -> BoolArray:
    return (pairs.baseline["certainty"] != "possible") & (pairs.treated["certainty"] != "possible")


def _inside(pairs: Pairs, start_ms: int, stop_ms: int) -> BoolArray:
    first = np.minimum(pairs.baseline["liquidation_ms"], pairs.treated["liquidation_ms"])
    return (first >= start_ms) & (first < stop_ms)


def _year(entry_ms: np.ndarray) -> np.ndarray:
    return entry_ms.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64) + 1970


def _text(value: object) -> str:
    return f"{value:g}×" if isinstance(value, float) else str(value)
