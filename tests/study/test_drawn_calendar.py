"""A twin's calendar: as many events as the real one has, none of them where its own windows are."""

from __future__ import annotations

from backtest.data.calendar import after_times, known_events, windows
from backtest.engine.compiled import prepare
from backtest.study.drawn_calendar import drawn_calendar
from backtest.study.rule_files import load_rules
from backtest.units import HOUR_MS

from .small import small_study


def test_the_windows_are_those_of_the_rules() -> None:
    rule = load_rules()["step_aside"]
    study = small_study(market={"start": "2022-01-01", "stop": "2024-01-01"})
    rules = prepare([(rule, rule.values({"fomc_before": 48.0, "cpi_after": 6.0}), 0)])
    made = drawn_calendar(study, rules, known_events)
    for kind, before_ms, after_ms in (("fomc", 48 * HOUR_MS, 2 * HOUR_MS), ("cpi", 12 * HOUR_MS, 6 * HOUR_MS)):
        due = after_times(known_events(kind), 0)
        real = due[(due >= study.market.start_ms) & (due < study.market.stop_ms)]
        assert len(made(kind)) == len(real) > 0
        both = windows([*known_events(kind), *made(kind)], before_ms, after_ms)
        apart = windows(known_events(kind), before_ms, after_ms)
        assert len(both.first_ms) == len(apart.first_ms) + len(made(kind))
    assert made("fomc") == drawn_calendar(study, rules, known_events)("fomc")
