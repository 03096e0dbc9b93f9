"""How numbers are written: one place, so that terminal, HTML and Markdown say the same."""

from __future__ import annotations

import datetime as dt
import math

MISSING = "–"
MINUS = "−"


def number(value: float | None, digits: int = 0) -> str:
    """Write a number with thousands separators and a true minus sign.

    >>> number(-1234.5, 1)
    '−1,234.5'
    """
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{abs(value):,.{digits}f}"
    return f"{MINUS}{text}" if value < 0 and any(c in "123456789" for c in text) else text


def per_cent(value: float | None, digits: int = 1) -> str:
    """Write a value that is in per cent already."""
    return MISSING if value is None else f"{number(value, digits)} %"


def share(value: float | None, digits: int = 0) -> str:
    """Write a fraction as per cent."""
    return MISSING if value is None else per_cent(100.0 * value, digits)


def money(value: float | None) -> str:
    """Write an amount of quote, with cents below a hundred."""
    return MISSING if value is None else number(value, 2 if abs(value) < 100 else 0)


def p_value(value: float) -> str:
    """Write a p-value.

    >>> p_value(0.00002), p_value(0.0312)
    ('<0.001', '0.031')
    """
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def leverage(value: float) -> str:
    """Write a leverage.

    >>> leverage(10.0)
    '10×'
    """
    return f"{value:g}×"


def parameter(value: object) -> str:
    """Write a swept value.

    >>> parameter(0.5), parameter(True)
    ('0.5', 'True')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


def two(intrabar: str, next_open: str) -> str:
    """Write a figure under both reactions; once where they agree."""
    return intrabar if intrabar == next_open else f"{intrabar} / {next_open}"


def date(ms: int) -> str:
    """Write the UTC date of a time."""
    return (dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=int(ms))).strftime("%Y-%m-%d")


def plural(count: int, word: str) -> str:
    """Write a count with its noun.

    >>> plural(1, "run"), plural(2000, "run")
    ('1 run', '2,000 runs')
    """
    return f"{number(count)} {word}" if count == 1 else f"{number(count)} {word}s"
