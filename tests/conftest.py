"""What tests of every area share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Give the folder of real market data: BACKTEST_REAL_DATA, or `shared/data` beside the checkout; else skip."""
    folder = Path(os.environ.get("BACKTEST_REAL_DATA", _BESIDE))
    if not folder.is_dir():
        pytest.skip("no real market data: set BACKTEST_REAL_DATA to its folder")
    return folder
