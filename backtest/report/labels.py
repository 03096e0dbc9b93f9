"""Where the labels of a scatter chart go, so that they cover least."""

from __future__ import annotations

from collections.abc import Sequence

from backtest.analysis.frontier import Point
from backtest.analysis.timing import is_twin


def label_places(points: Sequence[Point]) -> dict[str, str]:
    """Choose for each name the side of its mark where it covers least: other marks, and names placed before.

    Twins get no name: they would cover the strategies.
    """
    if not points:
        return {}
    wide = max(point.running_cost_pct for point in points) - min(0.0, *(point.running_cost_pct for point in points))
    high = max(point.liquidated_pct for point in points)
    at = {p.strategy: (p.running_cost_pct / (wide or 1.0), p.liquidated_pct / (high or 1.0)) for p in points}
    taken = [(x - 0.008, y - 0.02, x + 0.008, y + 0.02) for x, y in at.values()]
    outside = ((1.1, -1.0, 9.0, 9.0), (-9.0, -1.0, -0.1, 9.0))
    places = {}
    for name, (x, y) in at.items():
        if is_twin(name):
            continue
        half = 0.005 * len(name)
        boxes = {
            "middle right": (x + 0.012, y - 0.018, x + 0.012 + 2 * half, y + 0.018),
            "bottom center": (x - half, y - 0.065, x + half, y - 0.025),
            "top center": (x - half, y + 0.025, x + half, y + 0.065),
            "middle left": (x - 0.012 - 2 * half, y - 0.018, x - 0.012, y + 0.018),
        }
        places[name] = min(boxes, key=lambda place: sum(_overlap(boxes[place], other) for other in (*taken, *outside)))
        taken.append(boxes[places[name]])
    return places


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
