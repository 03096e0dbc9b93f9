"""`backtest calendar` and `backtest data import-calendar`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import run

from .conftest import Refused

DATES = "release_date,reference_month\n2024-02-16,2024-01\n2024-03-14,2024-02\n"


def test_events_are_listed_as_they_were_known(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["calendar", "cpi", "--from", "2025-11-01", "--to", "2026-01-01"]
    assert run([*command, "--as-of", "2025-11-20"]) == 0
    before = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[:4] for line in before] == [
        ["cpi-2025-10", "2025-10", "2025-11-13", "13:30"],
        ["cpi-2025-11", "2025-11", "2025-12-10", "13:30"],
    ]
    assert run([*command, "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert [(event["event_id"], event["status"]) for event in after] == [
        ("cpi-2025-10", "cancelled"),
        ("cpi-2025-11", "released"),
    ]
    assert after[1]["announced_ms"] < after[1]["known_ms"] == after[1]["actual_ms"]


def test_the_kinds_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calendar", "--json"]) == 0
    assert [kind["kind"] for kind in json.loads(capsys.readouterr().out)] == ["cpi", "fomc"]
    assert run(["calendar"]) == 0
    assert "2012-01-25 17:30" in capsys.readouterr().out


def test_an_imported_calendar_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("dates.csv").write_text(DATES)
    assert (
        run(["data", "import-calendar", "dates.csv", "--kind", "ppi", "--clock", "08:30", "--seen", "2024-03-01"]) == 0
    )
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("1 statements added; see: backtest calendar ppi")
    assert said[1] == "left out: 1 events that were over when their dates became known"
    assert run(["calendar", "ppi"]) == 0
    (line,) = capsys.readouterr().out.splitlines()[2:]
    assert line.split()[:6] == ["ppi-2024-02", "2024-02", "2024-03-14", "12:30", "2024-03-02", "04:59"]


@pytest.mark.parametrize(
    ("argv", "code", "what"),
    [
        (["calendar", "cpl"], 4, 'calendar "cpl": is not there; did you mean "cpi"?'),
        (["calendar", "cpi", "--as-of", "soon"], 2, "--as-of: 'soon' is not a UTC date"),
        (["data", "import-calendar", "no.csv", "--kind", "ppi"], 10, "no.csv: cannot be read"),
        (["data", "import-calendar", "x.csv", "--kind", "ppi", "--clock", "8"], 2, "--clock: '8' is not a time of day"),
        (["data", "import-calendar", "x.csv", "--kind", "ppi", "--zone", "Mars"], 2, "--zone: 'Mars' is no time zone"),
        (["data", "import-calendar", "x.csv", "--kind", "ppi", "--seen", "x"], 2, "--seen: 'x' is not a day"),
        (["data", "import-calendar", "x.csv", "--kind", "ppi", "--lead", "x"], 2, "--lead: 'x' is not a duration"),
    ],
)
def test_what_cannot_be_is_one_line(argv: list[str], code: int, what: str, refused: Refused) -> None:
    found, lines = refused(*argv)
    assert (found, len(lines)) == (code, 1)
    assert what in lines[0]


def test_a_range_without_a_moment_and_a_kind_without_a_name_are_refused(refused: Refused) -> None:
    code, (line,) = refused("calendar", "fomc", "--from", "2024-02-01", "--to", "2024-01-01")
    assert code == 2
    assert "--to: is not after --from; give a later time" in line
    Path("dates.csv").write_text(DATES)
    code, (line,) = refused("data", "import-calendar", "dates.csv", "--kind", "P P", "--clock", "08:30", "--lead", "9d")
    assert code == 2
    assert "--kind: 'P P' is no name" in line


def test_a_range_outside_the_calendar_says_that_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calendar", "fomc", "--from", "2040-01-01"]) == 0
    assert "outside the range of a calendar nothing is known" in capsys.readouterr().err
    assert run(["calendar", "fomc", "--from", "2024-01-01"]) == 0
    assert capsys.readouterr().err == ""
