"""Studies in which no rule does anything on average, with entries that overlap.

Each week a coin is tossed for the baseline and for each rule. Heads, every open position under it gets more room;
tails, less. What a position has got stays with it. All are alike in law, but one toss decides many positions: the case
in which counting pairs as independent goes wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import betaincinv

from backtest.analysis.confidence_set import confidence_set
from backtest.analysis.inference import Calendar, fewer_interval, holm, sign_flip
from backtest.analysis.pairs import NEVER, Columns, Pairs
from backtest.units import DAY_MS

DAYS, HORIZON_DAYS, STEPS_A_DAY = 1_500, 30, 4
STEP_MS = DAY_MS // STEPS_A_DAY
TOSS_DAYS = 7
RULES = 4
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened in simulated studies."""

    hits: int
    studies: int

    @property
    def share(self) -> float:
        return self.hits / self.studies

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the rate (Clopper and Pearson 1934)."""
        hits, misses = self.hits, self.studies - self.hits
        low = betaincinv(hits, misses + 1, 0.025) if hits else 0.0
        high = betaincinv(hits + 1, misses, 0.975) if misses else 1.0
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.share:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f})"


@dataclass(frozen=True, slots=True)
class Rates:
    """What a report would say of rules that do nothing.

    better: the first rule called better at a two-sided 5 %; any_better: one of the rules after Holm; mcnemar: the first
    called better if pairs were independent; covered: its 95 % interval holds the truth; kept: the 95 % confidence set
    holds a given strategy, all being best; all_kept: it holds all of them.
    """

    better: Rate
    any_better: Rate
    mcnemar: Rate
    covered: Rate
    kept: Rate
    all_kept: Rate

    def text(self) -> str:
        return (
            f"{self.better.studies} studies of {RULES} rules that do nothing. Called better at 5 %, two-sided (2.5 % "
            f"each way): one rule in {self.better}; any rule, after Holm, in {self.any_better}; one rule by McNemar in "
            f"{self.mcnemar}. The 95 % interval holds the truth in {self.covered}. The 95 % confidence set holds the "
            f"baseline in {self.kept}, all that are best in {self.all_kept}"
        )


def rates(studies: int, seed: int) -> Rates:
    """Simulate studies and judge each as a report would."""
    calendar = Calendar.of(0, HORIZON_DAYS * DAY_MS)
    hits = np.zeros(6, np.int64)
    for number in range(studies):
        groups = study(np.random.default_rng([seed, number]))
        hits += _judge(groups, calendar)
    return Rates(*(Rate(int(count), studies) for count in hits))


def _judge(groups: list[Pairs], calendar: Calendar) -> list[bool]:
    hold, *rules = groups
    fewer = [int(rule.baseline["liquidated"].sum()) - int(rule.treated["liquidated"].sum()) for rule in rules]
    flips = [sign_flip(rule, calendar) for rule in rules]
    adjusted = holm([flip.p for flip in flips])
    interval = fewer_interval(rules[0], calendar, seed=1)
    kept = confidence_set(groups, calendar, seed=1)
    return [
        fewer[0] > 0 and flips[0].p <= LEVEL,
        any(gain > 0 and p <= LEVEL for gain, p in zip(fewer, adjusted, strict=True)),
        fewer[0] > 1.96 * math.sqrt(flips[0].discordant_pairs),
        interval.low is not None and interval.high is not None and interval.low <= 0.0 <= interval.high,
        kept[hold.strategy] > LEVEL,
        min(kept.values()) > LEVEL,
    ]


def study(random: np.random.Generator) -> list[Pairs]:
    """Simulate one study, 5, 10 and 20 times, long and short, an entry a day: the baseline, then the rules."""
    steps = DAYS * STEPS_A_DAY
    window = HORIZON_DAYS * STEPS_A_DAY + 1
    price = np.exp(np.cumsum(random.standard_t(4, steps + window) * 0.015))
    paths = sliding_window_view(price, window)[:steps:STEPS_A_DAY]
    entry = np.arange(len(paths), dtype=np.int64) * DAY_MS
    adverse = [(lev, side * (1 - paths / paths[:, :1])) for lev in (5, 10, 20) for side in (1, -1)]
    runs = [_strategy(adverse, _room_gained(random, steps, window), entry) for _ in range(RULES + 1)]
    return [Pairs(f"rule-{i}" if i else "hold", "intrabar", runs[0], one) for i, one in enumerate(runs)]


def _room_gained(random: np.random.Generator, steps: int, window: int) -> np.ndarray:
    toss = np.arange(steps + window) // (TOSS_DAYS * STEPS_A_DAY)
    gained = np.concatenate([[0], np.cumsum(random.choice([-1, 1], int(toss[-1]) + 1))])
    since = sliding_window_view(gained[toss + 1], window)[:steps:STEPS_A_DAY]
    room: np.ndarray = (since - gained[toss[:steps:STEPS_A_DAY]][:, None]) * 0.1
    return room


def _strategy(adverse: list[tuple[int, np.ndarray]], gained: np.ndarray, entry: np.ndarray) -> Columns:
    parts = [_runs(way >= (1 / leverage - 0.005) * (1 + gained), entry) for leverage, way in adverse]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _runs(dead: np.ndarray, entry: np.ndarray) -> Columns:
    dead = dead.copy()
    dead[:, 0] = False
    liquidated = dead.any(axis=1)
    liquidation = np.where(liquidated, entry + dead.argmax(axis=1) * STEP_MS, NEVER)
    one = np.ones(len(entry), np.int64)
    return {
        "liquidated": liquidated,
        "liquidation_ms": liquidation,
        "exit_ms": entry + HORIZON_DAYS * DAY_MS,
        "entry_qty_e8": one,
        "qty_at_baseline_liquidation_e8": one,
    }
