"""Draw the README's picture from a printed comparison: `python docs/picture.py reports/btc-buffers/table.txt`."""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, LEFT, TOP, ROW = 860, 220, 64, 26
BAR = 460  # width of the longest bar


class Row(NamedTuple):
    """A strategy's liquidated runs, where a bot is never late and where it acts at the next open."""

    strategy: str
    intrabar: int
    next_open: int


def rows(table: str) -> list[Row]:
    """Read strategies and liquidated runs from a printed table, without the shuffled twins."""
    found = []
    for line in table.splitlines():
        match = re.match(r"([a-z][\w.-]*) +([\d,]+)(?: / ([\d,]+))? ", line)
        if match:
            first = int(match[2].replace(",", ""))
            found.append(Row(match[1], first, int(match[3].replace(",", "")) if match[3] else first))
    return found


def draw(table: str, title: str) -> str:
    """Give the picture as SVG: a bar for each strategy, the later reaction paler behind the faster one."""
    bars = rows(table)
    scale = BAR / max(row.next_open for row in bars)
    height = TOP + ROW * len(bars) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"'
        ' font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="24" font-size="15" font-weight="600" fill="#1b1f24">{escape(title)}</text>',
        '<text x="16" y="44" fill="#57606a">dark: a bot that reacts inside the bar; pale: one that acts at the next '
        "open, an hour later</text>",
    ]
    for place, row in enumerate(bars):
        y = TOP + ROW * place
        count = f"{row.intrabar:,}" if row.intrabar == row.next_open else f"{row.intrabar:,} / {row.next_open:,}"
        end = LEFT + row.next_open * scale
        parts += [
            f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end" fill="#1b1f24">{escape(row.strategy)}</text>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{row.next_open * scale:.1f}" height="18" fill="#f0b7a4"/>',
            f'<rect x="{LEFT}" y="{y + 2}" width="{row.intrabar * scale:.1f}" height="18" fill="#b5432a"/>',
            f'<text x="{end + 8:.1f}" y="{y + 15}" fill="#1b1f24">{count}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    source = Path(sys.argv[1])
    name = source.parent.name
    text = draw(source.read_text(encoding="utf-8"), "Liquidated runs by strategy: BTCUSDT on Binance, 2020 to 2026")
    (Path(__file__).parent / f"{name}.svg").write_text(text, encoding="utf-8")
