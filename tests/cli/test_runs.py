"""`backtest explain`, `verify` and `what-if` on a study of a small synthetic market."""

from __future__ import annotations

import json
import re
import shutil
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backtest import conductor
from backtest.cli import run
from backtest.data.sources import synthetic
from backtest.data.store import Lake
from backtest.study import reproduce
from backtest.study.config import parse_study
from tests.report.browser import CHROMIUM

from .conftest import Refused

STUDY: dict[str, object] = {
    "study": {"name": "small", "capital": "10_000"},
    "market": {
        "venue": "binance",
        "symbols": ["BTCUSDT"],
        "interval": "1h",
        "start": "2023-01-01",
        "stop": "2023-02-15",
    },
    "entries": {"every": "120h", "leverage": [20], "horizon": "10d"},
    "strategy": [{"name": "cut", "rules": [{"use": "deleverage", "trigger": [0.25, 0.5], "step": 0.25}]}],
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(tmp_path_factory.mktemp("lake"))
    synthetic.write(Lake(root), synthetic.generate(3, symbols=("BTCUSDT",), days=45))
    return root


@pytest.fixture(scope="module")
def finished(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a finished study."""
    folder = Path(tmp_path_factory.mktemp("finished"))
    conductor.compare(parse_study(STUDY, "small"), lake, folder, "small", reproduce=["backtest compare study.toml"])
    return folder


def a_run_id(folder: Path, *, strategy: str, liquidated: bool) -> str:
    rows = pq.read_table(folder / "outcomes.parquet").to_pylist()
    return next(r["run_id"] for r in rows if r["strategy"] == strategy and r["liquidated"] is liquidated)


def test_a_liquidation_is_explained_number_by_number(
    finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = a_run_id(finished, strategy="hold", liquidated=True)
    assert run(["explain", str(finished), run_id, "--lake", str(lake)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for words in (run_id, "entry", "LIQUIDATION, cause price", "mark row ", "tier row ", "equity = wallet ", "≤ "):
        assert words in out
    assert run(["explain", str(finished), run_id, "--lake", str(lake), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = told["liquidation"]
    assert found["equity_e8"] <= found["maintenance_margin_e8"]
    assert told["margin_to_survive_e8"] == told["outcome"]["margin_to_survive_e8"] > 0


def test_a_run_whose_rows_were_not_kept_is_told_too(
    finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = a_run_id(finished, strategy="cut-0.5~shuffled", liquidated=False)
    assert run(["explain", str(finished), run_id, "--lake", str(lake)]) == 0
    assert "exit at the horizon" in capsys.readouterr().out


def test_an_unknown_run_has_a_near_name(finished: Path, lake: Path, refused: Refused) -> None:
    run_id = a_run_id(finished, strategy="cut-0.5", liquidated=False)
    code, (line,) = refused("explain", str(finished), run_id[:-1], "--lake", str(lake))
    assert (code, run_id in line) == (3, True)
    code, (line,) = refused("explain", str(finished), "hold", "--lake", str(lake))
    assert (code, "cut-0.25" in line) == (3, True)


def test_a_folder_that_is_no_study_is_refused(tmp_path: Path, lake: Path, refused: Refused) -> None:
    code, (line,) = refused("verify", str(tmp_path), "--lake", str(lake))
    assert (code, "manifest.json" in line) == (5, True)


def test_a_study_reproduces_in_a_process_of_its_own_and_agrees_with_the_oracle(
    finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(finished), "--lake", str(lake), "--sample", "12", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["reproduces"], told["changed"]) == (True, [])
    assert {file["name"] for file in told["files"]} >= {"outcomes.parquet", "report.html", "summary.csv"}
    assert told["oracle"] == {"runs": 12, "liquidated": told["oracle"]["liquidated"], "differences": {}}


def test_what_was_changed_is_named_with_its_reason(
    finished: Path, lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed table, and a manifest that says that the engine was another, are both found."""
    monkeypatch.setattr(reproduce, "_run_again", lambda *argv: shutil.copytree(finished, argv[-1], dirs_exist_ok=True))
    folder = tmp_path / "changed"
    shutil.copytree(finished, folder)
    outcomes = pq.read_table(folder / "outcomes.parquet")
    rows = outcomes.to_pylist()
    rows[0]["fees_e8"] += 1
    pq.write_table(pa.Table.from_pylist(rows, schema=outcomes.schema), folder / "outcomes.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["decided_by"]["engine"] = "other"
    manifest["files"]["transfers.parquet"]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert run(["verify", str(folder), "--lake", str(lake)]) == 5
    out, err = capsys.readouterr()
    assert "changed since: the source of the engine" in out
    problems = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(problems) == 2
    assert "outcomes.parquet: was changed after it was written" in problems[0]


def test_a_position_is_told_with_and_without_a_rule(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    position = ["--symbol", "BTCUSDT", "--side", "long", "--leverage", "20", "--on", "2023-01-10", "--horizon", "10d"]
    command = ["what-if", *position, "--rule", "exit:trigger=0.5", "--lake", str(lake)]
    assert run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(s["outcome"]["strategy"], s["outcome"]["reaction"]) for s in told] == [
        ("hold", "both"),
        ("with-rule", "intrabar"),
        ("with-rule", "next_open"),
    ]
    assert {s["outcome"]["entry_ms"] for s in told} == {1_673_308_800_000}
    assert run(command) == 0
    assert "equity at the end" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (["--rule", "exi"], 7, 'did you mean "exit"?'),
        (["--rule", "exit:trigger"], 2, '"trigger" sets nothing'),
        (["--rule", "exit:trigger=x"], 2, '"x" is not a value'),
        (["--rule", "exit:triger=0.5"], 7, 'did you mean "trigger"?'),
        (["--on", "2023-13-01"], 2, "not a UTC date"),
        (["--on", "2023-01-10T12:00"], 2, "give a date"),
        (["--side", "up"], 3, "side"),
        (["--symbol", "ETHUSDT"], 6, "ETHUSDT"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    lake: Path, refused: Refused, change: list[str], code: int, words: str
) -> None:
    asked = {"--symbol": "BTCUSDT", "--side": "long", "--leverage": "20", "--on": "2023-01-10"}
    asked |= {change[0]: change[1]}
    argv = [part for pair in asked.items() for part in pair]
    found, (line,) = refused("what-if", *argv, "--lake", str(lake))
    assert found == code
    assert words in line


def test_a_run_is_explained_as_a_page_of_its_own(
    finished: Path, lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = a_run_id(finished, strategy="hold", liquidated=True)
    page = tmp_path / "run.html"
    assert run(["explain", str(finished), run_id, "--lake", str(lake), "--html", str(page)]) == 0
    assert capsys.readouterr().out == ""
    text = page.read_text(encoding="utf-8")
    assert "LIQUIDATION, cause price" in text
    assert 'id="chart-trace"' in text
    assert "maintenance margin" in text
    assert "Max drawdown" in text
    assert str(lake) not in text


def test_a_rule_s_own_margin_to_survive_is_told(finished: Path, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = a_run_id(finished, strategy="cut-0.25", liquidated=True)
    assert run(["explain", str(finished), run_id, "--lake", str(lake), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["own_margin_to_survive_e8"] > 0
    assert run(["explain", str(finished), run_id, "--lake", str(lake)]) == 0
    assert "this run lives" in capsys.readouterr().out


def test_the_manifest_says_how_the_study_was_run(finished: Path) -> None:
    manifest = json.loads((finished / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["reproduce"] == ["backtest compare study.toml"]


def test_png_without_a_browser_says_what_to_install(
    finished: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setenv("PATH", "")
    code, (line,) = refused("png", str(finished))
    assert code == 2
    assert "needs Chromium, which is not installed; install it" in line


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_every_chart_of_a_report_is_drawn_as_png(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["png", str(finished), "--out", str(tmp_path / "png")]) == 0
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert {file.stem for file in files} == set(re.findall(r'data-figure="([a-z0-9-]+)"', text))
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert struct.unpack(">I", file.read_bytes()[16:20]) == (2 * 1_200,)
