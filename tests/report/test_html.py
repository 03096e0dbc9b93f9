"""The page: self-contained, the same bytes for the same input, inert whatever the names, readable in both schemes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from backtest.report.figure import label
from backtest.report.figures import figures
from backtest.report.html import render, render_model
from backtest.report.model import Model, build
from backtest.report.page import TEMPLATES
from backtest.report.trace import trace_figure
from tests.analysis import fake
from tests.report import sample
from tests.report.conftest import HOSTILE


class Outline(HTMLParser):
    """Collect tags, ids and the texts of headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._in_heading = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_heading = tag in ("h1", "h2")

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


def test_the_same_input_gives_the_same_bytes_whatever_the_order_of_rows(page: str) -> None:
    outcomes = fake.outcomes(200)
    shuffled = outcomes.take(pa.array(np.random.default_rng(9).permutation(outcomes.num_rows)))
    assert render(sample.report_input(shuffled)) == page


def test_the_sections_come_in_the_order_of_a_reader(page: str) -> None:
    assert Outline(page).headings == [
        "btc-buffers", "Strategies by liquidation count", "Skill or luck", "What a saved position costs",
        "Liquidations through time", "How long a position lives", "Through the crashes",
        "Around announced events", "Liquidation probability by leverage and holding time", "Over swept parameters",
        "Where the difference comes from", "Under other assumptions", "Worst runs", "One liquidation, step by step",
        "Equity and drawdown", "Assumptions", "Data", "How to reproduce",
    ]  # fmt: skip


def test_each_table_of_the_data_section_is_there(page: str) -> None:
    ids = {attrs.get("id") for _, attrs in Outline(page).tags}
    for name in (
        "coverage",
        "gaps",
        "fidelity",
        "refused",
        "actions",
        "fills",
        "timing",
        "best",
        "money",
        "worst",
        "events",
    ):
        assert f"table-{name}" in ids, name


def test_each_worst_run_leads_to_its_story(page: str, model: Model) -> None:
    outline = Outline(page)
    links = [attrs["href"] for tag, attrs in outline.tags if tag == "a"]
    targets = {f"#{attrs['id']}" for tag, attrs in outline.tags if tag == "details" and "id" in attrs}
    assert len(links) == len(model.worst) > 0
    assert set(links) == targets
    assert all(f"Run {one.run_id}" in page for one in model.worst)


def test_nothing_is_fetched(page: str) -> None:
    outline = Outline(page)
    links = [value for tag, attrs in outline.tags for name, value in attrs.items() if name in ("src", "href")]
    assert [link for link in links if not str(link).startswith("#run-")] == ["data:,"]
    assert "default-src 'none'" in page
    assert page.count("plotly.js v") <= 1


def test_ids_are_unique_and_fixed(page: str) -> None:
    ids = [attrs["id"] for _, attrs in Outline(page).tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {"chart-liquidations", "chart-trace", "table-summary"} <= set(ids)


def test_names_are_inert_in_html_and_in_figures(hostile_model: Model) -> None:
    page = render_model(hostile_model)
    assert not [tag for tag, _ in Outline(page).tags if tag in ("img", "b")]
    for figure in figures(hostile_model).values():
        assert "<img" not in json.dumps([figure.data, figure.layout])
    for text in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL):
        assert "<" not in text
        json.loads(text)
    assert label("<b>") == "&lt;b&gt;"
    assert HOSTILE not in page


def test_a_report_that_follows_no_run_has_no_such_section() -> None:
    page = render(sample.report_input(fake.outcomes(40), runs=None, synthetic=False))
    assert "step by step" not in page
    assert "Equity and drawdown" not in page
    assert "The market of this report is made up" not in page


def test_a_report_of_hold_alone_can_be_read() -> None:
    outcomes = fake.outcomes(40)
    outcomes = outcomes.filter(pa.compute.equal(outcomes["strategy"], "hold"))
    study = sample.study() | {"strategy": []}
    assert "Left alone" in render(sample.report_input(outcomes, study=study))


@pytest.mark.slow
def test_a_report_of_100000_runs_is_under_8_mb() -> None:
    outcomes = fake.outcomes(1_200)
    assert outcomes.num_rows > 100_000
    assert len(render(sample.report_input(outcomes)).encode()) < 8_000_000


def test_no_value_of_a_chart_is_lost_in_json(model: Model) -> None:
    for figure in figures(model).values():
        json.dumps([figure.data, figure.layout], allow_nan=False)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_has_enough_contrast(scheme: int) -> None:
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    colors = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", (light, dark)[scheme]))
    for name in ("ink", "soft", "accent", "danger"):
        for ground in ("paper", "wash"):
            assert _contrast(colors[name], colors[ground]) >= 4.5, (name, ground)
    for name in ("muted", *(f"series-{i}" for i in range(1, 6))):
        assert _contrast(colors[name], colors["paper"]) >= 3.0, name


def _contrast(a: str, b: str) -> float:
    """Give the contrast ratio of two colours (WCAG 2.1, 1.4.3)."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_best_strategy_is_the_one_that_saves_most(model: Model) -> None:
    best = build(model.input).summary.best
    assert best is not None
    assert best.name == "deleverage-0.5"
    own = [one for one in model.summary.strategies if not one.control]
    assert best.saved - best.caused == max(one.saved - one.caused for one in own)


@pytest.mark.parametrize("liquidated", [True, False])
def test_only_a_liquidated_run_is_marked_so(liquidated: bool) -> None:
    drawn = trace_figure(sample.trace(), liquidated)
    assert ("liquidated" in [line.get("name") for line in drawn.data]) is liquidated


def test_a_run_without_one_liquidation_price_draws_none_and_ends_on_its_equity() -> None:
    trace = sample.trace()
    place = trace.column_names.index("liquidation_price")
    legs = trace.set_column(place, "liquidation_price", pa.array([float("nan")] * trace.num_rows))
    drawn = trace_figure(legs, liquidated=True)
    assert "liquidation price" not in [line.get("name") for line in drawn.data]
    (end,) = [line for line in drawn.data if line.get("name") == "liquidated"]
    assert (end["yaxis"], len(end["y"])) == ("y3", 1)
    assert end["y"][0] == pytest.approx(trace["equity"][-1].as_py(), rel=1e-4)
    assert "is liquidated" not in drawn.caption
    assert "is liquidated" in trace_figure(trace, liquidated=True).caption
