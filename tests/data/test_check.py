"""The checks: a clean dataset has no finding but notes, and each defect is found wherever it lies."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_files import FUNDING, KLINES, MARK, START, bars, full_lake, funding, piece, write_csv, write_json

from backtest.data import detect
from backtest.data.check import check, check_file
from backtest.data.checks.finding import Finding, Sheet
from backtest.data.checks.rows import check_sheet
from backtest.data.checks.together import check_together, disagreements
from backtest.data.detect import Prices
from backtest.data.imports import ImportOptions
from backtest.data.store import Lake
from backtest.units import DAY_MS, HOUR_MS

N = 240
PLACES = pytest.mark.parametrize("seed", range(8))


def sheet(columns=None, dataset=KLINES) -> Sheet:
    values = dict(columns or bars(N, start_ms=START // DAY_MS * DAY_MS))
    return Sheet(str(dataset), dataset, values.pop(dataset.schema.key[0]), values)


def clean(n: int = N) -> dict[str, np.ndarray]:
    return bars(n, start_ms=START // DAY_MS * DAY_MS)


def place(seed: int, low: int = 1, high: int = N - 1) -> int:
    return random.Random(seed).randrange(low, high)


def found(findings: list[Finding], text: str) -> Finding:
    (finding,) = [finding for finding in findings if text in finding.what]
    return finding


def test_clean_data_has_no_finding():
    assert check_sheet(sheet(clean())) == []
    assert check_sheet(sheet(funding(), FUNDING)) == []


@PLACES
@pytest.mark.parametrize("length", [1, 5])
def test_a_gap_is_found(seed, length):
    at = place(seed, 1, N - length - 1)
    columns = {name: np.delete(column, slice(at, at + length)) for name, column in clean().items()}
    finding = found(check_sheet(sheet(columns)), "missing")
    assert (finding.first_ms, finding.count) == (clean()["open_time_ms"][at], length)


@PLACES
def test_a_repeated_row_is_found(seed):
    at = place(seed)
    columns = {name: np.insert(column, at, column[at]) for name, column in clean().items()}
    finding = found(check_sheet(sheet(columns)), "repeat")
    assert (finding.severity, finding.first_ms, finding.count) == ("error", clean()["open_time_ms"][at], 1)


@PLACES
def test_unsorted_rows_are_found(seed):
    at = place(seed)
    columns = {name: column.copy() for name, column in clean().items()}
    for column in columns.values():
        column[[at - 1, at]] = column[[at, at - 1]]
    assert found(check_sheet(sheet(columns)), "earlier").first_ms == clean()["open_time_ms"][at - 1]


@PLACES
@pytest.mark.parametrize("bad", ["high", "low"])
def test_a_bar_that_contradicts_itself_is_found(seed, bad):
    at, columns = place(seed), clean()
    columns[bad][at] = columns["open"][at] * (0.5 if bad == "high" else 2)
    assert found(check_sheet(sheet(columns)), "contradict").first_ms == columns["open_time_ms"][at]


@PLACES
@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-3), ("us", 1e3), ("ns", 1e6)])
def test_times_in_another_unit_are_found(seed, unit, factor):
    at, columns = place(seed), clean()
    columns["open_time_ms"][at:] = columns["open_time_ms"][at:] * factor
    finding = found(check_sheet(sheet(columns)), f"in {unit}, not ms")
    assert finding.count == N - at
    assert f"row {at + 1}" in finding.what


@PLACES
@pytest.mark.parametrize("value", [np.nan, -1.0, 0.0, 1e11, np.inf])
def test_an_impossible_price_is_found(seed, value):
    at, columns = place(seed), clean()
    columns["close"][at] = value
    assert found(check_sheet(sheet(columns)), "close is missing").first_ms == columns["open_time_ms"][at]


@PLACES
def test_a_bar_off_the_grid_is_found(seed):
    at, columns = place(seed), clean()
    columns["open_time_ms"][at] += 60_000
    assert found(check_sheet(sheet(columns)), "grid").count == 1


@PLACES
@pytest.mark.parametrize("factor", [10, 0.1])
def test_a_price_scaled_tenfold_is_found(seed, factor):
    at, columns = place(seed), clean()
    for name in Prices._fields:
        columns[name][at:] *= factor
    assert found(check_sheet(sheet(columns)), "tenfold").first_ms == columns["open_time_ms"][at]


@PLACES
def test_a_price_that_falls_tenfold_inside_a_bar_is_no_change_of_scale(seed):
    at, columns = place(seed), clean()
    columns["close"][at] /= 10
    columns["low"][at] = columns["close"][at]
    for name in Prices._fields:
        columns[name][at + 1 :] /= 10
    assert check_sheet(sheet(columns)) == []


@PLACES
def test_a_flat_bar_without_volume_is_found(seed):
    at, columns = place(seed), clean()
    for name in Prices._fields:
        columns[name][at] = columns["close"][at - 1]
    columns["volume"][at] = 0.0
    assert found(check_sheet(sheet(columns)), "flat").first_ms == columns["open_time_ms"][at]


@PLACES
def test_a_file_cut_inside_a_day_may_end_with_an_unfinished_bar(seed):
    n = place(seed, 30, N) // 24 * 24 + 1 + seed
    columns = clean(n)
    assert found(check_sheet(sheet(columns)), "may be unfinished").severity == "note"
    columns["volume"][-1] = 0.01
    assert found(check_sheet(sheet(columns)), "most likely unfinished").severity == "warning"


@PLACES
@pytest.mark.parametrize(("before", "after"), [(8, 4), (4, 1), (1, 4), (8, 1)])
def test_a_change_of_the_funding_interval_is_found(seed, before, after):
    at = place(seed, 3, 40)
    hours = np.concatenate(([0], np.cumsum(np.r_[np.full(at, before), np.full(9, after)])))
    columns = {"funding_time_ms": START + hours * HOUR_MS + np.arange(len(hours)) % 29, "funding_rate": hours * 1e-6}
    columns["funding_rate"] += 1e-6
    finding = found(check_sheet(sheet(columns, FUNDING)), "funding interval changes")
    assert f"from {before}h to {after}h" in finding.what
    assert finding.first_ms == columns["funding_time_ms"][at]


@PLACES
def test_a_missing_settlement_is_found(seed):
    at = place(seed, 2, 48)
    columns = {name: np.delete(column, at) for name, column in funding(50).items()}
    finding = found(check_sheet(sheet(columns, FUNDING)), "come late")
    assert finding.first_ms == funding(50)["funding_time_ms"][at + 1]


@PLACES
def test_zero_rates_and_stamps_off_the_hour_are_noted(seed):
    at, columns = place(seed, 0, 12), funding()
    columns["funding_rate"][at] = 0.0
    columns["funding_time_ms"][at] += 17
    findings = check_sheet(sheet(columns, FUNDING))
    assert found(findings, "exactly 0").first_ms == columns["funding_time_ms"][at]
    assert found(findings, "off the hour").first_ms == columns["funding_time_ms"][at]


def test_missing_mark_and_funding_are_found():
    klines = sheet(clean())
    findings = list(check_together([klines]))
    assert found(findings, "no mark price").severity == "warning"
    assert found(findings, "no funding").severity == "warning"


@PLACES
def test_klines_without_a_mark_bar_beside_them_are_found(seed):
    at = place(seed)
    marks = {name: np.delete(column, at) for name, column in clean().items()}
    findings = list(check_together([sheet(clean()), sheet(marks, MARK), sheet(funding(60), FUNDING)]))
    finding = found(findings, "no mark bar beside")
    assert (finding.first_ms, finding.count) == (clean()["open_time_ms"][at], 1)


@PLACES
def test_klines_beyond_the_funding_history_are_found(seed):
    n = place(seed, 2, 20)
    rates = funding(n, start_ms=START // DAY_MS * DAY_MS)
    findings = list(check_together([sheet(clean()), sheet(clean(), MARK), sheet(rates, FUNDING)]))
    last_ms = clean()["open_time_ms"][-1]
    beyond = (last_ms - rates["funding_time_ms"][-1]) // HOUR_MS - 8
    assert found(findings, "funding covers").count == beyond


@PLACES
@pytest.mark.parametrize(("column", "severity"), [("close", "warning"), ("high", "warning"), ("volume", "note")])
def test_finer_bars_that_do_not_add_up_are_found(seed, column, severity):
    at = place(seed, 0, N // 4) * 4
    fine = bars(4 * N, start_ms=START // DAY_MS * DAY_MS, interval_ms=HOUR_MS // 4)
    prices = Prices(*(fine[name] for name in Prices._fields))
    time_ms, joined, volume = detect.aggregate(fine["open_time_ms"], prices, HOUR_MS, 4, fine["volume"])
    coarse = {"open_time_ms": time_ms, **joined._asdict(), "volume": volume}
    quarter = KLINES._replace(interval="15m")
    assert not [f for f in check_together([sheet(fine, quarter), sheet(coarse)]) if "disagree" in f.what]
    coarse[column][at] *= 1.01
    finding = found(list(check_together([sheet(fine, quarter), sheet(coarse)])), "disagree")
    assert (finding.severity, finding.first_ms, finding.count) == (severity, time_ms[at], 1)


@PLACES
def test_an_archive_and_an_api_that_disagree_are_found(seed):
    at, other = place(seed), clean()
    other["low"][at] *= 0.99
    (finding,) = disagreements(sheet(clean()), sheet(other))
    assert (finding.first_ms, finding.count) == (other["open_time_ms"][at], 1)


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 99))
def test_aggregation_agrees_with_a_loop_and_joins_whole_bars_only(n, parts, seed):
    fine = bars(n, seed, start_ms=START // DAY_MS * DAY_MS + HOUR_MS)
    prices = Prices(*(fine[name] for name in Prices._fields))
    time_ms, joined, volume = detect.aggregate(fine["open_time_ms"], prices, parts * HOUR_MS, parts, fine["volume"])
    expected = []
    for start in range(n):
        rows = slice(start, start + parts)
        if fine["open_time_ms"][start] % (parts * HOUR_MS) == 0 and start + parts <= n:
            low, high = fine["low"][rows].min(), fine["high"][rows].max()
            expected.append((fine["open_time_ms"][start], fine["open"][start], high, low, fine["close"][rows][-1]))
    assert list(zip(time_ms, *joined, strict=True)) == expected
    assert volume is not None
    assert len(volume) == len(expected)


# --- whole lakes and files -------------------------------------------------------------------------------------------


def test_a_clean_lake_has_notes_only(tmp_path):
    lake = full_lake(tmp_path)
    assert {finding.severity for finding in check(lake)} <= {"note"}


def test_a_lake_is_checked_across_its_tables_and_filters_leave_some(tmp_path):
    lake = full_lake(tmp_path)
    lake.merge([piece(bars(48, 5), KLINES._replace(symbol="ETHUSDT"))])
    assert "no mark price" in str(found(check(lake), "no mark price"))
    assert [f for f in check(lake, symbol="BTCUSDT") if f.severity != "note"] == []


def test_a_damaged_or_unlisted_file_is_a_finding(tmp_path):
    lake = full_lake(tmp_path)
    victim = tmp_path / lake.entries([MARK])[0].path
    victim.write_bytes(victim.read_bytes()[:-7])
    (victim.parent / "mine.parquet").write_bytes(b"")
    findings = check(lake)
    assert found(findings, "SHA-256").severity == "error"
    assert found(findings, "not listed in the manifest").where.endswith("mine.parquet")


def test_a_source_file_is_checked_before_any_import(tmp_path):
    columns = bars()
    columns["high"][7] = 1.0
    columns = {name: np.delete(column, 40) for name, column in columns.items()}
    path = write_json(tmp_path / "BTC_USDT-1h-futures.json", columns)
    findings = check_file(path, ImportOptions(venue="binance"))
    assert found(findings, "contradict").count == 1
    assert found(findings, "1 bars are missing").count == 1
    assert found(check_file(Path("none.csv")), "does not exist").severity == "error"


def test_a_file_in_another_unit_is_a_finding(tmp_path):
    path = write_csv(tmp_path / "x.csv", bars() | {"open_time_ms": bars()["open_time_ms"] * 1000})
    findings = check_file(path, ImportOptions("binance", "klines", "BTCUSDT"))
    assert "is in us, not ms" in found(findings, "is in us").what


def test_an_empty_lake_has_nothing_to_find(tmp_path):
    assert check(Lake(tmp_path)) == []
