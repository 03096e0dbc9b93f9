"""What a strategy did to each pair, counted: avoided, exited, delayed, hastened, caused, and at what cost.

Money is added up as exact integers at 1e-8, so no figure depends on the order of the rows; a mean is rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.analysis.pairs import ENTRY_KEY, BoolArray, IntArray, Pairs
from backtest.units import E8


@dataclass(frozen=True, slots=True)
class Effects:
    """What became of each pair, as masks."""

    avoided: BoolArray
    exited: BoolArray
    delayed: BoolArray
    hastened: BoolArray
    caused: BoolArray


def effects(pairs: Pairs) -> Effects:
    """Say what the strategy did to each pair.

    avoided: only the baseline was liquidated, and the strategy still held at least half of the entry quantity then;
    exited: the same with less; delayed, hastened: both were liquidated, the strategy later or earlier; caused: only
    the strategy was. The entry quantity is the baseline's, so a strategy that starts smaller is measured alike.
    """
    base, mine = pairs.baseline["liquidated"], pairs.treated["liquidated"]
    half_held = 2 * pairs.treated["qty_at_baseline_liquidation_e8"] >= pairs.baseline["entry_qty_e8"]
    later = pairs.treated["liquidation_ms"] > pairs.baseline["liquidation_ms"]
    earlier = pairs.treated["liquidation_ms"] < pairs.baseline["liquidation_ms"]
    return Effects(
        avoided=base & ~mine & half_held,
        exited=base & ~mine & ~half_held,
        delayed=base & mine & later,
        hastened=base & mine & earlier,
        caused=~base & mine,
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """The comparison in short: pairs by effect, cost and exposure of one strategy under one reaction.

    `running_cost_quote` is the mean of baseline less strategy in equity at the end, over pairs whose baseline was not
    liquidated; `benefit_quote` of strategy less baseline where it was. `cost_per_avoided_quote` is all running cost
    over the avoided liquidations. `exposure_kept` is notional-hours over the baseline's while both were open.
    """

    strategy: str
    reaction: str
    pairs: int
    baseline_liquidated: int
    liquidated: int
    avoided: int
    exited: int
    delayed: int
    hastened: int
    caused: int
    running_cost_quote: float | None
    benefit_quote: float | None
    cost_per_avoided_quote: float | None
    exposure_kept: float | None
    capital_mean_quote: float | None

    @property
    def running_cost_pct(self) -> float | None:
        """Running cost in per cent of the capital."""
        return _per_cent(self.running_cost_quote, self.capital_mean_quote)

    @property
    def benefit_pct(self) -> float | None:
        """Benefit in per cent of the capital."""
        return _per_cent(self.benefit_quote, self.capital_mean_quote)

    @property
    def liquidated_pct(self) -> float | None:
        """Liquidated runs in per cent of the pairs."""
        return 100.0 * self.liquidated / self.pairs if self.pairs else None


def count(pairs: Pairs) -> Counts:
    """Count the effects over pairs; a figure with nothing to average is null."""
    mine, base = pairs.treated, pairs.baseline
    effect = effects(pairs)
    avoided = int(effect.avoided.sum())
    cost_e8 = -pairs.difference_e8[~base["liquidated"]]
    held_e2 = exact_sum(mine["baseline_notional_hours_paired_e2"])
    return Counts(
        strategy=pairs.strategy,
        reaction=pairs.reaction,
        pairs=len(pairs),
        baseline_liquidated=int(base["liquidated"].sum()),
        liquidated=int(mine["liquidated"].sum()),
        avoided=avoided,
        exited=int(effect.exited.sum()),
        delayed=int(effect.delayed.sum()),
        hastened=int(effect.hastened.sum()),
        caused=int(effect.caused.sum()),
        running_cost_quote=mean_quote(cost_e8),
        benefit_quote=mean_quote(pairs.difference_e8[base["liquidated"]]),
        cost_per_avoided_quote=exact_sum(cost_e8) / (avoided * E8) if avoided else None,
        exposure_kept=exact_sum(mine["notional_hours_paired_e2"]) / held_e2 if held_e2 else None,
        capital_mean_quote=mean_quote(mine["equity_start_e8"]),
    )


def saved_counts(groups: Sequence[Pairs]) -> dict[str, int]:
    """Count, for each strategy, the entries whose liquidation it avoids under every reaction: those it saves."""
    kept: dict[str, set[tuple[object, ...]]] = {}
    for pairs in groups:
        hit = np.flatnonzero(effects(pairs).avoided)
        entries = set(zip(*(pairs.treated[name][hit].tolist() for name in ENTRY_KEY), strict=True))
        kept[pairs.strategy] = kept[pairs.strategy] & entries if pairs.strategy in kept else entries
    return {strategy: len(entries) for strategy, entries in kept.items()}


def exact_sum(values: IntArray) -> int:
    """Add up int64 values without overflow: high and low halves apart."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def mean_quote(values_e8: IntArray) -> float | None:
    """Give the mean of e8 values in natural units, rounded once; null of nothing."""
    return exact_sum(values_e8) / (len(values_e8) * E8) if len(values_e8) else None


def _per_cent(part: float | None, whole: float | None) -> float | None:
    return 100.0 * part / whole if part is not None and whole else None
