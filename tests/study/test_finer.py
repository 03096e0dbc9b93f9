"""Studies whose hours are quarters of an hour where these are stored: what that changes, and what it must not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from backtest.analysis.money import account
from backtest.cli import run as command
from backtest.data.detect import Prices, aggregate
from backtest.data.manifest import Source
from backtest.data.sources import synthetic
from backtest.data.store import Lake, Piece
from backtest.errors import CoverageError, StudyError
from backtest.study.account_runs import run_accounts
from backtest.study.canonical import resolved, study_json, study_toml
from backtest.study.config import Study, load_study, parse_study
from backtest.study.evidence import finer as replaced
from backtest.study.evidence import volatility
from backtest.study.lookahead import lookahead
from backtest.study.rule_files import load_rules
from backtest.study.runner import load, study_jobs
from backtest.study.single_runs import SingleRuns
from backtest.study.verify import verify_runs
from backtest.study.verify_pools import POOL
from backtest.units import DAY_MS, HOUR_MS, MINUTE_MS

from .small import START, STRATEGIES, Ran, Tables, ran, small_study

QUARTER_MS = 15 * MINUTE_MS
CONTROLS = ("hold", "post-all", "smaller-75", "smaller-50", "smaller-25")
FIRST_MS, STOP_MS = START + 10 * DAY_MS, START + 50 * DAY_MS  # where quarters are stored
HOLE_MS = START + 30 * DAY_MS + 5 * HOUR_MS  # an hour of which one is missing
SIGNALLED = {"name": "cut", "rules": [{"use": "macd_cut"}]}
ENTRIES: dict[str, object] = {"every": "24h", "side": ["long", "short"], "leverage": [5, 20], "horizon": "10d"}


def hours_of(piece: Piece) -> Piece:
    """Join a piece's quarters to hours."""
    table = piece.frame
    prices = Prices(*(table[name].to_numpy() for name in Prices._fields))
    open_ms, joined, _ = aggregate(table["open_time_ms"].to_numpy(), prices, HOUR_MS, 4)
    known = {"open_time_ms": open_ms, **joined._asdict(), "available_ms": open_ms + HOUR_MS}
    form = piece.dataset.schema.arrow()
    columns = [pa.array(known[f.name], f.type) if f.name in known else pa.nulls(len(open_ms), f.type) for f in form]
    return Piece(piece.dataset._replace(interval="1h"), pa.table(columns, schema=form), Source("hours", "0" * 64))


def store(root: Path, symbols: tuple[str, ...] = ("BTCUSDT",)) -> Lake:
    """Store sixty days of a wild market by the hour, and forty of them by the quarter, too; of ETH thirty."""
    lake = Lake(root)
    model = synthetic.BENCH
    made = synthetic.generate(3, symbols=symbols, interval_ms=QUARTER_MS, days=60, model=model)
    pieces = []
    for piece in synthetic.pieces(made):
        if piece.dataset.interval != "15m":
            pieces.append(piece)
            continue
        opens = pc.field("open_time_ms")
        stop_ms = STOP_MS - (10 * DAY_MS if piece.dataset.symbol == "ETHUSDT" else 0)
        stored = (opens >= FIRST_MS) & (opens < stop_ms) & (opens != HOLE_MS + QUARTER_MS)
        pieces += [hours_of(piece), Piece(piece.dataset, piece.frame.filter(stored), piece.source)]
    lake.merge(pieces)
    return lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return store(tmp_path_factory.mktemp("mixed"))


def study_of(*finer: str, **sections: dict[str, object]) -> Study:
    market = {"finer": list(finer)} if finer else {}
    return small_study(strategies=[*STRATEGIES, SIGNALLED], market=market, entries=ENTRIES, **sections)


@pytest.fixture(scope="module")
def coarse(lake: Lake) -> Ran:
    return ran(study_of(), lake)


@pytest.fixture(scope="module")
def fine(lake: Lake) -> Ran:
    return ran(study_of("15m"), lake)


# --- what is replaced ----------------------------------------------------------------------------------------------


def test_the_tape_is_mixed_and_the_report_says_how(fine: Ran, coarse: Ran) -> None:
    lengths = fine.data.closes_ms - fine.data.times_ms
    assert np.unique(lengths).tolist() == [QUARTER_MS, HOUR_MS]
    assert replaced([coarse.data]) == []
    (said,) = replaced([fine.data])
    assert said == {
        "symbol": "BTCUSDT",
        "finer": "15m",
        "bars": 60 * 24,
        "replaced": 40 * 24 - 1,
        "from": "2023-01-11 00:00",
        "to": "2023-02-19 23:00",
        "rows missing": 20 * 24 + 1,
        "disagree": 0,
        "of other legs": 0,
    }


def test_entries_are_the_same_and_where_nothing_acts_the_same_runs_die_in_the_same_hour(fine: Ran, coarse: Ran) -> None:
    assert fine.data.entries.labels == coarse.data.entries.labels
    dead = 0
    for name in CONTROLS:
        for ours, theirs in zip(fine.of(name), coarse.of(name), strict=True):
            assert (ours["run_id"], ours["liquidated"]) == (theirs["run_id"], theirs["liquidated"])
            assert ours["exit_ms"] // HOUR_MS == theirs["exit_ms"] // HOUR_MS
            if not ours["liquidated"]:
                assert (ours["equity_end_e8"], ours["near_gap"]) == (theirs["equity_end_e8"], False)
            dead += ours["liquidated"]
    assert dead > 100


def test_a_bot_that_waits_less_is_late_less_often(fine: Ran, coarse: Ran) -> None:
    def lost(found: Ran, reaction: str) -> int:
        return sum(row["liquidated"] for row in found.of("exit", reaction))

    assert lost(fine, "next_open") < lost(coarse, "next_open")
    assert lost(fine, "intrabar") == lost(coarse, "intrabar") == 0


# --- what must not change ------------------------------------------------------------------------------------------


def test_signals_and_volatility_are_those_of_the_hours(fine: Ran, coarse: Ran) -> None:
    names = {name for job in fine.jobs for name in job.rules.signals}
    assert names
    for name in names:
        ours, theirs = (found.data.outside.signal(name) for found in (fine, coarse))
        assert np.array_equal(ours.available_ms, theirs.available_ms)
        assert np.array_equal(ours.value, theirs.value, equal_nan=True)
    assert volatility([fine.data]).equals(volatility([coarse.data]))
    assert volatility([fine.data])["volatility_pct"].null_count < 5


def test_twins_act_as_long_after_their_entry_as_their_donors(fine: Ran) -> None:
    """At the first open from then on: after as many bars would be at another time where bars differ in length."""
    entered = {row["run_id"]: row["entry_ms"] for row in fine.rows}
    donor_of = {row["run_id"]: row["seed_run_id"] for row in fine.rows if row["seed_run_id"]}
    acted: dict[str, list[dict[str, Any]]] = {}
    for row in fine.tables["actions"].to_pylist():
        if row["status"] == "done":
            acted.setdefault(row["run_id"], []).append(row)
    times, compared, apart = fine.data.times_ms, 0, 0
    for twin, donor in donor_of.items():
        for row, copied in zip(acted.get(twin, []), acted.get(donor, []), strict=False):
            due_ms = entered[twin] + copied["time_ms"] - entered[donor]
            assert row["time_ms"] == times[np.searchsorted(times, due_ms)]
            compared += 1
            apart += row["bars"] != copied["bars"]
    assert compared > 50
    assert apart > 10


def test_runs_on_mixed_tapes_agree_with_the_oracle_twins_included(fine: Ran) -> None:
    outcomes = fine.tables["outcomes"]
    stored = outcomes.take(pa.array(range(0, len(outcomes), 41)))
    assert set(stored["strategy"].to_pylist()) == {job.strategy for job in fine.jobs}
    assert verify_runs(fine.study, fine.data, fine.jobs, load_rules(), stored) == {}


def test_no_future_is_seen(lake: Lake) -> None:
    study = study_of("15m")
    seen = lookahead(study, lake, study_jobs(study, "small"))
    assert seen.changed == ()
    assert seen.rows > 300


def test_equity_goes_bar_by_bar_and_returns_hour_by_hour(fine: Ran, coarse: Ran) -> None:
    """What vectorbt is told of a run that nothing touches is the same with finer bars and without."""
    told = []
    for found in (fine, coarse):
        runs = SingleRuns(found.study, [found.data], found.jobs, found.tables["outcomes"])
        quiet = [row["run_id"] for row in found.of("smaller-25") if row["leverage"] == 5 and not row["liquidated"]][:3]
        told.append(runs.money(quiet))
    for ours, theirs in zip(*told, strict=True):
        assert np.array_equal(ours.time_ms, theirs.time_ms)
        assert np.array_equal(ours.equity, theirs.equity)
        assert np.array_equal(ours.coin[:-1], theirs.coin[:-1])  # the last is of the bar in which the run ended
    assert account(told[0]) is not None


def test_continuous_accounts_take_finer_bars_too(lake: Lake) -> None:
    entries = {"every": "24h", "side": "long", "leverage": 20, "continuous": True, "on_liquidation": "refill"}
    found = {}
    for finer in ((), ("15m",)):
        study = parse_study(
            {
                "study": {"name": "accounts", "capital": "10_000"},
                "market": {
                    "venue": "binance",
                    "symbols": "BTCUSDT",
                    "interval": "1h",
                    "start": "2023-01-01",
                    "stop": "2023-03-02",
                    **({"finer": list(finer)} if finer else {}),
                },
                "entries": entries,
            },
            "accounts",
        )
        tables, _ = run_accounts(study, load(study, lake), Tables(), study_jobs(study, "accounts"), "accounts")
        found[finer] = tables["accounts"].to_pylist()
    assert [row["liquidated"] for row in found["15m",]] == [row["liquidated"] for row in found[()]]
    assert any(row["liquidated"] for row in found[()])


# --- the study's text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "told"),
    [
        ({"finer": "2h"}, "holds 2h, which is no part of 1h"),
        ({"finer": "1h"}, "holds 1h, which is no part of 1h"),
        ({"finer": "45m"}, "which does not divide a day|no part of 1h"),
        ({"finer": "7m"}, "does not divide a day"),
        ({"finer": ["5m", "15m"]}, "holds 15m, which is no part of 5m"),
        ({"finer": ["15m", "10m"]}, "holds 10m, which is no part of 15m"),
        ({"finer": "15m", "resample": {"method": "bootstrap", "block": "7d"}}, "does not go with resample"),
        ({"last_for_mark": True, "resample": {"method": "bootstrap", "block": "7d"}}, "does not go with resample"),
        ({"last_for_mark": "yes"}, "neither true nor false"),
        ({"finner": "15m"}, 'did you mean "finer"'),
    ],
)
def test_finer_bars_that_cannot_be_are_refused(market: dict[str, object], told: str) -> None:
    with pytest.raises(StudyError, match=told):
        small_study(market=market)


def test_finer_bars_are_part_of_what_a_study_is(tmp_path: Path) -> None:
    plain, study = study_of(), study_of("15m", "5m")
    assert "finer" not in json.loads(study_json(plain))["market"]
    assert resolved(study)["market"]["finer"] == ["15m", "5m"]  # type: ignore[index]
    file = tmp_path / "study.toml"
    file.write_text(study_toml(study))
    assert load_study(file) == study
    assert study_json(load_study(file)) != study_json(plain)
    stand_in = small_study(market={"last_for_mark": True})
    assert resolved(stand_in)["market"]["last_for_mark"] is True  # type: ignore[index]


# --- several legs --------------------------------------------------------------------------------------------------

PUT = {"use": "asset", "asset": "PUT", "account": "own", "step": "0.01", "fee_bps": 3, "slippage_bps": 50}


@pytest.mark.parametrize(
    ("finer", "layer"), [(["15m", "5m"], {"use": "opposite", "leverage": 10}), (["15m"], PUT)], ids=["lengths", "asset"]
)
def test_runs_with_several_legs_take_one_length_and_no_assets(
    lake: Lake, finer: list[str], layer: dict[str, object]
) -> None:
    study = study_of(*finer, layer=[layer])  # type: ignore[arg-type]
    with pytest.raises(StudyError, match=r"market\.finer: is taken in one length"):
        load(study, lake)


def test_legs_take_finer_bars_where_all_of_them_have_them(tmp_path: Path) -> None:
    """ETH is stored by the quarter for ten days less: there BTC stays in hours, too; and the oracle agrees."""
    lake = store(tmp_path, ("BTCUSDT", "ETHUSDT"))
    market = {"symbols": ["BTCUSDT", "ETHUSDT"], "finer": "15m"}
    entries = {"basket": True, "margin_mode": "cross", "leverage": [20], "side": ["long", "short"], "every": "48h"}
    layer = [{"use": "opposite", "leverage": 20}]
    study = small_study(market=market, entries=entries, layer=layer)  # type: ignore[arg-type]
    done = ran(study, lake)
    said = {str(row["symbol"]): row for row in replaced([done.data])}
    assert [row["replaced"] for row in said.values()] == [30 * 24 - 1] * 2
    assert [row["of other legs"] for row in said.values()] == [10 * 24, 0]
    lengths = done.data.closes_ms - done.data.times_ms
    assert np.unique(lengths).tolist() == [QUARTER_MS, HOUR_MS]
    assert int(lengths.sum()) == 60 * DAY_MS
    outcomes = done.tables["outcomes"]
    stored = outcomes.take(pa.array(range(0, len(outcomes), 19)))
    assert sum(stored["liquidated"].to_pylist()) > 3
    assert verify_runs(done.study, done.data, done.jobs, load_rules(), stored, twin=POOL) == {}


# --- last prices for mark ------------------------------------------------------------------------------------------


def test_last_prices_stand_in_for_mark_where_the_study_says_so(lake: Lake, tmp_path: Path) -> None:
    """A lake without marks by the quarter: hours stay hours, unless last prices are taken for mark everywhere."""
    bare = Lake(tmp_path / "bare")
    pieces = [
        Piece(one, lake.read(one), Source("copied", "0" * 64))
        for one in lake.datasets()
        if (one.table, one.interval) != ("mark_price", "15m")
    ]
    bare.merge(pieces)
    (said,) = load(study_of("15m"), bare)[0].result.refined
    assert (said.replaced, said.missing) == (0, said.bars)
    study = small_study(market={"finer": "15m", "last_for_mark": True})
    (data,) = load(study, bare)
    assert data.result.refined[0].replaced == 40 * 24 - 1
    assert {entry.dataset.table for entry in data.result.entries} == {"klines", "funding_rate"}
    tape = data.result.tape
    assert np.array_equal(tape.mark_open_e8, tape.trade_open_e8)
    nothing = Lake(tmp_path / "nothing")
    nothing.merge([one for one in pieces if one.dataset.table != "mark_price"])
    with pytest.raises(CoverageError):
        load(small_study(), nothing)
    assert len(load(small_study(market={"last_for_mark": True}), nothing)[0].times_ms) == 60 * 24


# --- commands ------------------------------------------------------------------------------------------------------


def test_the_commands_say_what_was_replaced_and_how_long_a_bar_is(
    lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study(
        strategies=STRATEGIES[-1:],
        market={"finer": "15m", "last_for_mark": True},
        entries={"every": "120h", "side": ["long"], "leverage": [20], "horizon": "10d"},
    )
    file = tmp_path / "study.toml"
    file.write_text(study_toml(study))
    here = ["--lake", str(lake.root)]
    assert command(["compare", str(file), "--dry-run", *here]) == 0
    told = capsys.readouterr().out
    assert "959" in told
    assert "rows missing" in told
    assert "LAST FOR MARK" in told
    assert command(["compare", str(file), "--dry-run", "--json", *here]) == 0
    assert json.loads(capsys.readouterr().out)["finer"][0]["replaced"] == 959
    assert command(["compare", str(file), *here]) == 0
    assert "LAST FOR MARK" in capsys.readouterr().out
    page = (tmp_path / "report.md").read_text()
    assert "stored bars of 15m are replayed in place of those that they fill" in page
    assert "| 15m |" in page
    assert command(["verify", str(tmp_path), *here]) == 0
    capsys.readouterr()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["study"]["market"]["finer"] == ["15m"]
    outcomes = pa.parquet.read_table(tmp_path / "outcomes.parquet")
    dead = outcomes.filter(pc.field("liquidated") & (pc.field("strategy") == "hold")).to_pylist()
    inside = [row for row in dead if FIRST_MS <= row["liquidation_ms"] < STOP_MS]
    assert inside
    assert command(["explain", str(tmp_path), inside[0]["run_id"], *here]) == 0
    assert ", 15m long: open" in capsys.readouterr().out


def test_what_if_takes_them(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    position = ["what-if", "--symbol", "BTCUSDT", "--side", "long", "--leverage", "20", "--on", "2023-01-20"]
    assert command([*position, "--horizon", "20d", "--finer", "15m", "--lake", str(lake.root)]) == 0
    assert "15m long" in capsys.readouterr().out
