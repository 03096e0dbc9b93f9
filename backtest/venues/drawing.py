"""Draw a curve: plain characters for a terminal, SVG inside a page of its own."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from fractions import Fraction

from backtest.venues.curve import Curve, Point
from backtest.venues.exact import text

WIDTH, HEIGHT = 72, 18
LINES = (("equity", "#", "#1f6feb"), ("initial_margin", "i", "#9a6700"), ("maintenance_margin", "m", "#cf222e"))
SVG_WIDTH, SVG_HEIGHT, MARGIN = 860, 420, 60

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto; padding: 0 1rem; color: #1f2328 }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
td, th {{ padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #d1d9e0 }}
svg {{ width: 100%; height: auto }}
svg text {{ font-size: 12px; fill: #59636e; paint-order: stroke; stroke: #fff; stroke-width: 4px }}
</style></head><body>
<h1>{title}</h1>
{svg}
<table>{facts}</table>
<h2>At these marks</h2>
<table><tr><th>mark</th><th>equity</th><th>initial margin</th><th>maintenance margin</th><th>buffer</th></tr>
{rows}</table>
</body></html>
"""


def facts(curve: Curve) -> list[tuple[str, str]]:
    """Give the figures beside the drawing, in the order in which they are met on the way down."""
    share = None if curve.buffer_share is None else curve.buffer_share * 100
    move = None if curve.move is None else curve.move * 100
    taken = curve.takeover_price
    return [
        ("entry price", _price(curve.entry_price)),
        ("break-even after fees", _price(curve.break_even)),
        ("liquidation price", _price(curve.liquidation_price)),
        ("bankruptcy price", _price(curve.bankruptcy_price)),
        *([] if taken is None else [("takeover fill, closing fee inside", _price(taken))]),
        ("price moves until liquidation", "none" if move is None else f"{text(move, 3)} %"),
        ("buffer, share of the way to bankruptcy", "none" if share is None else f"{text(share, 1)} %"),
    ]


def draw_text(curve: Curve) -> str:
    """Draw the curve with plain characters: about 20 lines, marks from left to right."""
    low, high = _range(curve)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for price, sign in ((curve.liquidation_price, ":"), (curve.entry_price, ".")):
        if price is not None:
            for row in grid:
                row[_column(curve, price)] = sign
    for name, sign, _ in reversed(LINES):
        for column in range(WIDTH):
            point = curve.points[round(column * (len(curve.points) - 1) / (WIDTH - 1))]
            share = (getattr(point, name) - low) / (high - low)
            grid[HEIGHT - 1 - round(share * (HEIGHT - 1))][column] = sign
    left = [_amount(high - (high - low) * row / (HEIGHT - 1), curve) if row % 4 == 0 else "" for row in range(HEIGHT)]
    pad = max(map(len, left))
    lines = [f"{label:>{pad}} |{''.join(row).rstrip()}" for label, row in zip(left, grid, strict=True)]
    first, last = _price(curve.points[0].mark), _price(curve.points[-1].mark)
    lines.append(f"{'':>{pad}} +{'-' * WIDTH}")
    lines.append(f"{'':>{pad}}  {first}{last:>{WIDTH - len(first)}}")
    lines.append("# equity   i initial margin   m maintenance margin   : liquidation   . entry")
    return "\n".join([curve.title, *lines, *(f"{name}: {value}" for name, value in facts(curve))])


def draw_html(curve: Curve) -> str:
    """Draw the curve as one page that needs nothing else."""
    rows = "\n".join(_table_row(cells) for cells in _table(curve))
    return PAGE.format(
        title=html.escape(curve.title),
        svg="\n".join(_svg(curve)),
        facts="\n".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts(curve)),
        rows=rows,
    )


def _svg(curve: Curve) -> Iterator[str]:
    low, high = _range(curve)

    def x(mark: Fraction) -> str:
        return f"{float(MARGIN + (SVG_WIDTH - 2 * MARGIN) * _share(curve, mark)):.1f}"

    def y(amount: Fraction) -> str:
        return f"{float(SVG_HEIGHT - MARGIN - (SVG_HEIGHT - 2 * MARGIN) * (amount - low) / (high - low)):.1f}"

    yield f'<svg viewBox="0 0 {SVG_WIDTH} {SVG_HEIGHT}" role="img" aria-label="equity and margins over the mark">'
    alive = _alive(curve)
    over = [f"{x(point.mark)},{y(point.equity)}" for point in alive]
    under = [f"{x(point.mark)},{y(point.maintenance_margin)}" for point in reversed(alive)]
    yield f'<polygon points="{" ".join(over + under)}" fill="#ddf4ff"/>'
    for step in range(5):
        amount = low + (high - low) * step / 4
        yield f'<text x="4" y="{y(amount)}">{_amount(amount, curve)}</text>'
        mark = curve.points[0].mark + (curve.points[-1].mark - curve.points[0].mark) * step / 4
        yield f'<text x="{x(mark)}" y="{SVG_HEIGHT - 20}" text-anchor="middle">{_price(mark)}</text>'
    for number, (name, price) in enumerate(_verticals(curve)):
        top = 14 + 14 * number
        line = f'x1="{x(price)}" x2="{x(price)}" y1="{top}" y2="{SVG_HEIGHT - MARGIN}"'
        yield f'<line {line} stroke="#59636e" stroke-dasharray="4"/>'
        yield f'<text x="{x(price)}" y="{top}" text-anchor="middle">{name} {_price(price)}</text>'
    for number, (name, _, colour) in enumerate(LINES):
        path = " ".join(f"{x(point.mark)},{y(getattr(point, name))}" for point in curve.points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield _legend(MARGIN + 120 * number, name.replace("_", " "), colour)
    yield _legend(MARGIN + 120 * len(LINES) + 40, "shaded: the buffer, from entry to liquidation", "#0969da")
    yield f'<text x="4" y="14">{html.escape(curve.asset)}</text>'
    yield f'<text x="{SVG_WIDTH - 4}" y="{SVG_HEIGHT - 4}" text-anchor="end">mark price</text>'
    yield "</svg>"


def _legend(place: int, name: str, colour: str) -> str:
    return f'<text x="{place}" y="{SVG_HEIGHT - 4}" style="fill:{colour}">{name}</text>'


def _alive(curve: Curve) -> list[Point]:
    """Give the points between entry and liquidation, where the buffer is used up."""
    if curve.liquidation_price is None:
        return []
    low, high = sorted((curve.entry_price, curve.liquidation_price))
    return [point for point in curve.points if low <= point.mark <= high]


def _verticals(curve: Curve) -> Iterator[tuple[str, Fraction]]:
    """Give the prices to mark, each on the drawing."""
    for name, price in (
        ("entry", curve.entry_price),
        ("break-even", curve.break_even),
        ("liquidation", curve.liquidation_price),
        ("bankruptcy", curve.bankruptcy_price),
    ):
        if price is not None and 0 <= _share(curve, price) <= 1:
            yield name, price


def _table(curve: Curve) -> Iterator[Sequence[str]]:
    for point in curve.points[:: max(1, len(curve.points) // 12)]:
        amounts = (point.equity, point.initial_margin, point.maintenance_margin)
        buffer = "" if point.buffer is None else text(point.buffer, 3)
        yield (_price(point.mark), *(_amount(amount, curve) for amount in amounts), buffer)


def _table_row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _share(curve: Curve, mark: Fraction) -> Fraction:
    return (mark - curve.points[0].mark) / (curve.points[-1].mark - curve.points[0].mark)


def _column(curve: Curve, mark: Fraction) -> int:
    return min(max(round(_share(curve, mark) * (WIDTH - 1)), 0), WIDTH - 1)


def _range(curve: Curve) -> tuple[Fraction, Fraction]:
    amounts = [getattr(point, name) for point in curve.points for name, _, _ in LINES]
    return min(amounts), max(amounts)


def _amount(value: Fraction, curve: Curve) -> str:
    """Write an amount with the decimals that its scale needs."""
    low, high = _range(curve)
    return text(value, 2 if high - low >= 100 else 6)


def _price(value: Fraction | None) -> str:
    """Write a price with six significant digits at least."""
    if value is None:
        return "none"
    return text(value, 2 if value >= 1000 else 4 if value >= 1 else 8)
