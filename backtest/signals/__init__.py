"""Signals: step functions of time for rules, made of closed bars, settlements and published series alone.

A file of one's own needs `from backtest.signals import signal, whole`.
"""

from backtest.signals.inputs import CLOSES, SERIES, SETTLEMENTS
from backtest.signals.kinds import signal
from backtest.signals.settings import choice, number, numbers, series, whole

__all__ = ["CLOSES", "SERIES", "SETTLEMENTS", "choice", "number", "numbers", "series", "signal", "whole"]
