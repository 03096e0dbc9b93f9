"""A strategy against its twins."""

from __future__ import annotations

from backtest.analysis.inference import Calendar, holm
from backtest.analysis.pairs import pair_up
from backtest.analysis.timing import TWINS, timing
from tests.analysis import fake
from tests.analysis.fake import DAY_MS, START_MS, run, table

CALENDAR = Calendar(START_MS, 90 * DAY_MS)


def test_a_twin_is_the_other_side_of_the_pair() -> None:
    days = [100.0 * k for k in range(8)]
    rows = [run("hold", d) for d in days]
    rows += [run("a", d, reaction=r) for d in days for r in ("intrabar", "next_open")]
    for reaction, dead in (("intrabar", days), ("next_open", days[:4])):
        for d in days:
            died = {"liquidation_ms": START_MS + int(d * DAY_MS) + 1} if d in dead else {}
            rows.append(run("a~shuffled", d, reaction=reaction, **died))
    first, second = timing(pair_up(table(rows)), CALENDAR, seed=1)
    assert (first.strategy, first.reaction, first.liquidated, first.twin_liquidated) == ("a", "intrabar", 0, 8)
    assert (first.fewer_pct, first.discordant_blocks, first.p) == (100.0, 8, 2 / 2**8)
    assert (second.twin_liquidated, second.fewer_pct, second.p) == (4, 50.0, 2 / 2**4)
    assert (first.fewer.low, first.fewer.high) == (100.0, 100.0)


def test_p_is_adjusted_over_the_strategies_that_have_a_twin() -> None:
    found = timing(pair_up(fake.outcomes(200)), CALENDAR, seed=1)
    assert {one.strategy for one in found} == {"deleverage-0.25"}
    for reaction in ("intrabar", "next_open"):
        own = [one for one in found if one.reaction == reaction]
        assert [one.p_holm for one in own] == holm([one.p for one in own])


def test_each_kind_of_twin_is_compared_by_itself() -> None:
    days = [100.0 * k for k in range(4)]
    rows = [run("hold", d) for d in days]
    for name in ("a", "a~shuffled", "a~random-windows"):
        died = name == "a~random-windows"
        rows += [run(name, d, **({"liquidation_ms": START_MS + int(d * DAY_MS) + 1} if died else {})) for d in days]
    found = timing(pair_up(table(rows)), CALENDAR, seed=1)
    told = {(one.twin, one.reaction): (one.strategy, one.twin_liquidated) for one in found}
    assert told == {
        (twin, reaction): ("a", 4 if twin == "~random-windows" else 0)
        for twin in TWINS
        for reaction in ("intrabar", "next_open")
    }
