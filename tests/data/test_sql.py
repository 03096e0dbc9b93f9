"""SQL over the lake and a report: natural units, one SELECT, and no way out."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from market_files import KLINES, bars, full_lake, piece, tree

from backtest.data.disk import sha256_file
from backtest.data.sql import query
from backtest.errors import IntegrityError, UsageError
from backtest.schema import RESULT_TABLES
from backtest.units import HOUR_MS


@pytest.fixture
def lake(tmp_path):
    return full_lake(tmp_path / "la'ke")


def test_tables_have_plain_names_and_say_what_they_are_of(lake):
    rows = query(lake.root, "SELECT venue, symbol, interval, count(*) AS n, max(high) AS top FROM klines GROUP BY ALL")
    assert rows.to_pylist() == [
        {"venue": "binance", "symbol": "BTCUSDT", "interval": "1h", "n": 100, "top": bars()["high"].max()}
    ]


def test_a_table_without_rows_is_there_all_the_same(lake):
    assert query(lake.root, "SELECT count(*) AS n FROM index_price WHERE close > 0").to_pylist() == [{"n": 0}]


def test_times_are_there_as_timestamps_too(lake):
    (row,) = query(lake.root, "SELECT min(open_time)::VARCHAR AS t FROM klines").to_pylist()
    assert row["t"] == "2021-12-29 22:00:00"


def test_coverage_gaps_and_sources_are_tables(lake):
    hole = {name: column[[0, 1, 2, 7, 8]] for name, column in bars().items()}
    lake.merge([piece(hole, KLINES._replace(symbol="ETHUSDT"), "eth.csv")])
    gaps = query(lake.root, "SELECT symbol, first_ms, missing FROM gaps").to_pylist()
    assert gaps == [{"symbol": "ETHUSDT", "first_ms": int(hole["open_time_ms"][2]) + HOUR_MS, "missing": 4}]
    missing = query(lake.root, "SELECT missing FROM coverage WHERE symbol = 'ETHUSDT'").to_pylist()
    assert missing == [{"missing": 4}]
    assert query(lake.root, "SELECT DISTINCT name FROM sources WHERE symbol = 'ETHUSDT'").to_pylist() == [
        {"name": "eth.csv"}
    ]


def test_results_are_read_in_natural_units(lake, tmp_path):
    table = RESULT_TABLES["transfers"]
    row = ["run", 0, 1_640_995_200_000, "fee", "margin", "fees", "USDT", 123_456_789, "entry", None]
    columns = [pa.array([value], field.type) for value, field in zip(row, table.arrow(), strict=True)]
    pq.write_table(pa.table(columns, schema=table.arrow()), tmp_path / "transfers.parquet")
    sql = "SELECT amount, amount_e8, year(time) AS year FROM transfers"
    assert query(lake.root, sql, tmp_path).to_pylist() == [
        {"amount": 1.23456789, "amount_e8": 123_456_789, "year": 2022}
    ]


def test_a_damaged_table_of_a_report_is_reported(lake, tmp_path):
    report = tmp_path / "report"
    report.mkdir()
    pq.write_table(RESULT_TABLES["transfers"].arrow().empty_table(), report / "transfers.parquet")
    sound = {"transfers.parquet": {"sha256": sha256_file(report / "transfers.parquet")}}
    (report / "manifest.json").write_text(json.dumps({"files": sound}))
    assert query(lake.root, "SELECT count(*) AS n FROM transfers", report).to_pylist() == [{"n": 0}]
    content = bytearray((report / "transfers.parquet").read_bytes())
    content[-20] ^= 1
    (report / "transfers.parquet").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"transfers\.parquet"):
        query(lake.root, "SELECT count(*) AS n FROM transfers", report)
    (report / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="cannot be read"):
        query(lake.root, "SELECT count(*) AS n FROM transfers", report)


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("SELECT count(*) AS n FROM klines JOIN mark_price USING (open_time_ms)", 100),
        ("SELECT count(*) AS n FROM klines k ASOF JOIN funding_rate f ON k.open_time_ms >= f.funding_time_ms", 98),
        ("SELECT count(*) AS n FROM klines WHERE high > (SELECT avg(high) FROM mark_price) OR true", 100),
        ("SELECT n FROM (SELECT count(*) AS n FROM klines UNION ALL SELECT 5) ORDER BY n DESC LIMIT 1", 100),
        ("WITH w AS (SELECT * FROM klines) SELECT count(*) AS n FROM w, (SELECT 1) AS one", 100),
        ("FROM klines SELECT count(*) AS n", 100),
    ],
)
def test_any_kind_of_select_finds_its_tables(lake, sql, count):
    assert query(lake.root, sql).to_pylist() == [{"n": count}]


def test_common_table_expressions_may_use_any_name(lake):
    sql = "WITH klines AS (SELECT 1 AS one), mine AS (SELECT * FROM klines) SELECT one FROM mine"
    assert query(lake.root, sql).to_pylist() == [{"one": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO '{root}/x.csv'",
        "COPY (SELECT 1) TO '{file}'",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "DROP VIEW klines",
        "INSERT INTO klines SELECT * FROM klines",
        "ATTACH '{root}/x.db'",
        "EXPORT DATABASE '{root}/x'",
        "SET threads = 1",
        "PRAGMA version",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "SELECT * FROM '{root}/manifest.json'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_parquet('{root}/**/*.parquet')",
        "SELECT * FROM klines, read_text('{root}/manifest.json')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM 'https://example.org/x.parquet'",
        "SELECT * FROM query('COPY (SELECT 1) TO ''{root}/x.csv''')",
        "SELECT * FROM outcomes",
        "SELECT * FROM kline",
        "SELECT nothing FROM klines",
        "SELEC 1",
    ],
)
def test_anything_but_one_select_over_the_tables_is_refused_and_nothing_is_written(lake, tmp_path, sql):
    before = tree(tmp_path)
    some_file = str(lake.root / lake.entries()[0].path)
    text = sql.format(root=str(tmp_path).replace("'", "''"), file=some_file.replace("'", "''"))
    with pytest.raises(UsageError) as caught:
        query(lake.root, text)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


def test_python_variables_are_out_of_reach(lake):
    secret = pa.table({"x": [1]})
    with pytest.raises(UsageError):
        query(lake.root, "SELECT * FROM secret")
    assert len(secret) == 1


def test_a_damaged_file_is_reported_before_its_rows_are_used(lake):
    path = lake.root / lake.entries([KLINES])[0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=path.name):
        query(lake.root, "SELECT count(*) FROM klines")
    assert query(lake.root, "SELECT count(*) AS n FROM mark_price").to_pylist() == [{"n": 100}]


def test_a_report_that_is_not_there_is_no_empty_report(lake, tmp_path):
    with pytest.raises(IntegrityError, match="is not there"):
        query(lake.root, "SELECT count(*) FROM outcomes", tmp_path / "nosuch")
