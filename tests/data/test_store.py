"""The lake: rows in, the same rows out; what disagrees is refused; a kill or a flipped bit never passes unseen."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_files import FUNDING, KLINES, MARK, START, bars, frame, full_lake, funding, piece, tree, write_feather

from backtest.data.imports import ImportOptions, import_path
from backtest.data.manifest import Dataset
from backtest.data.merge import merge_rows
from backtest.data.store import Lake
from backtest.errors import CoverageError, DataError, IntegrityError, UsageError
from backtest.units import HOUR_MS


def part(columns, rows):
    return {name: column[rows] for name, column in columns.items()}


def test_rows_come_back_as_they_went_in(tmp_path):
    lake = full_lake(tmp_path)
    assert lake.read(KLINES).equals(frame(KLINES, bars()))
    assert lake.datasets() == sorted([KLINES, MARK, FUNDING])


def test_files_lie_under_hive_partitions_with_checksums_and_zstd(tmp_path):
    full_lake(tmp_path)
    folders = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet")}
    assert "venue=binance/table=klines/symbol=BTCUSDT/interval=1h/year=2021" in folders
    assert "venue=binance/table=funding_rate/symbol=BTCUSDT/interval=event/year=2022" in folders
    metadata = pq.read_metadata(next(tmp_path.rglob("*.parquet")))
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_the_manifest_lists_rows_times_and_sources(tmp_path):
    full_lake(tmp_path)
    first = json.loads((tmp_path / "manifest.json").read_text())["files"][2]
    assert (first["table"], first["year"], first["rows"]) == ("klines", 2021, 50)
    assert (first["first_ms"], first["last_ms"]) == (START, START + 49 * HOUR_MS)
    assert first["sources"][0]["name"] == "a.csv"
    assert (first["sources"][0]["rows"], len(first["sha256"])) == (50, 64)


def test_a_range_is_half_open(tmp_path):
    lake = full_lake(tmp_path)
    times = lake.read(KLINES, START + 3 * HOUR_MS, START + 60 * HOUR_MS)["open_time_ms"].to_pylist()
    assert times == [START + h * HOUR_MS for h in range(3, 60)]
    assert len(lake.read(KLINES, 0, START)) == 0


def test_merging_the_same_rows_again_changes_no_byte(tmp_path):
    lake = full_lake(tmp_path)
    before = tree(tmp_path)
    result = lake.merge([piece()])[0]
    assert (result.rows_read, result.rows_added) == (100, 0)
    assert tree(tmp_path) == before


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 100)), min_size=1, max_size=5), st.randoms())
@settings(max_examples=20, deadline=None)
def test_the_order_of_imports_does_not_change_the_bytes(tmp_path_factory, spans, shuffler):
    pieces = [piece(part(bars(), slice(first, first + count)), source=f"{first}-{count}.csv") for first, count in spans]
    roots = [tmp_path_factory.mktemp("lake") for _ in range(2)]
    for each in pieces:
        Lake(roots[0]).merge([each])
    shuffler.shuffle(pieces)
    Lake(roots[1]).merge(pieces)
    assert tree(roots[0]) == tree(roots[1])


def test_rows_that_disagree_are_refused_with_both_sources_and_nothing_is_written(tmp_path):
    lake = full_lake(tmp_path)
    before = tree(tmp_path)
    other = part(bars(), slice(60, 90))
    other["close"] = other["close"].copy()
    other["close"][7] += 0.5
    new = part(bars(seed=9), slice(0, 10)) | {"open_time_ms": START - HOUR_MS * np.arange(20, 10, -1)}
    with pytest.raises(DataError) as caught:
        lake.merge([piece(other, source="b.csv"), piece(new, source="c.csv")])
    text = str(caught.value)
    assert "b.csv" in text
    assert "a.csv" in text
    assert "1 rows, first at 2022-01-01 17:00" in text
    assert str(other["close"][7]) in text
    assert tree(tmp_path) == before


def test_new_rows_replace_stored_ones_only_when_asked(tmp_path):
    lake = full_lake(tmp_path)
    other = part(bars(), slice(60, 90))
    other["close"] = other["high"]
    result = lake.merge([piece(other, source="b.csv")], replace_rows=True)[0]
    assert (result.rows_added, result.rows_replaced) == (0, 30)
    closes = lake.read(KLINES)["close"].to_numpy()
    assert (closes[60:90] == other["high"]).all()
    assert (closes[:60] == bars()["close"][:60]).all()


def test_a_value_that_one_source_lacks_is_taken_from_the_other(tmp_path):
    known = bars() | {"quote_volume": np.arange(100.0)}
    lake = full_lake(tmp_path)
    lake.merge([piece(known, source="b.csv")])
    assert lake.read(KLINES)["quote_volume"].to_pylist() == list(range(100))
    lake.merge([piece()])
    assert lake.read(KLINES)["quote_volume"].null_count == 0


def test_one_settlement_in_two_sources_is_one_row_with_the_venues_own_stamp(tmp_path):
    exact = funding()
    jitter = exact | {"funding_time_ms": exact["funding_time_ms"] + 17}
    roots = [tmp_path / "one", tmp_path / "two"]
    for root, order in zip(roots, ([exact, jitter], [jitter, exact]), strict=True):
        for columns in order:
            Lake(root).merge([piece(columns, FUNDING, "cut.csv" if columns is exact else "own.csv")])
    rows = Lake(roots[0]).read(FUNDING)
    assert rows["funding_time_ms"].to_pylist() == jitter["funding_time_ms"].tolist()
    assert tree(roots[0]) == tree(roots[1])
    wrong = exact | {"funding_rate": exact["funding_rate"] + 1e-6}
    with pytest.raises(DataError, match=r"wrong\.csv.*against.*cut\.csv.*or own\.csv"):
        Lake(roots[0]).merge([piece(wrong, FUNDING, "wrong.csv")])


def test_a_settlement_a_moment_before_the_new_year_belongs_to_the_new_year(tmp_path):
    midnight = 1_640_995_200_000
    for name, stamp in (("a.csv", midnight), ("b.csv", midnight - 5)):
        columns = {"funding_time_ms": np.array([stamp]), "funding_rate": np.array([1e-4])}
        Lake(tmp_path).merge([piece(columns, FUNDING, name)])
    assert Lake(tmp_path).read(FUNDING)["funding_time_ms"].to_pylist() == [midnight]


def test_merging_agrees_with_a_dictionary_of_rows():
    parts = [frame(KLINES, part(bars(40), np.r_[0:20, 25:30])), frame(KLINES, part(bars(40), np.r_[10:40]))]
    merged, conflicts = merge_rows(KLINES.schema, parts)
    rows = {row["open_time_ms"]: row for table in parts for row in table.to_pylist()}
    assert merged.to_pylist() == [rows[t] for t in sorted(rows)]
    assert conflicts == []


def test_coverage_counts_the_bars_that_are_missing(tmp_path):
    lake = Lake(tmp_path)
    lake.merge([piece(part(bars(), np.r_[0:10, 14:100]))])
    (coverage,) = lake.coverage()
    assert (coverage.rows, coverage.missing, coverage.files) == (96, 4, 2)
    assert (coverage.first_ms, coverage.last_ms, coverage.sources) == (START, START + 99 * HOUR_MS, ("a.csv",))


def test_the_hash_follows_the_datasets_that_a_study_uses_and_no_others(tmp_path):
    lake = full_lake(tmp_path)
    before = lake.manifest_hash([KLINES])
    lake.merge([piece(part(bars(seed=4), slice(0, 5)), KLINES._replace(symbol="ETHUSDT"))])
    assert lake.manifest_hash([KLINES]) == before
    lake.merge([piece(part(bars(), slice(7, 8)) | {"quote_volume": np.array([5.0])})])
    assert lake.manifest_hash([KLINES]) != before


def test_a_dataset_that_is_not_there_is_named_with_its_near_match(tmp_path):
    with pytest.raises(CoverageError, match='did you mean "binance klines BTCUSDT 1h"'):
        full_lake(tmp_path).read(KLINES._replace(symbol="BTCUSD"))


def test_dropping_a_dataset_leaves_the_others(tmp_path):
    lake = full_lake(tmp_path)
    lake.drop(MARK)
    assert lake.datasets() == [FUNDING, KLINES]
    assert not list(tmp_path.glob("**/table=mark_price"))


@pytest.mark.parametrize(
    "wrong",
    [
        KLINES._replace(symbol="../x"),
        KLINES._replace(symbol="a/b"),
        KLINES._replace(venue=""),
        KLINES._replace(venue=".."),
        KLINES._replace(table="kline"),
        KLINES._replace(interval="event"),
        KLINES._replace(interval="1hour"),
        FUNDING._replace(interval="8h"),
    ],
    ids=str,
)
def test_names_that_cannot_be_a_dataset_are_refused(tmp_path, wrong: Dataset):
    with pytest.raises(UsageError):
        Lake(tmp_path).merge([replace(piece(), dataset=wrong)])
    assert tree(tmp_path) == {}


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_bit_in_a_stored_file_is_reported_before_its_rows_are_used(tmp_path, seed):
    lake = full_lake(tmp_path)
    chance = random.Random(seed)
    victim = chance.choice(sorted(tmp_path.rglob("*.parquet")))
    content = bytearray(victim.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    victim.write_bytes(content)
    damaged = next(entry.dataset for entry in lake.entries() if tmp_path / entry.path == victim)
    with pytest.raises(IntegrityError, match=victim.name):
        lake.read(damaged)
    with pytest.raises(IntegrityError, match=victim.name):
        lake.merge([piece(bars(200)), piece(funding(40), FUNDING), piece(bars(200, 2), MARK)])


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_the_manifest_is_reported(tmp_path, seed):
    full_lake(tmp_path)
    path = tmp_path / "manifest.json"
    chance = random.Random(seed)
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(7)
    before = json.loads(path.read_bytes())
    path.write_bytes(content)
    try:
        same = json.loads(content) == before  # a bit in white space may change nothing
    except ValueError:
        same = False
    if same:
        assert Lake(tmp_path).entries()
    else:
        with pytest.raises(IntegrityError, match=r"manifest\.json"):
            Lake(tmp_path).entries()


@pytest.mark.parametrize("damage", ["truncate", "empty", "remove", "foreign"])
def test_a_file_that_is_not_the_listed_one_is_reported(tmp_path, damage):
    lake = full_lake(tmp_path)
    victim = tmp_path / lake.entries([KLINES])[0].path
    other = tmp_path / lake.entries([KLINES])[1].path
    if damage == "remove":
        victim.unlink()
    else:
        victim.write_bytes({"truncate": victim.read_bytes()[:-1], "empty": b"", "foreign": other.read_bytes()}[damage])
    with pytest.raises(IntegrityError, match=victim.name):
        lake.read(KLINES)


def test_files_that_no_manifest_lists_are_never_read_and_leftovers_are_swept(tmp_path):
    lake = full_lake(tmp_path)
    clean = tree(tmp_path)
    folder = (tmp_path / lake.entries([KLINES])[0].path).parent
    (folder / ".tmp-1-x.parquet").write_bytes(b"half")
    (folder / "0123456789abcdef.parquet").write_bytes(next(folder.glob("*.parquet")).read_bytes())
    (folder / "mine.parquet").write_bytes(b"a user's own")
    assert len(lake.strays()) == 3
    assert len(lake.read(KLINES)) == 100
    lake.merge([piece()])
    assert tree(tmp_path) == clean | {str((folder / "mine.parquet").relative_to(tmp_path)): b"a user's own"}


# --- kills ---------------------------------------------------------------------------------------------------------

_IMPORT = """
import os, signal, sys
from pathlib import Path
from backtest.data import disk
from backtest.data.imports import ImportOptions, import_path
from backtest.data.store import Lake
left = int(sys.argv[3])
def counted(call):
    def step(*arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)
    return step
os.fsync = counted(os.fsync)
Path.replace, Path.unlink, Path.rmdir = counted(Path.replace), counted(Path.unlink), counted(Path.rmdir)
import_path(Lake(sys.argv[1]), Path(sys.argv[2]), ImportOptions(venue="binance"))
"""


def run_import(lake: Path, folder: Path, kill_at: int = 0, kill_after_s: float | None = None) -> int:
    command = [sys.executable, "-c", _IMPORT, str(lake), str(folder), str(kill_at)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(process.pid, signal.SIGKILL)
    return process.wait()


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "files"
    for name, seed in (("BTC_USDT_USDT-1h-futures", 1), ("BTC_USDT_USDT-1h-mark", 2), ("ETH_USDT_USDT-1h-mark", 3)):
        write_feather(folder / f"{name}.feather", bars(seed=seed))
    return folder


def kill_and_finish(tmp_path: Path, sources: Path, points: list[dict], enough: int) -> int:
    options = ImportOptions(venue="binance")
    import_path(Lake(tmp_path / "calm"), sources, options)
    killed = 0
    for number, point in enumerate(points):
        root = tmp_path / f"lake{number}"
        killed += run_import(root, sources, **point) == -signal.SIGKILL
        for dataset in Lake(root).datasets():
            assert len(Lake(root).read(dataset)) == 100
        import_path(Lake(root), sources, options)
        assert tree(root) == tree(tmp_path / "calm")
        if killed == enough:
            break
    return killed


def test_a_kill_at_any_step_leaves_a_readable_lake_and_the_next_import_finishes(tmp_path, sources):
    points = random.Random(11).sample(range(1, 25), 5)
    assert kill_and_finish(tmp_path, sources, [{"kill_at": point} for point in points], 5) == 5


@pytest.mark.slow
def test_a_kill_at_every_step_and_at_any_moment(tmp_path, sources):
    chance = random.Random(7)
    steps = [{"kill_at": step} for step in range(1, 25)]
    moments = [{"kill_after_s": chance.uniform(0.2, 1.2)} for _ in range(200)]  # one that comes too late does not count
    assert kill_and_finish(tmp_path, sources, steps + moments, 100) == 100
