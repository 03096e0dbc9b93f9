"""Where a difference comes from: the comparison again over parts of the pairs, and under other assumptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backtest.analysis.effects import Counts, count, saved_counts
from backtest.analysis.pairs import BoolArray, Column, Pairs
from backtest.units import time_ms

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Window:
    """A named stretch of market history; `stop_ms` is excluded."""

    name: str
    start_ms: int
    stop_ms: int


# Days on which leveraged crypto positions were closed by force in great number, as the BTCUSDT mark shows them.
CRASH_WINDOWS = tuple(
    Window(name, time_ms(start), time_ms(stop))
    for name, start, stop in (
        ("Pandemic crash", "2020-03-08", "2020-03-17"),
        ("Leverage flush", "2021-04-17", "2021-04-26"),
        ("China ban", "2021-05-12", "2021-05-24"),
        ("Terra collapse", "2022-05-05", "2022-05-13"),
        ("Celsius and 3AC", "2022-06-10", "2022-06-19"),
        ("FTX collapse", "2022-11-06", "2022-11-11"),
        ("Yen unwind", "2024-08-01", "2024-08-07"),
        ("Tariff flush", "2025-10-09", "2025-10-13"),
    )
)


@dataclass(frozen=True, slots=True)
class PartRow:
    """One strategy over one part of the pairs, under both reactions; `saved` are those avoided under both."""

    strategy: str
    intrabar: Counts
    next_open: Counts
    saved: int


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the pairs, such as side = long, or the pairs under another assumption."""

    dimension: str
    value: str
    rows: tuple[PartRow, ...]


def part(dimension: str, value: str, groups: Sequence[Pairs], keep: Sequence[BoolArray] | None = None) -> Part:
    """Compare every strategy with the baseline over the pairs that a mask for each group keeps."""
    kept = groups if keep is None else [pairs.where(mask) for pairs, mask in zip(groups, keep, strict=True)]
    counts: dict[str, dict[str, Counts]] = {}
    for pairs in kept:
        counts.setdefault(pairs.strategy, {})[pairs.reaction] = count(pairs)
    saved = saved_counts(kept)
    rows = (PartRow(name, by["intrabar"], by["next_open"], saved[name]) for name, by in counts.items())
    return Part(dimension, value, tuple(rows))


class Tag(NamedTuple):
    """A label for each symbol and entry time, by a regime of the study; `labels` in the order of a table."""

    name: str
    labels: tuple[str, ...]
    by_entry: Mapping[tuple[str, int], str]


def breakdowns(groups: Sequence[Pairs], volatility: pa.Table | None = None, tags: Sequence[Tag] = ()) -> list[Part]:
    """Compare by side, leverage, symbol, calendar, regime and tier fidelity, where there is more than one.

    `volatility` gives each entry's regime: symbol, entry_ms, volatility_pct. Each of `tags` is one more dimension.
    """
    readers: dict[str, Callable[[Pairs], Column]] = {
        "side": lambda pairs: pairs.baseline["side"],
        "leverage": lambda pairs: pairs.baseline["leverage"],
        "symbol": lambda pairs: pairs.baseline["symbol"],
        "volatility before the entry": _regime_reader(volatility),
        "entry year": lambda pairs: _year(pairs.baseline["entry_ms"]),
        "tier fidelity": lambda pairs: pairs.baseline["tier_fidelity"],
    }
    result = []
    for dimension, read in readers.items():
        labels = [read(pairs) for pairs in groups]
        values = sorted({value for label in labels for value in set(label.tolist())}, key=_order)
        if len(values) > 1:
            result += [part(dimension, _text(v), groups, [label == v for label in labels]) for v in values]
    for tag in tags:
        labels = [_labels(pairs, tag) for pairs in groups]
        there = [value for value in tag.labels if any((label == value).any() for label in labels)]
        result += [
            part(f"{tag.name} at the entry", value, groups, [label == value for label in labels]) for value in there
        ]
    return result


def _labels(pairs: Pairs, tag: Tag) -> Column:
    entries = zip(pairs.baseline["symbol"].tolist(), pairs.baseline["entry_ms"].tolist(), strict=True)
    return np.array([tag.by_entry[entry] for entry in entries], object)


REGIMES = ("calm third", "middle third", "wild third", "not known")


def _regime_reader(volatility: pa.Table | None) -> Callable[[Pairs], Column]:
    """Give what reads the regime of each pair: the third of its symbol's entry times, by volatility."""
    regimes: dict[tuple[str, int], str] = {}
    rows = [] if volatility is None else volatility.to_pylist()
    for symbol in sorted({row["symbol"] for row in rows}):
        mine = [row for row in rows if row["symbol"] == symbol]
        known = np.array([row["volatility_pct"] for row in mine if row["volatility_pct"] is not None], np.float64)
        cuts = np.quantile(known, [1 / 3, 2 / 3]) if len(known) else np.zeros(2)
        for row in mine:
            value = row["volatility_pct"]
            third = 3 if value is None else int(np.searchsorted(cuts, value, side="left"))
            regimes[symbol, row["entry_ms"]] = REGIMES[third]

    def read(pairs: Pairs) -> Column:
        keys = zip(pairs.baseline["symbol"].tolist(), pairs.baseline["entry_ms"].tolist(), strict=True)
        return np.array([regimes.get(key, REGIMES[3]) for key in keys], object)

    return read


def crash_windows(groups: Sequence[Pairs], windows: Sequence[Window] = CRASH_WINDOWS) -> list[Part]:
    """Compare over the pairs whose first liquidation, on either side, was in a named window; leave out empty ones."""
    first = [np.minimum(pairs.baseline["liquidation_ms"], pairs.treated["liquidation_ms"]) for pairs in groups]
    result = []
    for window in windows:
        inside = [(ms >= window.start_ms) & (ms < window.stop_ms) for ms in first]
        if any(mask.any() for mask in inside):
            result.append(part("crash window", window.name, groups, inside))
    return result


def sensitivity(groups: Sequence[Pairs], others: Iterable[tuple[str, Sequence[Pairs]]]) -> list[Part]:
    """Compare under other assumptions: those that the pairs hold already, then the pairs of other replays by name.

    The main comparison comes first. "certain only" leaves out pairs in which a liquidation is merely possible; "near a
    data gap" means a missing row from a day before the entry to the exit.
    """
    near_gap = [pairs.baseline["near_gap"] | pairs.treated["near_gap"] for pairs in groups]
    possible = [(p.baseline["certainty"] == "possible") | (p.treated["certainty"] == "possible") for p in groups]
    rows = [part("as stated", "as stated", groups)]
    for value, left_out in (("certain liquidations only", possible), ("without runs near a data gap", near_gap)):
        if any(mask.any() for mask in left_out):
            rows.append(part("pairs left out", value, groups, [~mask for mask in left_out]))
    return rows + [part("replayed with", name, pairs) for name, pairs in others]


def _year(entry_ms: Column) -> Column:
    year: Column = entry_ms.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64) + 1970
    return year


def _order(value: object) -> tuple[int, str, float]:
    """Sort regimes as they are listed, numbers by size, texts by themselves."""
    text = str(value)
    if isinstance(value, float | int):
        return 0, "", float(value)
    return (REGIMES.index(text), "", 0.0) if text in REGIMES else (0, text, 0.0)


def _text(value: object) -> str:
    return f"{value:g}×" if isinstance(value, float) else str(value)
