"""Each short cut makes the errors that it must, in a market made for it; the full rule makes none."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backtest.cli import run
from backtest.data.store import Lake
from backtest.data.tape import build_tape
from backtest.errors import StudyError
from backtest.study.config import Study, parse_study
from backtest.study.shortcuts import FULL, RULES, History, Prices, Rule
from backtest.study.simplified import (
    ALL,
    NEVER,
    Verdicts,
    compare_times,
    count,
    count_ladder,
    counts_csv,
    judge,
    judge_all,
    read_history,
)
from backtest.units import E8, HOUR_MS, time_ms
from backtest.venues.fees import taker_fee_steps
from backtest.venues.tiers import Tier, TierTable, tier_tables

from .small import small_study

START = time_ms("2023-01-01")
OPEN = 20_000
HOURS = 48
BY_NAME = {rule.name: rule for rule in RULES}

# A long of 10x on a margin of 5,000 at 20,000 holds 2.5: equity 2.5 p - 45,000. Full rule, tier 2: 0.025 p - 240, so it
# is liquidated at 18,084.8. One rate of 0.4 %: 18,072.2; 1 % or no deduction: 18,181.8; 0.04 %: 18,007.2.
LADDER = (Tier(0, 40_000 * E8, 400_000, 0, None), Tier(40_000 * E8, None, 1_000_000, 240 * E8, None))
SURVIVED, LIQUIDATED, BETWEEN = 18_300, 17_000, 18_150
ONLY_FULL = 18_080  # under the full rule's price, above that of a lower rate


def one_position(side: str = "long", leverage: int = 10, capital: str = "10_000") -> Study:
    """A study of one position, opened at the first bar, without costs."""
    return parse_study(
        {
            "study": {"name": "one", "seed": 1, "capital": capital},
            "market": {
                "venue": "binance",
                "symbols": ["BTCUSDT"],
                "interval": "1h",
                "start": "2023-01-01",
                "stop": "2023-01-03",
            },
            "entries": {"every": "7d", "side": [side], "leverage": [leverage], "horizon": "24h"},
            "costs": {"taker_fee_bps": 0, "slippage_bps": 0},
        },
        "one",
    )


def bars(lows: dict[int, int], closes: dict[int, int] | None = None) -> Prices:
    """Bars at 20,000 but for some lows; a bar that also closes elsewhere leaves the next open there."""
    close = np.full(HOURS, OPEN, np.int64)
    for hour, price in (closes or {}).items():
        close[hour] = price
    opened = np.append([OPEN], close[:-1])
    low = np.minimum(opened, close)
    for hour, price in lows.items():
        low[hour] = min(low[hour], price)
    return Prices(opened * E8, np.maximum(opened, close) * E8, low * E8, close * E8)


def history(
    mark: Prices,
    last: Prices | None = None,
    funding: tuple[tuple[int, int], ...] = (),
    ladders: Sequence[tuple[Tier, ...]] = (LADDER,),
) -> History:
    """A history of 48 hours; each ladder but the last ends before it, so only the first is in force at the start."""
    tables = tuple(
        TierTable("BTCUSDT", START + place * 10 * HOURS * HOUR_MS, START, rows, "test")
        for place, rows in enumerate(ladders)
    )
    times = START + HOUR_MS * np.arange(HOURS, dtype=np.int64)
    return History(times, times + HOUR_MS, last or bars({}), mark, funding, tables, ((0, 0),))


def errors(study: Study, past: History, rule: Rule) -> tuple[int, int, list[int], list[int]]:
    """Give what the rule misses and invents, and the hours by which it is early or late."""
    verdicts = judge(study, "BTCUSDT", past, [rule])
    missed, invented, early, late = compare_times(verdicts.by_rule[FULL.name], verdicts.by_rule[rule.name])
    assert len(verdicts.by_rule[FULL.name]) == 1, "the position was refused"
    return missed, invented, (early // HOUR_MS).tolist(), (late // HOUR_MS).tolist()


RIGHT, MISSED, FALSE = (0, 0, [], []), (1, 0, [], []), (0, 1, [], [])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("low", [SURVIVED, LIQUIDATED])
def test_no_short_cut_errs_where_nothing_is_near(rule: Rule, low: int) -> None:
    past = history(bars({5: low}, {5: low}), bars({5: low}, {5: low}))
    assert errors(one_position(), past, rule) == RIGHT


@pytest.mark.parametrize(
    ("name", "low", "expected"),
    [
        ("flat rate 0.4 %", ONLY_FULL, MISSED),
        ("flat rate 1 %", BETWEEN, FALSE),
        ("tier by collateral", ONLY_FULL, MISSED),
        ("notional / leverage x rate", ONLY_FULL, MISSED),
        ("notional / leverage x rate", 18_010, MISSED),
        ("notional / leverage x rate", 18_000, RIGHT),
        ("no deduction", BETWEEN, FALSE),
        ("tier 1 for all (no ladder)", ONLY_FULL, MISSED),
    ],
)
def test_a_wrong_rate_moves_the_price(name: str, low: int, expected: tuple[object, ...]) -> None:
    assert errors(one_position(), history(bars({5: low})), BY_NAME[name]) == expected


def test_a_lower_rate_is_late_where_the_mark_goes_on_falling() -> None:
    past = history(bars({5: ONLY_FULL, 9: LIQUIDATED}))
    assert errors(one_position(), past, BY_NAME["flat rate 0.4 %"]) == (0, 0, [], [4])


def test_a_higher_rate_is_early() -> None:
    past = history(bars({5: BETWEEN, 9: LIQUIDATED}))
    assert errors(one_position(), past, BY_NAME["flat rate 1 %"]) == (0, 0, [4], [])


def test_collateral_above_the_cap_of_tier_1_takes_a_higher_row() -> None:
    """A margin of 50,000 lies in tier 2 as its notional does, so the rule by collateral is right."""
    study = one_position(capital="100_000")
    dip = history(bars({5: 18_160}))
    assert errors(study, dip, BY_NAME["tier by collateral"]) == RIGHT
    assert errors(study, dip, BY_NAME["flat rate 0.4 %"]) == MISSED


def test_without_deduction_a_long_dies_just_above_a_cap_that_it_falls_through() -> None:
    """Equity is 309 at a notional of 40,000: over 160 (full rule), under the bare 400 just above the cap."""
    study = one_position(leverage=20, capital="4178.94")
    notional = 2.089
    below = int(39_950 / notional)
    assert errors(study, history(bars({5: below})), BY_NAME["no deduction"]) == FALSE


def test_last_price_sees_its_own_wicks_and_not_those_of_the_mark() -> None:
    wick, calm = bars({5: LIQUIDATED}), bars({})
    rule = BY_NAME["last price for mark"]
    assert errors(one_position(), history(calm, wick), rule) == FALSE
    assert errors(one_position(), history(wick, calm), rule) == MISSED


def test_closes_do_not_see_wicks() -> None:
    rule = BY_NAME["closes only"]
    assert errors(one_position(), history(bars({5: LIQUIDATED})), rule) == MISSED
    assert errors(one_position(), history(bars({5: LIQUIDATED}, {8: LIQUIDATED})), rule) == (0, 0, [], [3])


def test_without_funding_payers_live_and_receivers_die() -> None:
    """At a rate of 1 % a long pays 500 and a short receives 500, twice; 20,000 +- 1,600 then decides."""
    rule = BY_NAME["no funding"]
    funding = ((START + 2 * HOUR_MS, E8 // 100), (START + 4 * HOUR_MS, E8 // 100))
    assert errors(one_position(), history(bars({6: 18_200}), funding=funding), rule) == MISSED
    up = bars({})
    high = up.high.copy()
    high[6] = 22_000 * E8
    assert errors(one_position("short"), history(up._replace(high=high), funding=funding), rule) == FALSE


def test_the_newest_tiers_are_not_those_of_the_time() -> None:
    mild = (Tier(0, None, 400_000, 0, None),)
    strict = (Tier(0, None, 2_000_000, 0, None),)
    rule = BY_NAME["today's tiers"]
    dip = bars({5: BETWEEN})
    assert errors(one_position(), history(dip, ladders=(strict, mild)), rule) == MISSED
    assert errors(one_position(), history(dip, ladders=(mild, strict)), rule) == FALSE
    assert errors(one_position(), history(dip, ladders=(mild, mild)), rule) == RIGHT


def test_positions_that_the_venue_refuses_are_no_positions() -> None:
    capped = (Tier(0, None, 400_000, 0, 500),)
    verdicts = judge(one_position(), "BTCUSDT", history(bars({}), ladders=(capped,)))
    assert {len(times) for times in verdicts.by_rule.values()} == {0}


def test_tier_and_share_are_those_of_the_first_liquidation() -> None:
    """Tier 2 at 18,084.8; the step-down to 40,000 of notional leaves a part alive."""
    verdicts = judge(one_position(), "BTCUSDT", history(bars({5: ONLY_FULL})))
    assert verdicts.tier.tolist() == [2]
    assert 0 < verdicts.share[0] < 1
    alive = judge(one_position(), "BTCUSDT", history(bars({})))
    assert (alive.tier.tolist(), alive.share.tolist()) == ([0], [0.0])


# --- counting ------------------------------------------------------------------------------------------------------


def verdicts(symbol: str, truth: list[int], answer: list[int], leverage_e2: int = 1000) -> Verdicts:
    hours = [np.array([NEVER if hour < 0 else hour * HOUR_MS for hour in times], np.int64) for times in (truth, answer)]
    tier = np.where(hours[0] == NEVER, 0, 2)
    share = np.where(hours[0] == NEVER, 0.0, 0.5)
    by_rule = {FULL.name: hours[0]} | {rule.name: hours[1] for rule in RULES}
    return Verdicts(10_000 * E8, symbol, leverage_e2, tier, share, by_rule)


def test_errors_are_counted_by_kind_and_summed_over_symbols() -> None:
    one = verdicts("AAAUSDT", [5, 5, 5, 5, -1, -1], [5, 3, 9, -1, 7, -1])
    two = verdicts("BBBUSDT", [5, 5], [6, 5], leverage_e2=2000)
    rows = {(row.symbol, row.leverage_e2): row for row in count([one, two], RULES[:1]) if row.rule == RULES[0].name}
    whole = rows[ALL, None]
    assert (whole.positions, whole.liquidations, whole.missed, whole.false_alarms) == (8, 6, 1, 1)
    assert (whole.early, whole.hours_early, whole.late, whole.hours_late) == (1, 2.0, 2, 2.5)
    assert whole.wrong_share == 2 / 6
    assert rows["BBBUSDT", None] == replace(rows["BBBUSDT", 2000], leverage_e2=None)
    assert rows[ALL, 1000].late == 1


def test_the_ladder_is_counted_over_its_upper_tiers() -> None:
    (row, _) = count_ladder([verdicts("AAAUSDT", [5, 5, 5, -1], [5, 9, -1, -1])])
    assert (row.liquidations, row.upper, row.highest, row.partial) == (3, 3, 2, 3)
    assert (row.missed, row.late, row.hours_late) == (1, 1, 4.0)


def test_csv_has_a_row_for_every_count() -> None:
    counts = count([verdicts("AAAUSDT", [5], [NEVER])])
    rows = list(csv.DictReader(io.StringIO(counts_csv(counts))))
    assert len(rows) == len(counts)
    assert (rows[0]["capital"], rows[0]["symbol"], rows[0]["leverage"]) == ("10000", ALL, ALL)
    assert rows[1]["missed"] == "1"
    assert rows[1]["hours_late"] == ""


# --- on a stored market ----------------------------------------------------------------------------------------------


def test_a_history_is_the_tape_that_studies_are_replayed_on(lake: Lake) -> None:
    study = small_study()
    spec = study.market
    expected = build_tape(
        lake,
        venue=spec.venue,
        symbol="BTCUSDT",
        interval="1h",
        start_ms=spec.start_ms,
        stop_ms=spec.stop_ms,
        tiers=tier_tables(spec.venue, "BTCUSDT"),
        taker_fee_steps=taker_fee_steps(spec.venue),
    ).tape
    for mine, theirs in zip(read_history(study, lake, "BTCUSDT").tape(), expected, strict=True):
        assert np.array_equal(mine, theirs)


def test_the_full_rule_has_no_error_and_the_same_market_gives_the_same_counts(lake: Lake) -> None:
    study = small_study()
    first, second = (count(judge_all(study, lake, [study.capital_e8])) for _ in range(2))
    assert first == second
    truth = [row for row in first if row.rule == FULL.name]
    assert {(row.missed, row.false_alarms, row.early, row.late) for row in truth} == {(0, 0, 0, 0)}
    assert truth[0].liquidations > 0


def test_an_era_that_is_not_replayed_is_refused(lake: Lake) -> None:
    with pytest.raises(StudyError, match="start at 2025-09-02"):
        read_history(small_study(market={"venue": "bybit"}), lake, "BTCUSDT")


STUDY = """
[study]
name = "small"
capital = 10_000
[market]
venue = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
start = 2023-01-01
stop = 2023-03-02
[entries]
every = "120h"
leverage = [20]
horizon = "10d"
"""


def test_the_command_prints_tables_and_writes_the_counts(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    assert run(["simplified", str(tmp_path), "--lake", str(lake.root), "--capital", "10_000"]) == 0
    printed = capsys.readouterr().out
    assert "Capital 10,000: 24 positions" in printed
    assert all(rule.name in printed for rule in (FULL, *RULES))
    assert (tmp_path / "simplified.csv").read_text().count("\n") == 1 + 4 * (1 + len(RULES))


def test_a_capital_that_is_none_is_refused(lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    for text in ("ten", "0", "2_000_000_000"):
        assert run(["simplified", str(tmp_path), "--lake", str(lake.root), "--capital", text]) == 2
        assert "--capital" in capsys.readouterr().err
