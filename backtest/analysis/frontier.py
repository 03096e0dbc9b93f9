"""Which strategies are not beaten: the Pareto front of liquidations against cost and exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backtest.analysis.effects import Counts


@dataclass(frozen=True, slots=True)
class Point:
    """One strategy at its worse reaction in each figure."""

    strategy: str
    liquidated_pct: float
    running_cost_pct: float
    exposure_kept: float
    on_front: bool


def frontier(rows: Sequence[Counts]) -> list[Point]:
    """Place each strategy by liquidations, running cost and exposure kept, each at its worse reaction.

    A strategy is on the front if no other has as few liquidations, as low a cost and as much exposure, and one of
    them better. A strategy without a cost or an exposure (no pair whose baseline lived) is left out.
    """
    by_strategy: dict[str, list[Counts]] = {}
    for row in rows:
        by_strategy.setdefault(row.strategy, []).append(row)
    placed = {name: figures for name, group in by_strategy.items() if (figures := _worst(group)) is not None}
    return [
        Point(name, *figures, not any(_beats(other, figures) for other in placed.values()))
        for name, figures in placed.items()
    ]


def _worst(group: Sequence[Counts]) -> tuple[float, float, float] | None:
    figures = [(row.liquidated_pct, row.running_cost_pct, row.exposure_kept) for row in group]
    known = [(a, b, c) for a, b, c in figures if a is not None and b is not None and c is not None]
    if len(known) < len(group):
        return None
    return max(a for a, _, _ in known), max(b for _, b, _ in known), min(c for _, _, c in known)


def _beats(other: tuple[float, float, float], mine: tuple[float, float, float]) -> bool:
    a, b = (other[0], other[1], -other[2]), (mine[0], mine[1], -mine[2])
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
