"""`backtest compare` and `demo`: what they print, and how every bad input is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from study.small import make_lake

from backtest.cli import run
from backtest.data.store import Lake

from .conftest import Refused

STUDY = """
[study]
name = "small"
capital = "10_000"
[market]
venue = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
start = 2023-01-01
stop = 2023-03-02
[entries]
every = "120h"
leverage = [20]
horizon = "10d"
[[strategy]]
name = "deleverage"
rules = [{ use = "deleverage", trigger = 0.5 }]
"""

WriteStudy = Callable[..., str]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(Path(tmp_path_factory.mktemp("lake")))


@pytest.fixture
def study() -> WriteStudy:
    """Write the study beside nothing else, with a text replaced by another; give its path."""

    def write(old: str = "", new: str = "") -> str:
        assert old in STUDY
        Path("s").mkdir()
        Path("s/study.toml").write_text(STUDY.replace(old, new) if old else STUDY)
        return "s/study.toml"

    return write


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}


# --- what works ----------------------------------------------------------------------------------------------------


def test_compare_prints_the_table_and_where_the_report_is(
    study: WriteStudy, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study()
    assert run(["compare", path, "--lake", str(lake.root)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "report: s/report.html"
    for strategy in ("hold", "post-all", "smaller-75", "smaller-50", "smaller-25", "deleverage", "deleverage~shuffled"):
        assert any(line.startswith(f"{strategy} ") for line in out.splitlines()), strategy
    assert Path("s/report.html").is_file()


def test_compare_takes_the_folder_of_a_study_and_another_for_the_results(
    study: WriteStudy, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    study()
    assert run(["compare", "s", "--lake", str(lake.root), "--out", "results/a", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folder"] == "results/a"
    assert 0 < facts["bars_visited"] < facts["run_bars"]
    assert {str(path) for path in Path("s").iterdir()} == {"s/study.toml"}
    assert Path("results/a/outcomes.parquet").is_file()


def test_a_dry_run_says_what_a_run_would_do_and_writes_nothing(
    study: WriteStudy, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study()
    before = files()
    assert run(["compare", path, "--lake", str(lake.root), "--dry-run"]) == 0
    assert "runs: " in capsys.readouterr().out
    assert run(["compare", path, "--lake", str(lake.root), "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["runs"] == planned["jobs"] * planned["symbols"][0]["entries"] == 9 * 24
    assert files() == before


def test_the_demo_is_another_market_for_another_seed(capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for seed in ("1", "2"):
        assert run(["demo", "--seed", seed]) == 0
        out = capsys.readouterr().out
        assert out.startswith("SYNTHETIC market")
        assert out.splitlines()[-1] == f"report: build/demo/seed-{seed}/report.html"
        tables.append([line for line in out.splitlines() if line.startswith(("hold ", "deleverage ", "top-up "))])
    assert len(tables[0]) == 3
    assert tables[0] != tables[1]


# --- bad input: one line with place and remedy, an exit code of its own, nothing written ---------------------------


def test_a_missing_study(refused: Refused) -> None:
    code, lines = refused("compare", "nothing/study.toml")
    assert code == 3
    assert lines == [
        "error: nothing/study.toml: cannot be read (No such file or directory); write one with: backtest new study NAME"
    ]
    assert files() == set()


@pytest.mark.parametrize(
    ("old", "new", "expected_code", "place", "remedy"),
    [
        ("every =", "evry =", 3, "s/study.toml: entries.evry", 'did you mean "every"?'),
        ("[entries]", "[entires]", 3, "s/study.toml: entires", 'did you mean "entries"?'),
        ("interval =", "intervals =", 3, "s/study.toml: market.intervals", 'did you mean "interval"?'),
        ('"deleverage", trigger', '"delevrage", trigger', 7, 's/study.toml: strategy "deleverage"', "deleverage"),
        ("trigger", "triger", 7, 's/study.toml: strategy "deleverage"', 'did you mean "trigger"?'),
        ("trigger = 0.5", "trigger = 5", 7, 's/study.toml: strategy "deleverage"', "trigger"),
        ('"binance"', '"binanse"', 3, "s/study.toml: market.venue", 'did you mean "binance"?'),
        ("BTCUSDT", "NOCOINUSDT", 6, "s/study.toml: binance NOCOINUSDT", ""),
        ('"1h"', '"7h"', 3, "s/study.toml: market.interval", "1h"),
        ('"10_000"', '"-1"', 3, "s/study.toml: study.capital", ""),
        ('"10_000"', "nan", 3, "s/study.toml: study.capital", ""),
        ("2023-03-02", "2022-03-02", 3, "s/study.toml: market.start", "later stop"),
        ("name = ", "name : ", 3, "s/study.toml", "line"),
    ],
)
def test_a_wrong_study(
    old: str, new: str, expected_code: int, place: str, remedy: str, study: WriteStudy, lake: Lake, refused: Refused
) -> None:
    path = study(old, new)
    code, lines = refused("compare", path, "--lake", str(lake.root))
    assert (code, len(lines)) == (expected_code, 1), lines
    assert lines[0].startswith(f"error: {place}"), lines
    assert remedy in lines[0]
    assert files() == {"s/study.toml"}


def test_every_problem_of_a_study_is_told_at_once(refused: Refused, study: WriteStudy) -> None:
    path = study('[entries]\nevery = "120h"', '[entries]\nevry = "120h"\nsides = ["long"]')
    code, lines = refused("compare", path)
    assert code == 3
    assert len(lines) == 2


def test_a_leverage_above_every_tier_names_what_to_do(study: WriteStudy, lake: Lake, refused: Refused) -> None:
    code, lines = refused("compare", study("[20]", "[150]"), "--lake", str(lake.root))
    assert code == 3
    assert lines == [
        "error: s/study.toml: entries: every entry was refused (24 leverage_cap); lower the leverage or the margin"
    ]


def test_a_leverage_that_no_tier_ever_allowed_is_refused_though_others_are_fine(
    study: WriteStudy, lake: Lake, refused: Refused
) -> None:
    code, lines = refused("compare", study("[20]", "[20, 500]"), "--lake", str(lake.root))
    assert code == 3
    assert lines == [
        "error: s/study.toml: entries.leverage: 500x is above every tier's maximum of BTCUSDT; take at most 150x"
    ]
    assert files() == {"s/study.toml"}


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_symbol_without_tiers_is_told_with_its_study(
    arguments: tuple[str, ...], study: WriteStudy, lake: Lake, refused: Refused
) -> None:
    code, lines = refused("compare", study("BTCUSDT", "BTCUSTD"), "--lake", str(lake.root), *arguments)
    assert code == 6
    assert lines == ['error: s/study.toml: binance BTCUSTD: a symbol without contract data; did you mean "BTCUSDT"?']


def test_a_lake_that_is_not_there(study: WriteStudy, refused: Refused) -> None:
    code, lines = refused("compare", study(), "--lake", "nowhere")
    assert (code, len(lines)) == (6, 1)
    assert "nowhere" in lines[0]
    assert "backtest data" in lines[0], "it says how to get data"
    assert files() == {"s/study.toml"}


@pytest.mark.parametrize("table", ["klines", "mark_price", "funding_rate"])
def test_a_table_that_is_not_there(table: str, study: WriteStudy, lake: Lake, refused: Refused, tmp_path: Path) -> None:
    partial = make_lake(tmp_path / "partial")
    partial.drop(next(dataset for dataset in partial.datasets() if dataset.table == table))
    before = files()
    code, lines = refused("compare", study(), "--lake", "partial", "--out", "results")
    assert (code, len(lines)) == (6, 1)
    assert table in lines[0]
    assert files() == before | {"s/study.toml"}


def test_a_damaged_file_of_the_lake(study: WriteStudy, refused: Refused, tmp_path: Path) -> None:
    stored = make_lake(tmp_path / "damaged")
    victim = next(entry for entry in stored.entries() if entry.dataset.table == "mark_price")
    path = tmp_path / "damaged" / victim.path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    code, lines = refused("compare", study(), "--lake", "damaged", "--out", "results")
    assert (code, len(lines)) == (5, 1)
    assert victim.path.rsplit("/", 1)[1] in lines[0]
    assert not Path("results").exists()


# --- bad market data -----------------------------------------------------------------------------------------------

GOOD = ["time,open,high,low,close,volume", "1672531200000,1,2,0.5,1.5,10", "1672534800000,1.5,2,1,1.2,10"]


@pytest.mark.parametrize(
    ("line", "bad", "place", "what"),
    [
        (0, "time,open,high,low,last,volume", "bars.csv", "close"),
        (2, "1672534800000,1.5,2,-1,1.2,10", "bars.csv row 2", "low is -1"),
        (2, "1672534800000,1.5,2,1,nan,10", "bars.csv row 2", "close"),
        (2, "1672534800000,1.5,2,1,,10", "bars.csv row 2", "close"),
        (2, "1672534800000,1.5,2,1,x,10", "bars.csv row 2", "close"),
        (2, "1672534800,1.5,2,1,1.2,10", "bars.csv", "time"),
        (2, "1672534800000,1.5,1,1,1.2,10", "bars.csv row 2", "high"),
    ],
)
def test_bad_rows_are_refused_with_their_place(line: int, bad: str, place: str, what: str, refused: Refused) -> None:
    rows = list(GOOD)
    rows[line] = bad
    Path("bars.csv").write_text("\n".join(rows) + "\n")
    argv = ["data", "import", "bars.csv", "--venue", "binance", "--symbol", "BTCUSDT", "--table", "klines"]
    code, lines = refused(*argv, "--interval", "1h", "--time-unit", "ms", "--lake", "lake")
    assert (code, len(lines)) == (4, 1), lines
    assert lines[0].startswith(f"error: {place}"), lines
    assert what in lines[0], lines
    assert files() == {"bars.csv"}
