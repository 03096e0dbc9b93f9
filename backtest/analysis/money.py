"""What a chain of runs did to the money: equity, drawdown, vectorbt's return statistics, IRR, beta to the coin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.analysis.inference import FloatArray
from backtest.analysis.pairs import IntArray
from backtest.units import DAY_MS

YEAR_MS = 365 * DAY_MS
RATE_MIN, RATE_MAX = 1e-24, 1e24  # growth a year between which an IRR is sought: runs are short


@dataclass(frozen=True, slots=True)
class Money:
    """One run in quote: equity and the coin's mark at the entry and at each bar's close, and what went in and out.

    A flow is what came back from the venue (positive) or went there (negative), by its time.
    """

    time_ms: IntArray
    equity: FloatArray
    coin: FloatArray
    flows: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Account:
    """Runs one after the other, each with all that the one before left: growth of 1, and its statistics.

    Rates are fractions; `irr` is a year's, of the money that the median run had at the venue. Statistics other than
    `irr` are vectorbt's, on the returns of bars, with 365 days a year.
    """

    time_ms: IntArray
    growth: FloatArray
    runs: int
    total: float
    max_drawdown: float
    volatility: float
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    irr: float | None
    beta: float | None

    @property
    def drawdown(self) -> FloatArray:
        """The loss since the highest growth so far, 0 or below."""
        peak: FloatArray = np.maximum.accumulate(self.growth)
        return self.growth / peak - 1.0


def account(runs: Sequence[Money]) -> Account:
    """Chain runs in the order of time."""
    returns = np.concatenate([one.equity[1:] / one.equity[:-1] - 1.0 for one in runs])
    coin = np.concatenate([one.coin[1:] / one.coin[:-1] - 1.0 for one in runs])
    figures = _statistics(returns, coin, int(np.diff(runs[0].time_ms).min()))
    growth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    return Account(
        time_ms=np.concatenate([runs[0].time_ms[:1], *(one.time_ms[1:] for one in runs)]),
        growth=growth,
        runs=len(runs),
        total=float(growth[-1]) - 1.0,
        max_drawdown=figures["max_drawdown"] or 0.0,
        volatility=figures["annualized_volatility"] or 0.0,
        sharpe=figures["sharpe_ratio"],
        sortino=figures["sortino_ratio"],
        calmar=figures["calmar_ratio"],
        irr=_median_irr(runs),
        beta=figures["beta"],
    )


def _statistics(returns: FloatArray, coin: FloatArray, interval_ms: int) -> dict[str, float | None]:
    """Ask vectorbt for the statistics of returns; what is not finite is None."""
    import pandas as pd
    import vectorbt  # noqa: F401  registers the accessor

    # The runs of a chain stand end to end: their returns are taken as one unbroken series of bars.
    bar = pd.Timedelta(milliseconds=interval_ms)
    index = pd.date_range("1970-01-01", periods=len(returns), freq=bar)
    series: Any = pd.Series(returns, index)
    accessor = series.vbt.returns(freq=bar, year_freq="365D")
    found = {
        name: float(getattr(accessor, name)())
        for name in ("max_drawdown", "annualized_volatility", "sharpe_ratio", "sortino_ratio", "calmar_ratio")
    }
    found["beta"] = float(accessor.beta(pd.Series(coin, index)))
    return {name: float(f"{value:.9g}") if np.isfinite(value) else None for name, value in found.items()}


def irr(flows: Sequence[tuple[int, float]]) -> float | None:
    """Give the yearly rate at which flows, discounted to the first, are worth nothing: -1 where nothing came back.

    None where nothing went in, or no rate under `RATE_MAX` fits.

    >>> year = 365 * 86_400_000
    >>> round(irr([(0, -100.0), (year, 110.0)]), 6)
    0.1
    """
    from scipy.optimize import brentq

    years = np.array([(time - flows[0][0]) / YEAR_MS for time, _ in flows])
    amounts = np.array([amount for _, amount in flows])
    if amounts.min() < 0.0 and amounts.max() <= 0.0:
        return -1.0

    def worth(log_growth: float) -> float:
        return float(np.sum(amounts * np.exp(-log_growth * years)))

    low, high = float(np.log(RATE_MIN)), float(np.log(RATE_MAX))
    if worth(low) * worth(high) >= 0.0:
        return None
    return float(np.expm1(brentq(worth, low, high, xtol=1e-12)))


def _median_irr(runs: Sequence[Money]) -> float | None:
    known = sorted(rate for one in runs if (rate := irr(one.flows)) is not None)
    return known[len(known) // 2] if known else None
