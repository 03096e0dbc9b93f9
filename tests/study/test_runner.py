"""The runner: which runs there are, how they are paired, and what each control is."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest import schema
from backtest.data.manifest import Dataset, Source
from backtest.data.store import Lake, Piece
from backtest.errors import CoverageError, StudyError
from backtest.study.naming import HOLD
from backtest.study.outcomes import ledger_tables
from backtest.study.simplified import read_history
from backtest.units import DAY_MS, E8, HOUR_MS

from .small import Ran, hour_ms, make_lake, ran, small_study

CONTROLS = ["hold", "post-all", "smaller-75", "smaller-50", "smaller-25"]
REACTIONS = ("intrabar", "next_open")
TWINS = [(name, reaction) for name in ("deleverage", "top-up", "exit") for reaction in REACTIONS]


def pair(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["symbol"], row["entry_ms"], row["side"], row["leverage"]


def test_the_market_is_wild_enough_to_tell_strategies_apart(small: Ran) -> None:
    liquidated = {name: sum(row["liquidated"] for row in small.of(name)) for name in ("hold", "deleverage", "top-up")}
    assert liquidated["hold"] >= 10
    assert liquidated["deleverage"] < liquidated["hold"]


# --- form ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", schema.RESULT_TABLES)
def test_every_table_has_its_schema_and_its_key_is_unique(name: str, small: Ran) -> None:
    table, form = small.tables[name], schema.RESULT_TABLES[name]
    assert table.schema == form.arrow()
    assert len(table) > 0
    table.validate(full=True)
    for column in form.columns:
        assert column.null or table[column.name].null_count == 0, column.name
    assert len(table.select(list(form.key)).group_by(list(form.key)).aggregate([])) == len(table)


def test_hold_comes_first_then_controls_then_each_strategy_before_its_twin(small: Ran) -> None:
    order = list(dict.fromkeys((row["strategy"], row["reaction"]) for row in small.rows))
    assert [name for name, _ in order[:5]] == CONTROLS
    assert all(reaction == "both" for _, reaction in order[:5])
    assert order[5:] == [(name + twin, reaction) for name, reaction in TWINS for twin in ("", "~shuffled")]


def test_all_strategies_have_the_same_entries_in_the_same_order(small: Ran) -> None:
    hold = [pair(row) for row in small.of("hold")]
    assert len(hold) == 12 * 4
    for job in small.jobs:
        assert [pair(row) for row in small.of(job.strategy, job.reaction)] == hold


def test_a_strategy_starts_from_the_position_of_hold(small: Ran) -> None:
    for name, reaction in TWINS:
        for twin in ("", "~shuffled"):
            for row, hold in zip(small.of(name + twin, reaction), small.of("hold"), strict=True):
                for column in ("entry_qty_e8", "entry_notional_e8", "equity_start_e8"):
                    assert row[column] == hold[column]


def test_ledger_rows_are_kept_for_liquidated_runs_and_rebuild_their_end(small: Ran) -> None:
    lost = {row["run_id"]: row for row in small.rows if row["liquidated"]}
    for name in ("transfers", "fills"):
        assert set(small.tables[name]["run_id"].to_pylist()) == set(lost)
    balance: dict[str, dict[str, int]] = {run: dict.fromkeys(schema.ACCOUNTS, 0) for run in lost}
    for row in small.tables["transfers"].to_pylist():
        assert row["amount_e8"] > 0
        balance[row["run_id"]][row["debit"]] -= row["amount_e8"]
        balance[row["run_id"]][row["credit"]] += row["amount_e8"]
    for run, row in lost.items():
        own = balance[run]
        assert sum(own.values()) == 0
        assert own["free"] + own["reserve"] == row["equity_end_e8"]
        assert own["margin"] == own["transit"] == 0


def test_rows_of_a_rule_carry_its_name(small: Ran) -> None:
    rule_of = {"deleverage": "deleverage", "top-up": "top_up", "exit": "exit"}
    actions = small.tables["actions"].to_pylist()
    for row in actions:
        assert row["rule"] == rule_of.get(row["run_id"].split("/")[0], "script")
    assert {"deleverage", "top_up", "script"} <= {row["rule"] for row in actions}


# --- controls ------------------------------------------------------------------------------------------------------


def posted(ran: Ran) -> dict[str, int]:
    """Give what liquidated runs posted at entry."""
    return {row["run_id"]: row["amount_e8"] for row in ran.tables["transfers"].to_pylist() if row["kind"] == "post"}


def test_smaller_runs_hold_their_share_of_the_quantity_on_the_same_margin(small: Ran) -> None:
    amounts = posted(small)
    for pct in (75, 50, 25):
        for row, hold, entry in zip(small.of(f"smaller-{pct}"), small.of("hold"), small.data.entries.rows, strict=True):
            step = int(entry["step_e8"])
            assert row["entry_qty_e8"] == hold["entry_qty_e8"] * pct // 100 // step * step
            if row["liquidated"]:
                assert amounts[row["run_id"]] == small.study.capital_e8 // 2


def test_post_all_posts_the_whole_capital_on_the_same_quantity(small: Ran) -> None:
    amounts = posted(small)
    lost = [row for row in small.of("post-all") if row["liquidated"]]
    assert lost
    assert {amounts[row["run_id"]] for row in lost} == {small.study.capital_e8}
    quantities = [row["entry_qty_e8"] for row in small.of("post-all")]
    assert quantities == [row["entry_qty_e8"] for row in small.of("hold")]


def test_more_margin_never_brings_liquidation_sooner(small: Ran) -> None:
    for more, less in zip(small.of("post-all"), small.of("hold"), strict=True):
        if more["liquidated"]:
            assert less["liquidated"]
            assert more["liquidation_ms"] >= less["liquidation_ms"]


# --- shuffled twins ------------------------------------------------------------------------------------------------


def donors(ran: Ran, strategy: str, reaction: str) -> dict[str, str]:
    return {row["run_id"]: row["seed_run_id"] for row in ran.of(strategy + "~shuffled", reaction)}


@pytest.mark.parametrize(("strategy", "reaction"), TWINS)
def test_each_run_has_another_run_of_its_group_as_donor_and_each_gives_once(
    strategy: str, reaction: str, small: Ran
) -> None:
    given = donors(small, strategy, reaction)
    assert sorted(given.values()) == sorted(row["run_id"] for row in small.of(strategy, reaction))
    for run, donor in given.items():
        own, other = (name.split("/") for name in (run, donor))
        assert other[0] == strategy
        assert own[2] != other[2], "a run is its own donor"
        assert (own[1], own[3:]) == (other[1], other[3:]), "another symbol, side, leverage or reaction"


def test_another_seed_is_another_permutation(lake: Lake, small: Ran) -> None:
    other = ran(small_study(study={"seed": 2}), lake)
    assert donors(other, "deleverage", "intrabar") != donors(small, "deleverage", "intrabar")
    for row, again in zip(small.of("deleverage"), other.of("deleverage"), strict=True):
        assert row == again


@pytest.mark.parametrize(("strategy", "reaction"), TWINS)
def test_a_twin_plays_its_donors_actions_at_the_same_bars_until_it_ends(
    strategy: str, reaction: str, small: Ran
) -> None:
    job = small.job(strategy, reaction)
    batch = small.replay(job, small.entries(job))
    labels = small.data.entries.labels
    acted: dict[str, list[tuple[int, str, float]]] = {f"{strategy}/{label}/{reaction}": [] for label in labels}
    for action in batch.actions[batch.actions["status"] == 0]:
        name = f"{strategy}/{labels[action['run']]}/{reaction}"
        acted[name].append((int(action["bars"]), schema.VERBS[action["verb"]], float(action["amount"])))
    played: dict[str, list[tuple[int, str, float]]] = {}
    for row in small.tables["actions"].to_pylist():
        played.setdefault(row["run_id"], []).append((row["bars"], row["verb"], row["amount"]))
    lost = [row for row in small.of(strategy + "~shuffled", reaction) if row["liquidated"]]
    assert any(acted[row["seed_run_id"]] for row in lost)
    for row in lost:
        own, donor = played.get(row["run_id"], []), acted[row["seed_run_id"]]
        assert own == donor[: len(own)]
        ended = (row["exit_ms"] - row["entry_ms"]) // HOUR_MS
        assert all(bars >= ended for bars, _, _ in donor[len(own) :])


def test_a_run_alone_in_its_group_has_no_donor_and_does_nothing(lake: Lake) -> None:
    one = ran(small_study(entries={"every": "60d"}), lake)
    for row in one.of("deleverage~shuffled"):
        assert row["seed_run_id"] is None
        assert row["actions"] == 0


# --- refused entries -----------------------------------------------------------------------------------------------


def test_a_leverage_above_the_tier_refuses_the_entry_and_leaves_its_row(lake: Lake) -> None:
    done = ran(small_study(entries={"leverage": [5, 125]}), lake)
    for job in done.jobs:
        for row in done.of(job.strategy, job.reaction):
            refused = row["leverage"] == 125 and row["exit_reason"] == "refused"
            assert refused == (row["refusal"] == "leverage_cap")
            if refused:
                assert not row["liquidated"]
                assert row["exit_ms"] is None
                assert row["equity_end_e8"] == row["equity_start_e8"]
                assert row["seed_run_id"] is None
    assert {row["exit_reason"] == "refused" for row in done.of("hold") if row["leverage"] == 125} == {True}
    assert not any(row["refusal"] for row in done.of("hold") if row["leverage"] == 5)


@pytest.mark.parametrize(("venue", "symbol"), [("binance", "BTCUSD_PERP"), ("bybit", "BTC/USD:BTC")])
def test_simplified_rules_are_not_for_a_contract_settled_in_its_coin(lake: Lake, venue: str, symbol: str) -> None:
    start = {"start": "2026-01-01", "stop": "2026-03-01"} if venue == "bybit" else {}
    study = small_study(market={"venue": venue, "symbols": symbol, **start})
    with pytest.raises(StudyError, match="is settled in BTC, and this is computed for linear contracts only; take a"):
        read_history(study, lake, study.market.symbols[0])


def test_the_ledger_is_kept_in_the_asset_of_the_contract(lake: Lake) -> None:
    done = ran(small_study(strategies=[]), lake)
    assert set(done.tables["transfers"]["asset"].to_pylist()) == {"USDT"}
    names = replace(done.data.entries.names, assets=("USDC",))
    entries, job = replace(done.data.entries, names=names), done.job("hold")
    batch = done.replay(job, done.entries(job))
    tables = ledger_tables(job, entries, batch, np.ones(len(entries.rows), bool))
    assert set(tables["transfers"]["asset"].to_pylist()) == {"USDC"}


def test_a_study_whose_every_entry_is_refused_is_an_error(lake: Lake) -> None:
    with pytest.raises(
        StudyError, match=r"small: entries: every entry was refused \(24 leverage_cap\); lower the leverage"
    ):
        ran(small_study(entries={"leverage": [125]}), lake)


# --- holes ---------------------------------------------------------------------------------------------------------

HOLE = 20 * 24 + 6  # in the afternoon of no entry
HOLE_AT_ENTRY = 30 * 24


def test_a_hole_is_an_error_unless_the_study_says_to_flag_it(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, [HOLE])
    with pytest.raises(CoverageError, match=r"2023-01-21 06:00.*rows are missing"):
        ran(small_study(), lake)


def test_index_bars_stand_in_for_missing_mark_bars_and_the_runs_near_them_are_flagged(tmp_path: Path) -> None:
    lake, symbol = make_lake(tmp_path), "BTCUSDT"
    mark = Dataset("binance", "mark_price", symbol, "1h")
    frame = lake.read(mark)
    lake.drop(mark)
    keep = np.setdiff1d(np.arange(len(frame)), [HOLE, HOLE_AT_ENTRY])
    index = mark._replace(table="index_price")
    lake.merge([Piece(mark, frame.take(keep), Source("mark", "0")), Piece(index, frame, Source("index", "1"))])
    done = ran(small_study(market={"gaps": "mark-from-index"}), lake)
    assert not any(row["exit_reason"] == "refused" for row in done.rows)
    whole = ran(small_study(), make_lake(tmp_path / "whole"))
    for row, same in zip(done.rows, whole.rows, strict=True):  # the index here is the mark itself
        holes = [hour_ms(hole) for hole in (HOLE, HOLE_AT_ENTRY)]
        near = any(row["entry_ms"] - DAY_MS <= hole <= row["exit_ms"] for hole in holes)
        assert row == same | {"near_gap": near}
    assert index in {entry.dataset for entry in done.data.result.entries}


def test_runs_near_a_hole_are_flagged_and_an_entry_in_it_is_refused(tmp_path: Path) -> None:
    done = ran(small_study(market={"gaps": "flag"}), make_lake(tmp_path, [HOLE, HOLE_AT_ENTRY]))
    flags = set()
    for row in done.rows:
        last = row["entry_ms"] if row["exit_ms"] is None else row["exit_ms"]
        near = any(row["entry_ms"] - DAY_MS <= hour_ms(hole) <= last for hole in (HOLE, HOLE_AT_ENTRY))
        assert row["near_gap"] == near, row["run_id"]
        flags.add(near)
        assert (row["refusal"] == "gap") == (row["entry_ms"] == hour_ms(HOLE_AT_ENTRY))
    assert flags == {True, False}


# --- pairing and survival ------------------------------------------------------------------------------------------


def test_the_baselines_paired_hours_are_what_a_plain_sum_gives(small: Ran) -> None:
    tape = small.data.result.tape
    opens = dict(zip(tape.time_ms.tolist(), tape.mark_open_e8.tolist(), strict=True))
    shorter = 0
    for job in small.jobs:
        for row, hold in zip(small.of(job.strategy, job.reaction), small.of("hold"), strict=True):
            stop = min(row["exit_ms"], hold["exit_ms"])
            shorter += row["exit_ms"] < hold["exit_ms"]
            total = sum(opens[ms] for ms in range(row["entry_ms"], stop, HOUR_MS))
            expected = round(Fraction(hold["entry_qty_e8"] * total * 100, E8 * E8))
            assert row["baseline_notional_hours_paired_e2"] == expected
            if job.strategy.startswith(("smaller", "post")):
                own = round(Fraction(row["entry_qty_e8"] * total * 100, E8 * E8))
                assert row["notional_hours_paired_e2"] == own
    assert shorter > 0


def test_exactly_the_margin_to_survive_saves_a_run(small: Ran) -> None:
    survive = [row["margin_to_survive_e8"] for row in small.of("hold")]
    assert [value is not None for value in survive] == [row["liquidated"] for row in small.of("hold")]
    lost = np.array([place for place, value in enumerate(survive) if value is not None])
    extra = np.array([survive[place] for place in lost])
    for less, lives in ((0, True), (1, False)):
        entries = small.entries(small.job(HOLD))[lost]
        entries["posted_e8"] += extra - less
        entries["capital_e8"] += extra
        outcome = small.replay(small.job(HOLD), entries).outcomes
        assert set(outcome["liquidated"].tolist()) == {0 if lives else 1}


def test_totals_count_what_was_replayed(small: Ran) -> None:
    assert small.totals.runs == len(small.rows)
    at_open = sum((row["exit_ms"] - row["entry_ms"]) // HOUR_MS for row in small.rows)
    ended_at_the_data = sum(row["exit_reason"] == "data_end" for row in small.rows)
    assert small.totals.run_bars == at_open + len(small.rows) - ended_at_the_data
    assert 0 < small.totals.bars_visited < small.totals.run_bars


def test_two_symbols_are_separate_runs_and_only_their_own_donors(tmp_path: Path) -> None:
    lake = make_lake(tmp_path, symbols=("BTCUSDT", "ETHUSDT"))
    both = ran(small_study(market={"symbols": ["BTCUSDT", "ETHUSDT"]}), lake)
    alone = ran(small_study(), lake)
    assert [row for row in both.rows if row["symbol"] == "BTCUSDT"] == alone.rows
    for row in both.of("deleverage~shuffled"):
        assert row["seed_run_id"].split("/")[1] == row["symbol"]
