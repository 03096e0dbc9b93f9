"""A user's own signals: loaded from a file, checked, and refused where they look ahead."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.data.store import Lake
from backtest.errors import SignalError
from backtest.signals.compute import compute, resolve
from backtest.signals.spec import Signal, SignalSpec
from backtest.units import HOUR_MS

from .history import FAR, KLINES, START, VIX, bars, published, put, without

HEAD = "from backtest import param\nfrom backtest.signals import SERIES, signal, whole\n"
MEAN = """
@signal(interval="1h", unit="quote", window=whole(20, low=2, high=500, help="bars"))
def above_mean(bars, p):
    \"\"\"Tell by how much the close is above its mean.\"\"\"
    return bars["close"] - bars["close"].rolling(p.window).mean()
"""


@pytest.fixture
def lake(tmp_path) -> Lake:
    return put(put(Lake(tmp_path / "lake"), KLINES, bars(200)), VIX, published(100))


@pytest.fixture
def computed(tmp_path, lake):
    """Compute the signal `use` of a file with this text."""

    def run(text: str, use: str, interval: str = "", **params: object) -> Signal:
        path = tmp_path / "mine.py"
        path.write_text(HEAD + text)
        spec = SignalSpec("asked", use, interval, tuple(params.items()), str(path))
        return compute(spec, lake, venue="binance", symbol="BTCUSDT", start_ms=0, stop_ms=FAR)

    return run


@pytest.fixture
def refused(computed, tmp_path):
    """Compute a signal that must be refused: give the lines of what is said, without the folder."""

    def run(text: str, use: str, **params: object) -> list[str]:
        with pytest.raises(SignalError) as error:
            computed(text, use, **params)
        return str(error.value).replace(f"{tmp_path}/", "").splitlines()

    return run


def test_a_function_gives_a_value_for_each_bar(computed) -> None:
    signal = computed(MEAN, "above_mean", window=3)
    close = bars(200)["close"]
    assert signal.available_ms[:2].tolist() == [START + HOUR_MS, START + 2 * HOUR_MS]
    assert signal.value[10] == pytest.approx(close[10] - close[8:11].mean(), abs=1e-4)
    assert np.flatnonzero(np.isnan(signal.value)).tolist() == [0, 1, 200]
    assert len(computed(MEAN, "above_mean", "4h").value) == 51


def test_a_rules_parameter_and_other_rows_can_be_used(computed) -> None:
    text = """
@signal(interval="event", reads=SERIES, level=param(20.0, low=0, high=100, help="level"))
def high(rows, p):
    return rows["value"] > p.level
"""
    signal = computed(text, "high", level=19)
    assert signal.datasets == (VIX,)
    assert signal.value[:100].tolist() == (published(100)["value"] > 19).astype(float).tolist()


def test_a_missing_bar_is_a_row_of_nan(computed, lake) -> None:
    lake.drop(KLINES)
    put(lake, KLINES, without(bars(200), 50))
    assert np.flatnonzero(np.isnan(computed(MEAN, "above_mean", window=3).value)).tolist() == [0, 1, 50, 51, 52, 200]


@pytest.mark.parametrize(
    ("body", "row"),
    [
        ('bars["close"].shift(-1) - bars["close"]', "2021-03-02 15:00"),
        ('bars["close"] - bars["close"].mean()', "2021-03-01 01:00"),
        ('bars["close"][::-1].ewm(span=5).mean()[::-1]', "2021-03-01 01:00"),
        ('bars["close"].bfill() if len(bars) > 190 else bars["close"] * 0', "2021-03-01 01:00"),
    ],
)
def test_what_looks_ahead_is_refused_with_the_first_row_that_changes(refused, body: str, row: str) -> None:
    text = f'@signal(interval="1h")\ndef ahead(bars, p):\n    return {body}\n'
    (line,) = refused(text, "ahead")
    assert line.startswith(f"mine.py: looks ahead: its value at {row} is ")
    assert line.endswith("; make it of this row and those before")


def test_to_look_ahead_by_one_bar_of_the_last_is_seen(computed, refused) -> None:
    """Only the bar before the last uses a later one: the cut before the last row shows it."""
    body = 'bars["close"].shift(-1) * (bars.index == bars.index[-3])'
    text = f'@signal(interval="1h")\ndef last(bars, p):\n    return {body}\n'
    assert "looks ahead" in refused(text, "last")[0]


def test_a_function_cannot_change_what_others_read(computed) -> None:
    text = MEAN + '\n@signal(interval="1h")\ndef rude(bars, p):\n    bars["close"] = 1.0\n    return bars["close"]\n'
    assert set(computed(text, "rude").value) == {1.0}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[1.0, 2.0]", "mine.py: f gives 2 values for 201 rows; give one number a row"),
        ("bars", "mine.py: f gives a DataFrame; give one number a row"),
        ("None", "mine.py: f gives a NoneType; give one number a row"),
        ("1.0", "mine.py: f gives a float; give one number a row"),
        ("'up'", "mine.py: f gives a str; give one number a row"),
        ("bars['close'] / 0", "mine.py: its value is infinite at 2021-03-01 01:00; give NaN where nothing is known"),
        ("bars['closed']", "mine.py:5: does not run: KeyError: 'closed'; mend the line"),
    ],
)
def test_what_is_no_signal_is_refused(refused, body: str, said: str) -> None:
    assert refused(f'@signal(interval="1h")\ndef f(bars, p):\n    return {body}\n', "f") == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "mine.py: defines no signal; decorate a function with @signal"),
        ("def f(:", "mine.py:3: is not Python: invalid syntax; mend the line"),
        ("1 / 0", "mine.py:3: does not run: ZeroDivisionError: division by zero; mend the line"),
        ('@signal(interval="1h", window=3)\ndef f(bars, p): ...', "window = 3 is no parameter"),
        ('@signal(interval="1h", on=param(True, help="x"))\ndef f(bars, p): ...', "is no parameter"),
        ('@signal(interval="1h")\ndef F(bars, p): ...', 'signal name "F"; use lower-case letters, digits and _'),
        ('@signal(interval="1h", interval_ms=whole(1, low=1, high=2, help="x"))\ndef f(bars, p): ...', "interval_ms"),
        (MEAN, 'mine.py: no signal "f"; known: above_mean'),
    ],
)
def test_a_file_that_cannot_be_used_says_why(refused, text: str, said: str) -> None:
    (line,) = refused(text, "f")
    assert said in line


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SignalError, match=r"nowhere\.py: cannot be read"):
        resolve(SignalSpec("asked", "f", file="nowhere.py"))


def test_its_parameters_have_limits(refused) -> None:
    (line,) = refused(MEAN, "above_mean", window=1)
    assert line == 'signal "asked": window = 1 is out of range; give 2 to 500, whole (bars)'
