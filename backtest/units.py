"""Scales, decimal text and time text: how numbers enter and leave the program.

Money, prices and quantities are kept as int64 scaled by 1e8 (`_e8`). Times are UTC epoch milliseconds (`_ms`).
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

E8 = 100_000_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000

# Every stored price is under this, so that quantity x price stays inside the exact products of the engine.
PRICE_MAX_E8 = 90_000_000_000 * E8

_DURATION = re.compile(r"(\d+)\s*(ms|s|m|h|d|w)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}


def to_e8(value: str | int | Decimal) -> int:
    """Turn decimal text into an exact integer at 1e-8; more than 8 decimals is an error.

    >>> to_e8("0.001")
    100000
    """
    try:
        scaled = Decimal(value) * E8
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise ValueError(f"{value!r} is not a number with at most 8 decimals")
    return int(scaled)


def float_to_e8(value: float) -> int:
    """Round a natural number to 1e-8, half even on its exact binary value.

    >>> float_to_e8(0.25)
    25000000
    """
    return int((Decimal(value) * E8).to_integral_value(ROUND_HALF_EVEN))


def e8_text(value_e8: int) -> str:
    """Write an e8 integer as plain decimal text without trailing zeros.

    >>> e8_text(-150000000)
    '-1.5'
    """
    sign = "-" if value_e8 < 0 else ""
    whole, part = divmod(abs(int(value_e8)), E8)
    digits = f"{part:08d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def duration_ms(text: str) -> int:
    """Read a duration such as "30d", "8h" or "2m" as milliseconds.

    >>> duration_ms("8h")
    28800000
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not a duration such as "30d", "8h" or "2m"')
    return int(match[1]) * _UNIT_MS[match[2]]


def duration_text(ms: int) -> str:
    """Write milliseconds with the largest unit that fits.

    >>> duration_text(28800000)
    '8h'
    """
    for unit in ("w", "d", "h", "m", "s"):
        if unit != "w" and ms and ms % _UNIT_MS[unit] == 0:
            return f"{ms // _UNIT_MS[unit]}{unit}"
    return f"{ms}ms" if ms else "0s"


def time_ms(value: str | dt.date | dt.datetime) -> int:
    """Read a UTC date or time as epoch milliseconds; a time without zone is UTC.

    >>> time_ms("2021-05-19T12:00")
    1621425600000
    """
    if isinstance(value, str):
        text = value.strip().replace("Z", "+00:00")
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f'{value!r} is not a UTC date or time such as "2021-05-19T12:00"') from None
    elif isinstance(value, dt.datetime):
        moment = value
    else:
        moment = dt.datetime(value.year, value.month, value.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    delta = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return delta // dt.timedelta(milliseconds=1)


def time_text(ms: int, *, seconds: bool = False) -> str:
    """Write epoch milliseconds as UTC text, minutes shown.

    >>> time_text(1621425600000)
    '2021-05-19 12:00'
    """
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=int(ms))
    return moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
