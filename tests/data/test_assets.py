"""Marks of valued assets: from any file into the lake, checked, asked, and out of it as the integers of a replay."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asset_rows import PUT, START, Row, marks, stored

from backtest.cli import run
from backtest.data.check import check, check_paths
from backtest.data.imports import import_file
from backtest.data.ledger import view
from backtest.data.sources.rows import ImportOptions
from backtest.data.sql import query
from backtest.data.store import Lake
from backtest.errors import DataError, UsageError
from backtest.units import HOUR_MS

OPTIONS = ImportOptions(venue="deribit", table="asset_marks", symbol="BTC-PUT", interval="1h")


def csv(path, rows: list[Row], header: str = "time,open,high,low,close,initial_margin,maintenance_margin"):
    text = "\n".join(
        [header, *(",".join(f"{cell:.10g}" if cell < 1e9 else str(int(cell)) for cell in r) for r in rows)]
    )
    path.write_text(text + "\n", encoding="utf-8")
    return path


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_csv_becomes_marks_with_its_margins(lake, tmp_path):
    import_file(lake, csv(tmp_path / "put.csv", marks()), OPTIONS)
    assert lake.datasets() == [PUT]
    (_, _, third, *_) = lake.read(PUT).to_pylist()
    assert third == {
        "time_ms": START + 2 * HOUR_MS,
        "open": 102.0,
        "high": 110.5,
        "low": 0.0,
        "close": 103.0,
        "initial_margin": 30.0,
        "maintenance_margin": 20.0,
        "available_ms": START + 3 * HOUR_MS,
    }


def test_margins_that_a_file_does_not_have_are_0_and_the_import_says_so(lake, tmp_path, capsys):
    path = csv(tmp_path / "put.csv", [row[:5] for row in marks()], "date,o,high,low,close")
    named = ["--venue", "deribit", "--table", "asset_marks", "--symbol", "BTC-PUT", "--map", "open=o"]
    assert run(["data", "import", str(path), *named, "--lake", str(lake.root)]) == 0
    said = capsys.readouterr().err
    assert "put.csv: open from o, time from date, high, low, close, initial_margin = 0, maintenance_margin = 0" in said
    assert set(lake.read(PUT)["initial_margin"].to_pylist()) == {0.0}


def test_a_file_of_several_assets_becomes_one_dataset_for_each_under_its_own_name(lake, tmp_path):
    table = pa.table(
        {
            "time": [START, START + HOUR_MS] * 2,
            "asset": ["BTC-27AUG21-50000-P"] * 2 + ["BTC.BOX"] * 2,
            **{name: [1.0, 2.0, 3.0, 4.0] for name in ("open", "high", "low", "close")},
        }
    )
    path = tmp_path / "chain.parquet"
    pq.write_table(table, path)
    import_file(lake, path, ImportOptions(venue="deribit", table="asset_marks"))
    assert [one.symbol for one in lake.datasets()] == ["BTC-27AUG21-50000-P", "BTC.BOX"]
    assert lake.read(lake.datasets()[1])["open"].to_pylist() == [3.0, 4.0]


def test_the_column_of_names_can_be_mapped_as_asset(lake, tmp_path):
    rows = ["t,contract,open,high,low,close", *(f"{START + n * HOUR_MS},PUT-A,1,2,1,2" for n in range(3))]
    path = tmp_path / "chain.csv"
    path.write_text("\n".join(rows) + "\n")
    named = ImportOptions(venue="deribit", table="asset_marks", columns={"asset": "contract", "time": "t"})
    import_file(lake, path, named)
    assert [one.symbol for one in lake.datasets()] == ["PUT-A"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"low": -1.0}, "put.csv row 3: low is -1.0; it is 0 or more, and under 9e10"),
        ({"open": 9e10, "high": 9e10}, "row 3: open is 90000000000.0"),
        ({"initial": -2.0, "maintenance": -3.0}, "row 3: maintenance_margin is -3.0"),
        ({"maintenance": 31.0}, "row 3: maintenance_margin 31.0 is over initial_margin 30.0"),
        ({"high": 102.5}, "row 3: bar contradicts itself: open 102.0, high 102.5, low 0.0, close 103.0"),
        ({"low": 102.5}, "row 3: bar contradicts itself"),
        ({"time": START}, "row 3: time"),
        ({"time": START + HOUR_MS}, "row 3: repeats 2021-01-01 01:00"),
    ],
)
def test_rows_that_cannot_be_marks_are_refused_with_file_and_row(lake, tmp_path, wrong, said):
    with pytest.raises(DataError) as caught:
        import_file(lake, csv(tmp_path / "put.csv", marks(**wrong)), OPTIONS)
    assert said.removesuffix(": time") in str(caught.value)
    assert not lake.datasets()


def test_all_that_is_wrong_is_told_at_once(lake, tmp_path):
    with pytest.raises(DataError) as caught:
        import_file(lake, csv(tmp_path / "put.csv", marks(low=-1.0, maintenance=40.0)), OPTIONS)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbol": None}, "does not say its symbol"),
        ({"interval": "event"}, "interval 'event' does not fit table asset_marks"),
        ({"interval": "2h"}, "taken as 2h bars, but most rows are 1h apart"),
        ({"columns": {"premium": "open"}}, "the map names 'premium', which asset_marks does not have"),
        ({"symbol": "BTC PUT"}, "'BTC PUT' cannot name a symbol"),
    ],
)
def test_options_that_do_not_fit_are_refused(lake, tmp_path, change, said):
    with pytest.raises((UsageError, DataError), match=said):
        import_file(lake, csv(tmp_path / "put.csv", marks()), dataclasses.replace(OPTIONS, **change))


# --- the checks, and SQL -------------------------------------------------------------------------------------------


def test_clean_marks_have_no_finding_but_a_note_on_the_last_bar(lake):
    assert {finding.severity for finding in check(stored(lake, marks()))} == {"note"}
    assert [finding for finding in check(lake) if "unfinished" not in finding.what] == []


@pytest.mark.parametrize(
    ("wrong", "severity", "said"),
    [
        ({"low": -1.0}, "error", "low is missing, negative or out of range"),
        ({"close": 9.1e10, "high": 9.2e10}, "error", "close is missing, negative or out of range"),
        ({"high": 50.0}, "error", "bars contradict themselves"),
        ({"maintenance": 30.5}, "error", "maintenance margin is over initial margin"),
        ({"open": 100.123456789}, "note", "open has more than 8 decimals"),
    ],
)
def test_defects_in_the_lake_are_found(lake, wrong, severity, said):
    finding = next(one for one in check(stored(lake, marks(**wrong))) if said in one.what)
    assert (finding.severity, finding.first_ms, finding.count) == (severity, START + 2 * HOUR_MS, 1)


def test_eight_decimals_of_any_size_are_not_told(lake):
    decimals = [0.00000001, 1.23456789, 123456.12345678, 89_999_999.5, 5e9]
    rows = [(START + n * HOUR_MS, value, value, value, value, 0.0, 0.0) for n, value in enumerate(decimals)]
    assert not [one for one in check(stored(lake, rows)) if "decimals" in one.what]


def test_a_hole_is_found_counted_and_listed(lake):
    stored(lake, [row for n, row in enumerate(marks()) if n not in (3, 4)])
    finding = next(one for one in check(lake) if "missing" in one.what)
    assert (finding.first_ms, finding.count) == (START + 3 * HOUR_MS, 2)
    assert "the last close and margins before them stand in" in finding.remedy
    assert lake.coverage()[0].missing == 2
    (row,) = view(lake, "gaps").to_pylist()
    assert (row["symbol"], row["missing"]) == ("BTC-PUT", 2)


def test_a_file_of_marks_is_recognised_before_its_import(tmp_path):
    rows = [f"{START + n * HOUR_MS},{asset},5,6,{4 - 9 * n},5" for asset in ("A", "B") for n in range(2)]
    path = tmp_path / "deribit-chain.csv"
    path.write_text("\n".join(["timestamp,asset,open,high,low,close", *rows]) + "\n")
    errors = [one for one in check_paths([path]) if one.severity == "error"]
    assert [(one.where, one.what) for one in errors] == [
        (f"deribit-chain.csv {asset}", "low is missing, negative or out of range") for asset in ("A", "B")
    ]


def test_sql_names_assets_and_gives_natural_units(lake):
    stored(lake, marks())
    rows = query(lake.root, "SELECT asset, time::VARCHAR AS t, maintenance_margin AS m FROM asset_marks LIMIT 1")
    assert rows.to_pylist() == [{"asset": "BTC-PUT", "t": "2021-01-01 00:00:00", "m": 20.0}]


def test_sql_of_a_lake_without_assets_is_empty(lake):
    assert query(lake.root, "SELECT count(*) AS n FROM asset_marks").to_pylist() == [{"n": 0}]


def test_changed_marks_change_the_hash_of_what_a_study_reads(lake):
    stored(lake, marks())
    before = lake.manifest_hash([PUT])
    stored(lake, [(START + 9 * HOUR_MS, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0)])
    assert lake.manifest_hash([PUT]) != before
