"""A signal as a SQL query: what it may read, what it must give, and no look ahead."""

from __future__ import annotations

import numpy as np
import pytest

from backtest.data.store import Lake
from backtest.errors import SignalError
from backtest.signals.spec import Signal
from backtest.units import HOUR_MS

from .history import FUNDING, KLINES, START, ask, bars, put, settlements

CLOSES = "SELECT available_ms, close AS value FROM klines WHERE symbol = $symbol ORDER BY available_ms"


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = put(put(Lake(tmp_path / "lake"), KLINES, bars(100)), FUNDING, settlements(30))
    return put(lake, KLINES._replace(symbol="ETHUSDT"), bars(100, seed=2))


def asked(lake: Lake, query: str, **more: int) -> Signal:
    return ask(lake, "sql", query=query, **more)


def test_a_select_is_a_signal_of_the_symbol_that_is_asked_of(lake) -> None:
    signal = asked(lake, CLOSES)
    assert signal.available_ms.tolist() == (START + HOUR_MS * np.arange(1, 101)).tolist()
    assert signal.value.tolist() == bars(100)["close"].tolist()
    assert signal.datasets == (KLINES, KLINES._replace(symbol="ETHUSDT")), "tables are noted whole"


def test_tables_can_be_joined_as_of(lake) -> None:
    query = """
    SELECT k.available_ms, f.funding_rate > 0 AS value
    FROM klines AS k ASOF JOIN funding_rate AS f ON k.available_ms >= f.available_ms
    WHERE k.symbol = $symbol AND k.venue = $venue ORDER BY 1
    """
    assert set(asked(lake, query).value) == {0.0, 1.0}


def test_only_what_was_available_before_the_stop_is_there(lake) -> None:
    stop_ms = START + 50 * HOUR_MS
    assert asked(lake, CLOSES, stop_ms=stop_ms).available_ms[-1] == stop_ms - HOUR_MS


def test_null_is_not_known(lake) -> None:
    query = CLOSES.replace("close AS", "nullif(row_number() OVER (ORDER BY available_ms), 7) AS")
    assert np.flatnonzero(np.isnan(asked(lake, query).value)).tolist() == [6]


@pytest.mark.parametrize(
    ("query", "row"),
    [
        # Known before its bar's close.
        ("SELECT open_time_ms AS available_ms, close AS value FROM klines WHERE symbol = $symbol ORDER BY 1", "18:00"),
        # The next bar's close.
        (
            "SELECT available_ms, lead(close) OVER (ORDER BY available_ms) AS value FROM klines "
            "WHERE symbol = $symbol ORDER BY 1",
            "19:00",
        ),
        # Against a mean of all that is there.
        (
            "SELECT available_ms, close - (SELECT avg(close) FROM klines) AS value FROM klines "
            "WHERE symbol = $symbol ORDER BY 1",
            "01:00",
        ),
        # Rows that later ones push out.
        (
            "SELECT * FROM (SELECT available_ms, close AS value FROM klines WHERE symbol = $symbol "
            "ORDER BY 1 DESC LIMIT 30) ORDER BY 1",
            "22:00",
        ),
    ],
)
def test_what_looks_ahead_is_refused_with_the_first_row_that_changes(lake, query: str, row: str) -> None:
    with pytest.raises(SignalError, match=rf'signal "asked": looks ahead: its value at 2021-03-\d\d {row} is '):
        asked(lake, query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT available_ms, close AS valu FROM klines", 'gives no column value; did you mean "valu"?'),
        ("SELECT available_ms, 1 AS value FROM klines", "times do not ascend: row "),
        ("SELECT available_ms, close AS value FROM klines ORDER BY 1 DESC", "times do not ascend: row 2"),
        ("SELECT available AS available_ms, 1 AS value FROM klines", "available_ms is timestamp"),
        ("SELECT available_ms, symbol AS value FROM klines WHERE symbol = $symbol", "value is string; give numbers"),
        ("SELECT available_ms, close AS value FROM klines WHERE symbol = $coin", "coin"),
        ("SELECT first_ms AS available_ms, 1 AS value FROM gaps", "gaps do not say when they were known"),
        ("SELECT 1 AS available_ms, 1 AS value FROM read_csv('/etc/passwd')", "file"),
        (
            "SELECT available_ms, 'inf'::DOUBLE AS value FROM klines WHERE symbol = $symbol",
            "infinite at 2021-03-01 01:00",
        ),
        ("DROP TABLE klines", "is not one SELECT"),
        ("SELECT 1; SELECT 2", "is not one SELECT"),
        ("COPY klines TO 'x.csv'", "is not one SELECT"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM klinez", "klinez"),
        ("  ", "has no query"),
    ],
)
def test_what_is_no_signal_is_refused(lake, query: str, said: str) -> None:
    with pytest.raises(SignalError) as error:
        asked(lake, query)
    assert str(error.value).startswith('signal "asked": ')
    assert said in str(error.value)


def test_every_missing_column_is_named(lake) -> None:
    with pytest.raises(SignalError) as error:
        asked(lake, "SELECT close FROM klines")
    assert [problem.what for problem in error.value.problems] == [
        "gives no column available_ms",
        "gives no column value",
    ]
