"""What the tests of studies share: the small study, replayed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtest.data.store import Lake

from .small import Ran, make_lake, ran, small_study


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Give the lake of the small study."""
    return make_lake(Path(tmp_path_factory.mktemp("lake")))


@pytest.fixture(scope="session")
def small(lake: Lake) -> Ran:
    """Give the small study, replayed."""
    return ran(small_study(), lake)
