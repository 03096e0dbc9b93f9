"""Speed of the data part, as ratios against bare DuckDB in the same run; results are compared before any clock starts.

The sides take turns, each at its best of four. Print the figures with `pytest -s`.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from backtest.data.imports import import_path
from backtest.data.manifest import EVENT, Dataset, Source
from backtest.data.store import Lake, Piece
from backtest.data.tape import build_tape
from backtest.units import DAY_MS, MINUTE_MS, time_ms
from backtest.venues.tiers import tier_tables

pytestmark = pytest.mark.slow

START = time_ms("2020-01-01")
KLINES = Dataset("binance", "klines", "BTCUSDT", "1m")
MARK = KLINES._replace(table="mark_price")
FUNDING = KLINES._replace(table="funding_rate", interval=EVENT)


def minutes(count: int, start_ms: int = START, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    middle = 20_000 + 5_000 * np.sin(np.arange(count) / 9e4)
    body = np.round(middle[:, None] + random.normal(0, 5, (count, 2)), 2)
    wick = np.round(random.uniform(0, 9, (count, 2)), 2)
    return {
        "open_time": start_ms + MINUTE_MS * np.arange(count),
        "open": body[:, 0],
        "high": np.round(body.max(axis=1) + wick[:, 0], 2),
        "low": np.round(body.min(axis=1) - wick[:, 1], 2),
        "close": body[:, 1],
        "volume": np.round(random.uniform(0, 99, count), 3),
    }


def best_of(*calls: Callable[[], object], times: int = 4) -> list[float]:
    """Give the shortest time of each call; they take turns, so that a busy moment of the machine strikes all alike."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(times):
        for call, seconds in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return [min(seconds) for seconds in taken]


def write_months(folder: Path) -> list[str]:
    """Write 2022 as twelve archives and as the same CSV text beside them."""
    year = minutes(365 * 1440, time_ms("2022-01-01"))
    months = year["open_time"].astype("datetime64[ms]").astype("datetime64[M]")
    texts = []
    for month in np.unique(months):
        rows = {name: column[months == month] for name, column in year.items()}
        n = len(rows["open"])
        rows |= {"close_time": rows["open_time"] + MINUTE_MS - 1, "quote_volume": rows["volume"] * rows["close"]}
        rows |= {"count": np.full(n, 7), "taker_buy_volume": rows["volume"], "taker_buy_quote_volume": rows["volume"]}
        path = folder / f"BTCUSDT-1m-{month}.csv"
        pyarrow.csv.write_csv(pa.table(rows | {"ignore": np.zeros(n, np.int64)}), path, quoted_header())
        texts.append(str(path))
        target = folder / "futures/um/monthly/klines/BTCUSDT/1m" / f"{path.stem}.zip"
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
    return texts


def quoted_header() -> pyarrow.csv.WriteOptions:
    return pyarrow.csv.WriteOptions(quoting_style="none")


def test_a_year_of_archives_is_imported_within_two_and_a_half_times_a_bare_copy(tmp_path):
    texts = write_months(tmp_path)
    columns = "open_time, open, high, low, close, volume, quote_volume, count"

    def bare() -> None:
        with duckdb.connect() as database:
            source = f"SELECT {columns} FROM read_csv({texts}) ORDER BY open_time"
            database.execute(f"COPY ({source}) TO '{tmp_path}/bare.parquet' (FORMAT parquet, COMPRESSION zstd)")

    lakes = iter(range(100))

    def ours() -> Lake:
        lake = Lake(tmp_path / f"lake{next(lakes)}")
        import_path(lake, tmp_path / "futures")
        return lake

    bare()
    stored = ours().read(KLINES)
    wanted = duckdb.sql(f"SELECT open_time, close, count FROM '{tmp_path}/bare.parquet'").to_arrow_table()
    assert [stored[name].to_pylist() for name in ("open_time_ms", "close", "trade_count")] == [
        column.to_pylist() for column in wanted.columns
    ]
    ours_s, bare_s = best_of(ours, bare)
    ratio = ours_s / bare_s
    print(f"\nimport of 12 months of 1m archives: {ratio:.2f} x bare read_csv and COPY")
    assert ratio <= 2.5


@pytest.fixture(scope="module")
def six_years(tmp_path_factory) -> tuple[Lake, int]:
    days = 6 * 365
    lake = Lake(tmp_path_factory.mktemp("six"))
    for dataset, seed in ((KLINES, 1), (MARK, 2)):
        rows = minutes(days * 1440, seed=seed)
        rows |= {"open_time_ms": rows.pop("open_time")}
        rows |= {"available_ms": rows["open_time_ms"] + MINUTE_MS}
        n = len(rows["open"])
        arrays = [pa.array(rows[f.name]) if f.name in rows else pa.nulls(n, f.type) for f in dataset.schema.arrow()]
        lake.merge([Piece(dataset, pa.table(arrays, schema=dataset.schema.arrow()), Source("made", "0" * 64))])
    stamps = START + DAY_MS // 3 * np.arange(days * 3)
    rates = [pa.array(stamps), pa.array(np.full(len(stamps), 1e-4)), pa.nulls(len(stamps), pa.float64())]
    frame = pa.table([*rates, pa.array(stamps)], schema=FUNDING.schema.arrow())
    lake.merge([Piece(FUNDING, frame, Source("made", "0" * 64))])
    return lake, START + days * DAY_MS


def test_a_tape_of_six_years_of_minutes_takes_two_and_a_half_bare_fetches_and_less_from_then_on(six_years, tmp_path):
    lake, stop_ms = six_years
    wanted = {
        "klines": "open_time_ms, open, close, volume, quote_volume",
        "mark_price": "open_time_ms, open, high, low, close",
        "funding_rate": "funding_time_ms, funding_rate",
    }

    def bare() -> list[pa.Table]:
        with duckdb.connect() as database:
            return [
                database.sql(
                    f"SELECT {columns} FROM read_parquet('{lake.root}/venue=binance/table={table}/**/*.parquet') "
                    "ORDER BY 1"
                ).to_arrow_table()
                for table, columns in wanted.items()
            ]

    def ours(cache: Path | None = None):
        return build_tape(
            lake,
            venue="binance",
            symbol="BTCUSDT",
            interval="1m",
            start_ms=START,
            stop_ms=stop_ms,
            tiers=tier_tables("binance", "BTCUSDT"),
            taker_fee_steps=[(0, 40_000)],
            cache=cache,
        )

    result, (_, marks, _) = ours(), bare()
    assert np.array_equal(result.tape.time_ms, marks["open_time_ms"].to_numpy())
    assert np.array_equal(result.tape.mark_low_e8, np.rint(marks["low"].to_numpy() * 1e8).astype(np.int64))
    ours(tmp_path)
    first_s, second_s, bare_s = best_of(ours, lambda: ours(tmp_path), bare)
    ratio = first_s / bare_s
    print(
        f"\ntape of {len(result.tape.time_ms)} bars: {ratio:.2f} x a bare fetch; again: {second_s / first_s:.2f} of it"
    )
    assert ratio <= 2.5
    assert second_s <= 0.3 * first_s
