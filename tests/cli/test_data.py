"""`backtest data`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import run

from .conftest import Refused


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--map", "open"], '"open" is not COLUMN=FILE_COLUMN'),
        (["--utc-offset", "3"], "'3' is not a duration"),
        (["--start", "soon"], "'soon' is not a UTC date"),
        (["--scale", "ten"], "--scale"),
    ],
)
def test_import_options_that_make_no_sense(options: list[str], what: str, refused: Refused) -> None:
    code, lines = refused("data", "import", "x.csv", *options)
    assert (code, len(lines)) == (2, 1)
    assert what in lines[0]


def test_an_empty_lake_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "ls"]) == 0
    assert "holds nothing yet" in capsys.readouterr().err
    assert run(["data", "ls", "--json"]) == 0
    assert capsys.readouterr().out.strip() == "[]"


# --- a small market, and what can be wrong with it ---

HOUR = 3_600_000
START = 1_609_459_200_000  # 2021-01-01
OPTIONS = ["--venue", "binance", "--table", "mark_price", "--symbol", "BTCUSDT", "--interval", "1h"]
MAP = ["--map", "time=ts,open=o,high=h,low=l,close=c"]


def bars(**wrong: object) -> str:
    """Write a day of bars as CSV; `wrong` replaces cells of the fifth."""
    rows = [{"ts": START + n * HOUR, "o": 100, "h": 101, "l": 99, "c": 100} for n in range(24)]
    rows[4] |= wrong
    return "\n".join(["ts,o,h,l,c", *(",".join(map(str, row.values())) for row in rows)]) + "\n"


def test_a_mapped_table_is_imported_once_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bars.csv").write_text(bars())
    for added in (24, 0):
        assert run(["data", "import", "bars.csv", *OPTIONS, *MAP, "--json"]) == 0
        assert [row["rows_added"] for row in json.loads(capsys.readouterr().out)] == [added]
    assert run(["data", "ls", "--json"]) == 0
    [held] = json.loads(capsys.readouterr().out)
    assert (held["symbol"], held["first_ms"], held["rows"], held["missing"]) == ("BTCUSDT", START, 24, 0)
    assert run(["data", "ls"]) == 0
    assert "2021-01-01 23:00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "options", "place", "what"),
    [
        ({"o": -100, "l": -100}, MAP, "row 5", "open is -100"),
        ({"c": "nan"}, MAP, "row 5", "close is nan"),
        ({"h": 98}, MAP, "row 5", "contradicts itself"),
        ({"ts": START}, MAP, "row 5", "earlier than"),
        ({}, [*MAP, "--time-unit", "s"], "row 1", "is in ms, not s"),
        ({}, ["--map", "time=ts,open=op,high=h,low=l,close=c"], "bars.csv", 'did you mean "o"'),
    ],
)
def test_a_wrong_file_is_refused_with_its_place_and_nothing_is_written(
    wrong: dict[str, object], options: list[str], place: str, what: str, refused: Refused
) -> None:
    Path("bars.csv").write_text(bars(**wrong))
    code, lines = refused("data", "import", "bars.csv", *OPTIONS, *options)
    assert code == 4
    assert all("bars.csv" in line for line in lines)
    assert any(place in line and what in line for line in lines), lines
    assert run(["data", "ls", "--json"]) == 0


def test_a_missing_file_is_named(refused: Refused) -> None:
    code, lines = refused("data", "import", "none.csv", *OPTIONS, *MAP)
    assert (code, len(lines)) == (4, 1)
    assert "none.csv" in lines[0]


def test_one_bad_file_does_not_keep_the_others_out(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bars.csv").write_text(bars())
    assert run(["data", "import", "none.csv", "bars.csv", *OPTIONS, *MAP]) == 4
    out, err = capsys.readouterr()
    assert "24" in out
    assert "none.csv" in err


def test_leverage_tiers_become_a_snapshot(refused: Refused, capsys: pytest.CaptureFixture[str]) -> None:
    tier = {"minNotional": 0.0, "maxNotional": 5.0, "maintenanceMarginRate": 0.004, "maxLeverage": 20.0}
    rows = {"BTC/USDT:USDT": [tier], "HOLE/USDT:USDT": [{**tier, "minNotional": 1.0}]}
    Path("tiers.json").write_text(json.dumps(rows))
    code, lines = refused("data", "import", "tiers.json")
    assert (code, len(lines)) == (2, 1)
    assert "--seen" in lines[0]
    assert run(["data", "import", "tiers.json", "--venue", "binance", "--seen", "2024-10-24"]) == 0
    err = capsys.readouterr().err
    assert "binance-tiers-2024-10-24.json" in err
    assert "left out: HOLEUSDT" in err
    assert run(["data", "sql", "SELECT * FROM ledger"]) == 0


def test_check_lists_defects_and_its_exit_code_tells(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bars.csv").write_text(bars())
    assert run(["data", "import", "bars.csv", *OPTIONS, *MAP]) == 0
    assert run(["data", "check"]) == 0
    stored = next(Path("datasets/lake").rglob("*.parquet"))
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    capsys.readouterr()
    assert run(["data", "check", "--json"]) == 4
    findings = json.loads(capsys.readouterr().out)
    assert [finding["severity"] for finding in findings] == ["error"]
    assert "SHA-256" in findings[0]["what"]


# --- SQL ---


@pytest.fixture
def stored() -> None:
    """Fill the lake with a day of bars."""
    Path("bars.csv").write_text(bars())
    assert run(["data", "import", "bars.csv", *OPTIONS, *MAP]) == 0


ASK = "SELECT symbol, max(high) AS high, max(open_time) AS last FROM mark_price GROUP BY symbol"


@pytest.mark.usefixtures("stored")
def test_sql_prints_a_table_csv_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["data", "sql", ASK]) == 0
    assert "BTCUSDT    101   2021-01-01 23:00:00" in capsys.readouterr().out
    assert run(["data", "sql", ASK, "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith('"symbol","high","last"\n"BTCUSDT",101,2021-01-01 23:00:00')
    assert run(["data", "sql", "SELECT 'NaN'::DOUBLE AS x, NULL AS y", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"x": None, "y": None}]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.json"])
def test_sql_writes_a_file_in_the_form_of_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["data", "sql", ASK, "--out", name]) == 0
    assert capsys.readouterr().out == ""
    content = Path(name).read_bytes()
    assert content.startswith(b"PAR1") if name.endswith("parquet") else b"BTCUSDT" in content


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (["SELEC 1"], "syntax error"),
        (["SELECT * FROM mark_prices"], "tables: klines, mark_price"),
        (["DROP TABLE klines"], "write one SELECT"),
        (["SELECT * FROM 'bars.csv'"], "SQL"),
        (["SELECT 1", "--format", "parquet"], "--out"),
        (["SELECT 1", "--out", "rows.xlsx"], "rows.xlsx"),
    ],
)
def test_sql_that_cannot_be_run_is_one_line(argv: list[str], what: str, refused: Refused) -> None:
    code, lines = refused("data", "sql", *argv)
    assert (code, len(lines)) == (2, 1)
    assert what in lines[0]


# --- what cannot be read at all --------------------------------------------------------------------------------------

NAMED = ("--venue", "binance", "--table", "klines", "--symbol", "BTCUSDT", "--interval", "1h")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "bars.csv: is empty; fetch the file again"),
        (b" \n\n", "bars.csv: is empty; fetch the file again"),
        ("time,open,high,low,close\n".encode("utf-16"), "bars.csv: is not UTF-8 text; save it as UTF-8"),
        (b"time,open,high,low,close\n", "bars.csv: has column names and no rows"),
    ],
)
def test_a_file_without_rows_gets_one_line(content: bytes, what: str, refused: Refused) -> None:
    Path("bars.csv").write_bytes(content)
    code, lines = refused("data", "import", "bars.csv", *NAMED)
    assert (code, len(lines)) == (4, 1)
    assert what in lines[0]
    assert not Path("datasets").exists()


def test_an_interval_that_is_none_is_refused(refused: Refused) -> None:
    Path("bars.csv").write_text(f"time,open,high,low,close\n{START},1,1,1,1\n")
    code, lines = refused("data", "import", "bars.csv", *NAMED[:-1], "1x")
    assert (code, len(lines)) == (2, 1)
    assert "'1x' is not a duration" in lines[0]


def test_a_folder_without_files_is_refused(refused: Refused) -> None:
    Path("nothing").mkdir()
    code, lines = refused("data", "import", "nothing", "--venue", "binance")
    assert (code, lines) == (4, ["error: nothing: holds no files; check the path"])


@pytest.mark.parametrize(
    "command", [("ls",), ("check",), ("sql", "select * from klines"), ("import", "bars.csv", *NAMED)]
)
def test_a_lake_that_is_a_file_gets_one_line(command: tuple[str, ...], refused: Refused) -> None:
    Path("bars.csv").write_text(f"time,open,high,low,close\n{START},1,1,1,1\n")
    Path("lake").write_text("not a folder")
    code, lines = refused("data", *command, "--lake", "lake")
    assert (code, len(lines)) == (10, 1)
    assert lines[0].startswith("error: ")
    assert "lake" in lines[0]
    assert "cannot be read or written" in lines[0]


def test_a_manifest_that_is_a_folder_gets_one_line(refused: Refused) -> None:
    Path("lake/manifest.json").mkdir(parents=True)
    code, lines = refused("data", "ls", "--lake", "lake")
    assert (code, len(lines)) == (10, 1)
