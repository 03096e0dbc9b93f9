"""Is it the rule's timing: each strategy against its twins, which act as often at moments that lots have drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from backtest.analysis.inference import Calendar, Interval, fewer_interval, holm, sign_flip
from backtest.analysis.pairs import REACTIONS, Pairs

# What a twin's name ends with. Shuffled: the same actions, each played at another run's moment. Random windows: the
# same rule with events drawn by lot in place of its calendar's.
TWINS = ("~shuffled", "~random-windows")


@dataclass(frozen=True, slots=True)
class Timing:
    """A strategy beside its twin under one reaction. `fewer_pct` is in points of the runs, with its 95 % interval."""

    strategy: str
    twin: str  # one of TWINS
    reaction: str
    runs: int
    liquidated: int
    twin_liquidated: int
    fewer_pct: float
    fewer: Interval
    discordant_blocks: int
    p: float
    p_holm: float


def is_twin(strategy: str) -> bool:
    """Tell whether a name is that of a twin.

    >>> is_twin("deleverage~shuffled"), is_twin("deleverage")
    (True, False)
    """
    return strategy.endswith(TWINS)


def timing(groups: Sequence[Pairs], calendar: Calendar, seed: int) -> list[Timing]:
    """Compare each strategy with its twins on the same entries; p-values are Holm-adjusted by reaction and twin."""
    found: list[Timing] = []
    by_name = {(pairs.strategy, pairs.reaction): pairs for pairs in groups}
    for reaction, twin in product(REACTIONS, TWINS):
        twins = [
            (own, by_name[name + twin, reaction])
            for (name, of), own in by_name.items()
            if of == reaction and (name + twin, reaction) in by_name and len(own)
        ]
        pairs = [Pairs(own.strategy, reaction, other.treated, own.treated) for own, other in twins]
        flips = [sign_flip(one, calendar) for one in pairs]
        for one, flip, p_holm in zip(pairs, flips, holm([flip.p for flip in flips]), strict=True):
            mine, other = one.treated["liquidated"].astype(np.int64), one.baseline["liquidated"].astype(np.int64)
            found.append(
                Timing(
                    one.strategy, twin, reaction, len(one), int(mine.sum()), int(other.sum()),
                    100.0 * int((other - mine).sum()) / len(one), fewer_interval(one, calendar, seed),
                    flip.discordant_blocks, flip.p, p_holm,
                )
            )  # fmt: skip
    return found
