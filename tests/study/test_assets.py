"""Studies with valued assets: what is asked for, what is read, what is replayed, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import backtest as bt
from backtest import conductor
from backtest.data.manifest import Dataset, Source
from backtest.data.sources import synthetic
from backtest.data.store import Lake, Piece
from backtest.engine.pool.market import PoolMarket
from backtest.errors import CoverageError, RuleError, StudyError, UsageError
from backtest.pricing.rolled import Series
from backtest.study.archive import decisions
from backtest.study.assumptions import assumptions
from backtest.study.canonical import resolved, study_toml
from backtest.study.config import Study, parse_study
from backtest.study.pool_story import PoolStory
from backtest.study.priced import Volatility, make_asset
from backtest.study.rule_files import load_rules
from backtest.study.runner import load, study_jobs
from backtest.study.sensitivity import neighbour_tiers, sensitivity
from backtest.study.single_runs import run_money
from backtest.study.story import Ledger, hold_id, replayed_ledger
from backtest.study.telling import narrate, tell_run
from backtest.study.verify import verify_runs
from backtest.study.verify_pools import POOL
from backtest.study.what_if import parse_layer
from backtest.units import DAY_MS, E8, HOUR_MS

from .small import DAYS, SEED, SMALL, START, Ran, ran, small_study

MARK = Dataset("binance", "mark_price", "BTCUSDT", "1h")
COSTS = {"step": "0.00001", "fee_bps": 3, "slippage_bps": 100}
PUT = {"use": "asset", "asset": "PUT", "account": "core", "ratio": 0.9, "size_by": "capital", **COSTS}
OWN_PUT = {key: value for key, value in PUT.items() if key != "ratio"} | {"account": "own"}
BUY = {"name": "buy", "rules": [{"use": "buy_put", "premium_pct": 20}]}
SAVE = [{"use": "buy_put", "premium_pct": 20}, {"use": "put_to_margin", "worth_pct": 0}, {"use": "free_to_margin"}]
CROSS: dict[str, object] = {"margin_mode": "cross", "leverage": [20]}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Give a lake with puts: one that is rolled, one that begins on day 10 and expires on day 30."""
    made = Lake(Path(tmp_path_factory.mktemp("assets")))
    made.merge(synthetic.pieces(synthetic.generate(SEED, symbols=["BTCUSDT"], days=DAYS)))
    recent = Volatility(realised_ms=2 * DAY_MS)
    stop_ms = START + DAYS * DAY_MS
    rolled = Series("put", 1.0, 14 * DAY_MS, 7 * DAY_MS, contracts=100.0)
    make_asset(made, "PUT", MARK, rolled, recent, start_ms=START + 3 * DAY_MS, stop_ms=stop_ms)
    fixed = Series("put", 0.95, 20 * DAY_MS)
    make_asset(made, "PUT-20D", MARK, fixed, recent, start_ms=START + 10 * DAY_MS, stop_ms=stop_ms)
    return made


def study(layer: object = PUT, *, strategies: Any = (BUY,), **sections: dict[str, object]) -> Study:
    layers = layer if isinstance(layer, list) else [layer]
    return small_study(layer=layers, strategies=strategies, entries=CROSS | sections.pop("entries", {}), **sections)  # type: ignore[arg-type]


# --- what is asked for ---------------------------------------------------------------------------------------------


def without(*keys: str) -> dict[str, object]:
    return {key: value for key, value in PUT.items() if key not in keys}


@pytest.mark.parametrize(
    ("layer", "entries", "said"),
    [
        (without("asset"), {}, r"layer\[1\].asset: is missing"),
        (without("step"), {}, r"layer\[1\].step: is missing"),
        (without("fee_bps"), {}, r"layer\[1\].fee_bps: is missing"),
        (without("account"), {}, r"layer\[1\].account: is missing"),
        (PUT | {"asset": "a b"}, {}, r'layer\[1\].asset: is "a b", not the name of an asset; write it like "BTC-PUT'),
        (PUT | {"side": "up"}, {}, r'layer\[1\].side: is "up", which is none of the choices'),
        (PUT | {"settlement": "payed"}, {}, r'layer\[1\].settlement: is "payed".*did you mean "paid"'),
        (PUT | {"account": "mine"}, {}, r'layer\[1\].account: is "mine"'),
        (PUT | {"size_by": "capitol"}, {}, 'did you mean "capital"'),
        (PUT | {"step": 0}, {}, r"layer\[1\].step: is 0, out of range"),
        (PUT | {"step": "0.000000001"}, {}, "too many decimals"),
        (PUT | {"ratio": 1.1}, {}, r"layer\[1\].ratio: is 1.1, out of range"),
        (PUT | {"slippage_bps": -1}, {}, r"layer\[1\].slippage_bps: is -1, out of range"),
        (PUT | {"fee_bps": 10001}, {}, r"layer\[1\].fee_bps: is 10001, out of range"),
        (PUT | {"leverage": 5}, {}, r"layer\[1\].leverage: is not for a valued asset"),
        (PUT | {"symbol": "BTCUSDT"}, {}, r"layer\[1\].symbol: is not a key here"),
        (PUT | {"slipage_bps": 1}, {}, r'layer\[1\].slipage_bps: is not a key here; did you mean "slippage_bps"'),
        (PUT | {"side": "short"}, {}, r"layer\[1\].ratio: is for what is bought and paid, in the core's account"),
        (PUT | {"settlement": "margined"}, {}, r"layer\[1\].ratio: is for what is bought and paid"),
        (PUT | {"account": "own"}, {}, r"layer\[1\].ratio: is for what is bought and paid"),
        (PUT, {"margin_mode": "isolated"}, 'layer: puts an asset into the core.s account, which is isolated; set acc'),
        ([PUT, PUT | {"asset": "model/PUT"}], {}, "layer: names one asset twice"),
        ([PUT | {"asset": f"P{n}"} for n in range(5)], {}, "layer: names 5 valued assets; name at most 4"),
        (PUT | {"use": "assets"}, {}, r'layer\[1\].use: is "assets".*did you mean "asset"'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_asset_is_said(layer: object, entries: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        study(layer, entries=entries)


def test_a_core_that_settles_in_coin_holds_no_asset_in_quote() -> None:
    with pytest.raises(StudyError, match="puts an asset in quote into the account of a core that settles in coin"):
        study(market={"symbols": ["BTCUSD_PERP"]})


def test_a_market_that_is_drawn_anew_has_no_marks() -> None:
    with pytest.raises(StudyError, match=r"holds a valued asset.*; take out market.resample"):
        study(market={"resample": {"method": "bootstrap", "block": "7d"}})


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        study([PUT | {"side": 1, "step": "x"}, {"use": "opposite"}])
    places = [problem.where for problem in caught.value.problems]
    assert places == ["small: layer[1].side", "small: layer[1].step", "small: layer[2].leverage"]


def test_a_study_with_assets_reads_back_from_its_own_form(tmp_path: Path) -> None:
    written = OWN_PUT | {"asset": "model/CALL", "side": "short", "settlement": "margined", "size_by": "notional"}
    asked = study([written, {"use": "opposite", "leverage": 10}, PUT])
    assert parse_study(resolved(asked), "small") == asked
    file = tmp_path / "study.toml"
    file.write_text(study_toml(asked))
    assert bt.load_study(file) == asked
    assert asked.form.targets == ("opposite", "asset", "asset2")


def test_a_study_from_python_is_the_one_of_the_file() -> None:
    put = bt.asset("PUT", account="core", ratio=0.9, size_by="capital", **COSTS)  # type: ignore[arg-type]
    assert study(put) == study()
    future = bt.asset("VX", account="own", side="short", settlement="margined", **COSTS)  # type: ignore[arg-type]
    assert study(future).form.assets[0].size_by == "quantity"


def test_an_asset_is_typed_as_a_layer() -> None:
    typed = parse_layer("asset:model/PUT:account=own, step=0.01")
    assert typed == {"use": "asset", "asset": "model/PUT", "account": "own", "step": "0.01"}
    with pytest.raises(UsageError, match='"account" sets nothing; write it like --layer asset:BTC-PUT:account=own'):
        parse_layer("asset:PUT:account")


def test_a_rule_that_trades_an_asset_needs_one() -> None:
    with pytest.raises(RuleError, match=r'trades "asset", a hedge that is not there; add .* use = "asset", asset, acc'):
        study_jobs(study({"use": "opposite", "leverage": 5}), "small")


# --- what is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "market", "said"),
    [
        (PUT | {"asset": "PUTS"}, {}, r"layer\[1\].asset: .*: has no asset 'PUTS'; did you mean \"PUT\""),
        ([{"use": "opposite", "leverage": 5}, PUT | {"asset": "x/PUT"}], {}, r"layer\[2\].asset: .* no asset 'x/PUT'"),
        (PUT, {"interval": "2h"}, r"layer\[1\].asset: asset_marks PUT: has marks every 1h only.*replay bars of 1h"),
    ],
)
def test_an_asset_that_does_not_fit_is_refused(lake: Lake, layer: object, market: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        load(study(layer, market=market), lake)


def stored(lake: Lake, name: str, hours: list[int], price: float = 5.0) -> None:
    dataset = Dataset("model", "asset_marks", name, "1h")
    columns = [[START + hour * HOUR_MS for hour in hours], *[[price] * len(hours)] * 4, *[[0.0] * len(hours)] * 2]
    columns.append([START + (hour + 1) * HOUR_MS for hour in hours])
    frame = pa.table([pa.array(column) for column in columns], schema=dataset.schema.arrow())
    lake.merge([Piece(dataset, frame, Source("by hand", "0" * 64))], replace_rows=True)


def test_an_asset_that_is_called_like_a_contract_is_refused(lake: Lake) -> None:
    stored(lake, "BTCUSDT", [0, 1, 2])
    with pytest.raises(StudyError, match=r"layer\[1\].asset: is called BTCUSDT, as a contract of the runs is; import"):
        load(study(PUT | {"asset": "BTCUSDT"}), lake)


def test_holes_in_marks_are_refused_unless_they_are_to_be_flagged(lake: Lake) -> None:
    stored(lake, "HOLED", [0, 1, 2, 30, 31])
    with pytest.raises(CoverageError, match=r'rows are missing until 2023-01-02 05:00(.|\n)*1 hole in marks; .*"flag"'):
        load(study(PUT | {"asset": "HOLED"}), lake)
    (data,) = load(study(PUT | {"asset": "HOLED"}, market={"gaps": "flag"}), lake)
    assert data.assets[0].holes == ((START + 3 * HOUR_MS, START + 29 * HOUR_MS),)
    done = ran(study(PUT | {"asset": "HOLED"}, market={"gaps": "flag"}), lake)
    assert [row["near_gap"] for row in done.of("hold")[:4]] == [True, True, False, False]


def test_changed_marks_are_another_study(lake: Lake) -> None:
    stored(lake, "CHANGED", [0, 1, 2])
    asked = study(PUT | {"asset": "CHANGED"})
    jobs = study_jobs(asked, "small")
    before = decisions(asked, load(asked, lake), jobs)
    stored(lake, "CHANGED", [0, 1, 2], price=6.0)
    after = decisions(asked, load(asked, lake), jobs)
    assert [name for name in before if before[name] != after[name]] == ["data"]


def test_a_dry_run_lists_the_marks(lake: Lake) -> None:
    (row,) = conductor.dry_run(study(PUT | {"asset": "PUT-20D"}), lake.root, "small").assets
    assert row == {
        "table": "asset_marks",
        "symbol": "model PUT-20D",
        "first": "2023-01-11 00:00",
        "last": "2023-01-30 23:00",
        "rows": 480,
        "gaps": 0,
    }


def test_the_replay_has_an_asset_as_its_last_instrument(lake: Lake) -> None:
    (data,) = load(study([OWN_PUT, {"use": "opposite", "leverage": 20}]), lake)
    assert isinstance(data.market, PoolMarket)
    assert (data.market.asset_count, len(data.market.inverse)) == (1, 2)
    assert data.entries.names.symbols[-1] == "PUT"
    assert data.entries.rows["leg_step_e8"][0].tolist()[:5] == [100_000, 100_000, 0, 0, 1000]


# --- what is replayed ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bought(lake: Lake) -> Ran:
    return ran(study(), lake)


@pytest.fixture(scope="module")
def moved(lake: Lake) -> Ran:
    """Give runs whose put is in an account of its own, sold when the buffer is thin, and its money moved."""
    return ran(study(OWN_PUT, strategies=[{"name": "save", "rules": SAVE}]), lake)


def rows_of(done: Ran, row: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    tables = replayed_ledger(done.study, done.data, done.jobs, row)
    return {name: table.to_pylist() for name, table in tables.items()}


def acted(done: Ran, strategy: str) -> list[dict[str, Any]]:
    found = [row for row in done.of(strategy) if row["actions"]]
    assert len(found) >= 4
    return found


def test_the_premium_is_what_the_ledger_says(bought: Ran) -> None:
    for row in acted(bought, "buy"):
        premiums = [one for one in rows_of(bought, row)["transfers"] if one["kind"] == "premium"]
        paid = sum(one["amount_e8"] if one["debit"] == "margin" else -one["amount_e8"] for one in premiums)
        assert (len(premiums), row["premium_e8"]) == (2, paid)
        assert 0.195 <= premiums[0]["amount_e8"] / row["equity_start_e8"] <= 0.205


def test_fills_of_an_asset_bear_its_name_and_its_wallet_its_number(moved: Ran) -> None:
    row = next(row for row in acted(moved, "save") if row["actions"] == 3)
    rows = rows_of(moved, row)
    assert [(fill["symbol"], fill["rule"]) for fill in rows["fills"] if fill["cause"] == "rule"] == [
        ("PUT", "buy_put"),
        ("PUT", "put_to_margin"),
    ]
    own = [one for one in rows["transfers"] if "margin.asset" in (one["debit"], one["credit"])]
    assert [one["kind"] for one in own] == ["post", "premium", "fee", "premium", "fee", "release"]
    moved_in = [one for one in rows["transfers"] if one["rule"] == "free_to_margin"]
    assert [(one["kind"], one["amount_e8"]) for one in moved_in] == [("add_margin", own[-1]["amount_e8"])]


def test_a_put_whose_money_is_moved_saves_runs_that_hold_loses(moved: Ran) -> None:
    hold = {row["run_id"].split("/", 1)[1].rsplit("/", 1)[0]: row for row in moved.of("hold")}
    pairs = [(hold[row["run_id"].split("/", 1)[1].rsplit("/", 1)[0]], row) for row in moved.of("save", "intrabar")]
    assert any(base["liquidated"] and not row["liquidated"] and row["side"] == "long" for base, row in pairs)


def test_an_asset_is_bought_only_while_it_is_listed_and_settled_at_its_end(lake: Lake) -> None:
    done = ran(study(OWN_PUT | {"asset": "PUT-20D"}), lake)
    refused = [row for row in done.tables["actions"].to_pylist() if row["status"] == "not_listed"]
    listed_ms, end_ms = START + 10 * DAY_MS, START + 30 * DAY_MS
    assert refused
    assert all(row["time_ms"] < listed_ms or row["time_ms"] >= end_ms for row in refused)
    ended = [
        (row, rows)
        for row in acted(done, "buy")
        for rows in [rows_of(done, row)]
        if any(fill["cause"] == "expiry" for fill in rows["fills"])
    ]
    assert ended
    last = lake.read(Dataset("model", "asset_marks", "PUT-20D", "1h"))["close"][-1].as_py()
    for row, rows in ended:
        (fill,) = (fill for fill in rows["fills"] if fill["cause"] == "expiry")
        assert (fill["time_ms"], fill["price_e8"]) == (end_ms, round(last * E8))
        text = "\n".join(narrate(told(done, row)))
        assert "2023-01-31 00:00  a valued asset ends and is settled at its last close" in text


def test_what_is_certain_comes_with_opens_and_closes_alone(bought: Ran) -> None:
    held = [row for row in acted(bought, "buy") if row["liquidated"]]
    assert {row["certainty"] for row in held} <= {"certain", "possible"}
    assert {row["certainty"] for row in bought.of("hold") if row["liquidated"]} == {"certain"}


ROOM = {"name": "buy", "rules": [{"use": "post_once", "amount_pct": 40}, {"use": "buy_put", "premium_pct": 20}]}
FORMS: dict[str, dict[str, Any]] = {
    "bought": {},
    "own": {"layer": OWN_PUT, "strategies": [{"name": "save", "rules": SAVE}]},
    "written": {"layer": without("ratio") | {"side": "short"}, "strategies": [ROOM]},
    "margined, own": {
        "layer": OWN_PUT | {"side": "short", "settlement": "margined", "size_by": "notional"},
        "strategies": [{"name": "buy", "rules": [{"use": "buy_put", "premium_pct": 1}]}],
    },
    "margined": {"layer": without("ratio") | {"settlement": "margined"}, "strategies": [ROOM]},
    "expiring": {"layer": [OWN_PUT | {"asset": "PUT-20D"}, PUT], "entries": {"margin_mode": "cross"}},
    "isolated": {"layer": OWN_PUT, "entries": {"margin_mode": "isolated"}},
}


@pytest.mark.parametrize("form", FORMS)
def test_stored_runs_with_assets_agree_with_their_oracle(lake: Lake, form: str) -> None:
    done = ran(study(**FORMS[form]), lake)
    outcomes = done.tables["outcomes"]
    with_actions = [row for row in done.rows if row["actions"]][:12]
    assert len(with_actions) > 6
    sample = pa.Table.from_pylist([*with_actions, *done.rows[::29]], outcomes.schema)
    assert verify_runs(done.study, done.data, done.jobs, load_rules(), sample, twin=POOL) == {}


def test_another_tier_table_leaves_the_marks_alone(bought: Ran) -> None:
    assert list(sensitivity(bought.study, [bought.data], bought.jobs)) == [
        "opens and closes only",
        "previous tier table",
        "next tier table",
    ]
    stated = bought.data.market.segments["table"]
    moved = neighbour_tiers(bought.data, -1).market.segments["table"]
    assert (moved[:, 0] <= stated[:, 0]).all()
    assert (moved[:, 1] == stated[:, 1]).all()


# --- how it is told ------------------------------------------------------------------------------------------------


def told(done: Ran, row: dict[str, Any]) -> PoolStory:
    tables = replayed_ledger(done.study, done.data, done.jobs, row)
    hold = next(one for one in done.rows if one["run_id"] == hold_id(row["run_id"]))
    story = tell_run(done.study, done.data, row, Ledger.of(tables), hold)
    assert isinstance(story, PoolStory)
    return story


def test_a_liquidation_beside_a_put_is_told_number_by_number(bought: Ran) -> None:
    row = next(row for row in acted(bought, "buy") if row["liquidated"] and row["side"] == "short")
    story = told(bought, row)
    breach = story.first_breach
    assert breach is not None
    (leg,), (put,) = breach.legs, breach.assets
    assert (put.symbol, put.side, put.ratio_e8, put.maintenance_margin_e8) == ("PUT", 1, 9 * E8 // 10, 0)
    assert put.value_e8 == put.qty_e8 * put.mark_e8 * put.ratio_e8 // E8**2
    assert breach.equity_e8 == breach.wallet_e8 + leg.profit_e8 + put.value_e8 <= breach.maintenance_margin_e8
    text = "\n".join(narrate(story))
    assert "PUT bought and paid: worth " in text
    assert " × 0.9 that counts = " in text
    assert f"premium {row['premium_e8'] / E8:.8f}".rstrip("0") in text


@pytest.mark.parametrize(("form", "said"), [("written", "PUT written: to buy it back takes"),
                                            ("margined", "PUT bought on margin: profit ")])  # fmt: skip
def test_what_else_an_asset_can_be_is_told(lake: Lake, form: str, said: str) -> None:
    done = ran(study(**FORMS[form]), lake)
    lost = next(
        row
        for row in done.of("buy")
        if row["liquidated"] and row["actions"] and told(done, row).first_breach.assets  # type: ignore[union-attr]
    )
    breach = told(done, lost).first_breach
    assert breach is not None
    (asset,) = breach.assets
    assert asset.maintenance_margin_e8 == -(-asset.qty_e8 * asset.unit_maintenance_e8 // E8) > 0
    assert breach.maintenance_margin_e8 == sum(leg.maintenance_margin_e8 for leg in (*breach.legs, *breach.assets))
    text = "\n".join(narrate(told(done, lost)))
    assert said in text
    assert " a unit = " in text


@pytest.mark.parametrize("which", ["bought", "moved"])
def test_the_money_of_a_run_is_followed_to_its_end(which: str, request: pytest.FixtureRequest) -> None:
    done: Ran = request.getfixturevalue(which)
    for row in acted(done, done.study.strategies[0].name)[:8]:
        money = run_money(done.data, row, replayed_ledger(done.study, done.data, done.jobs, row))
        assert money.equity[-1] == row["equity_end_e8"] / E8


def test_the_assumptions_name_the_asset(lake: Lake, bought: Ran) -> None:
    said = dict(assumptions(bought.study, bought.tables["outcomes"]))["Valued asset"]
    assert said == (
        "PUT, bought where a rule does so, paid in full, in the core's account, 90 % of its value counts there; value "
        "and margins are the stored marks, slippage 100 bps and fee 3 bps of the value; settled at its last close when "
        "its marks end"
    )
    assert SMALL["study"]["capital"] == "10_000"
