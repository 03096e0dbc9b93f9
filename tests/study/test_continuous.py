"""Continuous accounts: each policy by a story that a calculator can check, and what must hold for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backtest.data.manifest import EVENT, Dataset, Source
from backtest.data.store import Lake, Piece
from backtest.errors import StudyError, UsageError
from backtest.schema import OUTCOMES
from backtest.study.account_runs import run_accounts
from backtest.study.accounts import ACCOUNT_TABLES, ACCOUNTS, LIQUIDATED, calendar_blocks
from backtest.study.canonical import study_json, study_toml
from backtest.study.chain import Link, next_link
from backtest.study.config import Study, load_study, parse_study
from backtest.study.continuous import require_separate
from backtest.study.runner import SymbolData, Totals, load, study_jobs
from backtest.units import DAY_MS, E8, HOUR_MS, time_ms

from .small import START, Tables, make_lake

# Price by hour: 20,000, then three steps. No fee, no slippage, no funding; a step down opens beyond bankruptcy, so that
# a 10x long loses its margin and no more.
STEPS = {0: 20_000.0, 36: 10_000.0, 84: 5_000.0, 108: 6_000.0}
DAYS = 8
FREE = {"taker_fee_bps": 0, "slippage_bps": 0, "liquidation_slippage_bps": 0, "clearance_fee_bps": 0}


def step_lake(root: Path, steps: dict[int, float], missing: Sequence[int] = (), start_ms: int = START) -> Lake:
    """Store a market whose price is the same until the hour of the next step; bars of `missing` hours are not there."""
    hours = np.setdiff1d(np.arange(DAYS * 24), missing)
    price = np.array([steps[max(hour for hour in steps if hour <= now)] for now in hours.tolist()])
    time = start_ms + hours * HOUR_MS
    stamps = start_ms + np.arange(DAYS * 3) * 8 * HOUR_MS
    columns: dict[str, dict[str, Any]] = {
        "klines": {"open_time_ms": time, **dict.fromkeys(("open", "high", "low", "close"), price)},
        "mark_price": {"open_time_ms": time, **dict.fromkeys(("open", "high", "low", "close"), price)},
        "funding_rate": {"funding_time_ms": stamps, "funding_rate": np.zeros(len(stamps))},
    }
    pieces = []
    for table, known in columns.items():
        dataset = Dataset("binance", table, "BTCUSDT", EVENT if table == "funding_rate" else "1h")
        first = known[dataset.schema.key[0]]
        known = {**known, "available_ms": first + (dataset.interval_ms or 0)}
        form = dataset.schema.arrow()
        arrays = [pa.array(known[f.name], f.type) if f.name in known else pa.nulls(len(first), f.type) for f in form]
        pieces.append(Piece(dataset, pa.table(arrays, schema=form), Source("steps", "0" * 64)))
    lake = Lake(root)
    lake.merge(pieces)
    return lake


def form(policy: str, **entries: object) -> dict[str, Any]:
    return {
        "study": {"name": "account", "capital": "10_000"},
        "market": {
            "venue": "binance", "symbols": ["BTCUSDT"], "interval": "1h", "start": "2023-01-01", "stop": "2023-01-09",
            "gaps": "flag",
        },
        "entries": {
            "every": "24h", "side": ["long"], "leverage": [10], "continuous": True, "on_liquidation": policy, **entries
        },
        "costs": FREE,
    }  # fmt: skip


@dataclass(frozen=True)
class Played:
    """A study of accounts that was run."""

    study: Study
    data: SymbolData
    tables: dict[str, pa.Table]
    totals: Totals

    def account(self, strategy: str, side: str = "long") -> dict[str, Any]:
        """Give the one account of a strategy, with its links."""
        rows = self.tables["accounts"].to_pylist()
        (row,) = (row for row in rows if row["strategy"] == strategy and row["side"] == side)
        return {**row, "runs": self.runs(row["account_id"]), "blocks": self.blocks(row["account_id"])}

    def runs(self, account_id: str) -> list[dict[str, Any]]:
        return [run for run in self.tables["outcomes"].to_pylist() if account_of(run["run_id"]) == account_id]

    def blocks(self, account_id: str) -> list[dict[str, Any]]:
        return [row for row in self.tables["account_blocks"].to_pylist() if row["account_id"] == account_id]


def account_of(run_id: str) -> str:
    """Take the entry time out of a run's name."""
    parts = run_id.split("/")
    return "/".join((*parts[:2], *parts[3:]))


def played(form: dict[str, Any], lake: Lake, workers: int = 1, **keys: Any) -> Played:
    study = parse_study({**form, **keys}, "account")
    loaded, jobs, sink = load(study, lake), study_jobs(study, "account"), Tables()
    accounts, totals = run_accounts(study, loaded, sink, jobs, "account", workers=workers)
    tables = {name: pa.concat_tables(parts) for name, parts in sink.parts.items()}
    return Played(study, loaded[0], tables | accounts, totals)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return step_lake(Path(tmp_path_factory.mktemp("steps")), STEPS)


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(Path(tmp_path_factory.mktemp("wild")))


WILD: dict[str, Any] = {
    "study": {"name": "wild", "capital": "10_000"},
    "market": {
        "venue": "binance", "symbols": ["BTCUSDT"], "interval": "1h", "start": "2023-01-01", "stop": "2023-03-02"
    },
    "strategy": [
        {"name": "deleverage", "rules": [{"use": "deleverage", "trigger": 0.5, "step": 0.25}]},
        {"name": "exit", "rules": [{"use": "exit", "trigger": 0.25}]},
    ],
}  # fmt: skip


def wild_form(policy: str) -> dict[str, Any]:
    entries = {"every": "24h", "leverage": [5, 20, 50], "continuous": True, "on_liquidation": policy}
    return {**WILD, "entries": entries}


def equities(account: dict[str, Any], column: str) -> list[float]:
    return [run[column] / E8 for run in account["runs"]]


# --- the policies, by hand -----------------------------------------------------------------------------------------


def test_stop_ends_the_account_at_its_first_liquidation(steps: Lake) -> None:
    hold = played(form("stop"), steps).account("hold")
    assert equities(hold, "equity_end_e8") == [5_000]  # 5,000 posted and lost, 5,000 in reserve
    assert (hold["links"], hold["liquidated"], hold["refills"], hold["end"]) == (1, 1, 0, "stopped")
    assert hold["equity_end_e8"] == 5_000 * E8
    assert (hold["market_minutes"], hold["span_minutes"]) == (36 * 60, DAYS * 24 * 60)


def test_continue_opens_again_with_what_is_left(steps: Lake) -> None:
    hold = played(form("continue"), steps).account("hold")
    assert equities(hold, "equity_start_e8") == [10_000, 5_000, 2_500]
    assert [run["entry_ms"] for run in hold["runs"]] == [START, START + 2 * DAY_MS, START + 4 * DAY_MS]
    assert [run["entry_qty_e8"] / E8 for run in hold["runs"]] == [2.5, 2.5, 2.5]  # half the margin at half the price
    assert equities(hold, "equity_end_e8") == [5_000, 2_500, 5_000]  # 2.5 coins rise by 1,000
    assert (hold["links"], hold["liquidated"], hold["refills"], hold["end"]) == (3, 2, 0, "open")
    assert hold["market_minutes"] == (36 + 36 + 96) * 60


def test_refill_opens_again_with_the_capital_of_the_study(steps: Lake) -> None:
    hold = played(form("refill"), steps).account("hold")
    assert equities(hold, "equity_start_e8") == [10_000, 10_000, 10_000]
    assert [run["entry_qty_e8"] / E8 for run in hold["runs"]] == [2.5, 5, 10]
    assert equities(hold, "equity_end_e8") == [5_000, 5_000, 20_000]
    assert (hold["links"], hold["liquidated"], hold["refills"], hold["refill_e8"]) == (3, 2, 2, 10_000 * E8)


def test_an_account_that_is_never_liquidated_is_one_run_to_the_end_of_the_data(steps: Lake) -> None:
    hold = played(form("continue", side=["long", "short"]), steps).account("hold", "short")
    assert [run["exit_reason"] for run in hold["runs"]] == ["data_end"]
    assert hold["equity_end_e8"] == (10_000 + 35_000) * E8  # 2.5 coins from 20,000 to 6,000
    assert hold["market_minutes"] == hold["span_minutes"] == DAYS * 24 * 60


def test_a_position_that_a_rule_closed_opens_again_with_what_the_account_has(tmp_path: Path) -> None:
    lake = step_lake(tmp_path, {0: 20_000.0, 36: 19_000.0, 60: 20_000.0})
    leave = {"name": "leave", "rules": [{"use": "exit", "trigger": 0.6}]}
    accounts = {policy: played(form(policy), lake, strategy=[leave]) for policy in ("stop", "refill", "continue")}
    for account in accounts.values():
        rows = [row for row in account.tables["accounts"].to_pylist() if row["strategy"] == "leave"]
        assert [row["reaction"] for row in rows] == ["intrabar", "next_open"]
        runs = account.runs(rows[0]["account_id"])
        assert [run["exit_reason"] for run in runs] == ["closed", "data_end"]
        assert runs[0]["equity_end_e8"] == runs[1]["equity_start_e8"] == 7_500 * E8  # 2.5 coins fell by 1,000
        assert runs[1]["entry_qty_e8"] == 197_300_000  # 3,750 x 10 / 19,000, in whole steps of 0.001
        assert rows[0]["equity_end_e8"] == 7_500 * E8 + 1_973 * E8
        assert rows[0]["refills"] == 0


def test_an_account_ends_when_what_is_left_is_too_little_for_the_venue(tmp_path: Path) -> None:
    lake = step_lake(tmp_path, {0: 20_000.0, 36: 10_000.0})
    shape = {**form("continue", margin_share=1), "study": {"name": "account", "capital": "10_000"}}
    hold = played(shape, lake).account("hold")
    assert [run["exit_reason"] for run in hold["runs"]] == ["liquidated", "refused"]
    assert (hold["links"], hold["end"], hold["refusal"], hold["equity_end_e8"]) == (1, "refused", "below_step", 0)


def test_an_entry_time_without_a_bar_is_waited_out(tmp_path: Path) -> None:
    lake = step_lake(tmp_path, {0: 20_000.0, 36: 10_000.0}, missing=[48])
    hold = played(form("refill"), lake).account("hold")
    assert [run["exit_reason"] for run in hold["runs"]] == ["liquidated", "refused", "data_end"]
    assert (hold["links"], hold["refills"], hold["refill_e8"]) == (2, 1, 5_000 * E8)
    assert hold["runs"][2]["equity_start_e8"] == 10_000 * E8


def test_an_account_without_a_later_entry_time_waits(tmp_path: Path) -> None:
    hold = played(form("continue"), step_lake(tmp_path, {0: 20_000.0, 180: 10_000.0})).account("hold")
    assert (hold["links"], hold["end"], hold["equity_end_e8"]) == (1, "waiting", 5_000 * E8)


def test_a_refill_never_takes_capital_away() -> None:
    """An account that holds more than the study's capital after a liquidation goes on with all of it."""
    study = parse_study(form("refill"), "account")
    places, entry_ms = np.arange(3), START + np.arange(3) * DAY_MS
    for left, following in ((4_000, Link(0, 2, 10_000 * E8, 6_000 * E8)), (12_000, Link(0, 2, 12_000 * E8))):
        outcome = {"reason": LIQUIDATED, "equity_end_e8": left * E8, "exit_ms": START + DAY_MS}
        assert next_link(study, Link(0, 0, 10_000 * E8), outcome, entry_ms, places) == following


# --- what must hold ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["stop", "refill", "continue"])
def test_money_is_conserved_from_link_to_link(policy: str, wild: Lake) -> None:
    """What was paid in and what each position gained or lost is what is there at the end."""
    account_rows = played(wild_form(policy), wild)
    assert sum(row["liquidated"] for row in account_rows.tables["accounts"].to_pylist()) >= 15
    for row in account_rows.tables["accounts"].to_pylist():
        runs = account_rows.runs(row["account_id"])
        gains = sum(run["equity_end_e8"] - run["equity_start_e8"] for run in runs)
        assert row["capital_e8"] + row["refill_e8"] + gains == row["equity_end_e8"]
        for before, after in pairwise(runs):
            assert after["entry_ms"] > (before["exit_ms"] or before["entry_ms"])
            paid_in = after["equity_start_e8"] - before["equity_end_e8"]
            refilled = policy == "refill" and before["exit_reason"] == "liquidated"
            assert paid_in == (max(row["capital_e8"] - before["equity_end_e8"], 0) if refilled else 0)


def test_blocks_add_up_to_the_account_and_end_where_it_ends(wild: Lake) -> None:
    account_rows = played({**wild_form("refill"), "study": WILD["study"]}, wild)
    for row in account_rows.tables["accounts"].to_pylist():
        blocks = account_rows.blocks(row["account_id"])
        for count in ("links", "liquidated", "refills", "refill_e8", "market_minutes", "span_minutes"):
            assert sum(block[count] for block in blocks) == row[count], count
        assert blocks[-1]["equity_e8"] == row["equity_end_e8"]


def test_the_equity_at_the_end_of_a_block_is_that_of_the_open_position(tmp_path: Path) -> None:
    """A long of 2.5 coins at 20,000 is open over the turn of the year, at 21,000 then and 22,000 at the end."""
    lake = step_lake(tmp_path, {0: 20_000.0, 71: 21_000.0, 100: 22_000.0}, start_ms=time_ms("2022-12-29"))
    shape = form("continue", block="quarter")
    shape["market"]["start"] = "2022-12-29"
    hold = played(shape, lake).account("hold")
    assert [(block["block"], block["equity_e8"] / E8) for block in hold["blocks"]] == [
        ("2022-Q4", 12_500.0),
        ("2023-Q1", 15_000.0),
    ]


def test_legs_that_nothing_trades_change_no_account(tmp_path: Path) -> None:
    """The replay of several legs, given one that stays closed, tells of the same accounts in the same blocks."""
    lake = step_lake(tmp_path, {0: 20_000.0, 60: 10_000.0, 71: 11_000.0, 100: 12_000.0}, start_ms=time_ms("2022-12-29"))
    shape = form("refill", block="quarter", side=["long", "short"])
    shape["market"]["start"] = "2022-12-29"
    one, several = (played(shape, lake, layer=legs) for legs in ([], [{"use": "opposite", "leverage": 10}]))
    assert (one.data.pool, several.data.pool is not None) == (None, True)
    assert [row["equity_e8"] / E8 for row in one.account("hold")["blocks"]] == [5_000.0, 14_545.0]
    for side in ("long", "short"):
        ours, theirs = (run.account("hold", side) for run in (one, several))
        assert {key: ours[key] for key in ACCOUNTS.names} == {key: theirs[key] for key in ACCOUNTS.names}
        assert ours["blocks"] == theirs["blocks"]


def test_a_basket_is_one_account(tmp_path: Path) -> None:
    symbols = ("BTCUSDT", "ETHUSDT")
    shape = wild_form("continue")
    shape["market"] = {**shape["market"], "symbols": list(symbols)}
    shape["entries"] = {**shape["entries"], "basket": True, "margin_mode": "cross"}
    account_rows = played(shape, make_lake(tmp_path, symbols=symbols))
    hold = [row for row in account_rows.tables["accounts"].to_pylist() if row["strategy"] == "hold"]
    assert {row["symbol"] for row in hold} == {"basket"}
    assert sum(row["liquidated"] for row in hold) >= 4
    for row in hold:
        runs = account_rows.runs(row["account_id"])
        assert (
            row["equity_end_e8"] == runs[-1]["equity_end_e8"] == account_rows.blocks(row["account_id"])[-1]["equity_e8"]
        )
        for before, after in pairwise(runs):
            assert after["equity_start_e8"] == before["equity_end_e8"]


def test_calendar_blocks_are_cut_at_the_end_of_the_data() -> None:
    start, end = time_ms("2021-11-15"), time_ms("2022-02-01")
    assert calendar_blocks(start, end, "year") == {
        "2021": (time_ms("2021-01-01"), time_ms("2022-01-01")),
        "2022": (time_ms("2022-01-01"), end),
    }
    assert list(calendar_blocks(start, end, "quarter")) == ["2021-Q4", "2022-Q1"]


def test_any_number_of_workers_leaves_the_same_tables(wild: Lake) -> None:
    one, four = (played(wild_form("continue"), wild, workers) for workers in (1, 4))
    assert one.tables == four.tables
    assert one.totals.runs == four.totals.runs == len(one.tables["outcomes"])


def test_tables_have_their_schemas_and_unique_keys(wild: Lake) -> None:
    account_rows = played(wild_form("continue"), wild)
    for table in (OUTCOMES, *ACCOUNT_TABLES.values()):
        rows = account_rows.tables[table.name]
        assert rows.schema == table.arrow()
        assert len(rows.select(list(table.key)).group_by(list(table.key)).aggregate([])) == len(rows)


def test_there_are_the_usual_controls_and_no_shuffled_twins(wild: Lake) -> None:
    accounts = played(wild_form("continue"), wild).tables["accounts"].to_pylist()
    names = list(dict.fromkeys(row["strategy"] for row in accounts))
    assert names == ["hold", "post-all", "smaller-75", "smaller-50", "smaller-25", "deleverage", "exit"]
    assert all(row["capital_e8"] == 10_000 * E8 for row in accounts)
    assert len(accounts) == 6 * (5 + 2 * 2)


# --- what a study may say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"on_liquidation": "refil"}, 'entries.on_liquidation: is "refil", which is none of the choices; did you mean'),
        ({"horizon": "30d"}, "entries.horizon: is for separate positions: an account lives to the end of the data"),
        ({"block": "month"}, 'entries.block: is "month", which is none of the choices'),
        ({"continuous": "yes"}, 'entries.continuous: is "yes", neither true nor false'),
        ({"list": ["2023-01-02 BTCUSDT long 10"]}, "entries.list: is for separate positions: an account opens by"),
    ],
)
def test_a_wrong_key_is_one_line_with_its_place(entries: dict[str, object], what: str) -> None:
    with pytest.raises(StudyError) as refused:
        parse_study(form("refill", **entries), "account")
    assert any(str(problem).startswith(f"account: {what}") for problem in refused.value.problems)


def test_keys_of_accounts_are_refused_without_them() -> None:
    shape = form("refill", horizon="10d")
    del shape["entries"]["continuous"]
    with pytest.raises(StudyError) as refused:
        parse_study(shape, "account")
    assert [str(problem) for problem in refused.value.problems] == [
        "account: entries.on_liquidation: is for continuous accounts; write continuous = true, or take it out"
    ]


def test_what_a_liquidation_does_must_be_said() -> None:
    shape = form("refill")
    del shape["entries"]["on_liquidation"]
    with pytest.raises(StudyError, match=r"entries\.on_liquidation: is missing"):
        parse_study(shape, "account")


def test_the_canonical_form_reads_back(tmp_path: Path) -> None:
    study = parse_study(form("refill", block="quarter"), "account")
    (tmp_path / "study.toml").write_text(study_toml(study))
    assert load_study(tmp_path) == study
    assert study_json(study) != study_json(parse_study(form("continue", block="quarter"), "account"))


def test_a_study_whose_every_account_is_refused_is_an_error(steps: Lake) -> None:
    shape = {**form("refill"), "study": {"name": "account", "capital": "1"}}
    with pytest.raises(StudyError, match="account: entries: every entry was refused"):
        played(shape, steps)


def test_commands_that_compare_separate_positions_refuse_accounts() -> None:
    with pytest.raises(UsageError, match="lookahead compares separate positions"):
        require_separate(parse_study(form("stop"), "account"), "lookahead")
