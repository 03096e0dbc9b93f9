"""Checks of files before any import: what they are is guessed, and each defect is found wherever it lies."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from market_files import KLINES, bars, funding, vision_text, write_csv, write_feather, write_vision

from backtest.data.check import check_paths
from backtest.data.checks.finding import Finding, Sheet
from backtest.data.checks.rows import check_sheet, in_order
from backtest.data.checks.series import us_holidays
from backtest.data.sources import guess
from backtest.errors import DataError
from backtest.units import DAY_MS, HOUR_MS, MINUTE_MS, time_ms, time_text

PLACES = pytest.mark.parametrize("seed", range(8))
START = time_ms("2024-01-01")
NOW = time_ms("2026-01-01")


def place(seed: int, low: int, high: int) -> int:
    return random.Random(seed).randrange(low, high)


def found(folder: Path, text: str, now_ms: int | None = None) -> Finding:
    (finding,) = [finding for finding in check_paths([folder], now_ms) if text in finding.what]
    return finding


def dates(first: str, step_days: float, count: int) -> list[dt.date]:
    start = dt.date.fromisoformat(first)
    return [start + dt.timedelta(days=round(step_days * n)) for n in range(count)]


def months(first_year: int, count: int) -> list[dt.date]:
    return [dt.date(first_year + n // 12, n % 12 + 1, 1) for n in range(count)]


def calendar(path: Path, days: list[dt.date]) -> Path:
    path.write_text("date\n" + "\n".join(str(day) for day in days) + "\n")
    return path


def series(path: Path, days: list[dt.date], values: list[float] | None = None) -> Path:
    rows = zip(days, values or [100.0 + n % 7 for n in range(len(days))], strict=True)
    path.write_text("Date,Level\n" + "\n".join(f"{day},{value}" for day, value in rows) + "\n")
    return path


def write_funding(path: Path, rates: dict[str, np.ndarray]) -> None:
    nothing = np.zeros(len(rates["funding_rate"]))
    columns = {"open_time_ms": rates["funding_time_ms"], "open": rates["funding_rate"]}
    write_feather(path, columns | dict.fromkeys(("high", "low", "close"), nothing))


# --- what a file is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "datasets"),
    [
        ("BTCUSDT-1h.csv", "timestamp,open,high,low,close\n1700000000000,1,1,1,1\n1700003600000,1,1,1,1\n",
         ["unknown klines BTCUSDT 1h"]),
        ("VIX_History.csv", "DATE,OPEN,HIGH,LOW,CLOSE\n01/02/1990,1,1,1,1\n01/03/1990,1,1,1,1\n",
         ["unknown klines VIX 1d"]),
        ("BTC-USDT_gate_2020.csv", "Symbol,Date,Funding Rate\nBTC-USDT,2020-01-01 00:00:00,0.0001\n",
         ["gate funding_rate BTCUSDT event"]),
        ("breadth.csv", "Date,Adv,Dec\n2024-01-01,1,2\n", ["unknown series BREADTH.Adv event",
                                                           "unknown series BREADTH.Dec event"]),
        ("fomc_dates.csv", "date\n2024-01-31\n", ["unknown series FOMC event"]),
        ("cpi_release_dates.csv", "release_date,reference_month\n2025-02-12,2025-01\n", ["unknown series CPI event"]),
        ("universe-20210104.csv", "#expiry,strike,right,close\n,,,\n20210115,3200,C,5\n",
         ["unknown series UNIVERSE.20210115-3200-C event"]),
        ("chain.csv", "instrument_name,timestamp,mark_price\nBTC-5MAR21-57500-C,1613068625269,0.1\n",
         ["unknown series CHAIN.BTC-5MAR21-57500-C event"]),
    ],
)  # fmt: skip
def test_a_csv_file_is_taken_as_what_it_most_likely_is(tmp_path, name, text, datasets):
    (tmp_path / name).write_text(text)
    assert [str(rows.dataset) for rows in guess.read(tmp_path / name)] == datasets


def test_times_in_seconds_are_seen_as_such(tmp_path):
    path = write_csv(tmp_path / "x.csv", {**bars(), "open_time_ms": bars()["open_time_ms"] // 1000})
    (rows,) = guess.read(path)
    assert (rows.time_unit, rows.dataset.interval) == ("s", "1h")


def test_a_file_without_times_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column of times"):
        guess.read(tmp_path / "x.csv")


def test_a_folder_is_checked_whole_and_other_files_are_left_alone(tmp_path):
    write_feather(tmp_path / "binance-mine/BTC_USDT_USDT-1h-futures.feather", bars(30, start_ms=START))
    (tmp_path / "README.md").write_text("no data")
    assert {finding.where.split()[0] for finding in check_paths([tmp_path])} == {"BTC_USDT_USDT-1h-futures.feather"}
    assert "is not a CSV" in str(check_paths([tmp_path / "README.md"])[0])


# --- one file ------------------------------------------------------------------------------------------------------


def test_newest_first_is_said_and_the_rest_is_checked_all_the_same(tmp_path):
    columns = bars(48, start_ms=START)
    columns["high"][7] = 1.0
    write_csv(tmp_path / "BTCUSDT-1h.csv", {name: column[::-1] for name, column in columns.items()})
    assert found(tmp_path, "newest first").count == 47
    assert found(tmp_path, "contradict").first_ms == columns["open_time_ms"][7]


@PLACES
def test_bars_of_zero_are_no_trade(seed):
    at, columns = place(seed, 0, 48), bars(48, start_ms=START)
    for name in ("open", "high", "low", "close"):
        columns[name][at] = 0
    sheet = Sheet("x", KLINES, columns.pop("open_time_ms"), columns)
    (finding,) = [finding for finding in check_sheet(sheet) if "no trade" in finding.what]
    assert (finding.first_ms, finding.count) == (START + at * HOUR_MS, 1)
    assert not [finding for finding in check_sheet(sheet) if "out of range" in finding.what]


@PLACES
@pytest.mark.parametrize("hours", [3, 4, 7])
def test_a_clock_that_is_not_utc_and_a_settlement_off_the_hours_are_found(tmp_path, seed, hours):
    rates = funding(60, start_ms=START)
    at = place(seed, 2, 58)
    rates["funding_time_ms"] += hours * HOUR_MS
    rates["funding_time_ms"][at] += HOUR_MS
    rows = {"Date": [time_text(t) for t in rates["funding_time_ms"].tolist()], "Funding Rate": rates["funding_rate"]}
    write_csv(tmp_path / "BTC-USDT_htx.csv", rows)
    assert found(tmp_path, f"settlements come {hours}h after 00, 08 and 16 UTC").count == (59 if hours == 7 else 60)
    assert found(tmp_path, "off the usual hours").first_ms == rates["funding_time_ms"][at]


@PLACES
def test_a_cap_of_the_rate_is_found(tmp_path, seed):
    rates = funding(60, start_ms=START)
    at = place(seed, 0, 58)
    rates["funding_rate"][[at, 59]] = 0.003
    write_funding(tmp_path / "binance/BTC_USDT_USDT-8h-funding_rate.feather", rates)
    finding = found(tmp_path, "+0.3000%, and none is beyond")
    assert (finding.first_ms, finding.count) == (rates["funding_time_ms"][at], 2)


def test_an_archive_without_its_checksum_is_noted(tmp_path):
    name = "futures/um/klines/BTCUSDT-1h-2024-01.zip"
    write_vision(tmp_path / name, vision_text(bars(48, start_ms=START)))
    assert found(tmp_path, "has no .CHECKSUM").severity == "note"


def test_tiers_without_a_date_are_noted(tmp_path):
    (tmp_path / "tiers.json").write_text(json.dumps({"X/USDT:USDT": [{"maintenanceMarginRate": 0.1}]}))
    assert found(tmp_path, "tiers without a date").severity == "note"


# --- series and calendars ------------------------------------------------------------------------------------------


@PLACES
def test_a_period_that_is_missing_from_a_monthly_series_is_found(tmp_path, seed):
    days = months(2020, 60)
    at = place(seed, 1, 59)
    series(tmp_path / "rate.csv", [*days[:at], *days[at + 1 :]])
    assert found(tmp_path, "the period before is missing").first_ms == time_ms(days[at + 1])


@PLACES
def test_empty_and_zero_values_and_a_change_of_scale_are_found(tmp_path, seed):
    days, values = dates("2020-01-06", 7, 60), [100.0 + n % 7 for n in range(60)]
    at = place(seed, 1, 58)
    series(tmp_path / "scale.csv", days, [*values[:at], *(value * 10 for value in values[at:])])
    assert found(tmp_path, "about tenfold").first_ms == time_ms(days[at])
    (tmp_path / "scale.csv").unlink()
    values[at], values[at + 1] = float("nan"), 0.0
    series(tmp_path / "gaps.csv", days, values)
    assert found(tmp_path, "values are empty").first_ms == time_ms(days[at])
    assert found(tmp_path, "values are exactly 0").first_ms == time_ms(days[at + 1])


def test_a_series_that_does_not_say_when_it_was_published_is_noted(tmp_path):
    series(tmp_path / "rate.csv", months(2020, 40))
    assert found(tmp_path, "nothing says when a value was published").severity == "note"


def test_a_short_series_is_noted(tmp_path):
    series(tmp_path / "breadth.csv", dates("2024-01-01", 1, 9))
    assert found(tmp_path, "9 rows only").count == 1


@PLACES
def test_rows_of_the_future_are_a_schedule(tmp_path, seed):
    days = dates("2024-01-01", 45, 40)
    at = place(seed, 1, 40)
    calendar(tmp_path / "fomc_dates.csv", days)
    finding = found(tmp_path, "in the future", time_ms(days[at]) - 1)
    assert (finding.first_ms, finding.count) == (time_ms(days[at]), 40 - at)


@PLACES
def test_dates_off_the_schedule_and_holes_of_a_calendar_are_found(tmp_path, seed):
    days = dates("2010-01-01", 45, 60)
    at = place(seed, 5, 55)
    calendar(tmp_path / "fomc_dates.csv", sorted([*days, days[at] + dt.timedelta(days=9)]))
    assert found(tmp_path, "much sooner than usual").first_ms == time_ms(days[at] + dt.timedelta(days=9))
    assert found(tmp_path, "no time of day").severity == "note"
    calendar(tmp_path / "fomc_dates.csv", [*days[:at], *days[at + 3 :]])
    assert f"between {days[at - 1]} and {days[at + 3]}" in found(tmp_path, "there is no date").what


@PLACES
def test_a_release_of_a_period_without_a_value_is_found(tmp_path, seed):
    days = months(2020, 60)
    at = place(seed, 1, 59)
    series(tmp_path / "us_cpi_monthly.csv", [*days[:at], *days[at + 1 :]])
    lines = [f"{day + dt.timedelta(days=42)},{day:%Y-%m}" for day in days]
    (tmp_path / "cpi_release_dates.csv").write_text("\n".join(["release_date,reference_month", *lines]) + "\n")
    finding = found(tmp_path, "have a release date, but no value")
    assert (finding.first_ms, finding.count) == (time_ms(days[at]), 1)
    finding = found(tmp_path, "this date may have moved too")
    assert (finding.first_ms, finding.count) == (time_ms(days[at + 1]), 1)


def test_holidays_of_us_markets_follow_their_rules():
    closed = {dt.date(1970, 1, 1) + dt.timedelta(days=int(day)) for day in us_holidays(2021, 2024)}
    assert {day for day in closed if day.year == 2023} == {
        dt.date(2023, *day)
        for day in ((1, 2), (1, 16), (2, 20), (4, 7), (5, 29), (6, 19), (7, 4), (9, 4), (11, 23), (12, 25))
    }
    assert dt.date(2021, 12, 31) not in closed  # the New Year of 2022 fell on a Saturday
    assert {dt.date(2021, 12, 24), dt.date(2024, 3, 29), dt.date(2022, 6, 20)} <= closed
    assert dt.date(2021, 6, 18) not in closed


@PLACES
def test_rows_on_holidays_are_found_in_daily_bars_of_sessions(tmp_path, seed):
    days = [day for day in dates("2023-01-02", 1, 363) if day.weekday() < 5]
    closed = {dt.date(1970, 1, 1) + dt.timedelta(days=int(day)) for day in us_holidays(2023, 2023)}
    extra = sorted(closed)[place(seed, 0, 10)]
    open_days = [day for day in days if day not in closed or day == extra]
    rows = [f"{day},10,11,9,10" for day in open_days]
    (tmp_path / "VIX.csv").write_text("\n".join(["Date,Open,High,Low,Close", *rows]) + "\n")
    assert found(tmp_path, "US market holidays").first_ms == time_ms(extra)
    assert not [finding for finding in check_paths([tmp_path]) if "are missing" in finding.what]


# --- many symbols --------------------------------------------------------------------------------------------------


def universe(path: Path, rows: dict[str, int]) -> None:
    """Write daily bars of symbols, each with so many days before the same last one."""
    parts = []
    for symbol, count in rows.items():
        columns = bars(count, start_ms=START - count * DAY_MS, interval_ms=DAY_MS)
        columns["timestamp"] = columns.pop("open_time_ms")
        parts.append(pa.table({"symbol": [symbol] * count, **columns}))
    pq.write_table(pa.concat_tables(parts), path)


def test_a_universe_without_a_delisted_symbol_and_with_a_limit_of_rows_is_found(tmp_path):
    universe(tmp_path / "u.parquet", {f"X{n}USDT": 80 if n % 3 else 20 + n for n in range(30)})
    assert found(tmp_path, "none was delisted before").count == 30
    assert found(tmp_path, "exactly 80 rows, and none has more").count == 20
    assert "in 30 datasets" in found(tmp_path, "may be unfinished").what
    universe(tmp_path / "u.parquet", {f"X{n}USDT": 80 for n in range(30)})
    assert not [finding for finding in check_paths([tmp_path]) if "none has more" in finding.what]


def test_how_much_of_a_chain_is_there_is_said(tmp_path):
    head = "#expiry,strike,right,close"
    (tmp_path / "universe-20210104.csv").write_text(
        f"{head}\n20210115,3200,C,5\n20210115,4200,P,5\n20210122,3200,C,5\n"
    )
    assert "3 contracts: 2 strikes, 3200 to 4200, 2 expiries" in found(tmp_path, "contracts").what


# --- files beside each other ---------------------------------------------------------------------------------------


@PLACES
def test_an_archive_and_a_file_of_the_api_that_disagree_are_found_with_the_columns(tmp_path, seed):
    at, columns = place(seed, 1, 47), bars(48, start_ms=START)
    write_vision(tmp_path / "futures/um/klines/BTCUSDT-1h-2024-01.zip", vision_text(columns))
    columns["low"][at] *= 0.99
    columns["volume"][at] += 1
    write_feather(tmp_path / "binance/BTC_USDT_USDT-1h-futures.feather", columns)
    finding = found(tmp_path, "prices disagree")
    assert (finding.first_ms, finding.count) == (columns["open_time_ms"][at], 1)
    assert "(low 1)" in finding.what
    assert "(volume 1)" in found(tmp_path, "volumes or rates disagree").what


@PLACES
def test_funding_on_a_clock_ahead_is_recognised_by_its_rates(tmp_path, seed):
    rates = funding(60, start_ms=START)
    rates["funding_rate"] = np.round(np.random.default_rng(seed).normal(0, 1e-4, 60), 8)
    write_funding(tmp_path / "binance/BTC_USDT_USDT-8h-funding_rate.feather", rates)
    ahead = [time_text(t + 3 * HOUR_MS) for t in rates["funding_time_ms"].tolist()]
    write_csv(tmp_path / "BTC-USDT_binance.csv", {"Date": ahead, "Funding Rate": rates["funding_rate"]})
    assert "60 of 60 rates are those of" in found(tmp_path, "clock is ahead").what


def test_mark_bars_that_begin_before_the_klines_are_noted(tmp_path):
    write_feather(tmp_path / "binance/X_USDT_USDT-1h-futures.feather", bars(48, start_ms=START))
    write_feather(tmp_path / "binance/X_USDT_USDT-1h-mark.feather", bars(53, start_ms=START - 5 * HOUR_MS))
    assert "klines begin 5h after the mark bars" in found(tmp_path, "klines begin").what


def test_rows_are_put_in_order_once():
    columns = bars(5, start_ms=START)
    time = columns.pop("open_time_ms")[[0, 2, 1, 1, 4]]
    sheet = in_order(Sheet("x", KLINES, time, columns))
    assert sheet.time_ms.tolist() == [START, START + HOUR_MS, START + 2 * HOUR_MS, START + 4 * HOUR_MS]
    assert sheet.time_ms[0] % MINUTE_MS == 0
