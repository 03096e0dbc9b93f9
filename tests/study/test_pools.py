"""Studies with several legs: a basket in one account, hedges beside the core, coin contracts and collateral."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from backtest.data.sources import synthetic
from backtest.data.store import Lake
from backtest.engine.pool.market import PoolMarket
from backtest.errors import StudyError
from backtest.study.canonical import resolved, study_toml
from backtest.study.config import Study, parse_study
from backtest.study.naming import HOLD
from backtest.study.pool_story import PoolStory
from backtest.study.rule_files import load_rules
from backtest.study.runner import load_symbol, run, study_jobs
from backtest.study.sensitivity import sensitivity
from backtest.study.single_runs import run_money
from backtest.study.story import Ledger, hold_id, replayed_ledger
from backtest.study.telling import bars, narrate, tell_run
from backtest.study.verify import verify_runs
from backtest.study.verify_pools import POOL
from backtest.units import E8, HOUR_MS

from .small import DAYS, SEED, STRATEGIES, Ran, Tables, ran, small_study

BASKET = ["BTCUSDT", "ETHUSDT", "LTCUSDT"]
COIN = "BTCUSD_PERP"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Give a lake of three symbols, and a coin contract at the prices of the first."""
    made = Lake(Path(tmp_path_factory.mktemp("pools")))
    pieces = synthetic.pieces(synthetic.generate(SEED, symbols=BASKET, days=DAYS))
    coin = [
        replace(piece, dataset=piece.dataset._replace(symbol=COIN))
        for piece in pieces
        if piece.dataset.symbol == "BTCUSDT"
    ]
    made.merge([*pieces, *coin])
    return made


def basket_study(**sections: dict[str, object]) -> Study:
    entries = {"basket": True, "margin_mode": "cross", "leverage": [5, 20]} | sections.pop("entries", {})
    return small_study(market={"symbols": BASKET}, entries=entries, **sections)


@pytest.fixture(scope="module")
def basket(lake: Lake) -> Ran:
    return ran(basket_study(), lake)


# --- the file ------------------------------------------------------------------------------------------------------


def form(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "study": {"name": "pool", "capital": "10_000"},
        "market": {
            "venue": "binance",
            "symbols": BASKET,
            "interval": "1h",
            "start": "2023-01-01",
            "stop": "2023-03-02",
        },
        "entries": {"every": "24h", "leverage": [5], "horizon": "5d", "margin_mode": "cross", "basket": True},
        "layer": [{"use": "opposite", "leverage": 10}, {"use": "inverse", "symbol": COIN, "leverage": 5}],
        "collateral": [{"symbol": "BTCUSDT", "share": 0.5, "ratio": 0.95}],
    }
    for key, value in changes.items():
        base[key] = {**base[key], **value} if isinstance(value, dict) else value
    return base


def test_a_study_with_legs_reads_back_from_its_own_form() -> None:
    study = parse_study(form(), "pool")
    assert parse_study(resolved(study), "pool") == study
    assert "basket = true" in study_toml(study)
    assert study.form.layers[1].symbol == COIN
    assert study != parse_study(form(collateral=[]), "pool")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entries": {"margin_mode": "isolated"}}, 'basket: needs one account .* set margin_mode = "cross"'),
        ({"market": {"symbols": ["BTCUSDT"]}}, "basket: holds 1 symbols; give market.symbols 2 to 8 of them"),
        ({"market": {"symbols": ["BTCUSDT", COIN]}, "layer": []}, "holds BTCUSD_PERP, which settles in its own coin"),
        ({"layer": [{"use": "oposite", "leverage": 5}]}, r'layer\[1\].use: .* did you mean "opposite"\?'),
        ({"layer": [{"use": "opposite", "symbol": "BTCUSDT", "leverage": 5}]}, "is not for the opposite leg"),
        ({"layer": [{"use": "inverse", "leverage": 5}]}, r"layer\[1\].symbol: is missing"),
        (
            {"layer": [{"use": "inverse", "symbol": "XRPUSDT", "leverage": 5}]},
            "is XRPUSDT, which settles in USDT; take a coin-settled contract, such as BTCUSD_PERP",
        ),
        ({"layer": [{"use": "other", "symbol": COIN, "leverage": 5}]}, "which settles in BTC; take BTCUSDT"),
        ({"layer": [{"use": "other", "symbol": "ETHUSDT", "leverage": 5}]}, "is ETHUSDT, which the core holds"),
        ({"layer": [{"use": "other", "symbol": "XRPUSTD", "leverage": 5}]}, 'did you mean "XRPUSDT"'),
        ({"layer": [{"use": "opposite"}]}, r"layer\[1\].leverage: is missing"),
        ({"layer": [{"use": "opposite", "leverage": 5}] * 2}, "layer: names one kind twice"),
        ({"collateral": [{"symbol": "BTCUSDT", "share": 0.5, "ratio": 2}]}, r"collateral\[1\].ratio: is 2, out of"),
        ({"collateral": [{"symbol": "BTCUSDT", "share": 0.6, "ratio": 1}] * 2}, "names one coin twice"),
        (
            {"collateral": [{"symbol": s, "share": 0.6, "ratio": 1} for s in BASKET]},
            "collateral: has shares that add up to more than 1",
        ),
        (
            {"entries": {"basket": False, "margin_mode": "isolated"}},
            "collateral: needs one account that all of it backs",
        ),
    ],
)
def test_what_is_wrong_with_the_legs_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        parse_study(form(**changes), "pool")


def test_all_problems_of_the_legs_are_told_at_once() -> None:
    wrong = form(entries={"margin_mode": "isolated"}, layer=[{"use": "up", "leverage": 0}], collateral=[{"share": 2}])
    with pytest.raises(StudyError) as caught:
        parse_study(wrong, "pool")
    places = [problem.where for problem in caught.value.problems]
    assert {f"pool: {place}" for place in ("entries.basket", "layer[1].use", "collateral[1].share")} <= set(places)


def test_a_layer_without_tiers_and_one_with_too_much_leverage_are_refused(lake: Lake) -> None:
    without = small_study(layer=[{"use": "inverse", "symbol": "ETHUSD_PERP", "leverage": 5}])
    with pytest.raises(StudyError, match=r'layer\[1\].symbol: ETHUSD_PERP has no tier table .* market.tiers = "FILE'):
        load_symbol(without, lake, "BTCUSDT")
    above = small_study(layer=[{"use": "opposite", "leverage": 500}])
    with pytest.raises(StudyError, match=r"layer\[1\].leverage: 500x is above every tier's maximum of BTCUSDT"):
        load_symbol(above, lake, "BTCUSDT")


# --- a basket ------------------------------------------------------------------------------------------------------


def test_a_basket_is_one_run_with_a_leg_in_each_symbol(basket: Ran) -> None:
    assert {row["symbol"] for row in basket.rows} == {"basket"}
    first = basket.of("hold")[0]
    assert first["run_id"] == "hold/basket/2023-01-01T0000/long/5x/both"
    fills = rows_of(basket, lost(basket)[0])["fills"]
    assert [fill["symbol"] for fill in fills if fill["cause"] == "entry"] == BASKET
    capital = {fill["symbol"]: fill["cost_e8"] for fill in fills if fill["cause"] == "entry"}
    assert max(capital.values()) - min(capital.values()) < max(capital.values()) // 100  # a third each, but for steps


def lost(done: Ran) -> list[dict[str, Any]]:
    return [row for row in done.rows if row["liquidated"]]


def rows_of(done: Ran, row: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    tables = replayed_ledger(done.study, done.data, done.jobs, row)
    return {name: table.to_pylist() for name, table in tables.items()}


def test_a_stored_ledger_is_the_one_that_a_replay_gives(basket: Ran) -> None:
    for row in lost(basket)[:3]:
        again = replayed_ledger(basket.study, basket.data, basket.jobs, row)
        for name, table in again.items():
            kept = basket.tables[name]
            assert kept.filter(pa.compute.equal(kept["run_id"], row["run_id"])).to_pylist() == table.to_pylist()


OWN = ("margin", "free", "reserve", "transit", "margin.opposite", "margin.inverse", "margin.other")


def balances(transfers: Sequence[dict[str, Any]]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = defaultdict(int)
    for row in transfers:
        assert row["amount_e8"] > 0
        found[row["debit"], row["asset"]] -= row["amount_e8"]
        found[row["credit"], row["asset"]] += row["amount_e8"]
    return found


def check_ledgers(done: Ran) -> None:
    """Check of every liquidated run that each asset is conserved, flat is empty, and the end is what is left."""
    by_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in done.tables["transfers"].to_pylist():
        by_run[row["run_id"]].append(row)
    assert lost(done)
    for row in lost(done):
        held = balances(by_run[row["run_id"]])
        for asset in {asset for _, asset in held}:
            assert sum(amount for (_, one), amount in held.items() if one == asset) == 0
        for account in OWN:
            for asset in {asset for _, asset in held}:
                if account in ("free", "reserve") and asset == "USDT":
                    continue
                assert held[account, asset] == 0, (row["run_id"], account, asset)
        assert held["free", "USDT"] + held["reserve", "USDT"] == row["equity_end_e8"]


def test_each_asset_is_conserved_and_flat_is_empty(basket: Ran) -> None:
    check_ledgers(basket)


def test_what_is_certain_comes_with_opens_and_closes_alone(basket: Ran) -> None:
    kinds = {row["certainty"] for row in lost(basket)}
    assert kinds == {"certain", "possible"}
    assert {row["certainty"] for row in basket.rows if not row["liquidated"]} == {None}
    synced = sensitivity(basket.study, [basket.data], basket.jobs)["opens and closes only"]
    by_id = {row["run_id"]: row["liquidated"] for row in synced.to_pylist()}
    for row in lost(basket):
        if row["strategy"] == "hold":
            assert (row["certainty"] == "certain") == by_id[row["run_id"]]


def test_the_exposure_of_the_baseline_is_counted_up_to_the_end_of_the_run(basket: Ran) -> None:
    market = basket.data.market
    assert isinstance(market, PoolMarket)
    cut = [row for row in basket.of("exit", "next_open") if row["exit_reason"] == "closed"]
    assert cut
    for row in cut[:4]:
        hold = next(one for one in basket.rows if one["run_id"] == hold_id(row["run_id"]))
        fills = [fill for fill in rows_of(basket, hold)["fills"] if fill["cause"] == "entry"]
        first, stop = np.searchsorted(market.times_ms, [row["entry_ms"], min(row["exit_ms"], hold["exit_ms"])])
        opens = market.bars["mark_open_e8"][first:stop]
        notional = sum(abs(f["qty_e8"]) * int(opens[:, BASKET.index(f["symbol"])].sum()) for f in fills)
        assert abs(row["baseline_notional_hours_paired_e2"] - notional * 100 // E8**2) <= 1


def test_the_results_do_not_depend_on_the_number_of_workers(lake: Lake) -> None:
    study = basket_study(entries={"leverage": [20]})
    tables = []
    for workers in (1, 3):
        sink = Tables()
        run(study, [load_symbol(study, lake, "basket")], sink, study_jobs(study, "small"), "small", workers=workers)
        tables.append({name: pa.concat_tables(parts) for name, parts in sink.parts.items()})
    assert tables[0] == tables[1]


def test_each_liquidation_is_told_number_by_number(basket: Ran) -> None:
    for row in lost(basket):
        story = told(basket, row)
        breach = story.first_breach
        assert breach is not None
        assert breach.equity_e8 <= breach.maintenance_margin_e8
        assert breach.equity_e8 == breach.wallet_e8 + sum(leg.profit_e8 for leg in breach.legs)
        assert breach.maintenance_margin_e8 == sum(leg.maintenance_margin_e8 for leg in breach.legs)
        assert breach.legs[0].mark_e8 == row["liquidation_price_e8"]
    held = next(row for row in lost(basket) if row["strategy"] == HOLD)
    lines = list(narrate(told(basket, held)))
    assert any("LIQUIDATION, cause price" in line for line in lines)
    assert lines[-3].startswith("End: liquidated whole")
    assert lines[-1].startswith("Margin to survive: with ")


def test_the_margin_to_survive_is_that_of_runs_without_rules(basket: Ran) -> None:
    acts = {job.strategy for job in basket.jobs if job.rules.names or job.is_twin}
    assert {row["strategy"] for row in lost(basket)} & acts
    for row in basket.rows:
        sought = row["liquidated"] and row["strategy"] not in acts
        assert (row["margin_to_survive_e8"] is not None) == sought, row["run_id"]


def told(done: Ran, row: dict[str, Any]) -> PoolStory:
    tables = replayed_ledger(done.study, done.data, done.jobs, row)
    story = tell_run(done.study, done.data, row, Ledger.of(tables), row)
    assert isinstance(story, PoolStory)
    return story


def test_the_money_of_a_run_is_followed_to_its_end(basket: Ran) -> None:
    for row in [lost(basket)[0], basket.of("hold")[0]]:
        tables = replayed_ledger(basket.study, basket.data, basket.jobs, row)
        money = run_money(basket.data, row, tables)
        assert money.equity[0] == 10_000
        assert money.equity[-1] == row["equity_end_e8"] / E8
        assert len(money.coin) == len(money.equity) == (row["exit_ms"] - row["entry_ms"]) // HOUR_MS + 2
        followed = bars(basket.data, basket.data.pool.terms, row, tables)  # type: ignore[union-attr]
        assert followed["time_ms"][0].as_py() == row["entry_ms"]
        assert min(followed["equity"].to_pylist()) > 0


# --- coin ----------------------------------------------------------------------------------------------------------


def test_a_core_that_settles_in_coin_is_replayed_in_coin(lake: Lake) -> None:
    done = ran(small_study(market={"symbols": [COIN]}, strategies=STRATEGIES[2:]), lake)
    assert {row["symbol"] for row in done.rows} == {COIN}
    assert {row["certainty"] for row in lost(done)} == {"certain"}
    assert set(done.tables["transfers"]["asset"].to_pylist()) == {"USD", "BTC"}
    for row in lost(done):
        breach = told(done, row).first_breach
        assert breach is not None
        assert (breach.asset, breach.legs[0].is_inverse) == ("BTC", True)
        assert breach.legs[0].qty_e8 % (100 * E8) == 0  # contracts of 100 dollars


# --- hedges --------------------------------------------------------------------------------------------------------


def hedged_study(mode: str, **rule: object) -> Study:
    hedge = {"name": "hedge", "rules": [{"use": "hedge_short", **rule}]}
    return small_study(
        entries={"margin_mode": mode, "leverage": [10, 20]},
        layer=[{"use": "opposite", "leverage": 20}],
        strategies=[hedge, STRATEGIES[2]],
    )


@pytest.fixture(scope="module")
def hedged(lake: Lake) -> Ran:
    """Give a study whose rule hedges in the position's own account."""
    return ran(hedged_study("cross", recover_pct=100), lake)


def test_a_hedge_is_a_leg_of_its_own_in_the_ledger(hedged: Ran) -> None:
    check_ledgers(hedged)
    acted = [row for row in hedged.of("hedge") if row["actions"] == 2]  # its margin, and the hedge
    assert acted
    for row in acted[:6]:
        fills = rows_of(hedged, row)["fills"]
        core, hedge = fills[0], next(fill for fill in fills if fill["cause"] == "rule")
        assert (core["symbol"], hedge["symbol"], hedge["rule"]) == ("BTCUSDT", "BTCUSDT.opposite", "hedge_short")
        assert hedge["qty_e8"] * core["qty_e8"] < 0
        assert abs(hedge["qty_e8"]) == abs(core["qty_e8"]) // 2 // 100_000 * 100_000  # half, in whole steps


def test_both_legs_of_a_hedge_are_told_in_one_account(hedged: Ran) -> None:
    row = next(row for row in hedged.of("hedge") if row["actions"] == 2)
    pairs = [unit for event in told(hedged, row).events for unit in event.units if len(unit.legs) == 2]
    assert pairs
    for unit in pairs:
        assert [leg.symbol for leg in unit.legs] == ["BTCUSDT", "BTCUSDT.opposite"]
        assert unit.legs[0].side == -unit.legs[1].side
        assert unit.equity_e8 == unit.wallet_e8 + sum(leg.profit_e8 for leg in unit.legs)
        assert unit.maintenance_margin_e8 == sum(leg.maintenance_margin_e8 for leg in unit.legs)


def test_an_isolated_hedge_leaves_the_positions_own_liquidation_where_it_was(lake: Lake) -> None:
    done = ran(hedged_study("isolated", margin_pct=0), lake)
    check_ledgers(done)
    assert {row["certainty"] for row in lost(done)} == {"certain"}
    for row in done.of("hedge"):
        hold = next(one for one in done.rows if one["run_id"] == hold_id(row["run_id"]))
        for name in ("liquidated", "liquidation_ms", "liquidation_price_e8", "exit_reason"):
            assert row[name] == hold[name]
    accounts = set(done.tables["transfers"]["credit"].to_pylist())
    assert "margin.opposite" in accounts
    with_own = [row for row in done.rows if row["layer_liquidations"]]
    assert {row["strategy"] for row in with_own} <= {"hedge", "hedge~shuffled"}


def test_a_hedge_in_another_symbol_and_coin_as_margin(lake: Lake) -> None:
    study = small_study(
        entries={"margin_mode": "cross", "leverage": [10, 20]},
        layer=[
            {"use": "other", "symbol": "ETHUSDT", "leverage": 20},
            {"use": "inverse", "symbol": COIN, "leverage": 10},
        ],
        collateral=[{"symbol": "BTCUSDT", "share": 0.4, "ratio": 0.95}],
        strategies=[
            {"name": "other", "rules": [{"use": "hedge_other"}]},
            {"name": "coin", "rules": [{"use": "hedge_inverse"}]},
        ],
    )
    done = ran(study, lake)
    check_ledgers(done)
    symbols = {fill["symbol"] for fill in done.tables["fills"].to_pylist()}
    assert symbols == {"BTCUSDT", "ETHUSDT", COIN}
    breach = told(done, lost(done)[0]).first_breach
    assert breach is not None
    assert [one.asset for one in breach.collaterals] == ["BTC"]
    assert (
        breach.equity_e8
        == breach.wallet_e8 + sum(leg.profit_e8 for leg in breach.legs) + breach.collaterals[0].value_e8
    )


@pytest.mark.parametrize("which", ["basket", "hedged"])
def test_the_oracle_of_several_legs_tells_the_same(which: str, request: pytest.FixtureRequest) -> None:
    done: Ran = request.getfixturevalue(which)
    stored = pa.Table.from_pylist([*lost(done)[:6], *done.rows[::40]], done.tables["outcomes"].schema)
    assert verify_runs(done.study, done.data, done.jobs, load_rules(), stored, twin=POOL) == {}
