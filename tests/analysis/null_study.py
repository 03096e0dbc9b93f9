"""Studies in which the rule does nothing on average, with entries that overlap.

Each week a coin is tossed. Heads, every open position under the strategy gets more room and every one under the
baseline the same amount less; tails, the other way round. What a position has got stays with it. The two sides are
exactly alike in law, but one toss decides many positions: the case in which counting pairs as independent goes wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from backtest.analysis.inference import Calendar, block_sums, ratio_interval, resampled_blocks, sign_flip
from backtest.analysis.pairs import NEVER, Columns, Pairs
from backtest.units import DAY_MS

DAYS, HORIZON_DAYS, STEPS_A_DAY = 1_500, 30, 4
STEP_MS = DAY_MS // STEPS_A_DAY
TOSS_DAYS = 7


@dataclass(frozen=True, slots=True)
class Rates:
    """How often a rule that does nothing is called better at 5 %, and how often the 95 % interval holds the truth."""

    studies: int
    better: float
    mcnemar: float
    covered: float

    @property
    def error(self) -> float:
        """Standard error of a rate of 5 % over this many studies."""
        return math.sqrt(0.05 * 0.95 / self.studies)

    @property
    def better_low(self) -> float:
        """Lower end of the 95 % interval of `better`."""
        return self.better - 1.96 * math.sqrt(self.better * (1 - self.better) / self.studies)

    def text(self) -> str:
        half = self.better - self.better_low
        return (
            f"{self.studies} null studies: called better at 5 % in {100 * self.better:.1f} % (± {100 * half:.1f}); "
            f"McNemar {100 * self.mcnemar:.1f} %; the 95 % interval holds the truth in {100 * self.covered:.1f} %"
        )


def rates(studies: int, seed: int) -> Rates:
    """Simulate studies and judge each as a report would."""
    calendar = Calendar.of(0, HORIZON_DAYS * DAY_MS)
    better = mcnemar = covered = 0
    for number in range(studies):
        pairs = study(np.random.default_rng([seed, number]))
        fewer = int(pairs.baseline["liquidated"].sum()) - int(pairs.treated["liquidated"].sum())
        flip = sign_flip(pairs, calendar)
        better += fewer > 0 and flip.p <= 0.05
        mcnemar += fewer > 1.96 * math.sqrt(flip.discordant_pairs)
        covered += _covers_zero(pairs, calendar)
    return Rates(studies, better / studies, mcnemar / studies, covered / studies)


def study(random: np.random.Generator) -> Pairs:
    """Simulate one study: 5, 10 and 20 times, long and short, an entry a day."""
    steps = DAYS * STEPS_A_DAY
    window = HORIZON_DAYS * STEPS_A_DAY + 1
    price = np.exp(np.cumsum(random.standard_t(4, steps + window) * 0.015))
    toss = np.arange(steps + window) // (TOSS_DAYS * STEPS_A_DAY)
    gained = np.concatenate([[0], np.cumsum(random.choice([-1, 1], int(toss[-1]) + 1))])
    paths = sliding_window_view(price, window)[:steps:STEPS_A_DAY]
    room_gained = sliding_window_view(gained[toss + 1], window)[:steps:STEPS_A_DAY]
    room_gained = (room_gained - gained[toss[:steps:STEPS_A_DAY]][:, None]) * 0.1
    entry = np.arange(len(paths), dtype=np.int64) * DAY_MS
    sides = [
        _sides(side * (1 - paths / paths[:, :1]), room_gained, lev, entry) for lev in (5, 10, 20) for side in (1, -1)
    ]
    baseline, treated = ({k: np.concatenate([s[i][k] for s in sides]) for k in sides[0][i]} for i in (0, 1))
    return Pairs("null", "intrabar", baseline, treated)


def _sides(adverse: np.ndarray, gained: np.ndarray, leverage: int, entry: np.ndarray) -> tuple[Columns, Columns]:
    room = 1 / leverage - 0.005
    return _runs(adverse >= room * (1 - gained), entry), _runs(adverse >= room * (1 + gained), entry)


def _runs(dead: np.ndarray, entry: np.ndarray) -> Columns:
    dead = dead.copy()
    dead[:, 0] = False
    liquidated = dead.any(axis=1)
    liquidation = np.where(liquidated, entry + dead.argmax(axis=1) * STEP_MS, NEVER)
    return {"liquidated": liquidated, "liquidation_ms": liquidation, "exit_ms": entry + HORIZON_DAYS * DAY_MS}


def _covers_zero(pairs: Pairs, calendar: Calendar) -> bool:
    block = calendar.block(pairs.decided_ms)
    first, count = int(block.min()), int(np.ptp(block)) + 1
    fewer = pairs.baseline["liquidated"].astype(np.int64) - pairs.treated["liquidated"].astype(np.int64)
    drawn = resampled_blocks(count, seed=1)
    interval = ratio_interval(
        block_sums(fewer, block, first, count), block_sums(np.ones_like(fewer), block, first, count), drawn
    )
    return interval.low is not None and interval.high is not None and interval.low <= 0.0 <= interval.high
