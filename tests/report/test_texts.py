"""Numbers, terminal, CSV and Markdown: what is written, and that names do no harm."""

from __future__ import annotations

import csv
import doctest
import io

import pytest

from backtest.report import markdown, summary_csv, text
from backtest.report.markdown import render_markdown
from backtest.report.model import Model, summarise
from backtest.report.terminal import summary_text
from tests.analysis import fake
from tests.report import sample
from tests.report.conftest import HOSTILE


@pytest.mark.parametrize("module", [text, markdown, summary_csv])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_numbers() -> None:
    assert text.number(-0.04, 1) == "0.0"
    assert text.number(1234567.0) == "1,234,567"
    assert text.number(None) == text.number(float("nan")) == "–"
    assert (text.money(99.999), text.money(100.4)) == ("100.00", "100")
    assert text.share(0.5) == "50 %"
    assert text.two("1", "1") == "1"
    assert text.two("1", "2") == "1 / 2"
    assert text.date(fake.START_MS) == "2020-01-01"


def test_the_terminal_table_names_every_strategy_and_cuts_nothing(model: Model) -> None:
    printed = summary_text(model.input.study, model.summary)
    assert "…" not in printed
    assert "\x1b" not in printed
    lines = printed.splitlines()
    for one in model.summary.strategies:
        line = next(line for line in lines if line.startswith(f"{one.name} "))
        assert text.two(text.number(one.intrabar.liquidated), text.number(one.next_open.liquidated)) in line
    assert "\x1b" in summary_text(model.input.study, model.summary, color=True)


def test_the_terminal_does_not_depend_on_the_terminal(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = summary_text(model.input.study, model.summary)
    for name, value in (("COLUMNS", "40"), ("TERM", "dumb"), ("FORCE_COLOR", "1"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    assert summary_text(model.input.study, model.summary) == printed


def test_names_are_no_markup_in_the_terminal() -> None:
    outcomes = fake.outcomes(20)
    names = ["[red]a[/red]" if name == "exit" else name for name in outcomes["strategy"].to_pylist()]
    outcomes = outcomes.set_column(outcomes.schema.get_field_index("strategy"), "strategy", [names])
    study = sample.study()
    assert "[red]a[/red]" in summary_text(study, summarise(study, outcomes))


def test_the_csv_has_a_row_for_each_strategy_and_reaction(model: Model) -> None:
    rows = list(csv.DictReader(io.StringIO(summary_csv.summary_csv(model.summary))))
    assert len(rows) == 2 * len(model.summary.strategies)
    first = rows[0]
    assert (first["strategy"], first["reaction"], first["control"]) == ("hold", "intrabar", "true")
    assert int(first["liquidated"]) == model.summary.baseline.intrabar.liquidated
    assert first["cost_per_avoided_quote"] == ""


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_the_csv_is_inert(name: str) -> None:
    assert summary_csv.inert(name) == f"'{name}"
    assert summary_csv.inert("deleverage-0.5") == "deleverage-0.5"


def test_markdown_is_inert(hostile_model: Model) -> None:
    written = render_markdown(hostile_model)
    assert HOSTILE not in "\n".join(line for line in written.splitlines() if not line.startswith("    "))
    assert "\\<img" in written


def test_markdown_tables_have_as_many_cells_as_titles(model: Model) -> None:
    for block in render_markdown(model).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_markdown_has_the_sections_of_the_page(model: Model) -> None:
    titles = [line for line in render_markdown(model).splitlines() if line.startswith("## ")]
    assert titles == [
        "## Strategies by liquidation count", "## Skill or luck", "## Through the crashes",
        "## Around announced events", "## Liquidation probability by leverage and holding time",
        "## Where the difference comes from",
        "## Under other assumptions", "## Worst runs", "## One liquidation", "## Equity and drawdown",
        "## Assumptions", "## Data", "## How to reproduce",
    ]  # fmt: skip
