"""`backtest compare`, `explain`, `verify` and `what-if` on runs with several legs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backtest import conductor
from backtest.cli import run
from backtest.data.sources import synthetic
from backtest.data.store import Lake
from backtest.study.canonical import study_toml
from backtest.study.config import parse_study

from .conftest import Refused

STUDY: dict[str, object] = {
    "study": {"name": "legs", "capital": "10_000"},
    "market": {
        "venue": "binance",
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "interval": "1h",
        "start": "2023-01-01",
        "stop": "2023-02-15",
    },
    "entries": {"every": "120h", "leverage": [20], "horizon": "10d", "margin_mode": "cross", "basket": True},
    "layer": [{"use": "opposite", "leverage": 20}],
    "strategy": [{"name": "hedge", "rules": [{"use": "hedge_short"}]}],
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(tmp_path_factory.mktemp("lake"))
    synthetic.write(Lake(root), synthetic.generate(3, symbols=("BTCUSDT", "ETHUSDT"), days=45))
    return root


@pytest.fixture(scope="module")
def finished(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a finished study."""
    folder = Path(tmp_path_factory.mktemp("finished"))
    conductor.compare(parse_study(STUDY, "legs"), lake, folder, "legs", reproduce=["backtest compare study.toml"])
    return folder


def a_run_id(folder: Path, strategy: str, *, liquidated: bool) -> str:
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    mine = (r for r in rows if (r["strategy"], r["side"], r["liquidated"]) == (strategy, "long", liquidated))
    return str(next(mine)["run_id"])


def test_a_liquidation_is_explained_leg_by_leg(finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = a_run_id(finished, "hold", liquidated=True)
    assert run(["explain", str(finished), run_id, "--lake", str(lake)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for words in (
        run_id,
        "BTCUSDT: bought",
        "ETHUSDT long: profit ",
        "equity = wallet ",
        "maintenance margin = ",
        "≤ ",
    ):
        assert words in out
    assert run(["explain", str(finished), run_id, "--lake", str(lake), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["liquidation"]
    assert found["equity_e8"] <= found["maintenance_margin_e8"]
    assert found["equity_e8"] == found["wallet_e8"] + sum(leg["profit_e8"] for leg in found["legs"])


def test_a_hedged_run_is_explained_with_its_page(
    finished: Path, lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = a_run_id(finished, "hedge", liquidated=False)
    assert run(["explain", str(finished), run_id, "--lake", str(lake), "--html", str(tmp_path / "run.html")]) == 0
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert run_id in page
    assert run(["explain", str(finished), run_id, "--lake", str(lake)]) == 0
    assert "exit at the horizon" in capsys.readouterr().out


def test_a_study_of_legs_reproduces_and_agrees_with_its_oracle(
    finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(finished), "--lake", str(lake), "--sample", "8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["reproduces"], told["changed"]) == (True, [])
    assert told["oracle"] == {"runs": 8, "liquidated": told["oracle"]["liquidated"], "differences": {}}


def test_a_report_says_what_several_marks_leave_open(finished: Path) -> None:
    report = (finished / "report.md").read_text(encoding="utf-8")
    assert "all symbols in one account, hedges opposite at 20×" in report
    assert "Margin to survive" in report
    assert "opens and closes only" in report


def test_a_hedged_position_is_told_with_and_without_its_hedge(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    position = ["--symbol", "BTCUSDT", "--side", "long", "--leverage", "20", "--on", "2023-01-01", "--horizon", "10d"]
    command = [
        "what-if",
        *position,
        "--rule",
        "hedge_short:margin_pct=0",
        "--layer",
        "opposite:20",
        "--lake",
        str(lake),
    ]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "hedge_short asks: trade 0.5" in out
    assert "margin.opposite holds -" in out
    assert run([*command, "--margin-mode", "cross", "--json"]) == 0
    assert {story["margin_mode"] for story in json.loads(capsys.readouterr().out)} == {"cross"}


def test_a_reaction_that_is_none_is_refused(lake: Path, refused: Refused) -> None:
    position = ["--symbol", "BTCUSDT", "--side", "long", "--leverage", "20", "--on", "2023-01-01"]
    code, (line,) = refused("what-if", *position, "--reaction", "next-open", "--lake", str(lake))
    assert code == 2
    assert 'did you mean "next_open"?' in line


@pytest.mark.parametrize(
    ("layer", "code", "words"),
    [
        ("opposite", 2, "is no hedge; write --layer opposite:10"),
        ("oposite:10", 3, 'did you mean "opposite"?'),
        ("inverse:ETHUSD_PERP:10", 3, "has no tier table"),
    ],
)
def test_a_wrong_hedge_is_refused(lake: Path, refused: Refused, layer: str, code: int, words: str) -> None:
    position = ["--symbol", "BTCUSDT", "--side", "long", "--leverage", "20", "--on", "2023-01-01", "--horizon", "10d"]
    found, (line,) = refused("what-if", *position, "--layer", layer, "--lake", str(lake))
    assert found == code
    assert words in line


def test_what_is_made_for_one_position_refuses_legs(lake: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "study.toml").write_text(study_toml(parse_study(STUDY, "legs")), encoding="utf-8")
    code, (line,) = refused("lookahead", str(tmp_path / "study.toml"), "--lake", str(lake))
    assert code == 3
    assert "this is computed for one position only" in line
