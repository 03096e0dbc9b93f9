"""The page about calendars says what is so."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from backtest.cli import run
from backtest.data.calendar import kinds, known_events
from backtest.data.calendar_files import COLUMNS, KNOWLEDGE, STATUSES
from backtest.study.reader import Section
from backtest.study.regime import PRESETS, read_regimes
from backtest.units import time_text

PAGE = (Path(__file__).parents[2] / "docs/calendar.md").read_text(encoding="utf-8")


def test_it_names_every_kind_with_its_years() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (\d{4}) \| (\d{4}) \|$", PAGE, re.MULTILINE)
    due = {kind: [event.scheduled_ms for event in known_events(kind) if event.scheduled_ms] for kind in kinds()}
    assert rows == sorted(
        ((kind, time_text(min(times))[:4], time_text(max(times))[:4]) for kind, times in due.items()), reverse=True
    )


def test_it_names_every_column_status_and_kind_of_knowledge() -> None:
    said = set(re.findall(r"`([\w ]+)`", PAGE.partition("## Your own")[0]))
    assert said >= {*COLUMNS, *STATUSES, *KNOWLEDGE}


def test_its_regimes_are_read_and_every_preset_is_named() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    top = Section("page", "", tomllib.loads(block), [])
    assert [spec.name for spec in read_regimes(top)] == ["VIX", "FOMC window"]
    top.finish()
    table = PAGE.partition("| `use` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", re.sub(r"\|[^|]*\|$", "", table, flags=re.MULTILINE))) >= set(PRESETS)


def test_its_commands_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BACKTEST_LAKE", raising=False)
    Path("ppi.csv").write_text("release_date,reference_month\n2024-02-16,2024-01\n")
    Path("gdp-vintages.csv").write_text(
        "date,realtime_start,realtime_end,value\n2024-01-01,2024-04-25,9999-12-31,1.6\n"
    )
    Path("bls.ics").write_text(
        "BEGIN:VEVENT\nUID:1\nDTSTART;TZID=US-Eastern:20270114T083000\nSUMMARY:Producer Price Index\nEND:VEVENT\n"
    )
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    commands = [line.partition("#")[0] for block in blocks for line in block.replace("\\\n", "").splitlines()]
    assert len(commands) == 7
    for command in commands:
        assert run(shlex.split(command)[1:]) == 0, command
    assert len(known_events("ppi", lake=Path("datasets/lake"))) == 2
