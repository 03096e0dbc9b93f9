"""`backtest signals`: the list, one signal, and the values of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import run
from backtest.data.store import Lake
from backtest.signals.registry import PRESETS, SIGNALS
from tests.signals.history import KLINES, bars, put

from .conftest import Refused


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return str(put(Lake(tmp_path / "lake"), KLINES, bars(300)).root)


def test_signals_are_listed_with_parameters_limits_and_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["signals"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, kind in SIGNALS.items():
        assert any(line.startswith(f"{name} ") and kind.help in line for line in lines), name
    assert all(any(name in line for line in lines) for name in PRESETS)
    assert [line for line in lines if line.startswith("rsi ") and "2 to 1000, whole" in line and " 14 " in line]


def test_the_list_is_there_for_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["signals", "--json"]) == 0
    told = {kind["name"]: kind for kind in json.loads(capsys.readouterr().out)}
    assert told.keys() == SIGNALS.keys()
    assert told["rsi"]["presets"] == ["rsi_14_1d"]
    assert told["rsi"]["params"]["window"]["default"] == 14


def test_a_preset_shows_what_it_uses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["signals", "atr_14_1h", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["name"], told["unit"]) == ("atr", "quote")


def test_a_person_is_shown_the_last_values(capsys: pytest.CaptureFixture[str], lake: str) -> None:
    assert run(["signals", "rsi", "--symbol", "BTCUSDT", "--interval", "1h", "--lake", lake]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 + 20
    assert err == "the last 20 of 301 rows; all of them: --out FILE.csv, or --format csv\n"


def test_values_are_exported_whole(capsys: pytest.CaptureFixture[str], lake: str, tmp_path: Path) -> None:
    asked = ["signals", "volatility", "--symbol", "BTCUSDT", "--interval", "1h", "--lake", lake, "--set", "window=3"]
    out = tmp_path / "x.csv"
    assert run([*asked, "--out", str(out), "--start", "2021-03-02", "--stop", "2021-03-03"]) == 0
    lines = out.read_text().splitlines()
    assert lines[0] == '"available","available_ms","value"'
    assert lines[1].startswith('"2021-03-02 00:00:00",1614643200000,')
    assert len(lines) == 1 + 24
    capsys.readouterr()
    assert run([*asked, "--json", "--stop", "2021-03-01T03:00"]) == 0
    assert [row["value"] for row in json.loads(capsys.readouterr().out)] == [None, None]


def test_a_file_of_ones_own_is_listed_and_computed(capsys: pytest.CaptureFixture[str], lake: str) -> None:
    Path("mine.py").write_text(
        "from backtest.signals import signal\n"
        '@signal(interval="1h", unit="quote")\n'
        'def range(bars, p):\n    """Give high less low."""\n    return bars["high"] - bars["low"]\n'
    )
    assert run(["signals", "--file", "mine.py"]) == 0
    assert "Give high less low." in capsys.readouterr().out
    assert run(["signals", "range", "--file", "mine.py", "--symbol", "BTCUSDT", "--lake", lake, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 301


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["rsj"], 11, 'signal "rsj": no signal "rsj"; did you mean "rsi"?'),
        (["--symbol", "BTCUSDT"], 2, "--symbol: needs the name of a signal"),
        (["rsi", "--symbol", "BTCUSDT", "--set", "window"], 2, '--set: "window" sets nothing'),
        (["rsi", "--symbol", "BTCUSDT", "--set", "window=many"], 11, "window = 'many' is out of range"),
        (
            ["rsi", "--symbol", "BTCUSDT", "--start", "2024-01-02", "--stop", "2024-01-02"],
            2,
            "--stop: is not after --start",
        ),
        (["rsi", "--symbol", "BTCUSDT", "--start", "then"], 2, "--start: 'then' is not a UTC date"),
        (["rsi", "--symbol", "BTCUSDT", "--lake", "nowhere"], 6, "has no binance klines BTCUSDT 1d"),
    ],
)
def test_what_cannot_be_is_one_line(argv: list[str], code: int, said: str, refused: Refused) -> None:
    given, lines = refused("signals", *argv)
    assert (given, len(lines)) == (code, 1)
    assert said in lines[0]
