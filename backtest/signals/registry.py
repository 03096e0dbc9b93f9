"""The shipped signals: kinds with parameters, and presets that a rule can name without any more being said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest.signals import indicators
from backtest.signals.inputs import TABLES, Known
from backtest.signals.kinds import Kind
from backtest.signals.settings import choice, number, whole
from backtest.signals.spec import SignalSpec

if TYPE_CHECKING:
    import pandas as pd

_PRICE = choice("last", list(TABLES), help="which price's bars")


def _window(default: int, help: str) -> Any:
    return whole(default, low=2, high=1000, help=f"{help}, in bars")


_MACD = {
    "fast": _window(12, "fast EMA"),
    "slow": _window(26, "slow EMA"),
    "signal": _window(9, "EMA of the difference"),
    "price": _PRICE,
}
_WILDER = {"window": _window(14, "Wilder's average"), "price": _PRICE}
_LEVELS = {
    "low": number(30, low=0, high=100, help="level of the RSI that is extreme from above"),
    "high": number(70, low=0, high=100, help="level of the RSI that is extreme from below"),
}


def _bars(known: Known, p: Any) -> pd.DataFrame:
    return known.bars(p.price)


def _macd_conflict(p: Any) -> str:
    return "" if p.fast < p.slow else f"fast = {p.fast} is not under slow = {p.slow}"


def _levels_conflict(p: Any) -> str:
    return "" if p.low < p.high else f"low = {p.low:g} is not under high = {p.high:g}"


_KINDS = (
    Kind(
        "macd_cross",
        "MACD crosses its signal line at a close",
        "+1 up, -1 down, 0",
        "1d",
        _bars,
        indicators.macd_cross,
        _MACD,
        _macd_conflict,
    ),
    Kind(
        "macd_histogram",
        "MACD less its signal line",
        "quote",
        "1d",
        _bars,
        indicators.macd_histogram,
        _MACD,
        _macd_conflict,
    ),
    Kind(
        "rsi_extreme",
        "RSI enters an extreme at a close",
        "+1 rose to high, -1 fell to low, 0",
        "1d",
        _bars,
        indicators.rsi_extreme,
        _WILDER | _LEVELS,
        _levels_conflict,
    ),
    Kind("rsi", "Wilder's relative strength index", "0 to 100", "1d", _bars, indicators.rsi, _WILDER),
    Kind("atr", "Wilder's average true range", "quote", "1d", _bars, indicators.atr, _WILDER),
)
SIGNALS = {kind.name: kind for kind in _KINDS}

_PRESETS = (
    SignalSpec("macd_12_26_9_1d_cross", "macd_cross"),
    SignalSpec("macd_12_26_9_1d", "macd_histogram"),
    SignalSpec("rsi_14_1d_extreme", "rsi_extreme"),
    SignalSpec("rsi_14_1d", "rsi"),
    SignalSpec("atr_14_1d", "atr"),
    SignalSpec("atr_14_1h", "atr", "1h"),
)
PRESETS = {preset.name: preset for preset in _PRESETS}
