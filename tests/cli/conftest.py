"""What the tests of commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backtest.cli import run

Refused = Callable[..., tuple[int, list[str]]]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in an empty folder, without a lake from the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BACKTEST_LAKE", raising=False)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must fail: give its exit code and the lines on stderr, each of them a problem."""

    def command(*argv: str) -> tuple[int, list[str]]:
        code = run(argv)
        out, err = capsys.readouterr()
        assert out == ""
        lines = err.splitlines()
        assert all(line.startswith("error: ") for line in lines), err
        return code, lines

    return command
