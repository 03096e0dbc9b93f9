"""A twin's calendar: as many events as the real one has, none of them where its own windows are; and the twin."""

from __future__ import annotations

from backtest.data.calendar import after_times, known_events, windows
from backtest.data.store import Lake
from backtest.engine.compiled import prepare
from backtest.schema import VERBS
from backtest.study.drawn_calendar import drawn_calendar
from backtest.study.rerun import rerun
from backtest.study.rule_files import load_rules
from backtest.study.verify import verify_runs
from backtest.units import HOUR_MS

from .small import ran, small_study

ASIDE = {"name": "aside", "rules": [{"use": "step_aside"}]}
HALVE = {"name": "exit", "rules": [{"use": "exit", "trigger": 0.25}]}
WIDTHS = {"fomc": (24 * HOUR_MS, 2 * HOUR_MS), "cpi": (12 * HOUR_MS, HOUR_MS)}


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


def test_a_rule_that_waits_for_events_has_a_twin_that_steps_aside_at_drawn_ones(lake: Lake) -> None:
    small = ran(small_study(strategies=[ASIDE, HALVE]), lake)
    names = [row["strategy"] for row in small.rows]
    assert names.count("aside~random-windows") == names.count("aside") == names.count("hold")
    assert "exit~random-windows" not in names
    twin, aside = small.job("aside~random-windows"), small.job("aside")
    drawn = drawn_calendar(small.study, aside.rules, known_events)
    leads = {kind: {e.scheduled_ms - before_ms for e in drawn(kind)} for kind, (before_ms, _) in WIDTHS.items()}
    every = range(len(small.data.entries.labels))
    actions = rerun(small.study, small.data, small.jobs, twin, every).batch.actions
    closed = actions[actions["verb"] == VERBS.index("reduce")]
    assert len(closed) > 5
    assert all(
        any(0 <= time - lead < HOUR_MS for lead in leads["fomc"] | leads["cpi"]) for time in closed["time_ms"].tolist()
    )
    mine = small.tables["outcomes"].filter([name == "aside~random-windows" for name in names])
    assert verify_runs(small.study, small.data, small.jobs, load_rules(), mine) == {}
    assert small.of("aside") != small.of("aside~random-windows")
