"""Draw the README's picture from a printed comparison: `python docs/picture.py reports/btc-buffers/table.txt`."""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

TITLE = "Liquidated, or out of the market when it would have been: BTCUSDT on Binance, 2020 to 2026"
LEGEND = (
    "red: liquidated, a bot inside the bar; pale: at the next open; grey: not liquidated, but under half held by then"
)
WIDTH, LEFT, TOP, ROW, BAR = 860, 170, 64, 26, 480
INK, SOFT, RED, PALE, GREY = "#1b1f24", "#57606a", "#b5432a", "#f0b7a4", "#d8dee4"


class Row(NamedTuple):
    """A strategy's liquidated runs under both reactions, and the runs that had left under the later one."""

    strategy: str
    intrabar: int
    next_open: int
    exited: int


def rows(table: str) -> list[Row]:
    """Read a printed table, without the shuffled twins."""
    found = []
    for line in table.splitlines():
        cells = re.split(r" {2,}", line)
        if re.fullmatch(r"[a-z][a-z0-9.-]*", cells[0]):
            liquidated, exited = ([int(n.replace(",", "")) for n in cells[i].split(" / ")] for i in (1, 4))
            found.append(Row(cells[0], liquidated[0], liquidated[-1], exited[-1]))
    return found


def draw(table: str) -> str:
    """Give the picture as SVG, a bar for each strategy."""
    bars = rows(table)
    scale = BAR / max(row.next_open + row.exited for row in bars)
    height = TOP + ROW * len(bars) + 16

    def text(x: float, y: int, words: str, style: str) -> str:
        return f'<text x="{x:.1f}" y="{y}" {style}>{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(TITLE)}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        text(16, 24, TITLE, f'font-size="15" font-weight="600" fill="{INK}"'),
        text(16, 44, LEGEND, f'fill="{SOFT}"'),
    ]
    for place, row in enumerate(bars):
        y = TOP + ROW * place
        parts.append(text(LEFT - 10, y + 15, row.strategy, f'text-anchor="end" fill="{INK}"'))
        for runs, color in ((row.next_open + row.exited, GREY), (row.next_open, PALE), (row.intrabar, RED)):
            parts.append(f'<rect x="{LEFT}" y="{y + 2}" width="{runs * scale:.1f}" height="18" fill="{color}"/>')
        count = f"{row.intrabar:,}" if row.intrabar == row.next_open else f"{row.intrabar:,} / {row.next_open:,}"
        words = f"{count}, left {row.exited:,}" if row.exited else count
        parts.append(text(LEFT + (row.next_open + row.exited) * scale + 8, y + 15, words, f'fill="{INK}"'))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    source = Path(sys.argv[1])
    picture = draw(source.read_text(encoding="utf-8"))
    Path(__file__).with_name(f"{source.parent.name}.svg").write_text(picture, encoding="utf-8")
