"""The page in a real browser: no error, nothing fetched, every chart drawn, tables sort, nobody is shut out."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest.report.accounts import build_accounts
from backtest.report.accounts_page import render_accounts
from backtest.report.explain_page import RunPage, render_explanation
from backtest.report.figures import figures
from backtest.report.html import render_model
from backtest.report.model import Model
from tests.report import sample
from tests.report.browser import CHROMIUM, DESKTOP, PHONE, look, picture
from tests.report.conftest import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

LOOKS = {"desktop": (DESKTOP,), "phone": (PHONE,), "dark": (DESKTOP, "--force-dark-mode")}


@pytest.mark.parametrize("name", LOOKS)
def test_the_page_opens_without_fault(name: str, page: str, model: Model, tmp_path: Path) -> None:
    seen = look(page, tmp_path, *LOOKS[name])
    assert seen["errors"] == seen["refused"] == seen["fetched"] == []
    assert seen["wide"] is False
    assert {chart for chart, _, _ in seen["charts"]} == {f"chart-{figure}" for figure in figures(model)}
    assert all(drawn and traces > 0 for _, drawn, traces in seen["charts"]), seen["charts"]
    up, down, order = seen["sorted"]
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert order == "descending"
    assert seen["unfolded"] is True
    assert seen["faults"] == []
    assert (seen["ground"] == "rgb(21, 24, 27)") is (name == "dark")


@pytest.mark.parametrize("name", LOOKS)
def test_a_picture_is_kept_of_each_look(name: str, page: str, tmp_path: Path) -> None:
    kept = picture(page, tmp_path, f"report-{name}", *LOOKS[name])
    assert kept.read_bytes().startswith(b"\x89PNG")
    assert kept.stat().st_size > 20_000


def test_hostile_names_run_nothing(hostile_model: Model, tmp_path: Path) -> None:
    seen = look(render_model(hostile_model), tmp_path)
    assert seen["errors"] == seen["refused"] == seen["fetched"] == []
    assert seen["title"] != "1"
    assert all(drawn for _, drawn, _ in seen["charts"])


@pytest.mark.parametrize("name", LOOKS)
def test_the_page_of_one_run_opens_without_fault(name: str, tmp_path: Path) -> None:
    numbers = {"wallet": "4740.58702604", HOSTILE: HOSTILE}
    (money,) = sample.FakeRuns().money(["hold/BTCUSDT/0/long/10x/both"])
    page = render_explanation(RunPage(HOSTILE, [HOSTILE] * 4, numbers, sample.trace(), True, money))
    seen = look(page, tmp_path, *LOOKS[name])
    assert seen["errors"] == seen["refused"] == seen["fetched"] == seen["faults"] == []
    assert seen["wide"] is False
    assert seen["title"] == HOSTILE
    assert [drawn for _, drawn, _ in seen["charts"]] == [True]


@pytest.mark.parametrize("name", LOOKS)
def test_the_page_of_accounts_opens_without_fault(name: str, tmp_path: Path) -> None:
    page = render_accounts(build_accounts(sample.accounts(HOSTILE)))
    seen = look(page, tmp_path, *LOOKS[name])
    assert seen["errors"] == seen["refused"] == seen["fetched"] == seen["faults"] == []
    assert seen["wide"] is False
    assert [(chart, drawn) for chart, drawn, _ in seen["charts"]] == [("chart-gains", True)]


BROKEN = {
    "button-or-link-name": "<button></button>",
    "image-alt": '<img src="data:,">',
    "heading-order": "<h5>deep</h5>",
    "duplicate-id": '<p id="one">a</p><p id="one">b</p>',
    "color-contrast": '<p style="color: #ccc; background: #fff">pale</p>',
    "th-has-scope": '<table aria-label="t"><tr><th>head</th></tr></table>',
    "role-name": '<div role="img"></div>',
    "skip-link": '<a href="#nowhere">away</a>',
}


def test_the_accessibility_script_finds_what_is_broken(page: str, tmp_path: Path) -> None:
    broken = page.replace("</main>", "".join(BROKEN.values()) + "</main>")
    found = {fault.split(":")[0] for fault in look(broken, tmp_path)["faults"]}
    assert found >= set(BROKEN)
