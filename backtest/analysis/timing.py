"""Is it the rule's timing: each strategy against its shuffled twin, which plays the same actions at other moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.analysis.inference import Calendar, Interval, fewer_interval, holm, sign_flip
from backtest.analysis.pairs import REACTIONS, Pairs

SHUFFLED = "~shuffled"


@dataclass(frozen=True, slots=True)
class Timing:
    """A strategy beside its twin under one reaction. `fewer_pct` is in points of the runs, with its 95 % interval."""

    strategy: str
    reaction: str
    runs: int
    liquidated: int
    twin_liquidated: int
    fewer_pct: float
    fewer: Interval
    discordant_blocks: int
    p: float
    p_holm: float


def timing(groups: Sequence[Pairs], calendar: Calendar, seed: int) -> list[Timing]:
    """Compare each strategy with its twin on the same entries; p-values are Holm-adjusted within a reaction."""
    found: list[Timing] = []
    by_name = {(pairs.strategy, pairs.reaction): pairs for pairs in groups}
    for reaction in REACTIONS:
        twins = [
            (own, by_name[name + SHUFFLED, reaction])
            for (name, of), own in by_name.items()
            if of == reaction and (name + SHUFFLED, reaction) in by_name and len(own)
        ]
        pairs = [Pairs(own.strategy, reaction, twin.treated, own.treated) for own, twin in twins]
        flips = [sign_flip(one, calendar) for one in pairs]
        for one, flip, p_holm in zip(pairs, flips, holm([flip.p for flip in flips]), strict=True):
            mine, other = one.treated["liquidated"].astype(np.int64), one.baseline["liquidated"].astype(np.int64)
            found.append(
                Timing(
                    one.strategy, reaction, len(one), int(mine.sum()), int(other.sum()),
                    100.0 * int((other - mine).sum()) / len(one), fewer_interval(one, calendar, seed),
                    flip.discordant_blocks, flip.p, p_holm,
                )
            )  # fmt: skip
    return found
