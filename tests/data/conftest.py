"""Fixtures of the tests of pulls."""

from __future__ import annotations

import pytest
from pulling import move_hosts
from server import Market, serving


@pytest.fixture
def market(monkeypatch):
    """Give a served market to which every source of the program is moved."""
    with serving(Market()) as market:
        move_hosts(monkeypatch, market.url)
        yield market
