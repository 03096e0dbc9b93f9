"""Recipes, snapshots and the command: what is wrong in a recipe is told at once; snapshots are never written twice."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from market_files import tree
from pulling import pulled, recipe
from server import Market

from backtest.cli import run
from backtest.data.ledger import listings
from backtest.data.manifest import Dataset
from backtest.data.pull import hosts
from backtest.data.pull.http import _retry_after_s
from backtest.data.pull.periods import month_of, periods
from backtest.data.pull.recipe import read_recipe
from backtest.data.store import Lake
from backtest.errors import SourceError, StudyError, UsageError
from backtest.units import time_ms
from backtest.venues.tiers import tier_tables

RECIPES = sorted((Path(__file__).parents[2] / "datasets").glob("*.toml"))


# --- recipes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_is_sound(path):
    wanted = read_recipe(path)
    assert wanted.datasets
    assert len(set(wanted.datasets)) == len(wanted.datasets)


def test_everything_that_is_wrong_in_a_recipe_is_told(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        [[pull]]
        venue = "binanse"
        symbols = ["BTCUSDT"]
        tables = ["klines"]
        [[pull]]
        venue = "bybit"
        symbol = "BTCUSDT"
        tables = ["klines", "mark_prices"]
        interval = "7m"
        start = "2020"
        [[pull]]
        venue = "bybit"
        symbols = ["../x"]
        tables = ["funding_rate"]
        [[pull]]
        venue = "binance"
        symbols = ["BTCUSDT"]
        tables = ["klines"]
        interval = "1h"
        archive = true
        """
    )
    with pytest.raises(StudyError) as caught:
        read_recipe(path)
    text = str(caught.value)
    for part in (
        'did you mean "binance"?',
        "unknown key 'symbol'",
        'did you mean "symbols"?',
        "does not deliver 'mark_prices'",
        'did you mean "mark_price"?',
        "names no symbols",
        "interval is '7m'",
        "start = '2020' is not a date",
        "'../x' cannot name a symbol",
        "archive is for klines of bybit alone",
    ):
        assert part in text, part


@pytest.mark.parametrize("text", ["", "x = 1", "[pull]\nvenue = 'binance'", "not toml"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(StudyError):
        read_recipe(path)


def test_a_range_is_whole_months_then_the_days_of_the_current_one():
    months, days = periods(time_ms("2024-02-10"), time_ms("2030-01-01"), time_ms("2024-04-03T15:00"))
    assert [month.text for month in months] == ["2024-02", "2024-03"]
    assert [day.text for day in days] == ["2024-04-01", "2024-04-02"]
    assert len(month_of(time_ms("2024-02-10")).days()) == 29


def test_retry_after_may_be_a_date():
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    assert 95 < (_retry_after_s(f"{moment:%a, %d %b %Y %H:%M:%S} GMT") or 0) <= 100
    assert _retry_after_s("7") == 7
    assert _retry_after_s("soon") is None


# --- snapshots -----------------------------------------------------------------------------------------------------


def snapshot(root: Path, market: Market, *tables: str, venue: str = "bybit"):
    return pulled(root, market, recipe(tables, venue, symbols=()))


def test_tiers_of_today_are_kept_in_a_form_that_a_study_takes(tmp_path, market):
    path = snapshot(tmp_path, market, "tiers").snapshots[0]
    assert path == tmp_path / "snapshots" / "bybit-tiers-2025-01-05.json"
    for symbol in ("BTCUSDT", "ETHUSDT", "BTCUSD"):
        table = tier_tables("bybit", symbol, str(path))[0]
        assert [tier.rate_e8 for tier in table.tiers] == [500_000, 560_000]
        assert table.tiers[1].max_leverage_e2 == 9_000
    refused = json.loads(path.read_text())["refused"]
    assert list(refused) == ["BADUSDT"]
    assert "continuity" in refused["BADUSDT"]


def test_contracts_of_today_are_kept_as_they_came_every_page(tmp_path, market):
    document = json.loads(snapshot(tmp_path, market, "contracts").snapshots[0].read_text())
    assert [row["symbol"] for row in document["contracts"]["linear"]] == ["BTCUSDT", "ETHUSDT", "BADUSDT"]


def test_a_snapshot_is_never_written_twice(tmp_path, market):
    snapshot(tmp_path, market, "tiers", "contracts")
    before = tree(tmp_path)
    market.requests.clear()
    assert snapshot(tmp_path, market, "tiers", "contracts").snapshots == []
    assert market.requests == []
    market.today = "2025-01-06"
    snapshot(tmp_path, market, "tiers")
    assert before.items() < tree(tmp_path).items()
    assert len(tree(tmp_path)) == 3


@pytest.mark.parametrize("fault", ["html", "cut body", "half, and a length to match", "refused", "hang"])
def test_a_snapshot_that_does_not_come_whole_is_not_written(tmp_path, market, fault):
    market.fail("category=inverse", fault, 99)
    with pytest.raises(SourceError):
        snapshot(tmp_path, market, "tiers")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("lost", ["symbol", "riskLimitValue", "maintenanceMargin"])
def test_tiers_that_lack_a_field_are_an_error_and_not_written(tmp_path, market, monkeypatch, lost):
    real = Market._bybit_list

    def without(self, path, asked):
        document = real(self, path, asked)
        del document["result"]["list"][0][lost]
        return document

    monkeypatch.setattr(Market, "_bybit_list", without)
    with pytest.raises(SourceError, match=f"cannot be read .*{lost}"):
        snapshot(tmp_path, market, "tiers")
    assert tree(tmp_path) == {}


def test_contracts_of_both_binance_markets_say_when_they_were_listed(tmp_path, market):
    for venue in ("binance", "binance-coinm"):
        snapshot(tmp_path, market, "contracts", venue=venue)
    found = {(one.venue, one.symbol): one.status for one in listings(tmp_path)}
    assert found["binance", "BTCUSDT"] == found["binance-coinm", "BTCUSDT"] == "TRADING"


def test_binance_brackets_need_a_key_and_are_signed(tmp_path, market, monkeypatch):
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="set BINANCE_API_KEY and BINANCE_API_SECRET"):
        snapshot(tmp_path, market, "tiers", venue="binance")
    assert market.requests == []
    monkeypatch.setenv("BINANCE_API_KEY", "key")
    monkeypatch.setenv("BINANCE_API_SECRET", "secret")
    path = snapshot(tmp_path, market, "tiers", venue="binance").snapshots[0]
    query, _, signature = market.requests[0].partition("?")[2].rpartition("&signature=")
    assert signature == hmac.new(b"secret", query.encode(), hashlib.sha256).hexdigest()
    assert len(tier_tables("binance", "BTCUSDT", str(path))[0].tiers) == 2


def test_an_error_does_not_show_a_signature(tmp_path, market, monkeypatch):
    monkeypatch.setenv("BINANCE_API_KEY", "key")
    monkeypatch.setenv("BINANCE_API_SECRET", "secret")
    for fault, said in (("hang", "timed out"), ("another host", "another"), ("refused", "400"), ("500", "500")):
        market.faults.clear()
        market.fail("leverageBracket", fault, 99)
        with pytest.raises(SourceError, match=said) as caught:
            snapshot(tmp_path, market, "tiers", venue="binance")
        assert "signature" not in str(caught.value)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(market, monkeypatch):
    """Name the server as a mirror in the environment, the way a user would."""
    monkeypatch.undo()
    for name in hosts._HOSTS:
        monkeypatch.setenv(f"BACKTEST_{name.upper()}_URL", market.url)
    return market


def test_the_command_pulls_from_mirrors_that_the_environment_names(tmp_path, mirror, capsys):
    path = tmp_path / "mine.toml"
    path.write_text('[[pull]]\nvenue = "binance"\nsymbols = ["BTCUSDT"]\ntables = ["klines"]\ninterval = "8h"\n')
    with path.open("a") as file:
        file.write("start = 2024-11-01\nstop = 2025-01-01\n")
    lake = str(tmp_path / "lake")
    assert run(["data", "pull", str(path), "--lake", lake, "--dry-run", "--json"]) == 0
    (part,) = json.loads(capsys.readouterr().out)
    assert (part["months"], part["files"]) == (2, ["BTCUSDT-8h-2024-11.zip", "BTCUSDT-8h-2024-12.zip"])
    assert run(["data", "pull", str(path), "--lake", lake, "--dry-run"]) == 0
    assert "would fetch: BTCUSDT-8h-2024-12.zip" in capsys.readouterr().out
    assert mirror.requests == []
    assert run(["data", "pull", str(path), "--lake", lake, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"][0]["rows_added"] == 52 * 3
    assert run(["data", "download", str(path), "--lake", lake]) == 0
    assert "nothing was missing" in capsys.readouterr().err
    assert Lake(lake).datasets() == [Dataset("binance", "klines", "BTCUSDT", "8h")]


def test_the_command_takes_options_in_place_of_a_recipe(tmp_path, mirror, capsys):
    argv = ["data", "pull", "--venue", "cboe", "--symbol", "VIX", "--table", "series", "--lake", str(tmp_path)]
    assert run([*argv, "--stop", "2025-01-01"]) == 0
    assert "VIX" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["mayors"], 2, 'did you mean "majors"?'),
        (["missing.toml"], 3, "cannot be read"),
        (["--venue", "binanse"], 3, 'did you mean "binance"?'),
        (["--venue", "binance", "--symbol", "BTCUSDT", "--start", "soon"], 2, "is not a day"),
        ([], 3, "venue is None"),
    ],
)
def test_the_command_says_what_is_wrong(capsys, tmp_path, argv, code, said):
    assert run(["data", "pull", *argv, "--lake", str(tmp_path)]) == code
    assert said in capsys.readouterr().err


def test_the_command_ends_with_the_code_of_a_source_that_fails(tmp_path, mirror, capsys):
    mirror.fail("/data/", "another host", 99)
    argv = [
        "data",
        "pull",
        "--venue",
        "binance",
        "--symbol",
        "BTCUSDT",
        "--start",
        "2024-12-01",
        "--stop",
        "2025-01-01",
    ]
    assert run([*argv, "--table", "klines", "--lake", str(tmp_path)]) == SourceError.exit_code
    assert "redirects to another host (elsewhere.invalid)" in capsys.readouterr().err
