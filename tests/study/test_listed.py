"""Entries from a list and from files of trades: what they become, how they run, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from backtest import conductor
from backtest.data.store import Lake
from backtest.errors import StudyError
from backtest.study.canonical import resolved, study_json, study_toml
from backtest.study.config import Study, load_study, parse_study
from backtest.study.listed import Listed
from backtest.study.results import open_results
from backtest.study.rule_files import load_rules
from backtest.study.verify import verify_runs
from backtest.units import HOUR_MS, time_ms

from .small import SMALL, make_lake, ran, small_study

START = time_ms("2023-01-05")
EXPECTED = (
    Listed(START, "BTCUSDT", 1, 1000),
    Listed(START + 30 * HOUR_MS, "BTCUSDT", -1, 2000),
    Listed(START + 100 * HOUR_MS, "BTCUSDT", 1, 500),
)
OURS = """time,symbol,side,leverage
2023-01-06T05:00:01,BTC/USDT:USDT,SHORT,20
2023-01-05,BTCUSDT,long,10
1673236800000,BTCUSDT,Long,5.0
"""
FREQTRADE = [
    {"pair": "BTC/USDT:USDT", "open_timestamp": START, "open_date": "2023-01-05 00:00:00+00:00", "is_short": False}
    | {"leverage": 10.0, "profit_abs": 1.5},
    {"pair": "BTC/USDT:USDT", "open_timestamp": START + 30 * HOUR_MS, "is_short": True, "leverage": 20.0},
    {"pair": "BTC/USDT:USDT", "open_timestamp": START + 100 * HOUR_MS, "is_short": False, "leverage": 5.0},
]
VECTORBT = """Exit Trade Id,Column,Size,Entry Timestamp,Avg Entry Price,Direction,Status
0,BTCUSDT,1.0,2023-01-05 00:00:00,16800.0,Long,Closed
1,BTCUSDT,1.0,2023-01-06 06:00:00,16800.0,Short,Closed
2,BTCUSDT,1.0,2023-01-09 04:00:00,17200.0,Long,Open
"""
Write = Callable[[str, "str | bytes"], Study]


def form_of(entries: dict[str, object]) -> dict[str, object]:
    return {**SMALL, "entries": {"horizon": "10d", **entries}}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Study]:
    """Write a file beside a study, and give the study that takes its entries from it."""

    def study(name: str, content: str | bytes, **keys: object) -> Study:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return parse_study(form_of({"from": name, **keys}), str(tmp_path / "study.toml"))

    return study


def zipped(**files: object) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", ".").replace("X", "_"), json.dumps(content))
    return out.getvalue()


def test_a_csv_of_ours(read: Callable[..., Study]) -> None:
    """Times in any form, in any order; one between two bars is moved to the next open."""
    assert read("mine.csv", OURS).entries.listed == EXPECTED


def test_what_freqtrade_exports(read: Callable[..., Study]) -> None:
    results = {"strategy": {"Mine": {"trades": FREQTRADE}}, "strategy_comparison": []}
    assert read("result.json", json.dumps(results)).entries.listed == EXPECTED
    assert read("trades.json", json.dumps(FREQTRADE)).entries.listed == EXPECTED
    archive = zipped(result__json=results, resultXconfig__json={"a": 1})
    assert read("result.zip", archive).entries.listed == EXPECTED
    out = io.StringIO()
    writer = csv.DictWriter(out, list(FREQTRADE[1]))
    writer.writeheader()
    writer.writerows({k: v for k, v in row.items() if k in FREQTRADE[1]} for row in FREQTRADE)
    assert read("trades.csv", out.getvalue()).entries.listed == EXPECTED


def test_what_vectorbt_exports_and_the_study_completes(read: Callable[..., Study]) -> None:
    listed = read("records.csv", VECTORBT, leverage=7).entries.listed
    assert [(one.time_ms, one.side) for one in listed] == [(one.time_ms, one.side) for one in EXPECTED]
    assert {one.leverage_e2 for one in listed} == {700}
    plain = "time\n2023-01-05\n2023-01-06\n"
    assert {one.text[20:] for one in read("t.csv", plain, leverage=7, side="short").entries.listed} == {
        "BTCUSDT short 7x"
    }


def test_a_list_is_the_canonical_form_and_reads_back(read: Callable[..., Study], tmp_path: Path) -> None:
    study = read("mine.csv", OURS)
    assert resolved(study)["entries"]["list"] == [one.text for one in EXPECTED]
    assert parse_study(json.loads(study_json(study)), "json") == study
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "study.toml").write_text(study_toml(study))
    assert load_study(tmp_path / "again") == study
    assert study_json(read("other.csv", OURS.replace(",20", ",19"))) != study_json(study)


def test_the_entries_of_a_list_run_like_those_of_a_schedule(tmp_path: Path) -> None:
    """A schedule written out as a list gives the same outcomes; kernel and oracle agree on them."""
    lake = make_lake(tmp_path)
    clock = ran(small_study(), lake)
    labels = dict.fromkeys(row["run_id"].split("/", 1)[1].rsplit("/", 1)[0] for row in clock.rows)
    lines = [f"{t[:13]}:{t[13:]} {symbol} {side} {lev}" for symbol, t, side, lev in (x.split("/") for x in labels)]
    given = small_study()
    listed = parse_study({**resolved(given), "entries": {"list": lines, "horizon": "10d"}}, "list")
    again = ran(listed, lake)
    key = "run_id"
    ours, theirs = ({row[key]: row for row in done.rows if "~" not in row[key]} for done in (clock, again))
    assert ours == theirs
    sample = again.tables["outcomes"].filter([i % 37 == 0 for i in range(len(again.rows))])
    assert verify_runs(listed, again.data, again.jobs, load_rules(), sample) == {}


def test_a_few_entries_make_a_study(lake_of_two: Lake) -> None:
    lines = ["2023-01-05 BTCUSDT long 20x", "2023-01-05 ETHUSDT short 5x", "2023-01-05T07:00 BTCUSDT long 20x"]
    study = small_study(market={"symbols": ["BTCUSDT", "ETHUSDT"]})
    study = parse_study({**resolved(study), "entries": {"list": lines, "horizon": "10d"}}, "few")
    done = ran(study, lake_of_two)
    assert [row["run_id"] for row in done.of("hold")] == [
        "hold/BTCUSDT/2023-01-05T0000/long/20x/both",
        "hold/BTCUSDT/2023-01-05T0700/long/20x/both",
        "hold/ETHUSDT/2023-01-05T0000/short/5x/both",
    ]


def test_an_entry_may_have_an_end_of_its_own(read: Callable[..., Study], tmp_path: Path) -> None:
    """Between two bars it ends at the next open; without an end, or with one after the horizon, the horizon ends it."""
    study = read(
        "ends.csv",
        "Entry Timestamp,Exit Timestamp,Direction,Leverage\n2023-01-05,2023-01-05 09:30,Long,2\n"
        "2023-01-06,,Short,2\n2023-01-07,2023-02-20,Long,2\n",
    )
    assert [one.text.partition(" until ")[2] for one in study.entries.listed] == [
        "2023-01-05T10:00:00",
        "",
        "2023-02-20T00:00:00",
    ]
    assert parse_study(json.loads(study_json(study)), "json") == study
    done = ran(study, make_lake(tmp_path / "lake"))
    hours = [(row["exit_ms"] - row["entry_ms"]) // HOUR_MS for row in done.of("hold")]
    assert hours == [10, 240, 240]
    assert {row["exit_reason"] for row in done.of("hold")} == {"horizon"}
    assert verify_runs(study, done.data, done.jobs, load_rules(), done.tables["outcomes"]) == {}


def test_the_ends_that_freqtrade_exports(read: Callable[..., Study]) -> None:
    ended = [row | {"close_timestamp": START + 200 * HOUR_MS} for row in FREQTRADE[:2]] + FREQTRADE[2:]
    ended[2] = ended[2] | {"close_timestamp": None}
    listed = read("trades.json", json.dumps(ended)).entries.listed
    assert [one.until_ms for one in listed] == [START + 200 * HOUR_MS] * 2 + [-1]


def test_the_report_says_that_entries_come_from_a_list(tmp_path: Path, read: Callable[..., Study]) -> None:
    lake = make_lake(tmp_path / "lake")
    done = conductor.compare(read("mine.csv", OURS), lake.root, tmp_path / "out", "mine")
    text = (done.folder / "report.md").read_text()
    assert "3 positions of a list, isolated margin, held 10d" in text
    assert "from a list, each at the first bar open at or after its time" in text
    assert open_results(done.folder).study == read("mine.csv", OURS)


@pytest.fixture
def lake_of_two(tmp_path: Path) -> Lake:
    return make_lake(tmp_path, symbols=("BTCUSDT", "ETHUSDT"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "x.csv",
            "time,side\n2023-01-05,long\n",
            "has no column leverage; add it, or set entries.leverage to one value",
        ),
        ("x.csv", "side,leverage\nlong,5\n", "has no column time or entry_time; add it"),
        ("x.csv", "time,side,leverage\n", "has no column time"),
        ("x.csv", "time,side,leverage\nsoon,long,5\n", "x.csv row 1: 'soon' is no time"),
        ("x.csv", "time,side,leverage\n2023-01-05,up,5\n", 'row 1: is "up", which is none of the choices'),
        ("x.csv", "time,side,leverage\n2023-01-05,long,0.5\n", 'row 1: is "0.5", out of range'),
        ("x.csv", "time,side,leverage\n2022-01-05,long,5\n", "2022-01-05 00:00 is not between start and stop"),
        ("x.csv", "time,symbol,side,leverage\n2023-01-05,XRPUSDT,long,5\n", "XRPUSDT is no symbol of the study"),
        ("x.csv", "time,side,leverage\n2023-01-05,long,5\n2023-01-05,long,5\n", "row 2: .* row 1 already"),
        ("x.csv", "time,exit_time,side,leverage\n2023-01-05,2023-01-04,long,5\n", "not after its entry; mend its end"),
        ("x.json", "{", "is no file of trades"),
        ("x.json", '{"strategy": {"a": {"trades": []}, "b": {"trades": []}}}', "it holds 2 strategies"),
        ("x.zip", "no zip", "is no file of trades"),
    ],
)
def test_what_is_refused(read: Callable[..., Study], name: str, content: str, words: str) -> None:
    with pytest.raises(StudyError, match=words) as error:
        read(name, content)
    assert all("study.toml: entries.from" in problem.where for problem in error.value.problems)


def test_all_wrong_rows_are_told_up_to_ten(read: Callable[..., Study]) -> None:
    with pytest.raises(StudyError) as error:
        read("x.csv", "time,side,leverage\n" + "never,long,5\n" * 14)
    assert len(error.value.problems) == 11
    assert str(error.value.problems[-1]).endswith("and 4 more")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"list": []}, "is not a list of entries"),
        ({"list": ["2023-01-05 BTCUSDT long"]}, "is no entry; write it as time, symbol, side and leverage"),
        ({"list": ["2023-01-05 BTCUSDT long 5x"], "every": "24h"}, "entries.every: is not a key here"),
        ({"list": ["2023-01-05 BTCUSDT long 5x till 2023-01-06"]}, "is no entry; write it as"),
        ({"list": ["2023-01-05 BTCUSDT long 5x", "2023-01-05 BTCUSDT long 5x until 2023-01-06"]}, "entry 1 already"),
        ({"from": "gone.csv"}, "gone.csv: cannot be read"),
        ({"from": 3}, "not a file"),
    ],
)
def test_lists_that_are_refused(entries: dict[str, object], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        parse_study(form_of(entries), "s.toml")
