"""Real files: imported whole, with the defects that are known of them found, and a tape that is complete."""

from __future__ import annotations

import pytest

from backtest.data.check import check
from backtest.data.imports import ImportOptions, import_file, import_path
from backtest.data.manifest import EVENT, Dataset
from backtest.data.snapshots import import_tiers, snapshots
from backtest.data.store import Lake
from backtest.data.tape import build_tape
from backtest.errors import DataError
from backtest.units import DAY_MS, HOUR_MS, time_ms
from backtest.venues.tiers import tier_tables

pytestmark = pytest.mark.real

BINANCE = ImportOptions(venue="binance")
BTC = Dataset("binance", "klines", "BTCUSDT", "1h")


def notes(lake: Lake, text: str) -> list[tuple[str, int]]:
    return [(f.where.split(" ", 1)[1], f.count) for f in check(lake) if text in f.what]


@pytest.fixture(scope="module")
def hourly(real_data, tmp_path_factory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("hourly"))
    report = import_path(lake, real_data / "binance-usdm-freqtrade" / "full-history-1h", BINANCE)
    assert len(report.results) == 12
    return lake


def test_hourly_history_has_its_known_rows_and_times(hourly):
    known = {c.dataset: (c.rows, c.first_ms, c.last_ms, c.missing) for c in hourly.coverage()}
    first, last = time_ms("2019-09-08T17:00"), time_ms("2026-05-17T07:00")
    assert known[BTC] == (58_623, first, last, 0)
    first, last = time_ms("2019-12-23T11:00"), time_ms("2026-05-17T06:00")
    assert known[BTC._replace(table="mark_price")] == (56_084, first, last, 0)
    first, last = time_ms("2019-09-10T08:00"), time_ms("2026-05-17T00:00")
    assert known[BTC._replace(table="funding_rate", interval=EVENT)] == (7_323, first, last, None)


def test_crash_lows_are_where_they_are_known_to_be(hourly):
    day = hourly.read(BTC, time_ms("2021-05-19"), time_ms("2021-05-20"), ["low"])
    assert min(day["low"].to_pylist()) == 28_688.0
    mark = hourly.read(BTC._replace(table="mark_price"), time_ms("2020-03-12"), time_ms("2020-03-14"), ["low"])
    assert round(min(mark["low"].to_pylist()), 2) == 3_801.83


def test_known_defects_of_the_hourly_history_are_found(hourly):
    assert notes(hourly, "flat without volume") == [("klines BTCUSDT 1h", 3), ("klines ETHUSDT 1h", 1)]
    assert ("funding_rate LTCUSDT event", 312) in notes(hourly, "exactly 0")
    assert [f for f in check(hourly) if f.severity == "error"] == []


@pytest.mark.parametrize(("symbol", "bars"), [("BTCUSDT", 55_488), ("ETHUSDT", 55_488)])
def test_a_tape_of_six_years_is_complete(hourly, symbol, bars):
    result = build_tape(
        hourly,
        venue="binance",
        symbol=symbol,
        interval="1h",
        start_ms=time_ms("2020-01-01"),
        stop_ms=time_ms("2026-05-01"),
        tiers=tier_tables("binance", symbol),
        taker_fee_steps=[(0, 40_000), (time_ms("2023-01-01"), 50_000)],
    )
    assert len(result.tape.time_ms) == bars == (time_ms("2026-05-01") - time_ms("2020-01-01")) // HOUR_MS
    assert (result.holes, result.funding_moved) == ((), 0)
    assert len(result.funding_ms) == 6_936 == bars // 8


def test_maintenance_holes_of_the_spot_market_are_found(real_data, tmp_path):
    lake = Lake(tmp_path)
    import_path(lake, real_data / "binance-spot-freqtrade", BINANCE)
    assert len(notes(lake, "bars are missing")) == 27


def test_funding_intervals_that_change_are_found(real_data, tmp_path):
    lake = Lake(tmp_path)
    for path in ("layer-1m-2025-05/LAYER_USDT_USDT-8h", "one-year-1h/XTZ_USDT_USDT-1h"):
        import_file(lake, real_data / "binance-usdm-freqtrade" / f"{path}-funding_rate.feather", BINANCE)
    changes = [f for f in check(lake) if "interval changes" in f.what]
    assert [f.what.split("changes ")[1] for f in changes] == ["from 4h to 1h", "from 8h to 1h", "from 1h to 4h"]
    assert changes[0].first_ms is not None
    assert changes[0].first_ms // HOUR_MS * HOUR_MS == time_ms("2025-05-06T08:00")


def test_an_archive_that_contradicts_the_api_around_an_outage_is_refused_by_both_names(real_data, tmp_path):
    lake = Lake(tmp_path)
    archive = real_data / "binance-vision/data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-10-28.zip"
    import_file(lake, archive)
    futures = real_data / "binance-usdm-freqtrade/full-history-1h/BTC_USDT_USDT-1h-futures.feather"
    with pytest.raises(DataError, match=r"futures\.feather .* against BTCUSDT-1h-2024-10-28\.zip .*2024-10-28 20:00"):
        import_file(lake, futures, BINANCE)


def test_mark_bars_of_8h_that_differ_from_those_of_1h_are_found(real_data, tmp_path):
    lake = Lake(tmp_path)
    folder = real_data / "binance-usdm-freqtrade"
    import_file(lake, folder / "full-history-1h/BTC_USDT_USDT-1h-mark.feather", BINANCE)
    import_file(lake, folder / "btc-eth-15m-2023-2025/BTC_USDT_USDT-8h-mark.feather", BINANCE)
    import_file(lake, folder / "json-5m-2022/BTC_USDT-8h-mark.json", BINANCE)
    assert notes(lake, "disagree") == [("mark_price BTCUSDT 1h", 5)]


def test_funding_written_three_hours_ahead_equals_the_venues_own(real_data, tmp_path):
    lake = Lake(tmp_path)
    own = real_data / "binance-usdm-freqtrade/full-history-1h/BTC_USDT_USDT-1h-funding_rate.feather"
    import_file(lake, own, BINANCE)
    ahead = real_data / "funding-multi-exchange/BTC-USDT_binance_2020-01-01_2024-01-01_funding_history.csv"
    options = ImportOptions(venue="binance", table="funding_rate", utc_offset_ms=3 * HOUR_MS)
    (result,) = import_file(lake, ahead, options)
    assert (result.rows_read, result.rows_added) == (4_383, 0)


@pytest.mark.parametrize(("venue", "ahead", "late"), [("htx", 3, 7), ("gate", 0, 1), ("kucoin", 3, 0)])
def test_settlements_that_other_venues_miss_are_found(real_data, tmp_path, venue, ahead, late):
    (path,) = (real_data / "funding-multi-exchange").glob(f"*_{venue}_*")
    lake = Lake(tmp_path)
    import_file(lake, path, ImportOptions(venue=venue, table="funding_rate", utc_offset_ms=ahead * HOUR_MS))
    assert sum(count for _, count in notes(lake, "come late")) == late


def test_vision_archives_are_read(real_data, tmp_path):
    lake = Lake(tmp_path)
    report = import_path(lake, real_data / "binance-vision")
    assert report.unrecognised == ()
    assert sum(result.rows_added for result in report.results) == 8 * 40_320 + 43_200 + 48 + 1_440
    trades = lake.read(Dataset("binance", "klines", "APEUSDT", "1m"), columns=["trade_count"])
    assert sum(trades["trade_count"].to_pylist()) == 180_907
    assert {dataset.venue for dataset in lake.datasets()} == {"binance", "binance-spot"}


def test_bybit_files_with_nan_volume_are_read(real_data, tmp_path):
    lake = Lake(tmp_path)
    report = import_path(lake, real_data / "bybit-linear-freqtrade", ImportOptions(venue="bybit"))
    assert sorted(result.rows_added for result in report.results) == [902] * 3 + [7_217] * 3 + [86_604] * 3


@pytest.mark.slow
def test_a_universe_of_hundreds_of_symbols_is_read(real_data, tmp_path):
    report = import_path(Lake(tmp_path), real_data / "binance-usdm-universe", BINANCE)
    assert sum(result.rows_added for result in report.results) == 193_614 + 97_977 + 77_226 + 2 * 64_899


def test_an_index_series_is_read_and_its_contradictions_refused_as_bars(real_data, tmp_path):
    lake = Lake(tmp_path)
    path = real_data / "cboe" / "vix-daily.csv"
    with pytest.raises(DataError, match=r"contradicts itself.*\(47 rows\)"):
        import_file(lake, path, ImportOptions("cboe", "klines", "VIX"))
    options = ImportOptions("cboe", "series", "VIX", columns={"value": "CLOSE"}, available_after_ms=DAY_MS)
    (result,) = import_file(lake, path, options)
    assert result.rows_added == 9_235


def test_a_contract_on_another_price_scale_is_found_and_can_be_brought_back(real_data, tmp_path):
    path = real_data / "cboe/vx-futures/2007-05-16.m_5.CFE_VX_K2007.csv"
    rescaled = time_ms("2007-03-26")
    columns = {"time": "Trade Date", "value": "Settle"}
    common = {"columns": columns, "time_unit": "%m/%d/%Y", "available_after_ms": DAY_MS}
    lake = Lake(tmp_path)
    import_file(lake, path, ImportOptions("cfe", "series", "VX-K2007", **common))
    assert notes(lake, "tenfold") == [("series VX-K2007 event", 1)]
    lake.drop(lake.datasets()[0])
    import_file(lake, path, ImportOptions("cfe", "series", "VX-K2007", stop_ms=rescaled, scale=0.1, **common))
    import_file(lake, path, ImportOptions("cfe", "series", "VX-K2007", start_ms=rescaled, **common))
    assert notes(lake, "tenfold") == []


@pytest.mark.slow
def test_every_other_file_is_taken_by_an_importer(real_data, tmp_path):
    lake = Lake(tmp_path)
    rows = {"lean": 0, "series": 0}
    for zipped in [real_data / "equity/lean/spy-daily.zip", *sorted((real_data / "options/lean-spx").glob("*.zip"))]:
        rows["lean"] += sum(result.rows_added for result in import_file(lake, zipped))
    assert rows["lean"] == 5_849 + 411 + 22_033
    known = {"available_after_ms": 45 * DAY_MS}
    series = {
        "macro/fomc_dates.csv": ({"time": "date", "value": "1"}, {"available_after_ms": 0}),
        "macro/cpi_release_dates.csv": (
            {"time": "release_date", "value": "1"},
            {"sort": True, "available_after_ms": 0},
        ),
        "macro/effective_fed_funds_daily.csv": ({"time": "observation_date", "value": "FEDFUNDS"}, known),
        "macro/unrate.csv": ({"value": "Rate"}, known),
        "macro/jobless_claims.csv": ({"value": "Claims"}, known),
        "macro/t10y2y.csv": ({"value": "Spread"}, known),
        "macro/nyse_breadth.csv": ({"value": "Adv"}, known),
        "macro/us_cpi_monthly.csv": ({"time": "observation_date", "value": "Core"}, {"drop_empty": True, **known}),
        "equity/spx-close.csv": ({"value": "Close"}, known),
        "equity/daily_SPY.csv": ({"value": "close"}, {"sort": True, **known}),
        "cboe/VIX_History.csv": ({"value": "CLOSE"}, {"time_unit": "%m/%d/%Y", **known}),
        "options/deribit/btc_option_data.csv": ({"symbol": "instrument_name", "value": "mark_iv"}, known),
    }
    for name, (columns, more) in series.items():
        symbol = None if "symbol" in columns else name.rpartition("/")[2].removesuffix(".csv")
        options = ImportOptions("other", "series", symbol, columns=columns, **more)
        rows["series"] += sum(result.rows_added for result in import_file(lake, real_data / name, options))
    assert rows["series"] == 223 + 59 + 11_402 + 942 + 3_111 + 12_553 + 9 + 829 + 9_227 + 5_645 + 8_125 + 976
    seen, tiers = "2024-10-24", real_data / "freqtrade-testdata/binance_leverage_tiers.json"
    place, refused = import_tiers(tmp_path, tiers, "binance", seen)
    assert (len(snapshots(tmp_path)), len(refused)) == (1, 0)
    (packaged,) = tier_tables("binance", "BTCUSDT", seen)
    assert tier_tables("binance", "BTCUSDT", str(place))[0].tiers == packaged.tiers
