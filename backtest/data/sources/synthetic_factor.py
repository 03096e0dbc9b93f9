"""What all symbols of the synthetic market share: volatility from day to day, jumps, episodes, and exact steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.units import DAY_MS, HOUR_MS

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NANO = 1_000_000_000  # log prices and premiums are int64 at 1e-9
YEAR_MS = 365 * DAY_MS


@dataclass(frozen=True, slots=True)
class Model:
    """How wild the market is."""

    volatility: float = 0.50  # of a year, typical
    jumps_per_year: float = 24.0
    jump_least: float = 0.01
    jump_mean: float = 0.015  # beyond the least
    episode_days: tuple[int, int] = (50, 150)  # from one episode to the next
    episode_size: tuple[float, float] = (0.12, 0.30)
    spikes_per_year: float = 6.0
    spike_size: tuple[float, float] = (0.03, 0.15)


DEMO = Model()
# A benchmark must end many runs in liquidation although a rule defends them: only leaps within a minute do that.
BENCH = Model(volatility=0.50, jumps_per_year=120.0, jump_least=0.02, jump_mean=0.03)


class Factor(NamedTuple):
    """What all symbols share, bar by bar."""

    move: Integers  # 1e-9
    sigma: Floats  # of one bar
    stress: Floats  # -1 in a crash, 1 in a squeeze, 0 otherwise
    daily_volatility: Floats  # of a year, by day


def market_factor(rng: np.random.Generator, interval_ms: int, days: int, model: Model) -> Factor:
    """Draw the factor of every bar."""
    per_day = DAY_MS // interval_ms
    bars = days * per_day
    drift, turbulence, stress = _episodes(rng, bars, HOUR_MS / interval_ms, model)
    volatility = _daily_volatility(rng, days, model)
    sigma = np.repeat(volatility, per_day) * np.sqrt(interval_ms / YEAR_MS) * turbulence
    noise = sigma * rng.standard_normal(bars)
    jumps = rare(rng, bars, model.jumps_per_year, interval_ms)
    size = model.jump_least + model.jump_mean * rng.standard_exponential(len(jumps))
    noise[jumps] += size * (2 * rng.integers(0, 2, len(jumps)) - 1)
    peak = volatility * turbulence.reshape(days, per_day).max(axis=1)
    return Factor(nano(noise) + drift, sigma, stress, peak)


def _daily_volatility(rng: np.random.Generator, days: int, model: Model) -> Floats:
    """Let log volatility revert to its mean with a half-life of two weeks."""
    level, levels = 0.0, []
    for shock in rng.standard_normal(days).tolist():
        level = 0.95 * level + 0.11 * shock
        levels.append(level)
    return model.volatility * exp(np.array(levels))


def _episodes(rng: np.random.Generator, bars: int, per_hour: float, model: Model) -> tuple[Integers, Floats, Floats]:
    """Place crashes and squeezes: the drift (1e-9) they add to each bar, how they multiply volatility, their sign."""
    drift = np.zeros(bars, dtype=np.int64)
    turbulence, stress = np.ones(bars), np.zeros(bars)
    start = _between(rng, 10 * 24, model.episode_days[1] * 24, per_hour)
    while start < bars:
        sign = -1.0 if rng.random() < 0.75 else 1.0
        low, high = model.episode_size
        way = sign * (low + (high - low) * rng.random())
        middle = start + _between(rng, 4, 30, per_hour)
        stop = middle + _between(rng, 48, 144, per_hour)
        back = way * (0.3 + 0.4 * rng.random())
        drift[start:middle] += int(way * NANO) // (middle - start)
        drift[middle:stop] -= int(back * NANO) // (stop - middle)
        turbulence[start:middle], turbulence[middle:stop] = 2.2, 1.4
        stress[start:middle] = sign
        start = stop + _between(rng, model.episode_days[0] * 24, model.episode_days[1] * 24, per_hour)
    return drift, turbulence, stress


def volatility_index(rng: np.random.Generator, factor: Factor) -> Floats:
    """Give the index of the day: a level plus a part of the volatility of the coins, in points to 0.01."""
    noise = 1.0 + 0.03 * rng.standard_normal(len(factor.daily_volatility))
    points: Floats = np.rint(100.0 * (8.0 + 22.0 * factor.daily_volatility) * noise) / 100.0
    return points


def exp(x: Floats) -> Floats:
    """Give e^x by a series of products and sums, good to about 1e-14: the same bits on every processor."""
    halvings = 6
    small = x / 2.0**halvings
    result = np.ones_like(small)
    for k in range(8, 0, -1):
        result *= small / k
        result += 1.0
    for _ in range(halvings):
        result *= result
    return result


def nano(x: Floats) -> Integers:
    """Round to int64 at 1e-9."""
    return np.rint(x * NANO).astype(np.int64)


def rare(rng: np.random.Generator, bars: int, per_year: float, interval_ms: int) -> Integers:
    """Draw the bars in which something happens that happens so often a year."""
    return np.flatnonzero(rng.random(bars) < per_year * interval_ms / YEAR_MS)


def _between(rng: np.random.Generator, low_hours: int, high_hours: int, per_hour: float) -> int:
    return max(1, int(rng.integers(low_hours, high_hours + 1) * per_hour))
