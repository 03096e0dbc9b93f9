"""A group of tests that must run may not be left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import groups_not_run

ROOT = Path(__file__).resolve().parents[1]


def test_a_group_is_missing_where_none_passed_or_one_was_skipped() -> None:
    browser, plain = (SimpleNamespace(keywords={mark: 1}) for mark in ("browser", "plain"))
    assert groups_not_run({"passed": [browser, plain]}, ["browser"]) == []
    assert groups_not_run({"passed": [plain]}, ["browser"]) == ["browser"]
    assert groups_not_run({"passed": [browser], "skipped": [browser]}, ["browser"]) == ["browser"]


@pytest.mark.parametrize(("wanted", "code"), [("", 0), ("browser", 1)])
def test_a_run_without_a_group_that_must_run_fails(wanted: str, code: int) -> None:
    """Collect one plain test: enough for a run, not for a run that must hold the browser's."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "where_none_passed", __file__]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "BACKTEST_MUST_RUN": wanted}, capture_output=True)
    assert done.returncode == code, done.stdout.decode()
