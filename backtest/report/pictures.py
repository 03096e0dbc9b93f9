"""The charts of a finished report as PNG files, drawn by a headless Chromium from the report itself."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from backtest.errors import IntegrityError, UsageError
from backtest.report.page import TEMPLATES

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS_MAX = 180
# Chromium refuses its sandbox to root.
_ROOT = ("--no-sandbox",) if os.geteuid() == 0 else ()


def pictures(page: str) -> Iterator[tuple[str, bytes]]:
    """Give every chart of a report page as a PNG, by name.

    Errors: `UsageError` where no Chromium is installed, or it draws nothing; `IntegrityError` for a foreign page.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UsageError.at("png", "needs Chromium, which is not installed", "install it (Debian: chromium)")
    with tempfile.TemporaryDirectory(prefix="backtest-png-") as folder:
        path = Path(folder) / "report.html"
        before, after = page.rsplit("</body>", 1)
        script = (TEMPLATES / "pictures.js").read_text(encoding="utf-8")
        path.write_text(f"{before}<script>{script}</script></body>{after}", encoding="utf-8")
        command = [
            browser, "--headless", *_ROOT, "--disable-gpu", "--disable-background-networking", "--no-first-run",
            f"--user-data-dir={folder}/profile", "--virtual-time-budget=60000", "--dump-dom", path.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS_MAX)
    found = re.search(r'<pre id="pictures">(.*?)</pre>', done.stdout, re.DOTALL)
    if found is None:
        raise UsageError.at("png", f"{browser} drew nothing: {done.stderr[-300:].strip()}", "open report.html in it")
    for name, url in json.loads(unescape(found[1])):
        if not re.fullmatch("[a-z0-9-]+", name):
            raise IntegrityError.at("report.html", f'has a chart "{name}", which no report has', "run the study again")
        yield name, base64.b64decode(url.partition(",")[2])
