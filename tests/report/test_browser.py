"""The page in a real browser: no error, nothing fetched, every chart drawn, tables sort."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from backtest.report.html import render_model
from backtest.report.model import Model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

WATCH = """<script>
window.seen = {errors: [], refused: []};
addEventListener("error", (e) => seen.errors.push(String(e.message)));
addEventListener("unhandledrejection", (e) => seen.errors.push(String(e.reason)));
addEventListener("securitypolicyviolation", (e) => seen.refused.push(e.blockedURI));
</script>"""

REPORT = """<script>
setTimeout(() => {
  const charts = Array.from(document.querySelectorAll("[data-figure]"));
  const rows = () => Array.from(document.querySelectorAll("#table-summary tbody tr"));
  const column = () => rows().map((row) => Number(row.cells[1].dataset.v));
  const head = document.querySelectorAll("#table-summary thead th")[1];
  head.click(); const up = column(); head.click(); const down = column();
  seen.charts = charts.map((c) => [c.id, c.dataset.drawn === "true", c.querySelectorAll(".trace").length]);
  seen.sorted = [up, down, head.getAttribute("aria-sort")];
  seen.fetched = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
  seen.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  seen.title = document.title;
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen); document.body.append(out);
}, 8000);
</script>"""


def look(page: str, folder: Path, *flags: str) -> dict[str, object]:
    """Open a page and give what its watch script saw."""
    assert CHROMIUM is not None
    path = folder / "report.html"
    path.write_text(page.replace("<head>", "<head>" + WATCH).replace("</body>", REPORT + "</body>"), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=15000", "--enable-logging=stderr", *flags, "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None
    seen: dict[str, object] = json.loads(unescape(found[1]))
    return seen


@pytest.mark.parametrize("flags", [("--window-size=1280,900",), ("--window-size=500,900", "--force-dark-mode")])
def test_the_page_opens_without_fault(page: str, tmp_path: Path, flags: tuple[str, ...]) -> None:
    seen = look(page, tmp_path, *flags)
    assert seen["errors"] == seen["refused"] == seen["fetched"] == []
    assert seen["wide"] is False
    charts = seen["charts"]
    assert isinstance(charts, list)
    assert len(charts) == 6
    assert all(drawn and traces > 0 for _, drawn, traces in charts), charts
    assert isinstance(seen["sorted"], list)
    up, down, order = seen["sorted"]
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert order == "descending"


def test_hostile_names_run_nothing(hostile_model: Model, tmp_path: Path) -> None:
    seen = look(render_model(hostile_model), tmp_path)
    assert seen["errors"] == seen["refused"] == seen["fetched"] == []
    assert seen["title"] != "1"
    assert isinstance(seen["charts"], list)
    assert all(drawn for _, drawn, _ in seen["charts"])
