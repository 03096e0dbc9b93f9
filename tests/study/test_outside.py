"""Signals and calendars in a study: read, told to rules, part of what names the results, and checked by the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest.data.store import Lake
from backtest.engine.feed import Steps
from backtest.errors import SignalError, StudyError
from backtest.study import lookahead as module
from backtest.study.archive import decisions
from backtest.study.assumptions import assumptions
from backtest.study.canonical import resolved, study_toml
from backtest.study.config import Study, load_study, parse_study
from backtest.study.outside import Outside, outside_of, signal_named
from backtest.study.rule_files import load_rules
from backtest.study.runner import load, study_jobs
from backtest.study.verify import verify_runs
from study.small import SMALL, hour_ms, make_lake, ran, small_study

HOURLY = [{"name": "macd_12_26_9_1d_cross", "use": "macd_cross", "interval": "1h", "fast": 8}]
STRATEGIES = [
    {"name": "macd", "rules": [{"use": "macd_cut"}]},
    {"name": "aside", "rules": [{"use": "step_aside"}]},
    {"name": "far", "rules": [{"use": "top_up_distance"}]},
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(Path(tmp_path_factory.mktemp("lake")))


def told_study(**more: Any) -> Study:
    signals = [*HOURLY, {"name": "atr_14_1d", "use": "atr", "interval": "1h"}]
    return small_study(strategies=STRATEGIES, **{"signal": signals, **more})  # type: ignore[arg-type]


def test_a_study_names_signals_and_reads_back_as_it_was(tmp_path: Path) -> None:
    study = told_study()
    spec = study.signals[0]
    assert (spec.use, spec.interval, spec.params) == ("macd_cross", "1h", (("fast", 8.0),))
    assert resolved(study)["signal"][0] == {**HOURLY[0], "fast": 8.0}
    (tmp_path / "study.toml").write_text(study_toml(study), encoding="utf-8")
    assert load_study(tmp_path) == study
    assert signal_named(study, "rsi_14_1d").use == "rsi_14_1d"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": "one", "use": "macd_cros"}, ["macd_cros", "macd_cross"]),
        ({"name": "one", "use": "rsi", "window": 0}, ["window"]),
        ({"name": "One", "use": "rsi"}, ["One", "small letters"]),
        ({"name": "one"}, ["use", "missing"]),
        ({"name": "one", "use": "rsi", "interval": "daily"}, ["interval"]),
        ({"name": "one", "use": "rsi", "window": True}, ["cannot be a parameter"]),
    ],
)
def test_a_signal_that_cannot_be_is_a_problem_of_the_study(table: dict[str, object], words: list[str]) -> None:
    with pytest.raises(StudyError) as error:
        told_study(signal=[table])
    assert all(word in str(error.value) for word in words)


def test_two_signals_of_one_name_are_refused() -> None:
    with pytest.raises(StudyError, match="already the name of another signal"):
        told_study(signal=HOURLY * 2)


def test_rules_act_on_what_they_are_told_and_the_oracle_agrees(lake: Lake) -> None:
    small = ran(told_study(), lake)
    for strategy in ("macd", "aside", "far"):
        assert sum(row["actions"] for row in small.of(strategy)) > 0, strategy
    chosen = small.tables["outcomes"].filter([row["strategy"] in ("macd", "aside", "far") for row in small.rows])
    assert verify_runs(small.study, small.data, small.jobs, load_rules(), chosen) == {}


def test_what_is_told_is_part_of_what_decides(lake: Lake) -> None:
    def outside(study: Study) -> str | None:
        return decisions(study, load(study, lake), study_jobs(study, "small")).get("outside")

    assert outside(small_study()) is None
    faster = [{**HOURLY[0], "fast": 5}, *told_study().signals[1:]]
    assert outside(told_study()) == outside(told_study())
    other = told_study(signal=[faster[0], {"name": "atr_14_1d", "use": "atr", "interval": "1h"}])
    assert outside(other) != outside(told_study())


def test_a_signal_that_is_not_there_is_refused_with_the_nearest(lake: Lake) -> None:
    with pytest.raises(SignalError, match="did you mean"):
        outside_of(told_study(), lake, "BTCUSDT").signal("atr_14_1b")


def test_a_stress_market_has_no_signals(lake: Lake) -> None:
    crash = {"method": "crash", "windows": "january", "scale": 2}
    study = told_study(
        market={"resample": crash}, window=[{"name": "january", "from": "2023-01-05", "to": "2023-01-20"}]
    )
    with pytest.raises(StudyError, match="leaves nothing of signal"):
        outside_of(study, lake, "BTCUSDT").signal("atr_14_1d")


def test_a_signal_that_knows_the_future_is_found(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CUTS", 4)
    study = told_study()
    honest = module.lookahead(study, lake, study_jobs(study, "small"))
    assert honest.changed == ()
    assert honest.rows > 100

    def knowing(study: Study, lake: Lake, symbol: str) -> Outside:
        outside = outside_of(study, lake, symbol)
        last = study.market.stop_ms / hour_ms(0)

        def signal(name: str) -> Steps:
            steps = outside.signal(name)
            return Steps(steps.available_ms, np.where(np.isnan(steps.value), last, steps.value * last))

        return Outside(signal, outside.statements)

    monkeypatch.setattr(module, "outside_of", knowing)
    found = module.lookahead(study, lake, study_jobs(study, "small")).changed
    assert "signal macd_12_26_9_1d_cross/BTCUSDT" in {one.run_id for one in found}


# --- entries at a signal -------------------------------------------------------------------------------------------


def opened(lake: Lake, **entries: Any) -> Any:
    form = {"when": "macd_12_26_9_1d_cross", "leverage": [5, 20], "horizon": "10d", **entries}
    study = parse_study({**SMALL, "signal": HOURLY, "entries": form, "strategy": STRATEGIES[2:]}, "small")
    assert parse_study(resolved(study), "small") == study
    (data,) = load(study, lake)
    return study, data


def test_positions_are_opened_where_a_signal_changes_to_the_side_of_its_sign(lake: Lake) -> None:
    study, data = opened(lake)
    steps = data.outside.signal("macd_12_26_9_1d_cross")
    fires = [
        (int(t), int(v))
        for t, v, before in zip(steps.available_ms[1:], steps.value[1:], steps.value[:-1], strict=True)
        if v in (1.0, -1.0) and v != before
    ]
    rows = data.entries.rows
    assert [(int(r["entry_ms"]), int(r["side"])) for r in rows[rows["leverage_e2"] == 500]] == fires
    assert len(rows) == 2 * len(fires) > 40
    assert "outside" in decisions(study, [data], study_jobs(small_study(strategies=()), "small"))


def test_a_study_may_open_both_sides_at_a_signal(lake: Lake) -> None:
    _, both = opened(lake, side=["long", "short"])
    _, one = opened(lake)
    assert len(both.entries.rows) == 2 * len(one.entries.rows)
    assert set(both.entries.rows["side"].tolist()) == {1, -1}


def test_runs_opened_at_a_signal_are_those_of_the_oracle(lake: Lake) -> None:
    study, _ = opened(lake)
    small = ran(study, lake)
    outcomes = small.tables["outcomes"]
    assert any("macd_12_26_9_1d_cross" in text for _, text in assumptions(study, outcomes))
    chosen = outcomes.filter([row["strategy"] == "far" for row in small.rows])
    assert verify_runs(small.study, small.data, small.jobs, load_rules(), chosen) == {}


def test_a_signal_and_a_schedule_do_not_go_together(lake: Lake) -> None:
    with pytest.raises(StudyError, match="every"):
        opened(lake, every="24h")


def test_a_file_of_signals_that_is_wrong_is_named_with_the_key() -> None:
    wrong = [{"name": "mine", "use": "breakout", "file": "nowhere.py"}]
    with pytest.raises(StudyError, match=r"signal\[1\]\.file: nowhere\.py: cannot be read"):
        small_study(signal=wrong)
