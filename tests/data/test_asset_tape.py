"""The tape of a valued asset: the integers of a replay, and every refusal with its place."""

from __future__ import annotations

import numpy as np
import pytest
from asset_rows import PUT, START, marks, stored

from backtest.data.assets import AssetResult, build_asset
from backtest.data.store import Lake
from backtest.errors import BacktestError, CoverageError, DataError
from backtest.units import HOUR_MS


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def tape(lake: Lake, name: str = "BTC-PUT", interval_ms: int = HOUR_MS, first: int = 0, stop: int = 6) -> AssetResult:
    span = {"start_ms": START + first * HOUR_MS, "stop_ms": START + stop * HOUR_MS}
    return build_asset(lake, name, interval_ms=interval_ms, taker_e8=30_000, **span)


def test_the_tape_holds_the_marks_as_integers(lake):
    result = tape(stored(lake, marks(open=102.123456784)))
    assert (result.tape.name, result.tape.interval_ms, result.tape.taker_e8) == ("BTC-PUT", HOUR_MS, 30_000)
    assert result.tape.time_ms.tolist() == [START + n * HOUR_MS for n in range(6)]
    assert result.tape.open_e8[2] == 10_212_345_678
    assert [int(column[0]) for column in result.tape[5:]] == [11_050_000_000, 0, 10_100_000_000, 3 * 10**9, 2 * 10**9]
    assert (result.dataset, result.holes, result.entries) == (PUT, (), tuple(lake.entries()))


def test_a_tape_reaches_one_row_over_each_edge_of_its_range(lake):
    stored(lake, [row for n, row in enumerate(marks(9)) if n not in (3, 6)])
    result = tape(lake, first=3, stop=6)
    assert [(int(ms) - START) // HOUR_MS for ms in result.tape.time_ms] == [2, 4, 5, 7]
    assert result.holes == ((START + 3 * HOUR_MS, START + 3 * HOUR_MS),)


@pytest.mark.parametrize(
    ("asset", "interval_ms", "said"),
    [
        ("BTC-PUTT", HOUR_MS, """has no asset 'BTC-PUTT'; did you mean "BTC-PUT"?"""),
        ("bybit/BTC-PUT", HOUR_MS, "has no asset 'bybit/BTC-PUT'"),
        ("BTC-PUT", 2 * HOUR_MS, "has marks every 1h only, and bars of 2h are replayed; import marks of 2h, or replay"),
        ("BTC-PUT", HOUR_MS // 4, "has marks every 1h only, and bars of 15m are replayed"),
    ],
)
def test_what_the_lake_does_not_have_is_told(lake, asset, interval_ms, said):
    with pytest.raises(CoverageError) as caught:
        tape(stored(lake, marks()), asset, interval_ms)
    assert said in str(caught.value)


def test_an_empty_lake_says_how_to_import(lake):
    with pytest.raises(CoverageError, match="import its marks: backtest data import FILE --table asset_marks"):
        tape(lake)


def test_one_name_at_two_venues_must_be_told_apart(lake):
    stored(stored(lake, marks()), marks(open=101.5), PUT._replace(venue="model"))
    with pytest.raises(CoverageError, match='name one of them: "deribit/BTC-PUT" or "model/BTC-PUT"'):
        tape(lake)
    assert tape(lake, "model/BTC-PUT").tape.open_e8[2] == 10_150_000_000


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"low": -0.5}, "low is -0.5, not 0 or more and under 9e10"),
        ({"close": np.nan}, "close is nan"),
        ({"high": 9e10}, "high is 90000000000.0"),
        ({"high": 50.0}, "the bar contradicts itself"),
        ({"initial": 19.0}, "maintenance_margin 20.0 is over initial_margin 19.0"),
        ({"time": START + 2 * HOUR_MS + 1}, "does not open on the 1h grid"),
    ],
)
def test_rows_that_slipped_into_the_lake_are_refused_with_file_and_time(lake, wrong, said):
    with pytest.raises(BacktestError) as caught:
        tape(stored(lake, marks(**wrong)))
    assert isinstance(caught.value, DataError)
    assert said in str(caught.value)
    assert "deribit asset_marks BTC-PUT 1h 2021-01-01 02:00 (venue=deribit/table=asset_marks/" in str(caught.value)


def test_eight_decimals_of_any_size_are_exact(lake):
    decimals = [0.00000001, 1.23456789, 123456.12345678, 89_999_999.5, 5e9]
    rows = [(START + n * HOUR_MS, value, value, value, value, 0.0, 0.0) for n, value in enumerate(decimals)]
    exact = [1, 123456789, 12345612345678, 8999999950000000, 500000000000000000]
    assert tape(stored(lake, rows)).tape.open_e8.tolist() == exact


@pytest.mark.parametrize(("first", "stop"), [(-3, 0), (6, 9)])
def test_a_range_without_a_mark_is_refused(lake, first, stop):
    with pytest.raises(CoverageError, match="has marks from 2021-01-01 00:00 to 2021-01-01 06:00 only, none from 20"):
        tape(stored(lake, marks()), first=first, stop=stop)


@pytest.mark.parametrize(("first", "stop", "rows"), [(-3, 1, 2), (5, 9, 1)])
def test_a_range_with_one_mark_is_enough(lake, first, stop, rows):
    assert len(tape(stored(lake, marks()), first=first, stop=stop).tape.time_ms) == rows
