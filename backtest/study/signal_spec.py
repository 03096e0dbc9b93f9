"""The `[[signal]]` tables of a study: a name for its rules, what it uses, its interval, and parameters.

A signal that has a preset needs no table: rules name the preset.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from backtest.errors import SignalError
from backtest.signals.compute import resolve
from backtest.signals.spec import SignalSpec
from backtest.study import reader
from backtest.study.reader import BadValueError, Section

SIGNAL_NAME = reader.text("[a-z][a-z0-9_]{0,39}", "a name of small letters, digits and _", '"slow_rsi"')
_USE = reader.text("[a-z][a-z0-9_]{0,60}", "the name of a signal", '"rsi"')
_INTERVAL = reader.text("[0-9]{1,4}[mhdw]", "an interval", '"4h"')
_FILE = reader.text(r"[^\n]{1,300}\.py", "a Python file", '"signals/mine.py"')


def read_signals(top: Section) -> tuple[SignalSpec, ...]:
    """Read every `[[signal]]`; what its kind refuses is a problem of the study."""
    signals: list[SignalSpec] = []
    for section in top.tables("signal"):
        spec = SignalSpec(
            section.get("name", SIGNAL_NAME),
            section.get("use", _USE),
            section.get("interval", _INTERVAL, ""),
            file=section.get("file", _FILE, ""),
            params=tuple(sorted((key, section.get(key, _plain)) for key in section.rest())),
        )
        if section.ok:
            try:
                resolve(spec)
            except SignalError as error:
                key = "file" if spec.file else "use"
                for problem in error.problems:
                    what = f"{problem.where}: {problem.what}" if spec.file else problem.what
                    section.problem(key, what, problem.remedy)
        if spec.name in {other.name for other in signals}:
            section.problem("name", f'"{spec.name}" is already the name of another signal', "take another name")
        signals.append(spec)
    return tuple(signals)


def _plain(raw: object) -> object:
    """Take a parameter as a signal takes it: numbers as floats, lists as tuples, text."""
    if isinstance(raw, (list, tuple)):
        return tuple(_plain(item) for item in raw)
    if isinstance(raw, str):
        return raw
    if isinstance(raw, (int, float, Decimal)) and not isinstance(raw, bool):
        return float(raw)
    raise BadValueError(
        f"is {reader.show(raw)}, which cannot be a parameter", "write a number, a list of them, or text"
    )


def resolved_signals(signals: tuple[SignalSpec, ...]) -> Iterator[dict[str, object]]:
    """Give the canonical form of each."""
    for spec in signals:
        given = {"interval": spec.interval, "file": spec.file}
        params = {key: list(value) if isinstance(value, tuple) else value for key, value in spec.params}
        yield {"name": spec.name, "use": spec.use, **{key: text for key, text in given.items() if text}, **params}
