"""From a file of an option's marks to a comparison: import, dry run, compare, explain, verify, what-if."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backtest.cli import run
from backtest.data.sources import synthetic
from backtest.data.store import Lake

from .conftest import Refused

HOUR = 3_600_000
STUDY = """
[study]
name = "put"
capital = "10_000"
[market]
venue = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
start = 2023-01-01
stop = 2023-02-15
[entries]
every = "120h"
leverage = [20]
side = ["long", "short"]
horizon = "10d"
margin_mode = "cross"
[[layer]]
use = "asset"
asset = "PUT"
account = "core"
ratio = 0.5
size_by = "capital"
step = "0.001"
fee_bps = 3
slippage_bps = 100
[[strategy]]
name = "buy"
rules = [{ use = "buy_put", premium_pct = 10 }]
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a lake with a market, and a file of marks of a put imported into it."""
    root = Path(tmp_path_factory.mktemp("lake"))
    synthetic.write(Lake(root), synthetic.generate(3, symbols=("BTCUSDT",), days=45))
    marks = root.parent / "marks.csv"
    rows = [f"{synthetic.START_MS + n * HOUR},PUT,{5 + n % 7},12,4,{5 + (n + 1) % 7}" for n in range(24 * 45)]
    marks.write_text("\n".join(["time,asset,open,high,low,close", *rows]) + "\n", encoding="utf-8")
    assert run(["data", "import", str(marks), "--table", "asset_marks", "--venue", "vendor", "--lake", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def finished(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a finished study."""
    folder = Path(tmp_path_factory.mktemp("put"))
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    assert run(["compare", str(folder), "--lake", str(lake)]) == 0
    return folder


def test_a_dry_run_lists_the_marks_beside_the_market(
    finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", str(finished), "--dry-run", "--lake", str(lake)]) == 0
    assert "vendor PUT" in capsys.readouterr().out
    assert run(["compare", str(finished), "--dry-run", "--lake", str(lake), "--json"]) == 0
    (asset,) = json.loads(capsys.readouterr().out)["assets"]
    assert (asset["symbol"], asset["rows"], asset["gaps"]) == ("vendor PUT", 1080, 0)


def test_the_report_names_asset_premium_and_coverage(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    for words in ("to hold PUT", "Premium", "asset_marks", "50 % of its value counts there"):
        assert words in page


def test_a_liquidation_beside_a_put_is_explained(
    finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(finished / "outcomes.parquet").to_pylist()
    run_id = next(r["run_id"] for r in rows if r["strategy"] == "buy" and r["liquidated"] and r["actions"])
    assert run(["explain", str(finished), run_id, "--lake", str(lake)]) == 0
    out = capsys.readouterr().out
    for words in ("buy_put asks: trade 0.1", "PUT: bought ", "PUT bought and paid: worth ", " × 0.5 that counts = "):
        assert words in out
    assert run(["explain", str(finished), run_id, "--lake", str(lake), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["liquidation"]
    (put,) = found["assets"]
    assert found["equity_e8"] == found["wallet_e8"] + found["legs"][0]["profit_e8"] + put["value_e8"]


@pytest.mark.slow
def test_a_study_of_assets_reproduces_and_agrees_with_its_oracle(
    finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(finished), "--lake", str(lake), "--sample", "8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["reproduces"], told["changed"]) == (True, [])
    assert told["oracle"] == {"runs": 8, "liquidated": told["oracle"]["liquidated"], "differences": {}}


WHAT_IF = ["what-if", "--symbol", "BTCUSDT", "--side", "long", "--leverage", "20", "--on", "2023-01-01",
           "--horizon", "10d", "--rule", "buy_put"]  # fmt: skip


def test_one_position_is_told_without_a_put_and_with_it(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = "asset:PUT:account=own,step=0.01,fee_bps=3,slippage_bps=50,size_by=capital"
    assert run([*WHAT_IF, "--layer", layer, "--lake", str(lake)]) == 0
    out = capsys.readouterr().out
    assert "margin posted 5" in out
    assert "premium 50" in out
    assert "margin.asset holds " in out


@pytest.mark.parametrize(
    ("layer", "code", "said"),
    [
        ("asset:PUTT:account=own,step=1,fee_bps=3,slippage_bps=50", 3, "has no asset 'PUTT'; did you mean \"PUT\"?"),
        ("asset:PUT:account", 2, '"account" sets nothing'),
        ("asset:PUT:account=core,step=1,fee_bps=3,slippage_bps=50", 3, "the core's account, which is isolated"),
    ],
)
def test_an_asset_that_cannot_be_held_is_refused(
    lake: Path, refused: Refused, layer: str, code: int, said: str
) -> None:
    found, lines = refused(*WHAT_IF, "--layer", layer, "--lake", str(lake))
    assert found == code
    assert said in lines[0]


def test_a_rule_that_trades_an_asset_is_refused_without_one(lake: Path, refused: Refused) -> None:
    code, (line,) = refused(*WHAT_IF, "--lake", str(lake))
    assert code == 7
    assert 'rule "buy_put": trades "asset", a hedge that is not there; add [[layer]] with use = "asset"' in line
