"""Names say what a run is."""

from __future__ import annotations

import doctest

from backtest.study import naming


def test_the_examples_hold() -> None:
    results = doctest.testmod(naming)
    assert results.attempted > 5
    assert results.failed == 0
