"""The comparison in full: one row for each strategy and reaction, with rates, costs, tests and intervals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.analysis.effects import Counts, count, exact_sum, mean_quote, saved_counts
from backtest.analysis.inference import Calendar, fewer_interval, holm, mean_interval, sign_flip
from backtest.analysis.pairs import BASELINE, REACTIONS, Pairs
from backtest.units import DAY_MS, E8


@dataclass(frozen=True, slots=True)
class Comparison(Counts):
    """What one strategy did against the baseline under one reaction.

    `saved` counts the entries avoided under both reactions. A full liquidation closed the whole position by force;
    after a partial one the run went on. `fewer_liquidations_pct` is in points of the pairs. Position-days run from
    entry to exit; full-exposure days are notional-hours over the value of the baseline's entry and 24.
    """

    saved: int
    liquidated_full: int
    liquidated_partial: int
    liquidated_certain: int
    liquidated_possible: int
    layer_liquidations: int
    equity_end_mean_quote: float | None
    margin_added_mean_quote: float | None
    fees_quote: float
    funding_quote: float
    slippage_quote: float
    premium_quote: float
    clearance_fee_quote: float
    actions: int
    actions_refused: int
    position_days: float
    full_exposure_days: float
    liquidations_per_1000_position_days: float | None
    liquidations_per_1000_full_exposure_days: float | None
    discordant_pairs: int
    discordant_blocks: int
    p: float
    p_holm: float
    fewer_liquidations_pct: float | None
    fewer_liquidations_low_pct: float | None
    fewer_liquidations_high_pct: float | None
    running_cost_low_quote: float | None
    running_cost_high_quote: float | None


def compare(groups: Sequence[Pairs], calendar: Calendar, seed: int) -> list[Comparison]:
    """Compare every strategy with the baseline under both reactions; the baseline's own rows come first.

    `groups` comes from `pair_up`; `seed` starts the bootstrap. p-values are Holm-adjusted over the strategies of a
    reaction.
    """
    saved = saved_counts(groups)
    rows = [_comparison(pairs, saved[pairs.strategy], calendar, seed) for pairs in groups]
    adjusted: dict[tuple[str, str], float] = {}
    for reaction in REACTIONS:
        tested = [row for row in rows if row.reaction == reaction and row.strategy != BASELINE]
        for row, p_holm in zip(tested, holm([row.p for row in tested]), strict=True):
            adjusted[row.strategy, reaction] = p_holm
    return [dataclasses.replace(row, p_holm=adjusted.get((row.strategy, row.reaction), 1.0)) for row in rows]


def _comparison(pairs: Pairs, saved: int, calendar: Calendar, seed: int) -> Comparison:
    mine, base = pairs.treated, pairs.baseline
    counts = count(pairs)
    full = int((mine["exit_reason"] == "liquidated").sum())
    certain = int((mine["certainty"] == "certain").sum())
    position_days = exact_sum(mine["exit_ms"] - mine["entry_ms"]) / DAY_MS
    # fsum is exact whatever the order
    full_days = math.fsum((mine["notional_hours_e2"] * (E8 / 100 / 24) / base["entry_notional_e8"]).tolist())
    flip = sign_flip(pairs, calendar)
    fewer = fewer_interval(pairs, calendar, seed)
    lived = (~base["liquidated"]).astype(np.int64)
    cost = mean_interval(-pairs.difference_e8 * lived, lived, calendar.block(pairs.decided_ms), seed)
    return Comparison(
        **dataclasses.asdict(counts),
        saved=saved,
        liquidated_full=full,
        liquidated_partial=counts.liquidated - full,
        liquidated_certain=certain,
        liquidated_possible=counts.liquidated - certain,
        layer_liquidations=exact_sum(mine["layer_liquidations"]),
        equity_end_mean_quote=mean_quote(mine["equity_end_e8"]),
        margin_added_mean_quote=mean_quote(mine["margin_added_e8"]),
        fees_quote=exact_sum(mine["fees_e8"]) / E8,
        funding_quote=exact_sum(mine["funding_e8"]) / E8,
        slippage_quote=exact_sum(mine["slippage_e8"]) / E8,
        premium_quote=exact_sum(mine["premium_e8"]) / E8,
        clearance_fee_quote=exact_sum(mine["clearance_fee_e8"]) / E8,
        actions=exact_sum(mine["actions"]),
        actions_refused=exact_sum(mine["refused"]),
        position_days=position_days,
        full_exposure_days=full_days,
        liquidations_per_1000_position_days=_rate(counts.liquidated, position_days),
        liquidations_per_1000_full_exposure_days=_rate(counts.liquidated, full_days),
        discordant_pairs=flip.discordant_pairs,
        discordant_blocks=flip.discordant_blocks,
        p=flip.p,
        p_holm=1.0,
        fewer_liquidations_pct=_points(counts),
        fewer_liquidations_low_pct=fewer.low,
        fewer_liquidations_high_pct=fewer.high,
        running_cost_low_quote=None if cost.low is None else cost.low / E8,
        running_cost_high_quote=None if cost.high is None else cost.high / E8,
    )


def _rate(liquidated: int, days: float) -> float | None:
    return 1000.0 * liquidated / days if days else None


def _points(counts: Counts) -> float | None:
    return 100.0 * (counts.baseline_liquidated - counts.liquidated) / counts.pairs if counts.pairs else None
