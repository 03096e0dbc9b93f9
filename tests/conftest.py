"""What tests of every area share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A deadline would be a timed assertion, and machines are shared.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Give the folder of real market data: BACKTEST_REAL_DATA, or `shared/data` beside the checkout; else skip."""
    folder = Path(os.environ.get("BACKTEST_REAL_DATA", _BESIDE))
    if not folder.is_dir():
        pytest.skip("no real market data: set BACKTEST_REAL_DATA to its folder")
    return folder


def groups_not_run(stats: Mapping[str, Sequence[Any]], wanted: Sequence[str]) -> list[str]:
    """Name the groups of tests (markers) of which none passed or one was skipped."""
    passed, skipped = ({mark for r in stats.get(end, ()) for mark in r.keywords} for end in ("passed", "skipped"))
    return [group for group in wanted if group not in passed or group in skipped]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that left out a group of tests that BACKTEST_MUST_RUN names."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    wanted = os.environ.get("BACKTEST_MUST_RUN", "").split()
    if reporter is None or hasattr(session.config, "workerinput") or session.exitstatus != 0:
        return
    if missing := groups_not_run(reporter.stats, wanted):
        reporter.write_line(f"not run, or skipped: {' '.join(missing)} (BACKTEST_MUST_RUN)", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
