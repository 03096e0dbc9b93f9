"""What rules are told from outside: declared names, rows laid out on bars, and moments as they were known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import Said

from backtest import after_event, before_event, close, every_bar, liq_distance_below, param, rule, signal
from backtest.engine.batch import Terms
from backtest.engine.compiled import prepare
from backtest.engine.feed import Spans, Steps, firing_rows, span_rows, value_rows
from backtest.engine.plan import WAKE_KINDS
from backtest.engine.rules import Wake
from backtest.errors import InvariantError, RuleError
from backtest.study.outside import Outside, after_spans, before_spans, event_times, standings

HOUR = 3_600_000
BARS = np.arange(0, 10 * HOUR, HOUR)


@rule(
    wake=signal("cross") | before_event("fomc", "24h") | after_event("cpi", "lag") | liq_distance_below("k", "atr"),
    signals=("regime",),
    events=("gdp",),
    lag=param(2.0, low=0.0, high=10.0, help="hours"),
    k=param(2.0, low=0.0, high=1e6, help="true ranges"),
)
def watchful(state: Any, p: Any) -> Any:
    return close()


def steps(*rows: tuple[float, float]) -> Steps:
    """Give the rows of a signal, times in hours."""
    return Steps(np.array([int(hour * HOUR) for hour, _ in rows], np.int64), np.array([v for _, v in rows], np.float64))


def said(event: str, due: float | None, known: float) -> Said:
    return Said(event, None if due is None else int(due * HOUR), int(known * HOUR))


def bars(spans: Spans) -> list[int]:
    return list(span_rows(spans, BARS)["bars"].tolist())


# --- declarations --------------------------------------------------------------------------------------------------


def test_wakes_name_what_they_wait_for() -> None:
    assert watchful.wakes == (
        Wake("signal", None, "cross"),
        Wake("before_event", 24.0, "fomc"),
        Wake("after_event", "lag", "cpi"),
        Wake("liq_atr_below", "k", "atr_14_1d"),
    )
    assert {wake.kind for wake in watchful.wakes} <= set(WAKE_KINDS)
    rules = prepare([(watchful, watchful.values({}), 0)])
    assert rules.signals == ("atr_14_1d", "cross", "regime")
    assert rules.events == ("cpi", "fomc", "gdp")
    assert rules.wake_value.tolist() == [0, 24 * HOUR, 2 * HOUR, 2 * 10**8]
    assert rules.has_threshold


def test_rules_that_were_not_fed_are_not_replayed() -> None:
    with pytest.raises(InvariantError, match="were not given their feed"):
        Terms().plan(prepare([(watchful, watchful.values({}), 0)]), next_open=False)


def test_what_cannot_be_declared_is_told_at_once() -> None:
    with pytest.raises(RuleError) as error:

        @rule(wake=signal("Cross") | before_event("fomc", "leed"), signals=tuple("abcdefghi"), events=("C P I",))
        def wrong(state: Any, p: Any) -> Any:
            return close()

    told = str(error.value)
    for word in ('"Cross" is no name', '("leed") names no parameter', "reads 9 signals", '"C P I" is no name'):
        assert word in told


def test_a_distance_has_a_unit_and_a_limit() -> None:
    with pytest.raises(RuleError, match=r'unit "atrs".*atr'):
        liq_distance_below(2.0, "atrs")
    for unit in ("bps", "atr"):
        far = replace(watchful, wakes=liq_distance_below(10_000.0, unit))
        with pytest.raises(RuleError, match="from liquidation"):
            prepare([(far, far.values({}), 0)])


def test_a_name_that_is_no_wake_needs_no_feed() -> None:
    plain = replace(watchful, wakes=every_bar(), signals=(), events=())
    rules = prepare([(plain, plain.values({}), 0)])
    assert not rules.needs_feed
    assert rules.fed(BARS, None) is rules  # type: ignore[arg-type]


# --- rows on bars --------------------------------------------------------------------------------------------------


def test_a_value_is_known_at_the_first_bar_at_or_after_it_and_the_newest_counts() -> None:
    rows = value_rows(steps((-3, 1.0), (-2, 2.0), (1, 3.0), (1.5, 4.0), (2, 5.0), (9.5, 6.0)), BARS)
    assert list(zip(rows["bars"].tolist(), rows["amount"].tolist(), strict=True)) == [(0, 2.0), (1, 3.0), (2, 5.0)]


def test_a_signal_fires_where_it_takes_another_value_that_is_not_0() -> None:
    nan = float("nan")
    rows = firing_rows(steps((0, 1.0), (1, 1.0), (2, 0.0), (3, 1.0), (4, -1.0), (5, nan), (6, -1.0), (7, nan)), BARS)
    assert rows["bars"].tolist() == [3, 4, 6]


def test_two_changes_before_one_open_are_one_call() -> None:
    assert firing_rows(steps((0, 0.0), (3.2, 1.0), (3.4, -1.0), (3.6, 0.0)), BARS)["bars"].tolist() == [4]


# --- events --------------------------------------------------------------------------------------------------------


def test_a_window_before_an_event_opens_when_it_comes_near_or_becomes_known() -> None:
    known_long = standings([said("a", 8, -100)])
    assert bars(before_spans(known_long, 3 * HOUR)) == [5]
    assert bars(before_spans(known_long, HOUR // 2)) == [8] or bars(before_spans(known_long, HOUR // 2)) == []
    assert bars(before_spans(standings([said("a", 8, 6.5)]), 3 * HOUR)) == [7]


def test_an_event_that_nobody_expected_has_no_time_before_it() -> None:
    surprise = standings([said("a", 4.5, 4.5)])
    assert bars(before_spans(surprise, 24 * HOUR)) == []
    assert bars(after_spans(surprise, 0)) == [5]


def test_what_is_cancelled_or_moved_wakes_nothing_from_then_on() -> None:
    cancelled = [said("a", 6, -10), said("a", None, 5.5)]
    assert bars(before_spans(standings(cancelled), HOUR)) == [5]
    assert bars(after_spans(standings(cancelled), 0)) == []
    early = [said("a", 6, -10), said("a", None, 4.5)]
    assert bars(before_spans(standings(early), HOUR)) == []
    moved = [said("a", 3, -10), said("a", 8, 2.5)]
    assert bars(after_spans(standings(moved), 0)) == [8]
    assert bars(before_spans(standings(moved), 2 * HOUR)) == [1, 6]


def test_a_date_that_is_said_again_stands_on() -> None:
    again = standings([said("a", 4, -10), said("a", 4, 4.5)])
    assert again.since_ms.tolist() == [-10 * HOUR]
    assert bars(after_spans(again, HOUR)) == [5]


def test_the_next_event_and_the_last_one_are_those_known_then() -> None:
    dates = standings([said("a", 3, -10), said("b", 6, 1), said("b", 7, 5), said("c", None, 5)])
    outside = Outside(lambda name: steps(), lambda kind: [])
    assert outside.next_event("none").available_ms.tolist() == []
    coming, gone = event_times(dates, coming=True), event_times(dates, coming=False)
    at = [np.searchsorted(coming.available_ms, hour * HOUR, side="right") - 1 for hour in (0, 1, 3, 4, 5, 7)]
    assert [coming.value[i] / HOUR for i in at[:5]] == [3, 3, 6, 6, 7]
    assert np.isnan(coming.value[at[5]])
    assert [gone.value[i] / HOUR for i in at[2:]] == [3, 3, 3, 7]
