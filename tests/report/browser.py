"""Open a page in headless Chromium: what its watch script saw, and how it looks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ACCESSIBILITY = Path(__file__).with_name("accessibility.js")
DESKTOP, PHONE = "--window-size=1280,900", "--window-size=500,900"

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
  let up = [], down = [];
  if (head) { head.click(); up = column(); head.click(); down = column(); }
  seen.charts = charts.map((c) => [c.id, c.dataset.drawn === "true", c.querySelectorAll(".trace, .hm").length]);
  seen.sorted = [up, down, head && head.getAttribute("aria-sort")];
  seen.fetched = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
  seen.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  seen.title = document.title;
  seen.ground = getComputedStyle(document.body).backgroundColor;
  const link = document.querySelector("a[href^='#run-']");
  if (link) { link.click(); }
  setTimeout(() => {
    seen.unfolded = link ? document.getElementById(link.hash.slice(1)).open : null;
    document.querySelectorAll("details").forEach((node) => { node.open = true; });
    seen.faults = ACCESSIBILITY;
    const out = document.createElement("pre");
    out.id = "seen"; out.textContent = JSON.stringify(seen); document.body.append(out);
  }, 200);
}, 9000);
</script>"""


def look(page: str, folder: Path, *flags: str) -> dict[str, Any]:
    """Open a page and give what its watch script saw; a message on its console is an error."""
    watcher = REPORT.replace("ACCESSIBILITY", ACCESSIBILITY.read_text(encoding="utf-8"))
    head, tail = page.replace("<head>", "<head>" + WATCH, 1).rsplit("</body>", 1)
    path = folder / "report.html"
    path.write_text(f"{head}{watcher}</body>{tail}", encoding="utf-8")
    done = _chromium(
        folder, "--virtual-time-budget=20000", "--enable-logging=stderr", *flags, "--dump-dom", path.as_uri()
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr
    seen: dict[str, Any] = json.loads(unescape(found[1]))
    return seen


def picture(page: str, folder: Path, name: str, *flags: str) -> Path:
    """Keep a picture of a page as an artefact: in BACKTEST_ARTEFACTS, else in the folder."""
    path = folder / "picture.html"
    path.write_text(page, encoding="utf-8")
    kept = Path(os.environ.get("BACKTEST_ARTEFACTS", folder))
    kept.mkdir(parents=True, exist_ok=True)
    out = (kept / f"{name}.png").resolve()
    _chromium(folder, "--virtual-time-budget=20000", "--hide-scrollbars", *flags, f"--screenshot={out}", path.as_uri())
    return out


def _chromium(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={folder / 'profile'}",
        *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
