"""Swept parameters: the strategies of one sweep laid out over the values that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep: the parameters that differ, and the strategy at each combination of their values."""

    name: str
    parameters: tuple[str, ...]
    points: tuple[tuple[tuple[Any, ...], str], ...]


def sweeps(strategies: Sequence[Mapping[str, Any]]) -> list[Sweep]:
    """Find the sweeps among resolved strategies: those that share a `base_name`.

    A parameter is named rule.parameter, with a number before it where a strategy has the rule twice.
    """
    by_base: dict[str, list[Mapping[str, Any]]] = {}
    for strategy in strategies:
        if "base_name" in strategy:
            by_base.setdefault(strategy["base_name"], []).append(strategy)
    return [_sweep(base, group) for base, group in by_base.items() if len(group) > 1]


def _sweep(base: str, group: Sequence[Mapping[str, Any]]) -> Sweep:
    values = [_parameters(strategy) for strategy in group]
    differ = tuple(name for name in values[0] if len({repr(one.get(name)) for one in values}) > 1)
    points = tuple(
        (tuple(one.get(name) for name in differ), str(strategy["name"]))
        for one, strategy in zip(values, group, strict=True)
    )
    return Sweep(base, differ, points)


def _parameters(strategy: Mapping[str, Any]) -> dict[str, Any]:
    uses = [rule["use"] for rule in strategy["rules"]]
    found: dict[str, Any] = {}
    for i, rule in enumerate(strategy["rules"]):
        prefix = f"{i + 1} {rule['use']}" if uses.count(rule["use"]) > 1 else rule["use"]
        found |= {f"{prefix}.{name}": value for name, value in rule.items() if name != "use"}
    return found
