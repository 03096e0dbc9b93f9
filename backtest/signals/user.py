"""Signals of a user's own: load them from a file, check what they give, and refuse those that look ahead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.errors import SignalError, did_you_mean
from backtest.signals.indicators import rounded
from backtest.signals.inputs import available_ms
from backtest.signals.kinds import Kind
from backtest.signals.spec import Floats, Ints
from backtest.units import time_text
from backtest.user_code import does_not_run, line_of, run_file

if TYPE_CHECKING:
    import pandas as pd

# A signal is computed anew from what was known at so many moments, the last row's own among them.
CUTS = 5


def load_signal_file(path: Path) -> dict[str, Kind]:
    """Run a file and give the signals it defines, by name.

    Raises `SignalError` with file, line and reason where it does not run, and where it defines no signal.
    """
    found = [value for value in vars(run_file(path, SignalError)).values() if isinstance(value, Kind)]
    own = {kind.name: kind for kind in found if Path(kind.path) == path.absolute()}
    if not own:
        raise SignalError.at(path, "defines no signal", "decorate a function with @signal")
    return own


def find_signal(path: Path, name: str) -> Kind:
    """Give a file's signal by its name; `SignalError` with the nearest name where there is none."""
    kinds = load_signal_file(path)
    if name not in kinds:
        raise SignalError.at(path, f'no signal "{name}"', did_you_mean(name, kinds))
    return kinds[name]


def checked_values(kind: Kind, rows: pd.DataFrame, p: Any) -> Floats:
    """Call a user's function and check what it gives: one number for each row, the same without the rows after it.

    Raises `SignalError` for a function that does not run, for anything else that it gives, and with the first row that
    changes when later ones are not there.
    """
    values, times = _called(kind, rows, p), available_ms(rows)
    for count in cuts(len(rows)):
        part = rows.iloc[:count]
        refuse_change(kind.path, times[:count], values[:count], _called(kind, part, p), int(times[count - 1]))
    return values


def cuts(count: int) -> list[int]:
    """Give how many of so many rows are left at each cut, never all at the same hour of a day.

    >>> cuts(120)
    [23, 46, 69, 92, 118]
    """
    fifths = [count * part // CUTS - part for part in range(1, CUTS)]
    return [left for left in (*fifths, count - 2) if left > 0]


def refuse_change(where: str, times: Ints, whole: Floats, part: Floats, known_ms: int) -> None:
    """Refuse values that were others when nothing after a moment was known: raises `SignalError` with the first."""
    changed = np.flatnonzero(~((whole == part) | (np.isnan(whole) & np.isnan(part))))
    if changed.size:
        row = changed[0]
        what = (
            f"looks ahead: its value at {time_text(int(times[row]))} is {whole[row]:.9g}, but was {part[row]:.9g} with "
            f"what was known at {time_text(known_ms)}"
        )
        raise SignalError.at(where, what, "make it of this row and those before")


def refuse_endless(where: str, times: Ints, values: Floats) -> None:
    """Refuse infinite values: raises `SignalError` with the first."""
    endless = np.flatnonzero(np.isinf(values))
    if endless.size:
        at = time_text(int(times[endless[0]]))
        raise SignalError.at(where, f"its value is infinite at {at}", "give NaN where nothing is known")


def _called(kind: Kind, rows: pd.DataFrame, p: Any) -> Floats:
    path = Path(kind.path)
    try:
        given = kind(rows.copy(), p)
    except Exception as error:  # a user's own code: anything can happen in it
        raise SignalError.at(line_of(error, path), does_not_run(error), "mend the line") from None
    try:
        values = rounded(np.asarray(given, np.float64))
    except (TypeError, ValueError):
        raise SignalError.at(path, f"{kind.name} gives a {type(given).__name__}", "give one number a row") from None
    if len(values) != len(rows):
        what = f"{kind.name} gives {len(values)} values for {len(rows)} rows"
        raise SignalError.at(path, what, "give one number a row")
    refuse_endless(kind.path, available_ms(rows), values)
    return values
