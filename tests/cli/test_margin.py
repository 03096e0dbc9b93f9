"""`backtest liq` and `backtest margin`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backtest.cli import run

from .conftest import Refused

LIQ = ["liq", "--symbol", "BTCUSDT", "--side", "long", "--entry", "100000", "--leverage", "50", "--as-of", "2025-11-08"]
ACCOUNT = {
    "venue": "binance",
    "margin_mode": "isolated",
    "positions": [
        {
            "symbol": "BTCUSDT",
            "side": "long",
            "qty": "1",
            "entry_price": "100000",
            "mark_price": "100000",
            "leverage": "50",
        }
    ],
}


def test_liq_gives_the_liquidation_price_of_the_formula(capsys: pytest.CaptureFixture[str]) -> None:
    """Tier 1: rate 0.4 %, deduction 0: (100,000 - 2,000) / (1 - 0.004)."""
    assert run([*LIQ, "--notional", "100000", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["positions"][0]
    assert figures["liquidation_price"] == "98393.57429719"
    assert figures["maintenance_margin"] == "400"
    assert run([*LIQ, "--qty", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["positions"][0] == figures
    assert run([*LIQ, "--qty", "1", "--margin-mode", "cross", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["positions"][0]["liquidation_price"] == "98393.57429719"


def test_liq_draws_and_prints_figures_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LIQ, "--notional", "100000", "--html", "liq.html"]) == 0
    out = capsys.readouterr().out
    assert "m maintenance margin" in out
    assert "98393.57429719" in out
    assert "<svg" in Path("liq.html").read_text()


@pytest.mark.parametrize(
    ("options", "code", "what"),
    [
        ([], 2, "--notional"),
        (["--qty", "1", "--notional", "1"], 2, "--notional"),
        (["--notional", "many"], 2, "many"),
        (["--qty", "-1"], 8, "--qty: -1 is not above 0"),
        (["--qty", "1", "--venue", "binanc"], 8, "--venue: unknown value 'binanc'; did you mean \"binance\"?"),
        (["--qty", "1", "--symbol", "BTCUSD"], 8, '--symbol: unknown symbol "BTCUSD"; did you mean "BTCUSDT"?'),
        (["--qty", "1", "--leverage", "500"], 8, "--leverage: 500x is over"),
        (["--qty", "1", "--as-of", "soon"], 8, "--as-of: "),
        (["--qty", "1", "--entry", "1.5.2"], 8, "--entry: '1.5.2' is not a decimal number"),
        (["--qty", "1", "--margin-mode", "portfolio"], 2, '--margin-mode: cannot draw "portfolio"'),
    ],
)
def test_liq_refuses_what_cannot_be_a_position(options: list[str], code: int, what: str, refused: Refused) -> None:
    found, lines = refused(*LIQ, *options)
    assert (found, len(lines)) == (code, 1)
    assert what in lines[0]


def test_margin_reads_an_account_or_a_list_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.json").write_text(json.dumps(ACCOUNT))
    assert run(["margin", "one.json", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    Path("two.json").write_text(json.dumps([ACCOUNT, ACCOUNT]))
    assert run(["margin", "two.json"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("account")] == [
        "account 1",
        "account 2",
    ]
    Path("many.json").write_text(json.dumps([ACCOUNT, {"venue": "binance"}, ACCOUNT]))
    assert run(["margin", "many.json", "--json"]) == 0
    many = json.loads(capsys.readouterr().out)
    assert many[0] == many[2] == one
    assert many[1]["error"]["code"] == "AccountError"


def test_every_problem_of_an_account_is_a_line_that_names_file_and_place(refused: Refused) -> None:
    bad = json.loads(json.dumps(ACCOUNT))
    bad["positions"][0] |= {"qty": -1.5, "symbol": "BTCUSD", "levrage": "3"}
    Path("bad.json").write_text(json.dumps(bad))
    code, lines = refused("margin", "bad.json")
    assert code == 8
    assert len(lines) == 3
    assert all(line.startswith("error: bad.json: ") for line in lines)
    assert any('did you mean "leverage"?' in line for line in lines)


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_file_that_holds_no_account_is_one_line(content: str | None, refused: Refused) -> None:
    if content is not None:
        Path("account.json").write_text(content)
    code, lines = refused("margin", "account.json")
    assert (code, len(lines)) == (8, 1)
    assert "account.json" in lines[0]


def test_explain_shows_the_arithmetic_and_names_each_source_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LIQ, "--qty", "1", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "100000 × 0.004 - 0" in out
    assert out.count("\n[1] ") == 1
    assert run([*LIQ, "--qty", "1", "--explain", "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert all(step["source"] for step in steps)


POSITION_RISK = [
    {
        "symbol": "BTCUSDT",
        "positionAmt": "-1",
        "entryPrice": "100000",
        "markPrice": "100000",
        "leverage": "50",
        "marginType": "cross",
        "positionSide": "BOTH",
        "isolatedMargin": "0",
        "unRealizedProfit": "0",
        "updateTime": 1762560000000,
    }
]


def test_a_raw_answer_of_a_venue_is_taken_with_the_balance_of_its_pool(
    capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    Path("raw.json").write_text(json.dumps(POSITION_RISK))
    assert run(["margin", "raw.json", "--from", "binance", "--balance", "2000", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["account"]["equity"] == "2000"
    assert figures["positions"][0]["side"] == "short"
    code, lines = refused("margin", "raw.json", "--from", "binance")
    assert (code, len(lines)) == (8, 1)
    assert "collateral" in lines[0]
    code, lines = refused("margin", "raw.json", "--from", "kraken")
    assert (code, len(lines)) == (2, 1)
    for venue, mode in (("binance", "isolated"), ("bybit", "portfolio")):
        code, lines = refused("margin", "raw.json", "--from", venue, "--margin-mode", mode)
        assert (code, len(lines)) == (2, 1)
        assert "--margin-mode" in lines[0]
    code, lines = refused("margin", "raw.json", "--from", "bybit")
    assert (code, len(lines)) == (8, 1)
    assert "raw.json" in lines[0]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"venue": "binance", "venue": "bybit"}', 'is not JSON: the key "venue" is there twice'),
        ("[" * 100_000 + "]" * 100_000, "lists within lists without end"),
    ],
)
def test_a_file_that_can_be_read_in_two_ways_or_none_is_refused(content: str, what: str, refused: Refused) -> None:
    Path("account.json").write_text(content)
    code, lines = refused("margin", "account.json")
    assert (code, len(lines)) == (8, 1)
    assert what in lines[0]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--notional", "0.000000000001"], "--notional: 0.000000000001 is less than the smallest position"),
        (["--qty", "1", "--margin-mode", "cross", "--extra-margin", "x"], "--extra-margin: 'x' is not a decimal"),
    ],
)
def test_liq_names_the_flag_that_was_given(options: list[str], what: str, refused: Refused) -> None:
    code, lines = refused(*LIQ, *options)
    assert (code, len(lines)) == (2, 1)
    assert what in lines[0]
