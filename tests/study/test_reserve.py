"""How long money of the reserve takes, and profiles: one word in a study for what would be several lines."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from backtest.errors import StudyError
from backtest.study.canonical import resolved
from backtest.study.config import Study, parse_study
from backtest.study.profiles import PROFILES
from backtest.study.reserve import PRESETS
from backtest.study.rule_files import load_rules, resolve_rules
from backtest.units import DAY_MS, HOUR_MS

FORM: dict[str, Any] = {
    "study": {"name": "s", "capital": "10_000"},
    "market": {
        "venue": "binance",
        "symbols": ["BTCUSDT"],
        "interval": "1h",
        "start": "2021-01-01",
        "stop": "2022-01-01",
    },
    "entries": {"every": "24h", "leverage": 10, "horizon": "30d"},
}
DELAYS = ["3d", "1h", "2d", "6h", "1d"]


def read(reserve: dict[str, object] | None = None, **strategy: object) -> Study:
    form = deepcopy(FORM)
    if reserve is not None:
        form["reserve"] = reserve
    if strategy:
        form["strategy"] = [{"name": "one", **strategy}]
    return parse_study(form, "s.toml")


def problems(reserve: dict[str, object] | None = None, **strategy: object) -> list[str]:
    with pytest.raises(StudyError) as caught:
        read(reserve, **strategy)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("needed", "hours"), [(1, 1), (2, 6), (3, 24), (4, 48), (5, 72)], ids=lambda value: str(value))
def test_money_waits_for_the_slowest_of_the_fastest_signers_that_are_needed(needed: int, hours: int) -> None:
    reserve = read({"approval": {"needed": needed, "delays": DELAYS}, "latency": "10m"}).reserve
    assert reserve.latency_ms == hours * HOUR_MS + 600_000


def test_signers_may_be_equally_slow() -> None:
    assert read({"approval": {"needed": 2, "delays": ["1h", "1h"]}}).reserve.latency_ms == HOUR_MS


def test_a_strategy_replaces_what_the_reserve_says() -> None:
    approval = {"needed": 1, "delays": ["2h"]}
    use = [{"use": "top_up"}]
    slow = {"preset": "dao-vote"}
    assert read(slow, rules=use).strategies[0].latency_ms is None
    assert read(slow, rules=use, approval=approval).strategies[0].latency_ms == 2 * HOUR_MS
    assert read({"latency": "5d"}, rules=use, preset="dao-vote").strategies[0].latency_ms == 7 * DAY_MS


def test_a_preset_reads_back_as_the_time_that_it_stands_for() -> None:
    for preset, (latency, _) in PRESETS.items():
        study = read({"preset": preset})
        assert resolved(study)["reserve"]["latency"] == latency
        assert parse_study(resolved(study), "s.toml") == study


@pytest.mark.parametrize(
    ("reserve", "what"),
    [
        ({"preset": "dao-vot"}, 'reserve.preset: is "dao-vot", which is none of the choices; did you mean "dao-vote"?'),
        ({"preset": "dao-vote", "latency": "1h"}, "reserve.preset: stands for latency and approval"),
        ({"approval": {"needed": 3, "delays": ["1h", "2h"]}}, "reserve.approval.needed: is 3, of 2 signers"),
        ({"approval": {"needed": 0, "delays": ["1h"]}}, "reserve.approval.needed: is 0, out of range"),
        ({"approval": {"needed": 1, "delays": []}}, "reserve.approval.delays: is a list, not the delays"),
        ({"approval": {"needed": 1, "delays": ["soon"]}}, 'reserve.approval.delays: is "soon", not a duration'),
        ({"approval": {"needed": 1}}, "reserve.approval.delays: is missing"),
    ],
)
def test_what_cannot_be_a_reserve_is_one_line(reserve: dict[str, object], what: str) -> None:
    (line,) = problems(reserve)
    assert what in line


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_the_rules_that_it_stands_for(name: str) -> None:
    rules = [
        {"use": use, **{key: list(values) for key, values in params.items()}} for use, params in PROFILES[name].rules
    ]
    study = read(profile=name)
    assert study == read(rules=rules)
    assert parse_study(resolved(study), "s.toml") == study
    resolve_rules(study.strategies, load_rules(), "s.toml")


def test_a_profile_stands_alone_and_has_a_name_that_is_known() -> None:
    (line,) = problems(profile="steward", rules=[{"use": "exit"}])
    assert "strategy[1].rules: stand beside a profile" in line
    (line,) = problems(profile="stewart")
    assert 'strategy[1].profile: is "stewart", which is none of the choices; did you mean "steward"?' in line
