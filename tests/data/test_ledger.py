"""The gap ledger: holes, repeats, corrections, checksums and listings, asked in SQL."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from market_files import (
    FUNDING,
    KLINES,
    MARK,
    START,
    bars,
    full_lake,
    funding,
    piece,
    vision_text,
    write_feather,
    write_vision,
)
from pulling import pulled, recipe

from backtest.data.disk import sha256_bytes
from backtest.data.imports import ImportOptions, import_path
from backtest.data.manifest import MANIFEST, Dataset, read_manifest
from backtest.data.sql import query
from backtest.data.store import Lake
from backtest.errors import DataError, IntegrityError
from backtest.units import HOUR_MS, time_ms


def rows(lake: Lake, sql: str) -> list[dict[str, object]]:
    return query(lake.root, sql).to_pylist()


def without(columns, places):
    return {name: np.delete(column, places) for name, column in columns.items()}


def test_the_ledger_has_a_row_for_each_table_and_symbol(tmp_path):
    lake = full_lake(tmp_path)
    eth = KLINES._replace(symbol="ETHUSDT")
    lake.merge([piece(without(bars(), [3, 4, 50]), eth, "one.csv")])
    lake.merge([piece(without(bars(), [3, 4, 50, *range(60)]), eth, "two.csv")])
    found = {(row["table_name"], row["symbol"]): row for row in rows(lake, "SELECT * FROM ledger")}
    assert len(found) == 4
    assert {name: found["klines", "ETHUSDT"][name] for name in ("rows", "holes", "missing", "duplicates")} == {
        "rows": 97,
        "holes": 2,
        "missing": 3,
        "duplicates": 40,
    }
    sound = found["mark_price", "BTCUSDT"]
    assert [sound[name] for name in ("holes", "missing", "duplicates", "corrections", "damaged")] == [0] * 5
    assert (sound["first_ms"], sound["last_ms"]) == (START, START + 99 * HOUR_MS)


def test_missing_settlements_are_holes_too(tmp_path):
    lake = Lake(tmp_path)
    rates = funding(30)
    lake.merge([piece(without(rates, [7, 20, 21]), FUNDING)])
    stamps = rates["funding_time_ms"].tolist()
    found = rows(lake, "SELECT first_ms, last_ms, missing FROM gaps ORDER BY first_ms")
    assert [(row["first_ms"], row["last_ms"], row["missing"]) for row in found] == [
        (stamps[7], stamps[7], 1),
        (stamps[20], stamps[21], 2),
    ]


def test_what_a_source_corrects_is_kept_with_both_values_and_survives_later_merges(tmp_path):
    lake = full_lake(tmp_path)
    revised = bars()
    revised["close"][5] = before = float(revised["close"][5])
    revised["close"] = revised["close"].copy()
    revised["close"][[5, 9]] *= 1.0000001
    revised["high"] = np.maximum(revised["high"], revised["close"])
    new = piece(revised, KLINES, "revised.csv")
    with pytest.raises(DataError):
        lake.merge([new])
    assert rows(lake, "SELECT * FROM corrections") == []
    lake.merge([new], replace_rows=True)
    lake.merge([piece(bars(120), KLINES._replace(symbol="XRPUSDT"))])
    (row,) = [row for row in rows(lake, "SELECT * FROM corrections") if row["column"] == "close"]
    assert (row["first_ms"], row["rows"]) == (START + 5 * HOUR_MS, 2)
    assert (row["before"], row["after"]) == (before, revised["close"][5])
    assert (row["source"], row["against"]) == ("revised.csv", "a.csv")
    assert rows(lake, "SELECT corrections FROM ledger WHERE table_name = 'klines' AND symbol = 'BTCUSDT'") == [
        {"corrections": len(rows(lake, "SELECT * FROM corrections"))}
    ]


def test_two_new_sources_that_disagree_are_refused_even_where_both_may_replace(tmp_path):
    lake = full_lake(tmp_path)
    one, other = bars(), bars()
    for columns, factor in ((one, 1.001), (other, 1.002)):
        columns["high"] = columns["high"].copy()
        columns["high"][40:] *= factor
    other["high"][3] *= 1.01
    with pytest.raises(DataError, match="disagree in 50 rows"):
        lake.merge([piece(one, KLINES, "one.csv"), piece(other, KLINES, "other.csv")], replace_rows=True)


def test_a_published_checksum_is_compared_and_noted(tmp_path):
    folder = tmp_path / "futures/um/monthly/klines/BTCUSDT/1h"
    path = write_vision(folder / "BTCUSDT-1h-2021-12.zip", vision_text(bars(40)))
    beside = path.with_name(f"{path.name}.CHECKSUM")
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    write_feather(tmp_path / "ETH_USDT_USDT-1h-futures.feather", bars())
    lake = Lake(tmp_path / "lake")
    import_path(lake, tmp_path, ImportOptions(venue="binance"))
    found = rows(lake, "SELECT symbol, sources, published FROM ledger")
    assert found == [
        {"symbol": "BTCUSDT", "sources": 1, "published": 1},
        {"symbol": "ETHUSDT", "sources": 1, "published": 0},
    ]
    assert rows(lake, "SELECT name FROM sources WHERE published") == [{"name": path.name}]


@pytest.mark.parametrize(
    ("text", "said"),
    [("0" * 64 + "  BTCUSDT-1h-2021-12.zip\n", "does not have the SHA-256"), ("nothing", "is not the SHA-256 of")],
)
def test_a_file_that_is_not_what_its_checksum_says_is_refused(tmp_path, text, said):
    path = write_vision(tmp_path / "futures/um/klines/BTCUSDT-1h-2021-12.zip", vision_text(bars(40)))
    path.with_name(f"{path.name}.CHECKSUM").write_text(text)
    with pytest.raises(DataError, match=said):
        import_path(Lake(tmp_path / "lake"), path)
    assert Lake(tmp_path / "lake").datasets() == []


def test_damaged_and_missing_files_are_in_the_ledger_and_their_rows_are_not_read(tmp_path):
    lake = full_lake(tmp_path)
    path = tmp_path / lake.entries([KLINES])[0].path
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / lake.entries([MARK])[0].path).unlink()
    states = rows(lake, "SELECT table_name, state, count(*) AS n FROM files GROUP BY ALL ORDER BY ALL")
    assert [(row["table_name"], row["state"]) for row in states if row["state"] != "sound"] == [
        ("klines", "damaged"),
        ("mark_price", "missing"),
    ]
    assert rows(lake, "SELECT holes, damaged FROM ledger WHERE table_name = 'klines'") == [
        {"holes": None, "damaged": 1}
    ]
    with pytest.raises(IntegrityError):
        query(lake.root, "SELECT * FROM gaps")


def test_listing_and_delisting_come_from_the_newest_contracts(tmp_path, market):
    pulled(tmp_path, market, recipe(("contracts",), "binance", ()))
    pulled(tmp_path, market, recipe(("contracts",), "bybit", ()))
    pulled(tmp_path, market, recipe(start="2024-12-01"))
    found = {(row["venue"], row["symbol"]): row for row in rows(Lake(tmp_path), "SELECT * FROM listings")}
    assert found["binance", "LUNAUSDT"]["delisted_ms"] == 1_652_374_800_000
    assert found["binance", "LUNAUSDT"]["status"] == "SETTLING"
    assert found["binance", "BTCUSDT"]["delisted_ms"] is None
    assert found["bybit", "ETHUSDT"]["listed_ms"] == 1_584_230_400_000
    assert found["bybit", "ETHUSDT"]["seen_ms"] == time_ms("2025-01-05")
    assert rows(Lake(tmp_path), "SELECT listed_ms, delisted_ms FROM ledger") == [
        {"listed_ms": 1_569_398_400_000, "delisted_ms": None}
    ]


def test_a_revised_archive_is_in_the_ledger_with_its_published_checksum(tmp_path, market):
    pulled(tmp_path, market, recipe(start="2024-12-01"))
    market.revised.add("BTCUSDT-1h-2024-12.zip")
    pulled(tmp_path, market, recipe(start="2024-12-01"), replace_rows=True)
    (row,) = rows(Lake(tmp_path), 'SELECT source, against, "column", rows FROM corrections')
    assert row == {
        "source": "BTCUSDT-1h-2024-12.zip",
        "against": "BTCUSDT-1h-2024-12.zip",
        "column": "close",
        "rows": 1,
    }
    assert rows(Lake(tmp_path), "SELECT count(*) AS n FROM sources WHERE name LIKE '%2024-12.zip' AND published") == [
        {"n": 2}
    ]
    assert rows(Lake(tmp_path), "SELECT published, sources FROM ledger") == [{"published": 4, "sources": 5}]


def test_findings_are_a_table(tmp_path):
    lake = Lake(tmp_path)
    lake.merge([piece(without(bars(), [50]))])
    found = rows(lake, "SELECT severity, what FROM findings WHERE first_ms IS NOT NULL ORDER BY first_ms DESC LIMIT 9")
    assert {"severity": "warning", "what": "1 bars are missing, until 2022-01-01 00:00"} in found


def test_a_manifest_of_before_reads_as_without_corrections(tmp_path):
    lake = full_lake(tmp_path)
    document = json.loads((tmp_path / MANIFEST).read_text())
    for file in document["files"]:
        del file["corrections"]
        for source in file["sources"]:
            del source["published"]
    text = json.dumps(document["files"], sort_keys=True, separators=(",", ":"))
    document["sha256"] = sha256_bytes(text.encode())
    (tmp_path / MANIFEST).write_text(json.dumps(document))
    assert read_manifest(tmp_path) == lake.entries()
    assert Lake(tmp_path).coverage()[0].dataset == Dataset("binance", "funding_rate", "BTCUSDT", "event")
