"""Importing files: every format gives the same rows, every defect is told with file and row, nothing half-written."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from market_files import (
    FUNDING,
    HEADER,
    KLINES,
    MARK,
    START,
    bars,
    frame,
    funding,
    tree,
    vision_text,
    write_csv,
    write_feather,
    write_json,
    write_vision,
)

from backtest.data.imports import ImportOptions, import_file, import_path
from backtest.data.store import Lake
from backtest.errors import BacktestError, CoverageError, DataError, UsageError
from backtest.units import DAY_MS, HOUR_MS

BINANCE = ImportOptions(venue="binance")
GENERIC = ImportOptions(venue="binance", table="klines", symbol="BTCUSDT")
VISION = "data/futures/um/monthly/{}/BTCUSDT/1h/BTCUSDT-1h-2022-01.zip"


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def refused(lake, path, options=BINANCE, error: type[BacktestError] = DataError) -> str:
    """Require that an import fails and writes nothing; give the error's text."""
    before = tree(lake.root) if lake.root.exists() else {}
    with pytest.raises(error) as caught:
        import_file(lake, path, options)
    assert (tree(lake.root) if lake.root.exists() else {}) == before
    return str(caught.value)


# --- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_freqtrade_feather_in_any_time_unit(lake, tmp_path, unit):
    import_file(lake, write_feather(tmp_path / "BTC_USDT_USDT-1h-futures.feather", bars(), unit), BINANCE)
    assert lake.read(KLINES).equals(frame(KLINES, bars()))


def test_freqtrade_json(lake, tmp_path):
    import_file(lake, write_json(tmp_path / "BTC_USDT-1h-futures.json", bars()), BINANCE)
    assert lake.read(KLINES).equals(frame(KLINES, bars()))


def test_freqtrade_mark_has_no_volume_whatever_its_file_says(lake, tmp_path):
    nothing = bars() | {"volume": np.full(100, np.nan)}
    import_file(lake, write_feather(tmp_path / "BTC_USDT_USDT-1h-mark.feather", nothing), BINANCE)
    assert lake.read(MARK).equals(frame(MARK, bars()))


def test_freqtrade_funding_is_its_open_column_and_its_label_is_no_interval(lake, tmp_path):
    settled, zero = funding(), np.zeros(12)
    columns = {"open_time_ms": settled["funding_time_ms"], "open": settled["funding_rate"]}
    columns |= dict.fromkeys(("high", "low", "close", "volume"), zero)
    import_file(lake, write_feather(tmp_path / "BTC_USDT_USDT-1h-funding_rate.feather", columns), BINANCE)
    assert lake.datasets() == [FUNDING]
    assert lake.read(FUNDING).equals(frame(FUNDING, settled))


def test_freqtrade_spot_files_are_kept_apart(lake, tmp_path):
    import_file(lake, write_feather(tmp_path / "BTC_USDT-1h.feather", bars()), BINANCE)
    assert lake.datasets() == [KLINES._replace(venue="binance-spot")]


def test_freqtrade_folders_named_by_exchange_say_the_venue(lake, tmp_path):
    import_file(lake, write_feather(tmp_path / "data" / "bybit" / "BTC_USDT_USDT-1h-mark.feather", bars()))
    assert lake.datasets() == [MARK._replace(venue="bybit")]


def test_a_file_that_does_not_say_its_venue_is_refused(lake, tmp_path):
    path = write_feather(tmp_path / "BTC_USDT_USDT-1h-mark.feather", bars())
    assert "name the venue" in refused(lake, path, ImportOptions(), UsageError)


@pytest.mark.parametrize(("header", "scale"), list(product([True, False], [1, 1000])))
def test_vision_klines_with_and_without_header_in_ms_and_us(lake, tmp_path, header, scale):
    path = write_vision(tmp_path / VISION.format("klines"), vision_text(bars(), header=header, scale=scale))
    import_file(lake, path)
    extra = {"quote_volume": bars()["volume"] * bars()["close"], "trade_count": np.full(100, 7)}
    assert lake.read(KLINES).equals(frame(KLINES, bars() | extra))


@pytest.mark.parametrize(
    ("folder", "table"),
    [("markPriceKlines", "mark_price"), ("indexPriceKlines", "index_price"), ("premiumIndexKlines", "premium_index")],
)
def test_vision_folders_say_the_table(lake, tmp_path, folder, table):
    import_file(lake, write_vision(tmp_path / VISION.format(folder), vision_text(bars(10) | premium(table))))
    assert lake.datasets() == [KLINES._replace(table=table)]


def premium(table: str) -> dict[str, np.ndarray]:
    return dict.fromkeys(("open", "high", "low", "close"), np.full(10, -1e-4)) if table == "premium_index" else {}


def test_vision_funding(lake, tmp_path):
    rows = funding()
    path = tmp_path / "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2022-01.zip"
    lines = [f"{t},8,{r}" for t, r in zip(*rows.values(), strict=True)]
    write_vision(path, "\n".join(["calc_time,funding_interval_hours,last_funding_rate", *lines]))
    import_file(lake, path)
    assert lake.read(FUNDING).equals(frame(FUNDING, rows))


def test_vision_markets_are_kept_apart(lake, tmp_path):
    for market in ("spot", "futures/cm"):
        path = tmp_path / f"data/{market}/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2022-01-01.zip"
        import_file(lake, write_vision(path, vision_text(bars(24))))
    assert [dataset.venue for dataset in lake.datasets()] == ["binance-coinm", "binance-spot"]


def test_a_vision_file_outside_its_folders_must_say_what_it_is(lake, tmp_path):
    path = write_vision(tmp_path / "BTCUSDT-1h-2022-01.zip", vision_text(bars()))
    assert "last, mark, index or premium" in refused(lake, path, BINANCE, UsageError)
    import_file(lake, path, ImportOptions(venue="binance", table="mark_price"))
    assert lake.datasets() == [MARK]


def test_a_vision_file_with_another_header_is_refused(lake, tmp_path):
    text = vision_text(bars()).replace("close_time", "closing_time")
    assert "has the header" in refused(lake, write_vision(tmp_path / VISION.format("klines"), text))
    assert HEADER in refused(lake, tmp_path / VISION.format("klines"))


def test_any_csv_with_names_of_the_field(lake, tmp_path):
    columns = bars()
    path = write_csv(tmp_path / "x.csv", {"timestamp": columns.pop("open_time_ms"), **columns})
    import_file(lake, path, GENERIC)
    assert lake.read(KLINES).equals(frame(KLINES, bars()))


def test_a_map_names_the_columns(lake, tmp_path):
    t, o, h, low, c, v = bars().values()
    path = write_csv(tmp_path / "x.csv", {"t": t // 1000, "o": o * 10, "h": h * 10, "l": low * 10, "c": c * 10, "v": v})
    names = {"time": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    options = ImportOptions("binance", "klines", "BTCUSDT", columns=names, time_unit="s", scale=0.1)
    import_file(lake, path, options)
    assert np.allclose(lake.read(KLINES)["close"].to_numpy(), c, rtol=1e-12)


def test_clocks_ahead_of_utc_are_set_back(lake, tmp_path):
    rows = funding()
    local = [f"{np.datetime64(int(t) + 3 * HOUR_MS, 'ms')}".replace("T", " ") for t in rows["funding_time_ms"]]
    path = write_csv(
        tmp_path / "f.csv", {"Symbol": ["BTC-USDT"] * 12, "Date": local, "Funding Rate": rows["funding_rate"]}
    )
    options = ImportOptions(venue="binance", table="funding_rate", utc_offset_ms=3 * HOUR_MS)
    import_file(lake, path, options)
    assert lake.read(FUNDING).equals(frame(FUNDING, rows))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(None, "2022-01-%02d"), ("%m/%d/%Y", "01/%02d/2022"), (None, "2022-01-%02dT00:00:00Z"), ("%Y%m%d", "202201%02d")],
)
def test_times_in_words(lake, tmp_path, pattern, text):
    path = write_csv(tmp_path / "v.csv", {"date": [text % day for day in (3, 4, 5)], "close": [1.5, 2.5, 3.5]})
    options = ImportOptions(
        "cboe", "series", "VIX", columns={"value": "close"}, time_unit=pattern, available_after_ms=DAY_MS
    )
    import_file(lake, path, options)
    rows = lake.read(lake.datasets()[0])
    assert rows["time_ms"].to_pylist() == [1_641_168_000_000 + day * DAY_MS for day in range(3)]
    assert rows["available_ms"].to_pylist() == [1_641_168_000_000 + day * DAY_MS for day in range(1, 4)]
    assert rows["value"].to_pylist() == [1.5, 2.5, 3.5]


def test_a_series_may_be_published_again_and_says_when(lake, tmp_path):
    columns = {"period": ["2022-01-01"] * 2, "value": [1.0, 1.1], "released": ["2022-04-28", "2022-05-26"]}
    path = write_csv(tmp_path / "gdp.csv", columns)
    names = {"time": "period", "available_ms": "released"}
    import_file(lake, path, ImportOptions("bea", "series", "GDP", columns=names))
    rows = lake.read(lake.datasets()[0])
    assert rows["value"].to_pylist() == [1.0, 1.1]
    assert rows["available_ms"].to_pylist() == [1_651_104_000_000, 1_653_523_200_000]


def test_a_series_that_does_not_say_when_it_was_known_is_refused(lake, tmp_path):
    path = write_csv(tmp_path / "v.csv", {"date": ["2022-01-03"], "value": [1.0]})
    text = refused(lake, path, ImportOptions("cboe", "series", "VIX"), UsageError)
    assert "when the values were published" in text


def test_many_symbols_in_one_parquet_file(lake, tmp_path):
    columns = {name: np.concatenate((bars(30)[name], bars(30, 2)[name])) for name in bars(1)}
    columns["timestamp"] = columns.pop("open_time_ms")
    symbols = ["BTCUSDT"] * 30 + ["ETHUSDT"] * 30
    pq.write_table(pa.table({"symbol": symbols, **columns}), tmp_path / "universe.parquet")
    report = import_path(lake, tmp_path / "universe.parquet", BINANCE)
    assert [result.rows_added for result in report.results] == [30, 30]
    assert lake.read(KLINES._replace(symbol="ETHUSDT")).equals(frame(KLINES, bars(30, 2)))


def test_a_folder_takes_what_it_recognises_and_lists_the_rest(lake, tmp_path):
    folder = tmp_path / "files"
    write_feather(folder / "a" / "BTC_USDT_USDT-1h-futures.feather", bars())
    write_feather(folder / "b" / "BTC_USDT_USDT-1h-mark.feather", bars())
    (folder / "notes.txt").write_text("hello")
    heard = []
    report = import_path(lake, folder, BINANCE, heard.extend)
    assert [result.dataset for result in report.results] == [KLINES, MARK]
    assert heard == list(report.results)
    assert report.unrecognised == (folder / "notes.txt",)


def test_a_bad_file_in_a_folder_is_left_out_and_told(lake, tmp_path):
    folder = tmp_path / "files"
    write_feather(folder / "BTC_USDT_USDT-1h-futures.feather", bars() | {"open": -bars()["open"]})
    write_feather(folder / "BTC_USDT_USDT-1h-mark.feather", bars())
    with pytest.raises(DataError, match=r"futures\.feather row 1: open is -20000\.0"):
        import_path(lake, folder, BINANCE)
    assert lake.datasets() == [MARK]


def test_archives_of_one_folder_are_merged_together(lake, tmp_path):
    for month, rows in (("2022-01", slice(0, 40)), ("2022-02", slice(40, 100))):
        text = vision_text({name: column[rows] for name, column in bars().items()})
        write_vision(tmp_path / f"futures/um/klines/BTCUSDT-1h-{month}.zip", text)
    report = import_path(lake, tmp_path / "futures")
    assert [result.rows_added for result in report.results] == [100]


# --- the user's options ----------------------------------------------------------------------------------------------


def test_the_last_bar_is_dropped_only_when_asked(lake, tmp_path):
    path = write_json(tmp_path / "BTC_USDT-1h-futures.json", bars())
    import_file(lake, path, ImportOptions(venue="binance", drop_last=True))
    assert lake.read(KLINES)["open_time_ms"].to_pylist()[-1] == START + 98 * HOUR_MS


def test_newest_first_is_refused_unless_sort_is_asked_for(lake, tmp_path):
    upside_down = {name: column[::-1].copy() for name, column in bars().items()}
    path = write_json(tmp_path / "BTC_USDT-1h-futures.json", upside_down)
    assert "row 2: is earlier than the row before it (99 rows)" in refused(lake, path)
    import_file(lake, path, ImportOptions(venue="binance", sort=True))
    assert lake.read(KLINES).equals(frame(KLINES, bars()))


def test_a_part_of_a_file_by_time(lake, tmp_path):
    path = write_json(tmp_path / "BTC_USDT-1h-futures.json", bars())
    options = ImportOptions(venue="binance", start_ms=START + 5 * HOUR_MS, stop_ms=START + 7 * HOUR_MS)
    import_file(lake, path, options)
    assert lake.read(KLINES)["open_time_ms"].to_pylist() == [START + 5 * HOUR_MS, START + 6 * HOUR_MS]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "row", "value", "text"),
    [
        ("close", 3, np.nan, "row 4: close is nan"),
        ("open", 4, -1.0, "row 5: open is -1.0"),
        ("low", 5, 0.0, "row 6: low is 0.0"),
        ("high", 6, np.inf, "row 7: high is inf"),
        ("high", 7, 9e10, "row 8: high is 90000000000.0"),
        ("low", 8, 1e-9, "row 9: low is 1e-09"),
        ("high", 9, 1.0, "row 10: bar contradicts itself"),
        ("volume", 10, -1.0, "row 11: volume is -1.0"),
    ],
)
@pytest.mark.parametrize("form", ["feather", "json", "zip", "csv"])
def test_an_impossible_value_is_told_with_file_and_row(lake, tmp_path, column, row, value, text, form):
    columns = bars()
    columns[column][row] = value
    if form == "zip":
        path, options = write_vision(tmp_path / VISION.format("klines"), vision_text(columns)), BINANCE
    elif form == "csv":
        path, options = write_csv(tmp_path / "x.csv", columns), GENERIC
    else:
        path = tmp_path / f"BTC_USDT-1h-futures.{form}"
        (write_feather if form == "feather" else write_json)(path, columns)
        options = BINANCE
    assert f"{path.name} {text}" in refused(lake, path, options)


def test_all_problems_are_told_at_once(lake, tmp_path):
    columns = bars()
    columns["close"][3], columns["open"][50], columns["volume"][7] = np.nan, -5.0, -1.0
    columns["open_time_ms"][20] = columns["open_time_ms"][19]
    text = refused(lake, write_feather(tmp_path / "BTC_USDT_USDT-1h-futures.feather", columns))
    assert [part in text for part in ("row 4: close", "row 51: open", "row 8: volume", "row 21: repeats")] == [True] * 4
    assert text.count("\n") >= 4


@pytest.mark.parametrize(("unit", "per_ms"), [("s", 1e-3), ("us", 1e3), ("ns", 1e6)])
def test_a_wrong_time_unit_is_named_and_never_guessed(lake, tmp_path, unit, per_ms):
    columns = bars()
    columns["open_time_ms"] = (columns["open_time_ms"] * per_ms).astype(np.int64)
    path = write_csv(tmp_path / "x.csv", columns)
    text = refused(lake, path, GENERIC)
    assert f"row 1: time {columns['open_time_ms'][0]} is in {unit}, not ms (100 rows)" in text
    options = ImportOptions("binance", "klines", "BTCUSDT", time_unit=unit)
    import_file(lake, path, options)
    assert lake.read(KLINES).equals(frame(KLINES, bars()))


def test_seconds_in_an_archive_are_refused(lake, tmp_path):
    columns = bars() | {"open_time_ms": bars()["open_time_ms"] // 1000}
    path = write_vision(tmp_path / VISION.format("klines"), vision_text(columns))
    assert "is in s, not ms" in refused(lake, path)


def test_a_file_that_mixes_units_is_refused_at_the_first_odd_row(lake, tmp_path):
    columns = bars()
    columns["open_time_ms"][60:] *= 1000
    text = refused(lake, write_csv(tmp_path / "x.csv", columns), GENERIC)
    assert "row 61" in text
    assert "mixes units" in text


def test_repeated_rows_are_refused(lake, tmp_path):
    columns = {name: np.repeat(column, 2) for name, column in bars(10).items()}
    assert "row 2: repeats" in refused(lake, write_json(tmp_path / "BTC_USDT-1h-futures.json", columns))


def test_a_settlement_given_twice_is_refused(lake, tmp_path):
    rows = funding()
    rows["funding_time_ms"][5] = rows["funding_time_ms"][4] + 29
    path = write_csv(tmp_path / "f.csv", rows)
    assert "row 6: repeats" in refused(lake, path, ImportOptions("binance", "funding_rate", "BTCUSDT"))


def test_a_rate_in_per_cent_of_a_hundred_is_refused(lake, tmp_path):
    rows = funding() | {"funding_rate": np.full(12, 1.0)}
    text = refused(lake, write_csv(tmp_path / "f.csv", rows), ImportOptions("binance", "funding_rate", "BTCUSDT"))
    assert "a rate is a fraction" in text


def test_a_name_that_says_another_interval_than_the_rows_is_refused(lake, tmp_path):
    path = write_json(tmp_path / "BTC_USDT-15m-futures.json", bars())
    assert "taken as 15m bars, but most rows are 1h apart" in refused(lake, path)


def test_cells_that_are_not_numbers_are_told_by_column_and_row(lake, tmp_path):
    columns = {name: column.astype(object) for name, column in bars().items()}
    columns["open"][3], columns["high"][8], columns["high"][9] = "abc", "1.2.3", "--"
    text = refused(lake, write_csv(tmp_path / "x.csv", columns), GENERIC)
    assert "x.csv row 4: open 'abc' is not a number" in text


def test_cells_of_an_archive_that_are_not_numbers_are_all_told(lake, tmp_path):
    text = vision_text(bars()).replace(",7,0,0,0", ",seven,0,0,0").replace(str(bars()["open"][5]), "x", 1)
    text = refused(lake, write_vision(tmp_path / VISION.format("klines"), text))
    assert "count 'seven' is not a number (100 rows)" in text
    assert "'x' is not a number" in text


def test_a_row_with_too_many_cells_is_refused(lake, tmp_path):
    path = write_csv(tmp_path / "x.csv", bars())
    path.write_text(path.read_text() + "1,2,3,4,5,6,7\n")
    assert "not sound CSV text" in refused(lake, path, GENERIC)


def test_a_column_that_is_not_there_gets_its_near_match(lake, tmp_path):
    path = write_csv(tmp_path / "x.csv", bars())
    options = ImportOptions("binance", "klines", "BTCUSDT", columns={"open": "opn"})
    assert "has no column 'opn'; did you mean \"open\"?" in refused(lake, path, options)
    options = ImportOptions("binance", "klines", "BTCUSDT", columns={"opne": "open"})
    assert "'opne'" in refused(lake, path, options)
    path = write_csv(tmp_path / "y.csv", {k: v for k, v in bars().items() if k not in ("open", "low")})
    text = refused(lake, path, GENERIC)
    assert "has no column for open" in text
    assert "has no column for low" in text


def test_a_map_that_names_a_column_the_table_does_not_have_gets_its_near_match(lake, tmp_path):
    path = write_csv(tmp_path / "x.csv", bars())
    options = ImportOptions("binance", "klines", "BTCUSDT", columns={"opens": "open"})
    assert 'did you mean "open"?' in refused(lake, path, options)


@pytest.mark.parametrize("options", [BINANCE, ImportOptions(table="klines"), ImportOptions("binance", "kline", "X")])
def test_what_a_file_does_not_say_must_be_said(lake, tmp_path, options):
    assert "x.csv" in refused(lake, write_csv(tmp_path / "x.csv", bars()), options, UsageError)


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 50, b"<html></html>", b"[[1,2]]", b"[]", b'{"a": 1}'])
@pytest.mark.parametrize(
    "name", ["BTC_USDT-1h-futures.json", "BTC_USDT-1h-futures.feather", "x.csv", "x.parquet", "x.feather", "x.zip"]
)
def test_a_file_that_is_something_else_is_refused_without_a_traceback(lake, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert name in refused(lake, path, GENERIC, BacktestError)


def test_a_missing_file_is_told(lake, tmp_path):
    assert "does not exist" in refused(lake, tmp_path / "none.csv", GENERIC)


def test_nothing_imported_is_nothing_there(lake):
    with pytest.raises(CoverageError):
        lake.read(KLINES)
