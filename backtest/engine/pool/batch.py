"""Replay a batch of pool runs under one strategy. See `engine.batch`, which does it for runs of one position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.engine import cells as at
from backtest.engine.batch import CHUNK_RUNS, KEEP, Batch, Keep, Rows, Terms, agenda_of, larger_book
from backtest.engine.compiled import Rules
from backtest.engine.ledger import ACTION_ROW
from backtest.engine.pool.forms import (
    ASSET,
    ASSETS_MAX,
    BOUGHT,
    CORE,
    CORE_MAX,
    INSTRUMENTS_MAX,
    INVERSE,
    MARGINED,
    OPPOSITE,
    OTHER,
    POOL_FILL,
    POOL_OUTCOME,
    POOL_PLAN,
    POOL_TRANSFER,
    QUOTE,
    WRITTEN,
    PoolBook,
    PoolDesk,
)
from backtest.engine.pool.market import PoolMarket
from backtest.engine.pool.replay import blank_pool_runs, replay_pools
from backtest.engine.state import MEMORY_SIZE, blank_state
from backtest.errors import InvariantError
from backtest.units import E8


@dataclass(frozen=True, slots=True)
class Layer:
    """A hedge that rules may open: its target and the leverage of its legs. The opposite leg has no instrument."""

    target: int
    leverage_e2: int
    instrument: int | None = None


@dataclass(frozen=True, slots=True)
class Collateral:
    """Coin that stands in for a share of the posted margin: priced by an instrument, counted at a ratio."""

    instrument: int
    share_e8: int
    ratio_e8: int


@dataclass(frozen=True, slots=True)
class AssetTerms:
    """How rules may hold the valued asset of the same number in the market."""

    side: int  # +1 bought, -1 written or sold
    paid: bool  # its price changes hands; else only profit and loss do
    own_account: bool
    ratio_e8: int  # share of its value that a bought paid asset counts for in the core's account; else 1e8
    size_by: int  # what a share of 1 is: index in schema.SIZE_BY
    slippage_e8: int


@dataclass(frozen=True, slots=True)
class Form:
    """The legs of a run: instruments 0 to `core_count` - 1 are the core's, the last ones the valued assets.

    `isolated` are the core legs, never the first, that stand in accounts of their own beside the cross pool.
    """

    core_count: int
    layers: tuple[Layer, ...] = ()
    collaterals: tuple[Collateral, ...] = ()
    sync: bool = False
    assets: tuple[AssetTerms, ...] = ()
    isolated: tuple[int, ...] = ()


def pool_plan(terms: Terms, form: Form, market: PoolMarket, rules: Rules, **switches: bool) -> Any:
    """Join terms, form and rules as a record of `forms.POOL_PLAN`; `switches` as for `Terms.plan`.

    Errors: InvariantError for a form that no venue has: several core legs that are isolated or settled in coin,
    collateral outside cross margin, and valued assets that have no place or count for more than they are.
    """
    cross = bool(terms.cross)
    inverse = [bool(flag) for flag in market.inverse]
    count = form.core_count
    if not 1 <= count <= CORE_MAX or (count > 1 and (not cross or any(inverse[:count]))):
        raise InvariantError.at("pool", f"{count} core legs", "several need cross margin and linear contracts")
    alone = set(form.isolated)
    if alone and (not cross or len(alone) < len(form.isolated) or not alone <= set(range(1, count))):
        what = f"isolated legs {list(form.isolated)} of {count}"
        raise InvariantError.at("pool", what, "needs cross margin, and each once, but never the first leg")
    if form.collaterals and (not cross or inverse[0]):
        raise InvariantError.at("pool", "collateral", "needs cross margin and linear contracts")
    if len(inverse) > INSTRUMENTS_MAX:
        raise InvariantError.at("pool", f"{len(inverse)} instruments", f"take at most {INSTRUMENTS_MAX}")
    _check_assets(form, market, is_quote_pool=cross and not inverse[0])
    base = terms.plan(rules, **switches)
    plan = np.zeros(1, POOL_PLAN)[0]
    for name in base.dtype.names:
        plan[name] = base[name]
    plan["core_count"], plan["slot_count"] = count, 2 * count + 2 + len(form.assets)
    plan["instrument_count"], plan["sync"] = len(inverse), int(form.sync)
    plan["leg_instrument"], plan["leg_target"] = -1, CORE
    plan["leg_slippage_e8"] = terms.slippage_e8
    for slot in range(count):
        plan["leg_instrument"][slot] = slot
    assets = [instrument + 1 if flag else QUOTE for instrument, flag in enumerate(inverse)]
    plan["unit_asset"][0] = assets[0]
    plan["isolated_count"] = len(form.isolated)
    for slot in form.isolated:
        plan["leg_unit"][slot] = slot
    for layer in form.layers:
        for slot in slots_of(layer.target, count):
            instrument = slot - count if layer.instrument is None else layer.instrument
            plan["leg_instrument"][slot], plan["leg_target"][slot] = instrument, layer.target
            plan["leg_leverage_e2"][slot] = layer.leverage_e2
            if not cross or assets[instrument] != assets[0] or slot - count in alone:
                plan["leg_unit"][slot], plan["unit_asset"][slot] = slot, assets[instrument]
    for a, asset in enumerate(form.assets):
        _lay_asset(plan, a, asset, len(inverse) - len(form.assets) + a)
    plan["collateral_count"] = len(form.collaterals)
    for j, collateral in enumerate(form.collaterals):
        plan["collateral_instrument"][j] = collateral.instrument
        plan["collateral_share_e8"][j], plan["collateral_ratio_e8"][j] = collateral.share_e8, collateral.ratio_e8
    return plan


def _check_assets(form: Form, market: PoolMarket, *, is_quote_pool: bool) -> None:
    """Refuse valued assets that the market has not, and terms that would count for more than an asset is worth."""
    count = len(form.assets)
    if count != market.asset_count or count > ASSETS_MAX:
        what = f"terms of {count} valued assets, marks of {market.asset_count}"
        raise InvariantError.at("pool", what, f"give both of the same ones, at most {ASSETS_MAX}")
    for a, asset in enumerate(form.assets):
        where = f"asset {a + 1} of the pool"
        if not asset.own_account and not is_quote_pool:
            raise InvariantError.at(where, "in the core's account", "needs cross margin and linear contracts")
        counts = asset.paid and asset.side > 0 and not asset.own_account
        if not 0 <= asset.ratio_e8 <= E8 or (asset.ratio_e8 != E8 and not counts):
            what = f"a ratio of {asset.ratio_e8} e-8"
            raise InvariantError.at(
                where, what, "takes 0 to 1, and less than 1 if bought and paid in the core's account"
            )
        if not 0 <= asset.slippage_e8 <= E8:
            raise InvariantError.at(where, f"a slippage of {asset.slippage_e8} e-8", "takes 0 to 1")


def _lay_asset(plan: Any, a: int, asset: AssetTerms, instrument: int) -> None:
    """Write the leg of a valued asset into a plan."""
    (slot,) = slots_of(ASSET + a, int(plan["core_count"]))
    plan["leg_instrument"][slot], plan["leg_target"][slot] = instrument, ASSET + a
    plan["leg_form"][slot] = (BOUGHT if asset.side > 0 else WRITTEN) if asset.paid else MARGINED
    for name in ("side", "slippage_e8", "ratio_e8", "size_by"):
        plan[f"leg_{name}"][slot] = getattr(asset, name)
    if asset.own_account:
        plan["leg_unit"][slot] = slot
    plan["unit_asset"][slot] = QUOTE


def slots_of(target: int, core_count: int) -> range:
    """Give the slots of a target's legs."""
    if target >= ASSET:
        slot = 2 * core_count + 2 + target - ASSET
        return range(slot, slot + 1)
    return {
        OPPOSITE: range(core_count, 2 * core_count),
        INVERSE: range(2 * core_count, 2 * core_count + 1),
        OTHER: range(2 * core_count + 1, 2 * core_count + 2),
    }[target]


def _book(transfer_rows: int, record: int) -> PoolBook:
    rows = (transfer_rows, transfer_rows // 2, transfer_rows // 2)
    arrays = [np.zeros(n, dtype) for n, dtype in zip(rows, (POOL_TRANSFER, POOL_FILL, ACTION_ROW), strict=True)]
    return PoolBook(arrays[0], arrays[1], arrays[2], np.zeros(4, np.int64), record)


def replay_pool_batch(
    market: PoolMarket,
    plan: Any,
    rules: Rules,
    entries: Rows,
    *,
    script: Rows | None = None,
    keep: Keep = "liquidated",
    record: bool = True,
    progress: Callable[[int], None] | None = None,
    book_rows: int = 1 << 20,
) -> Batch:
    """Replay entries (records of `forms.POOL_ENTRY`) and keep rows as `keep` says; see `engine.batch.replay_batch`."""
    outcomes = np.zeros(len(entries), POOL_OUTCOME)
    memory = np.zeros((at.RULES_MAX, MEMORY_SIZE))
    queue = np.zeros((at.QUEUE_ROWS, 3), np.int64)
    state = blank_state()
    agenda, plan = agenda_of(plan, rules, script)
    scratch: Sequence[Any] = [np.zeros(len(market.inverse), np.int64) for _ in range(6)]
    runs = blank_pool_runs()
    book = _book(book_rows, int(record))
    first = 0
    while first < len(entries):
        last = min(first + CHUNK_RUNS, len(entries))
        desk = PoolDesk(book, queue, rules.functions, rules.params, state, memory, agenda, runs, *scratch)
        done = replay_pools(market, plan, desk, entries, outcomes, first, last, KEEP.index(keep))
        if done < last:
            book = larger_book(book, _book, done)
        if progress is not None and done > first:
            progress(done - first)
        first = done
    return Batch(outcomes, *(rows[:count] for rows, count in zip(book[:3], book.cursor[:3], strict=True)))
