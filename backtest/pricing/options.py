"""European options on a mark, by Black-76 without interest: what one is worth, and what a written one needs.

Source of the formula: F. Black, "The pricing of commodity contracts", Journal of Financial Economics 3 (1976). The
forward is the mark of a perpetual. Of the margins: Deribit's of a short option, less its mark, which a written asset's
value already takes off equity.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from backtest.units import DAY_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Right = Literal["put", "call"]
RIGHTS: tuple[Right, ...] = ("put", "call")
YEAR_MS = 365 * DAY_MS


def black_76(right: Right, forward: Floats, strike: Floats, volatility: Floats, years: Floats) -> Floats:
    """Price options in quote: put K N(−d2) − F N(−d1), call F N(d1) − K N(d2), d1,2 = ln(F/K)/σ√T ± σ√T/2.

    `volatility` is a fraction a year. Without time or volatility left it is what exercise gives.

    >>> black_76("put", np.array([100.0]), np.array([100.0]), np.array([0.8]), np.array([0.25])).round(6).tolist()
    [15.851942]
    """
    from scipy.special import ndtr

    sign = 1.0 if right == "call" else -1.0
    deviation = volatility * np.sqrt(years)
    exercise = np.maximum(sign * (forward - strike), 0.0)
    alive = deviation > 0.0
    spread = np.where(alive, deviation, 1.0)
    d1 = np.log(forward / strike) / spread + spread / 2.0
    value = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - spread)))
    worth: Floats = np.where(alive, np.maximum(value, exercise), exercise)
    return worth


def written_margins(right: Right, mark: Floats, strike: Floats, value: Floats) -> tuple[Floats, Floats]:
    """Give initial and maintenance margin of one written option, in quote.

    Maintenance: 7.5 % of the mark, of a put at least 7.5 % of its value. Initial: 15 % of the mark less what the option
    is out of the money, at least 10 %, and at least maintenance.
    """
    out_of_the_money = np.maximum(strike - mark if right == "call" else mark - strike, 0.0)
    maintenance = 0.075 * (np.maximum(mark, value) if right == "put" else mark)
    initial = np.maximum(np.maximum(0.15 * mark - out_of_the_money, 0.10 * mark), maintenance)
    return initial, maintenance


def realised_volatility(close: Floats, interval_ms: int, bars: int) -> Floats:
    """Give the volatility a year of the last `bars` closed bars, as it is known at each bar's open; NaN until then.

    √(mean of squared log returns × bars in a year): no mean is taken off.
    """
    squares = np.concatenate(([0.0], np.cumsum(np.diff(np.log(close)) ** 2)))
    known = np.full(len(close), np.nan)
    # Bar i knows the closes up to i - 1: the returns that end with it are those of bars i - bars to i - 1.
    known[bars + 1 :] = np.sqrt((squares[bars:-1] - squares[: -bars - 1]) / bars * (YEAR_MS / interval_ms))
    return known
