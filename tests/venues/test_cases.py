"""The venues' own published and recorded numbers, reproduced."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from backtest.venues.exact import text
from backtest.venues.report import compute
from tests.venues.cases import found, read_cases
from tests.venues.other_figures import OTHERS, Other

PAGE = Path(__file__).parents[2] / "docs" / "margin-cases.md"


def cases(name: str) -> list[Any]:
    return [pytest.param(case["account"], case["expect"], id=case["id"]) for case in read_cases(name)]


@pytest.mark.parametrize(("account", "expect"), cases("binance") + cases("bybit"))
def test_case_is_reproduced(account: dict[str, Any], expect: dict[str, list[str]]) -> None:
    result = compute(account).to_dict()
    for path, (value, tolerance) in expect.items():
        ours = found(result, path)
        if value is None:
            assert ours is None, path
        else:
            assert ours is not None, path
            assert abs(Decimal(ours) - Decimal(value)) <= Decimal(tolerance), f"{path}: {ours} is not {value}"


def case_table(name: str) -> str:
    """Write the table of a venue: each case, the venue's number, ours, the difference, the source."""
    lines = ["| case | figure | venue | ours | difference | source |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for case in read_cases(name):
        result = compute(case["account"]).to_dict()
        for path, (value, _) in case["expect"].items():
            ours = found(result, path)
            difference = "" if value is None else text(Fraction(Decimal(str(ours)) - Decimal(value)))
            figure = path.replace("positions.", "").replace(".", " ").replace("_", " ")
            cells = (case["id"], figure, value or "none", str(ours or "none"), difference, case["source"])
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@pytest.mark.parametrize("name", ["binance", "bybit"])
def test_the_page_shows_every_case(name: str) -> None:
    assert case_table(name) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: f"{other.case} {other.figure}")
def test_other_figure_is_reproduced(other: Other) -> None:
    assert abs(other.ours() - Fraction(other.value)) <= Fraction(other.tolerance)


def test_the_page_shows_every_other_figure() -> None:
    lines = ["| case | figure | venue | ours | difference | source |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for o in OTHERS:
        value = o.ours()
        cells = (o.case, o.figure, o.value, text(value), text(value - Fraction(o.value)), o.source)
        lines.append("| " + " | ".join(cells) + " |")
    assert "\n".join(lines) in PAGE.read_text(encoding="utf-8"), "\n".join(lines)
