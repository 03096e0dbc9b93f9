"""Names of strategies and runs: how swept values become part of a name, and what a run is called."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from backtest.units import time_text

Param = float | bool | str
RuleTable = tuple[str, Mapping[str, tuple[Param, ...]]]  # rule, parameter -> its values
RuleValues = tuple[str, tuple[tuple[str, Param], ...]]

HOLD = "hold"
POST_ALL = "post-all"
SMALLER_PCT = (75, 50, 25)
SHUFFLED = "~shuffled"
RANDOM_WINDOWS = "~random-windows"
REACTIONS = ("intrabar", "next_open")
SIDES = {"long": 1, "short": -1}

NAME_PATTERN = "[a-z][a-z0-9-]*"


def is_reserved(name: str) -> bool:
    """Say whether a name belongs to a control that every study has."""
    return name in (HOLD, POST_ALL) or name.startswith("smaller-")


def side_name(side: int) -> str:
    """Give the word for a side.

    >>> side_name(-1)
    'short'
    """
    return "long" if side > 0 else "short"


def leverage_text(leverage_e2: int) -> str:
    """Write a leverage in hundredths.

    >>> leverage_text(250)
    '2.5x'
    """
    return f"{decimal_text(Decimal(leverage_e2) / 100)}x"


def run_id(strategy: str, symbol: str, entry_ms: int, side: int, leverage_e2: int, reaction: str) -> str:
    """Name one run so that a person can read it.

    >>> run_id("deleverage-0.5", "BTCUSDT", 1621296000000, 1, 1000, "next_open")
    'deleverage-0.5/BTCUSDT/2021-05-18T0000/long/10x/next_open'
    """
    entry = time_text(entry_ms).replace(" ", "T").replace(":", "")
    return "/".join((strategy, symbol, entry, side_name(side), leverage_text(leverage_e2), reaction))


def decimal_text(value: Decimal) -> str:
    """Write a decimal number without exponent and without trailing zeros.

    >>> decimal_text(Decimal("0.50"))
    '0.5'
    """
    plain = f"{value:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def param_text(value: Param) -> str:
    """Write a parameter's value as it appears in a name.

    >>> param_text(10.0), param_text(True)
    ('10', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else decimal_text(Decimal(repr(value)))


def sweep(name: str, rules: Sequence[RuleTable]) -> Iterator[tuple[str, tuple[RuleValues, ...]]]:
    """Give the name and the rules of each member of a sweep: the product of all values, in file order.

    Only parameters with several values become part of the name.

    >>> [n for n, _ in sweep("cut", [("deleverage", {"trigger": (0.25, 0.5), "step": (0.25,)})])]
    ['cut-0.25', 'cut-0.5']
    """
    slots = [values for _, params in rules for values in params.values()]
    for chosen in itertools.product(*slots):
        swept = [param_text(value) for value, values in zip(chosen, slots, strict=True) if len(values) > 1]
        next_value = iter(chosen)
        members = tuple((use, tuple((key, next(next_value)) for key in params)) for use, params in rules)
        yield "-".join((name, *swept)), members


def params_json(rules: Iterable[RuleValues]) -> str:
    """Write rules and their parameters as canonical JSON, in the order in which they are called.

    >>> params_json([("deleverage", (("trigger", 0.5), ("step", 0.25)))])
    '[{"step":0.25,"trigger":0.5,"use":"deleverage"}]'
    """
    return json.dumps([{"use": use, **dict(params)} for use, params in rules], sort_keys=True, separators=(",", ":"))
