"""Laws of the pool replay on made-up markets: money has two sides, skipping changes nothing, flat means empty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backtest import before_event, buffer_below, every, move_margin, param, rule, signal, trade
from backtest.data.tape import tape_from_arrays
from backtest.engine import cells as at
from backtest.engine.actions import V_TRADE
from backtest.engine.batch import Batch, Terms
from backtest.engine.compiled import prepare
from backtest.engine.feed import Spans, Steps
from backtest.engine.plan import SCRIPT_ROW
from backtest.engine.pool.batch import AssetTerms, Collateral, Form, Layer, pool_plan, replay_pool_batch
from backtest.engine.pool.forms import BY_CAPITAL, BY_NOTIONAL, BY_QUANTITY, INVERSE, OPPOSITE, OTHER, POOL_ENTRY
from backtest.engine.pool.market import PoolMarket, pool_market
from backtest.errors import DataError, InvariantError
from backtest.schema import ACTION_STATUS, CAUSES, EXIT_REASONS, TRANSFER_KINDS, AssetTape, Tape
from backtest.units import E8, HOUR_MS
from backtest.venues.tiers import Tier, TierTable

BARS = 1500
TIERS = (
    Tier(0, 50_000 * E8, 400_000, 0, 12_500),
    Tier(50_000 * E8, None, 500_000, 50 * E8, 10_000),
)


@rule(
    wake=buffer_below("trigger") | buffer_below("deep"),
    trigger=param(0.6, high=2.0, help="buffer at which to hedge"),
    deep=param(0.2, high=2.0, help="buffer at which to hedge more"),
    share=param(0.25, help="share of the core"),
)
def hedge(state: Any, p: Any) -> Any:
    if state.layer_share[0] >= 0.5:
        return trade("opposite", -0.3)
    return trade("opposite", p.share)


@rule(wake=buffer_below("trigger"), trigger=param(0.5, high=2.0, help="buffer at which to hedge"))
def hedge_in_coin(state: Any, p: Any) -> Any:
    return trade("inverse", 0.5)


@rule(wake=buffer_below("trigger"), trigger=param(0.7, high=2.0, help="buffer at which to hedge"))
def hedge_elsewhere(state: Any, p: Any) -> Any:
    return trade("other", 0.25)


@rule(wake=signal("turn") | before_event("fomc", "4h"), signals=("turn",))
def hedge_on_signal(state: Any, p: Any) -> Any:
    if state.layer_share[0] > 0:
        return trade("opposite", -1.0)
    return trade("opposite", 0.5 if state.signals[0] > 0 else 0.25)


@rule(
    wake=buffer_below("trigger") | every("31h"),
    trigger=param(0.6, high=2.0, help="buffer at which to act"),
)
def insure(state: Any, p: Any) -> Any:
    """Add margin, buy and write assets in turn, and sell a part of what is held."""
    state.memory[0] += 1.0
    if state.memory[0] % 5.0 == 1.0:
        return trade("asset", 0.05)
    if state.memory[0] % 5.0 == 2.0:
        return move_margin(1500.0)
    if state.memory[0] % 5.0 == 3.0:
        return trade("asset2", 0.01)
    if state.memory[0] % 5.0 == 4.0:
        return trade("asset3", 0.02)
    return trade("asset", -0.02)


class Made:
    """Signals and events at made-up times."""

    def signal(self, name: str) -> Steps:
        times = np.arange(5, BARS, 37, dtype=np.int64) * HOUR_MS + 17
        return Steps(times, np.resize([1.0, 0.0, -1.0, 0.0], len(times)))

    def before(self, kind: str, lead_ms: int) -> Spans:
        times = np.arange(50, BARS, 90, dtype=np.int64) * HOUR_MS
        return Spans(times - lead_ms, times)

    def after(self, kind: str, lag_ms: int) -> Spans:
        raise NotImplementedError

    next_event = last_event = signal


def tape(seed: int, price: float) -> Tape:
    generator = np.random.Generator(np.random.PCG64(seed))
    close = price * np.exp(np.cumsum(generator.normal(0, 0.006, BARS)))
    first = np.concatenate([[price], close[:-1]])
    high = np.maximum(first, close) * (1 + np.abs(generator.normal(0, 0.003, BARS)))
    low = np.minimum(first, close) * (1 - np.abs(generator.normal(0, 0.003, BARS)))
    columns = [np.round(c * E8).astype(np.int64) for c in (first, close, first, high, low, close)]
    times = np.arange(BARS, dtype=np.int64) * HOUR_MS
    funding = [(int(times[i]), int(generator.integers(-20_000, 30_000))) for i in range(0, BARS, 8)]
    return tape_from_arrays(HOUR_MS, times, *columns, funding, [TierTable("T", 0, 0, TIERS, "t")], [(0, 50_000)])


def asset(seed: int, price: float, first: int, last: int, margin: float) -> AssetTape:
    """Make the marks of an asset from a bar to another, some rows missing; its margins change now and then."""
    generator = np.random.Generator(np.random.PCG64(seed))
    bars = np.array([i for i in range(first, last) if i % 11 != 5], np.int64)
    close = price * np.exp(np.cumsum(generator.normal(0, 0.02, len(bars))))
    opening = np.concatenate([[price], close[:-1]])
    high, low = np.maximum(opening, close) * 1.01, np.minimum(opening, close) * 0.99
    columns = [np.round(c * E8).astype(np.int64) for c in (opening, high, low, close)]
    initial = np.round(margin * (1 + 0.2 * (bars // 50 % 3)) * E8).astype(np.int64)
    return AssetTape("A", HOUR_MS, 30_000, bars * HOUR_MS, *columns, initial, initial // 2)


TAPES = [tape(1, 100.0), tape(2, 50.0), tape(3, 100.0)]
INVERSES = [False, False, True]
ASSETS = [asset(4, 5.0, 30, 700, 0.0), asset(5, 20.0, 0, 1200, 6.0), asset(6, 40.0, 200, 1400, 4.0)]


def entries(market: PoolMarket, count: int = 40) -> Any:
    rows = np.zeros(count, POOL_ENTRY)
    bar = np.arange(count) * 24
    rows["entry_bar"], rows["entry_ms"] = bar, market.times_ms[bar]
    rows["entry_segment"] = np.searchsorted(market.starts, bar, side="right") - 1
    rows["exit_bar"], rows["side"] = bar + 480, np.where(np.arange(count) % 2 == 0, 1, -1)
    rows["leverage_e2"] = np.where(np.arange(count) % 3 == 0, 2000, 1000)
    rows["capital_e8"], rows["sizing_margin_e8"], rows["posted_e8"] = 10_000 * E8, 5_000 * E8, 5_000 * E8
    rows["qty_share_e8"], rows["leg_step_e8"], rows["leg_min_notional_e8"] = E8, 100_000, 5 * E8
    rows["baseline_liquidation_ms"] = rows["baseline_exit_ms"] = -1
    return rows


FORMS = {
    "basket": (Form(2, (Layer(OTHER, 500, 2),)), Terms(20_000, 100_000, 500_000, cross=True), hedge_elsewhere),
    "pool with a hedge": (Form(1, (Layer(OPPOSITE, 1000),)), Terms(20_000, 100_000, 500_000, cross=True), hedge),
    "isolated hedge": (Form(1, (Layer(OPPOSITE, 2000),)), Terms(20_000, 100_000, 500_000), hedge),
    "coin hedge": (Form(1, (Layer(INVERSE, 500, 2),)), Terms(20_000, 100_000, 500_000), hedge_in_coin),
    "collateral": (
        Form(2, (Layer(OPPOSITE, 1000),), (Collateral(0, E8 // 2, 95_000_000),)),
        Terms(20_000, 100_000, 500_000, cross=True),
        hedge,
    ),
    "isolated beside the pool": (
        Form(3, (Layer(OPPOSITE, 1000),), (Collateral(0, E8 // 2, 95_000_000),), isolated=(2,)),
        Terms(20_000, 100_000, 500_000, cross=True),
        hedge,
    ),
    "assets in the core's account": (
        Form(
            2,
            assets=(
                AssetTerms(1, True, False, 90_000_000, BY_QUANTITY, 1_000_000),
                AssetTerms(-1, True, False, E8, BY_NOTIONAL, 1_000_000),
                AssetTerms(-1, False, False, E8, BY_CAPITAL, 50_000),
            ),
        ),
        Terms(20_000, 100_000, 500_000, cross=True),
        insure,
    ),
    "assets in accounts of their own": (
        Form(
            1,
            assets=(
                AssetTerms(1, True, True, E8, BY_CAPITAL, 1_000_000),
                AssetTerms(-1, True, True, E8, BY_NOTIONAL, 1_000_000),
                AssetTerms(1, False, True, E8, BY_QUANTITY, 0),
            ),
        ),
        Terms(20_000, 100_000, 500_000),
        insure,
    ),
    "hedged on a signal": (Form(1, (Layer(OPPOSITE, 1000),)), Terms(20_000, 100_000, 500_000), hedge_on_signal),
    "taken over": (
        Form(2, (Layer(OPPOSITE, 1000),)),
        Terms(20_000, 100_000, 0, cross=True, takeover=True, fee_reserve=True),
        hedge,
    ),
}


def replayed(name: str, *, next_open: bool = False, skip: bool = True, sync: bool = False) -> Batch:
    form, terms, author = FORMS[name]
    form = replace(form, sync=sync)
    inverses = [False] * 3 if form.core_count == 3 else INVERSES
    market = pool_market(TAPES, inverses, assets=ASSETS if form.assets else (), sync=sync)
    rules = prepare([(author, author.values({}), 3 * HOUR_MS)]).fed(market.times_ms, Made())
    plan = pool_plan(terms, form, market, rules, next_open=next_open, skip=skip)
    return replay_pool_batch(market, plan, rules, entries(market), keep="all", book_rows=1 << 14)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize(("next_open", "sync"), [(False, False), (True, False), (False, True)])
def test_skipping_changes_nothing(name: str, next_open: bool, sync: bool) -> None:
    fast, slow = (replayed(name, next_open=next_open, sync=sync, skip=skip) for skip in (True, False))
    for table in ("transfers", "fills", "actions"):
        assert getattr(fast, table).tobytes() == getattr(slow, table).tobytes()
    for figure in fast.outcomes.dtype.names or ():
        if figure != "bars_visited":
            assert (fast.outcomes[figure] == slow.outcomes[figure]).all(), figure
    assert fast.outcomes["bars_visited"].sum() < slow.outcomes["bars_visited"].sum()


@pytest.mark.parametrize("name", FORMS)
def test_every_balance_but_free_and_reserve_is_empty_at_the_end(name: str) -> None:
    """Money in each asset has two sides, so what is not with the user lies in counter-accounts; wallets are empty."""
    batch = replayed(name)
    assert {EXIT_REASONS[reason] for reason in batch.outcomes["reason"]} >= {"liquidated", "horizon"}
    rows = batch.transfers
    assert (rows["amount_e8"] > 0).all()
    for run in range(len(batch.outcomes)):
        mine = rows[rows["run"] == run]
        balance: dict[tuple[int, int], int] = {}
        for row in mine:
            for account, sign in ((row["debit"], -1), (row["credit"], 1)):
                place = (int(row["asset"]), int(account))
                balance[place] = balance.get(place, 0) + sign * int(row["amount_e8"])
        for (asset, account), amount in balance.items():
            user = account in (at.FREE, at.RESERVE) and asset == 0
            if account not in (at.WORLD, at.MARKET, at.FEES, at.FUNDING, at.INSURANCE) and not user:
                assert amount == 0, (run, asset, account)
        kept = balance.get((0, at.FREE), 0) + balance.get((0, at.RESERVE), 0)
        assert kept == batch.outcomes["equity_end_e8"][run]


@pytest.mark.parametrize("name", FORMS)
def test_positions_end_flat(name: str) -> None:
    fills = replayed(name).fills
    for run in np.unique(fills["run"]):
        for slot in np.unique(fills["slot"]):
            chosen = fills[(fills["run"] == run) & (fills["slot"] == slot)]
            assert chosen["qty_e8"].sum() == 0


def test_layers_are_opened_refused_and_liquidated() -> None:
    batches = [replayed(name) for name in FORMS]
    assert {ACTION_STATUS[status] for batch in batches for status in np.unique(batch.actions["status"])} >= {"done"}
    assert any((batch.fills["slot"] > 0).any() for batch in batches)
    assert sum(int(batch.outcomes["layer_liquidations"].sum()) for batch in batches) > 0


@pytest.mark.parametrize("name", [name for name in FORMS if FORMS[name][0].assets])
def test_assets_are_bought_written_and_settled(name: str) -> None:
    """The price of a paid asset is a premium and nothing else is; what is held at the end is settled at the close."""
    batch = replayed(name)
    paid = batch.transfers[batch.transfers["kind"] == TRANSFER_KINDS.index("premium")]
    net = np.bincount(
        paid["run"], np.where(paid["credit"] == at.MARKET, 1, -1) * paid["amount_e8"], len(batch.outcomes)
    )
    assert (net.astype(np.int64) == batch.outcomes["premium_e8"]).all()
    assert {CAUSES[cause] for cause in paid["cause"]} >= {"rule", "exit", "expiry"}
    assert {ACTION_STATUS[status] for status in batch.actions["status"]} >= {"done", "below_step", "not_listed"}
    form = FORMS[name][0]
    first = 2 * form.core_count + 2
    settled = batch.fills[batch.fills["cause"] == CAUSES.index("expiry")]
    last = np.array([one.close_e8[-1] for one in ASSETS])[settled["slot"] - first]
    assert len(settled)
    assert (settled["price_e8"] == last).all()
    assert (settled["mark_e8"] == last).all()
    ends = np.array([one.time_ms[-1] + HOUR_MS for one in ASSETS])[settled["slot"] - first]
    assert (settled["time_ms"] == ends).all()
    bought = batch.fills["qty_e8"] > 0
    opening = (batch.fills["cause"] == CAUSES.index("rule")) & (batch.fills["slot"] == first)
    assert set(bought[opening]) == {True, False}


@pytest.mark.parametrize(("mark_e8", "liquidated"), [(1_599_999_998, 0), (1_599_999_999, 1)])
def test_what_was_written_is_owed_rounded_up(mark_e8: int, liquidated: int) -> None:
    """Half a unit written at 10 with 5 posted: at 15.99999999 it owes 7.999999995, with the margin of 2 all of 10."""
    ones = np.ones(BARS, np.int64)
    marks = np.where(np.arange(BARS) < 3, 10 * E8, mark_e8)
    times = np.arange(BARS, dtype=np.int64) * HOUR_MS
    written = AssetTape("A", HOUR_MS, 0, times, marks, marks, marks, marks, 10 * E8 * ones, 4 * E8 * ones)
    market = pool_market(TAPES[:1], [False], assets=(written,))
    terms = AssetTerms(-1, True, True, E8, BY_CAPITAL, 0)
    plan = pool_plan(Terms(), Form(1, assets=(terms,)), market, prepare([]), next_open=False)
    rows = entries(market, 1)
    rows["script_stop"], rows["leg_step_e8"][:, 4] = 1, E8 // 2
    script = np.array([(1, V_TRADE, 0.0005, 3)], SCRIPT_ROW)
    batch = replay_pool_batch(market, plan, prepare([]), rows, script=script, keep="all", book_rows=1 << 10)
    assert batch.fills["qty_e8"][batch.fills["slot"] == 4].tolist() == [-E8 // 2, E8 // 2]
    assert batch.outcomes["layer_liquidations"].tolist() == [liquidated]


def test_a_form_that_no_venue_has_is_refused() -> None:
    market = pool_market(TAPES, INVERSES)
    nothing = prepare([])
    with pytest.raises(InvariantError, match="cross"):
        pool_plan(Terms(), Form(2), market, nothing, next_open=False)
    for isolated, cross in (((1,), False), ((0,), True), ((2,), True), ((1, 1), True)):
        with pytest.raises(InvariantError, match="isolated legs"):
            pool_plan(Terms(cross=cross), Form(1 + cross, isolated=isolated), market, nothing, next_open=False)
    with pytest.raises(InvariantError, match="collateral"):
        pool_plan(Terms(), Form(1, (), (Collateral(0, E8, E8),)), market, nothing, next_open=False)


OWN = AssetTerms(1, True, True, E8, BY_QUANTITY, 0)
CORE_ACCOUNT = replace(OWN, own_account=False)


@pytest.mark.parametrize(
    ("assets", "marks", "cross", "problem"),
    [
        ((OWN,), 0, False, "terms of 1 valued assets, marks of 0"),
        ((OWN,) * 5, 5, False, "at most 4"),
        ((CORE_ACCOUNT,), 1, False, "in the core's account"),
        ((replace(CORE_ACCOUNT, ratio_e8=E8 + 1),), 1, True, "a ratio of 100000001 e-8"),
        ((replace(CORE_ACCOUNT, ratio_e8=-1),), 1, True, "a ratio of -1 e-8"),
        ((replace(CORE_ACCOUNT, ratio_e8=1, side=-1),), 1, True, "bought and paid in the core's account"),
        ((replace(OWN, ratio_e8=E8 - 1),), 1, True, "bought and paid in the core's account"),
        ((replace(OWN, slippage_e8=E8 + 1),), 1, True, "slippage"),
    ],
)
def test_terms_of_an_asset_that_cannot_be_are_refused(assets: Any, marks: int, cross: bool, problem: str) -> None:
    market = pool_market(TAPES, INVERSES, assets=(ASSETS[0],) * marks)
    with pytest.raises(InvariantError, match=problem):
        pool_plan(Terms(cross=cross), Form(1, assets=assets), market, prepare([]), next_open=False)


def test_a_core_that_settles_in_coin_takes_assets_in_accounts_of_their_own_only() -> None:
    market = pool_market(TAPES[2:], [True], assets=ASSETS[:1])
    assert pool_plan(Terms(cross=True), Form(1, assets=(OWN,)), market, prepare([]), next_open=False)["slot_count"] == 5
    with pytest.raises(InvariantError, match="linear contracts"):
        pool_plan(Terms(cross=True), Form(1, assets=(CORE_ACCOUNT,)), market, prepare([]), next_open=False)


def test_an_asset_on_bars_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="differ in interval"):
        pool_market(TAPES, INVERSES, assets=(ASSETS[0]._replace(interval_ms=60_000),))
