"""A signal over a lake: what it knows when, at which interval, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import talib

from backtest.data.imports import ImportOptions, import_file
from backtest.data.store import Lake
from backtest.errors import CoverageError, SignalError
from backtest.signals.compute import resolve
from backtest.signals.inputs import Known
from backtest.signals.registry import PRESETS, SIGNALS
from backtest.signals.spec import SignalSpec
from backtest.units import DAY_MS, HOUR_MS

from .history import FAR, KLINES, START, VIX, ask, bars, published, put, without


def test_a_bar_is_known_at_its_close_and_no_sooner(tmp_path) -> None:
    lake = put(Lake(tmp_path), KLINES, bars(24 * 300))
    assert ask(lake, "atr", "1h").available_ms[0] == START + HOUR_MS
    days = ask(lake, "atr", "1d")
    assert days.available_ms.tolist() == [START + DAY_MS * (day + 1) for day in range(301)]
    assert ask(lake, "atr", "1d", stop_ms=int(days.available_ms[-2])).available_ms[-1] == days.available_ms[-3]
    assert days.datasets == (KLINES,)


def test_a_bar_that_is_not_over_is_not_there(tmp_path) -> None:
    """All but the last hour of a day is no day."""
    whole = put(Lake(tmp_path / "a"), KLINES, bars(24 * 300))
    begun = put(Lake(tmp_path / "b"), KLINES, without(bars(24 * 300), 24 * 300 - 1))
    assert np.isnan(ask(begun, "atr", "1d").value[299])
    assert not np.isnan(ask(whole, "atr", "1d").value[299])


def test_what_it_says_ends_with_the_bars(tmp_path) -> None:
    signal = ask(put(Lake(tmp_path), KLINES, bars(400)), "rsi", "1h")
    assert len(signal.value) == 401
    assert np.isnan(signal.value[-1])
    assert not np.isnan(signal.value[-2])


def test_weeks_begin_on_mondays(tmp_path) -> None:
    signal = ask(put(Lake(tmp_path), KLINES, bars(24 * 60, start_ms=START - 3 * DAY_MS)), "atr", "1w")
    assert signal.available_ms[0] == START + 7 * DAY_MS


def test_the_start_cuts_the_rows_and_changes_none(tmp_path) -> None:
    lake = put(Lake(tmp_path), KLINES, bars(1000))
    whole = ask(lake, "rsi", "1h")
    start_ms = int(whole.available_ms[600]) + 1
    part = ask(lake, "rsi", "1h", start_ms=start_ms)
    assert part.available_ms[0] == whole.available_ms[600], "the value that holds at the start"
    assert np.array_equal(part.value, whole.value[600:], equal_nan=True)


def test_marks_are_read_where_they_are_asked_for(tmp_path) -> None:
    mark = KLINES._replace(table="mark_price")
    rows = {name: column for name, column in bars(300, seed=2).items() if name != "volume"}
    lake = put(put(Lake(tmp_path), KLINES, bars(300)), mark, rows)
    signal = ask(lake, "rsi", "1h", price="mark")
    assert signal.datasets == (mark,)
    assert signal.value[-2] != ask(lake, "rsi", "1h").value[-2]


def test_an_indicator_can_be_that_of_a_series(tmp_path) -> None:
    rows = published(400)
    lake = put(put(Lake(tmp_path), VIX, rows), KLINES, bars(10))
    signal = ask(lake, "rsi", price="cboe/VIX")
    assert signal.datasets == (VIX,)
    assert signal.available_ms[:400].tolist() == rows["available_ms"].tolist()
    expected = talib.RSI(rows["value"], 14)
    assert np.abs(signal.value[250:400] - expected[250:]).max() < 1e-4
    assert np.isnan(signal.value[400]), "stale"


def test_an_indicator_of_a_series_takes_each_period_once_as_first_published(tmp_path) -> None:
    rows = published(300)
    plain = put(Lake(tmp_path / "plain"), VIX, rows)
    late = {"time_ms": rows["time_ms"], "value": rows["value"] * 2, "available_ms": rows["available_ms"] + HOUR_MS}
    revised = put(put(Lake(tmp_path / "revised"), VIX, rows), VIX, late)
    for use in ("rsi", "drawdown"):
        told = [ask(lake, use, price="cboe/VIX") for lake in (plain, revised)]
        assert np.array_equal(told[0].value, told[1].value, equal_nan=True)
    assert ask(revised, "series_value").value[1] == 2 * rows["value"][0], "but the newest version is the value"


def test_a_range_needs_bars(tmp_path) -> None:
    with pytest.raises(SignalError, match=r"price = 'cboe/VIX' is out of range; give last \| mark \| index"):
        ask(Lake(tmp_path), "atr", price="cboe/VIX")


@pytest.mark.real
def test_days_of_hours_are_the_days_that_the_venue_tells(real_data, tmp_path) -> None:
    """Two files of two collectors: hourly bars from 2019 on, and daily bars of all symbols."""
    hours, days = Lake(tmp_path / "hours"), Lake(tmp_path / "days")
    usdm = real_data / "binance-usdm-freqtrade" / "full-history-1h" / "BTC_USDT_USDT-1h-futures.feather"
    import_file(hours, usdm, ImportOptions(venue="binance"))
    import_file(days, real_data / "binance-usdm-universe" / "klines-1d.parquet", ImportOptions(venue="binance"))
    own, told = (Known("", lake, "binance", "BTCUSDT", "1d", FAR).bars() for lake in (hours, days))
    both = own.index.intersection(told.dropna().index)[:-1]  # the daily file ends with a day that was not over
    assert len(both) > 700
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(own.loc[both, name], told.loc[both, name]), name
    net = ask(days, "breadth")
    assert len(net.datasets) > 300
    assert np.nanmin(net.value) < -95, "a day on which all but a few fell"


def test_a_lake_without_the_symbol_is_refused(tmp_path) -> None:
    with pytest.raises(CoverageError, match="BTCUSDT"):
        ask(put(Lake(tmp_path), KLINES._replace(symbol="ETHUSDT"), bars(10)), "rsi")


def test_before_its_first_bar_it_has_no_rows(tmp_path) -> None:
    assert len(ask(put(Lake(tmp_path), KLINES, bars(10)), "rsi", "1h", stop_ms=START).value) == 0


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (SignalSpec("a", "rsj"), ['signal "a": no signal "rsj"; did you mean "rsi"?']),
        (
            SignalSpec("a", "rsi_14_1d_extrem"),
            ['signal "a": no signal "rsi_14_1d_extrem"; did you mean "rsi_14_1d_extreme"?'],
        ),
        (
            SignalSpec("a", "rsi", "5x", (("windw", 3), ("price", "best"))),
            [
                'signal "a": interval "5x" is none; write one such as "1h" or "1d"',
                'signal "a": no parameter "windw"; did you mean "window"?',
                "signal \"a\": price = 'best' is out of range; give last | mark | index | venue/symbol "
                "(whose closes: a price's bars, or a series of the lake)",
            ],
        ),
        (
            SignalSpec("a", "rsi", "1h", (("window", 14.5),)),
            ['signal "a": window = 14.5 is out of range; give 2 to 1000, whole (Wilder\'s average, in bars)'],
        ),
        (
            SignalSpec("a", "macd_cross", params=(("fast", 30),)),
            ['signal "a": fast = 30 is not under slow = 26; see: backtest signals macd_cross'],
        ),
    ],
)
def test_all_that_is_wrong_with_a_spec_is_said_at_once(spec: SignalSpec, said: list[str]) -> None:
    with pytest.raises(SignalError) as error:
        resolve(spec)
    assert str(error.value).splitlines() == said


def test_a_preset_can_be_varied() -> None:
    kind, interval, p = resolve(SignalSpec("mine", "macd_12_26_9_1d_cross", "4h", (("signal", 5),)))
    assert (kind.name, interval, p.fast, p.slow, p.signal) == ("macd_cross", "4h", 12, 26, 5)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be(name: str) -> None:
    kind, _, _ = resolve(SignalSpec("mine", name))
    assert kind.name in SIGNALS
    assert name not in SIGNALS, "a preset hides a kind"
