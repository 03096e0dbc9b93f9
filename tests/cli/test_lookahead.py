"""`backtest lookahead`: a study does not see the future, and one that does is caught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study.small import make_lake, small_study

from backtest.cli import run
from backtest.data.store import Lake
from backtest.engine.market import Market, market_of
from backtest.study import lookahead as module
from backtest.study.canonical import study_toml
from backtest.study.lookahead import lookahead, other_future
from backtest.study.rule_files import _traded, load_rules
from backtest.study.runner import study_jobs
from backtest.study.simplified import read_history


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(Path(tmp_path_factory.mktemp("lake")))


@pytest.fixture(autouse=True)
def _few_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CUTS", 8)


def test_no_shipped_rule_sees_the_future(lake: Lake) -> None:
    strategies = [
        {"name": name.replace("_", "-"), "rules": [{"use": name}]}
        for name, rule in load_rules().items()
        if not set(_traded(rule))
    ]
    study = small_study(strategies=strategies)
    seen = lookahead(study, lake, study_jobs(study, "small"))
    assert seen.changed == ()
    assert seen.rows > 2_000
    assert seen.replays > 100


def test_another_future_is_another_one_and_nothing_else_changes(lake: Lake) -> None:
    history = read_history(small_study(), lake, "BTCUSDT")
    cut_ms = int(history.time_ms[700])
    other = other_future(history, cut_ms, 5)
    for ours, theirs in zip((*history.last, *history.mark), (*other.last, *other.mark), strict=True):
        assert np.array_equal(ours[:700], theirs[:700])
        assert (ours[700:] != theirs[700:]).all()
    paid = [(a, b) for a, b in zip(history.funding, other.funding, strict=True) if a != b]
    assert all(a[0] >= cut_ms and a[0] == b[0] for a, b in paid)
    assert len(paid) > 50


def test_the_tier_table_that_is_in_force_before_it_was_seen_stays(lake: Lake) -> None:
    history = read_history(small_study(), lake, "BTCUSDT")
    changed = [a != b for a, b in zip(history.tiers, other_future(history, 0, 5).tiers, strict=True)]
    assert changed == [False] + [True] * (len(history.tiers) - 1)
    assert len(changed) > 1


def peeking(tape: Any) -> Market:
    """Lay a tape out so that each bar's mark opens where the next one will: a look ahead by one bar."""
    market = market_of(tape)
    market.bars["mark_open_e8"][:-1] = np.clip(
        market.bars["mark_open_e8"][1:], market.bars["mark_low_e8"][:-1], market.bars["mark_high_e8"][:-1]
    )
    return market


def test_a_look_ahead_is_caught(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "study.toml").write_text(study_toml(small_study()), encoding="utf-8")
    command = ["lookahead", str(tmp_path), "--lake", str(lake.root)]
    assert run(command) == 0
    assert "before them changed" in capsys.readouterr().out
    monkeypatch.setattr(module, "market_of", peeking)
    assert run([*command, "--json"]) == 7
    out, err = capsys.readouterr()
    changed = json.loads(out)["changed"]
    assert changed
    assert all(one["time_ms"] < one["cut_ms"] for one in changed)
    assert f"{len(changed):,} of " in err
    assert run(command) == 7
    assert "future changed from" in capsys.readouterr().out


def test_a_missing_study_is_refused(refused: Any) -> None:
    code, lines = refused("lookahead", "nothing")
    assert code == 3
    assert "cannot be read" in lines[0]
