"""`backtest data make-asset`: from mark bars and a volatility to marks that a study can hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import run
from backtest.data.manifest import Dataset
from backtest.data.store import Lake

from .conftest import Refused

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_609_459_200_000  # 2021-01-01
PUT = Dataset("model", "asset_marks", "BTC-PUT", "1h")
MAKE = ["--symbol", "BTCUSDT", "--volatility", "deribit/BTC-DVOL", "--tenor", "30d"]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Give a lake with ten days of mark bars and of a volatility that is published six hours late."""
    root = tmp_path / "lake"
    bars = [f"{START + n * HOUR},{30000 + n},{30100 + n},{29900 + n},{30001 + n}" for n in range(240)]
    _import(root, tmp_path, "mark.csv", "time,open,high,low,close", bars, "mark_price", "BTCUSDT", "--interval=1h")
    days = [f"{START + day * DAY},{80 + day}" for day in range(10)]
    _import(root, tmp_path, "dvol.csv", "time,value", days, "series", "BTC-DVOL", "--available-after=6h", "deribit")
    return root


def _import(
    root: Path, folder: Path, name: str, header: str, rows: list[str], table: str, symbol: str, option: str,
    venue: str = "binance",
) -> None:  # fmt: skip
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    said = ["--venue", venue, "--table", table, "--symbol", symbol, option, "--lake", str(root)]
    assert run(["data", "import", str(path), *said]) == 0


def make(lake: Path, *more: str, name: str = "BTC-PUT") -> int:
    return run(["data", "make-asset", name, *MAKE, *more, "--lake", str(lake)])


def test_a_put_is_stored_with_how_it_was_priced(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(lake, "--start", "2021-01-01T06:00", "--roll", "7d", "--roll-cost-bps", "150", "--skew", "0.25") == 0
    assert "a model, not a market" in capsys.readouterr().err
    rows = Lake(lake).read(PUT).to_pylist()
    assert (len(rows), rows[0]["time_ms"], rows[0]["available_ms"]) == (234, START + 6 * HOUR, START + 7 * HOUR)
    # At the money: about 0.4 σ √T of the mark.
    assert rows[0]["open"] == pytest.approx(30_006 * 0.4 * 0.80 * (30 / 365) ** 0.5, rel=0.01)
    assert rows[0]["initial_margin"] == pytest.approx(0.15 * 30_006)
    (entry,) = Lake(lake).entries([PUT])
    assert [source.name for source in entry.sources] == [
        "put on binance BTCUSDT at 1 of the mark for 30d, rolled every 7d at a cost of 1.5 %, "
        "volatility deribit/BTC-DVOL, skew 0.25"
    ]


def test_a_bar_is_priced_by_what_had_been_published_when_it_opened(lake: Path) -> None:
    make(lake, "--start", "2021-01-01T06:00")
    opens = [row["open"] for row in Lake(lake).read(PUT).to_pylist()]
    jumps = [opens[n] / opens[n - 1] - 1 for n in range(1, len(opens))]
    rises = [n + 1 for n, jump in enumerate(jumps) if jump > 0.005]
    assert rises == [24 * day for day in range(1, 10)]  # six hours into each day


def test_marks_may_be_priced_by_their_own_past(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = ["data", "make-asset", "CALL", "--symbol", "BTCUSDT", "--right", "call", "--tenor", "2d", "--json"]
    span = ["--start", "2021-01-05", "--stop", "2021-01-06", "--volatility", "realised:2d", "--factor", "1.2"]
    capsys.readouterr()
    assert run([*named, *span, "--lake", str(lake)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "venue": "model", "table": "asset_marks", "symbol": "CALL", "interval": "1h", "rows": 24,
    }  # fmt: skip


def test_a_fixed_option_ends_with_its_expiry(lake: Path) -> None:
    named = ["data", "make-asset", "PUT-2D", "--symbol", "BTCUSDT", "--volatility", "realised:2d", "--tenor", "2d"]
    assert run([*named, "--moneyness", "1.01", "--start", "2021-01-05", "--lake", str(lake)]) == 0
    rows = Lake(lake).read(PUT._replace(symbol="PUT-2D")).to_pylist()
    assert len(rows) == 48
    assert rows[-1]["close"] == round(1.01 * (30_000 + 96) - (30_001 + 96 + 47), 8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--right", "puts"], "--right: 'puts' is neither put nor call"),
        (["--tenor", "0s"], "--tenor: is no time"),
        (["--roll", "31d"], "--roll: 31d is not within the tenor"),
        (["--moneyness", "0"], "--moneyness: 0 is out of range"),
        (["--roll-cost-bps", "10000"], "--roll-cost-bps: 10000 is out of range"),
        (["--skew", "2"], "--skew: 2 is out of range"),
        (["--contracts", "0"], "--contracts: 0 is out of range"),
        (["--factor", "0"], "--factor: 0 is out of range"),
        (["--volatility", "DVOL"], "--volatility: 'DVOL' names no series; write it like deribit/BTC-DVOL"),
        (["--volatility", "realised:1h"], "is shorter than two bars"),
        (["--volatility", "realised:soon"], "'soon' is not a duration"),
        (["--start", "2021-02-01", "--stop", "2021-01-01"], "--stop: is not after --start"),
        (["--interval", "event"], "interval 'event' does not fit table mark_price"),
    ],
)
def test_options_that_make_no_sense(lake: Path, options: list[str], said: str, refused: Refused) -> None:
    code, lines = refused("data", "make-asset", "BTC-PUT", *MAKE, *options, "--lake", str(lake))
    assert code == 2
    assert said in lines[0]


def test_all_options_that_make_no_sense_are_told_at_once(lake: Path, refused: Refused) -> None:
    _, lines = refused("data", "make-asset", "X", *MAKE, "--right", "x", "--skew", "9", "--lake", str(lake))
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--start", "2021-01-01"], 6, "2021-01-01 00:00: no volatility is known at this bar; begin later"),
        (["--volatility", "deribit/BTC-DVL"], 6, 'has no deribit series BTC-DVL event; did you mean "deribit series'),
        (["--symbol", "ETHUSDT"], 6, "has no binance mark_price ETHUSDT 1h"),
        (["--start", "2022-01-01"], 6, "binance mark_price BTCUSDT 1h: has no bar in this range"),
        (["--interval", "30m"], 6, "only coarser bars are there: 1h"),
    ],
)
def test_what_the_lake_does_not_hold(lake: Path, options: list[str], code: int, said: str, refused: Refused) -> None:
    found, lines = refused("data", "make-asset", "BTC-PUT", *MAKE, *options, "--lake", str(lake))
    assert found == code
    assert said in lines[0]
    assert PUT not in Lake(lake).datasets()


def test_a_name_is_not_taken_twice_unless_said_so(
    lake: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(lake, "--start", "2021-01-02") == 0
    capsys.readouterr()
    code, lines = refused("data", "make-asset", "BTC-PUT", *MAKE, "--start", "2021-01-05", "--lake", str(lake))
    assert (code, len(lines)) == (4, 1)
    assert "model asset_marks BTC-PUT 1h: is in the lake already; take another name, or let the new" in lines[0]
    assert make(lake, "--start", "2021-01-05", "--replace") == 0
    assert Lake(lake).read(PUT)["time_ms"][0].as_py() == START + 4 * DAY


def test_a_failed_replacement_leaves_what_was_there(
    lake: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    make(lake, "--start", "2021-01-02")
    capsys.readouterr()
    before = Lake(lake).manifest_hash([PUT])
    refused("data", "make-asset", "BTC-PUT", *MAKE, "--start", "2021-01-01", "--replace", "--lake", str(lake))
    assert Lake(lake).manifest_hash([PUT]) == before
