"""reports/hedges/README.md says how far a hedged and a partly closed long can fall: by its formula, digit by digit.

That replay and oracle give these falls is tested in tests/engine/pool/test_pool_oracle.py.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "reports" / "hedges" / "README.md").read_text(encoding="utf-8")
EQUITY, RATE = Decimal("0.03"), Decimal("0.01")


def row(name: str) -> list[str]:
    """Give the cells of a row of the table."""
    found = re.search(rf"^\| {name} \|(.+)\|$", PAGE, re.M)
    assert found is not None
    return [cell.strip() for cell in found[1].split("|")]


def test_the_falls_are_those_of_the_formulas() -> None:
    shares = [Decimal(cell) for cell in row("share")]
    hedged = [(EQUITY - RATE * (1 + h)) / ((1 - h) - RATE * (1 + h)) for h in shares]
    closed = [(EQUITY - RATE * (1 - h)) / ((1 - h) * (1 - RATE)) for h in shares]
    assert row("hedged") == [f"{100 * fall:.4f} %" for fall in hedged]
    assert row("closed") == [f"{100 * fall:.4f} %" for fall in closed]


def test_a_whole_hedge_ends_on_the_way_up() -> None:
    assert f"+ {100 * (EQUITY / (2 * RATE) - 1):.0f} %" in PAGE
