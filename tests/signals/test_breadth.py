"""Breadth: counted over what was listed then, and compared with a price."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.data.manifest import Dataset
from backtest.data.store import Lake
from backtest.errors import CoverageError
from backtest.units import DAY_MS

from .history import KLINES, START, VIX, ask, of_closes, put

DAILY = KLINES._replace(interval="1d")


def listed(root, **closes) -> Lake:
    lake = Lake(root)
    for symbol, values in closes.items():
        rows = of_closes([value for value in values if value])
        there = np.flatnonzero(np.array(values, dtype=bool))
        put(lake, DAILY._replace(symbol=symbol), rows | {"open_time_ms": START + DAY_MS * there})
    return lake


def test_only_what_was_listed_then_is_counted(tmp_path) -> None:
    lake = listed(
        tmp_path,
        BTCUSDT=[10, 11, 12, 13, 12, 13],
        ETHUSDT=[10, 9, 10, 0, 11, 12],  # a hole: neither it nor the bar after has a change
        NEWUSDT=[0, 0, 5, 4, 3, 2],  # listed on the third day
        OLDUSDT=[9, 8, 7, 0, 0, 0],  # delisted after it
        BTCUSDT_210625=[1, 2, 3, 4, 5, 6],  # expires: no perpetual
    )
    net = ask(lake, "breadth", least=1).value
    assert np.isnan(net[0])
    assert net[1:6].tolist() == pytest.approx([-100 / 3, 100 / 3, 0, -100, 100 / 3], abs=1e-6)
    line = ask(lake, "ad_line", least=1).value
    assert line[1:6].tolist() == [-1, 0, 0, -2, -1]


def test_too_few_symbols_say_nothing(tmp_path) -> None:
    lake = listed(tmp_path, BTCUSDT=[10, 11, 12, 13], ETHUSDT=[0, 10, 11, 12])
    assert np.isnan(ask(lake, "breadth").value).tolist() == [True, True, False, False, True]
    assert ask(lake, "ad_line").value[2:4].tolist() == [2, 4]


def test_a_market_that_does_not_move_has_no_breadth(tmp_path) -> None:
    lake = listed(tmp_path, BTCUSDT=[10, 10, 11], ETHUSDT=[10, 10, 11])
    assert np.isnan(ask(lake, "breadth").value).tolist() == [True, True, False, True]
    assert ask(lake, "ad_line").value[1:3].tolist() == [0, 2]


def test_every_symbol_that_was_counted_is_told(tmp_path) -> None:
    lake = listed(tmp_path, BTCUSDT=[10, 11], ETHUSDT=[10, 11])
    put(lake, Dataset("bybit", "klines", "BTCUSDT", "1d"), of_closes([1, 2]))
    assert ask(lake, "breadth").datasets == (DAILY, DAILY._replace(symbol="ETHUSDT"))


def test_coarser_bars_cannot_be_counted(tmp_path) -> None:
    with pytest.raises(CoverageError, match="binance klines 4h"):
        ask(listed(tmp_path, BTCUSDT=[10, 11]), "breadth", "4h")


def rising(root, line: np.ndarray) -> Lake:
    lake = put(Lake(root), DAILY, of_closes(np.arange(100.0, 100 + len(line))))
    days = START + DAY_MS * np.arange(len(line))
    return put(lake, VIX._replace(symbol="AD"), {"time_ms": days, "value": line, "available_ms": days + DAY_MS})


def test_a_high_that_the_line_does_not_confirm_diverges(tmp_path) -> None:
    line = np.arange(80.0)
    line[70:] = 69 - 0.1 * np.arange(10)  # its high is at 69 and stays
    line[76] = 69.5
    found = ask(rising(tmp_path, line), "ad_divergence", series="cboe/AD").value
    assert np.isnan(found[:63]).all(), "sixty closes for each of the last five"
    # Under its high from 71 on, so five closes in a row at 75; the high of 76 ends that.
    assert np.flatnonzero(found == 1).tolist() == [75]
    assert set(found[63:80]) == {0.0, 1.0}


def test_an_index_that_is_a_series_is_compared_with_what_was_known_when_it_was_published(tmp_path) -> None:
    up = list(range(100, 180))
    lake = listed(tmp_path, **dict.fromkeys(("AUSDT", "BUSDT"), up[::-1]))
    days = START + DAY_MS * np.arange(80)
    put(
        lake,
        VIX._replace(symbol="SPX"),
        {"time_ms": days, "value": np.array(up, float), "available_ms": days + DAY_MS + 1},
    )
    found = ask(lake, "ad_divergence", price="cboe/SPX")
    assert found.value[:80].tolist()[-1] == 1
    assert found.available_ms[0] == days[0] + DAY_MS + 1


def test_no_high_is_no_divergence(tmp_path) -> None:
    lake = rising(tmp_path, np.arange(80.0, 0, -1))
    assert ask(lake, "ad_divergence", series="cboe/AD").value[79] == 1
    falling = put(Lake(tmp_path / "falling"), DAILY, of_closes(np.arange(200.0, 120, -1)))
    for dataset in lake.datasets():
        if dataset.table == "series":
            rows = lake.read(dataset)
            put(falling, dataset, {name: rows[name].to_numpy() for name in rows.column_names})
    assert (ask(falling, "ad_divergence", series="cboe/AD").value[63:80] == 0).all()


def test_a_line_that_has_ended_confirms_and_denies_nothing(tmp_path) -> None:
    found = ask(rising(tmp_path, np.arange(80.0)), "ad_divergence", series="cboe/AD", stale_days=1).value
    assert not np.isnan(found[79])
    lake = put(Lake(tmp_path / "short"), DAILY, of_closes(np.arange(100.0, 200)))
    days = START + DAY_MS * np.arange(80)
    put(lake, VIX, {"time_ms": days, "value": np.arange(80.0), "available_ms": days + DAY_MS})
    found = ask(lake, "ad_divergence", series="cboe/VIX", stale_days=2).value
    assert not np.isnan(found[80])
    assert np.isnan(found[81:]).all()


def test_without_a_series_the_line_is_that_of_the_venue(tmp_path) -> None:
    up = list(range(100, 180))
    lake = listed(tmp_path, BTCUSDT=up, **dict.fromkeys(("AUSDT", "BUSDT"), up[::-1]))
    assert ask(lake, "ad_divergence").value[79] == 1
    assert len(ask(lake, "ad_divergence").datasets) == 3
