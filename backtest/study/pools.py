"""Runs of several legs: their instruments on one clock, the replay's form of a study's legs, and their entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest import schema
from backtest.data.assets import AssetResult, build_asset
from backtest.data.store import Lake
from backtest.engine import cells as at
from backtest.engine.batch import Terms
from backtest.engine.plan import ENTRY
from backtest.engine.pool.batch import AssetTerms, Collateral, Form, Layer, slots_of
from backtest.engine.pool.forms import ASSET, OPPOSITE, POOL_ENTRY, SLOTS_MAX
from backtest.engine.pool.market import PoolMarket, pool_market
from backtest.errors import CoverageError, Problem, StudyError
from backtest.study.config import Study
from backtest.study.entries import Clock, Entries, LedgerNames, contracts, laid_out
from backtest.study.form import AssetSpec, LayerSpec
from backtest.study.instruments import Instrument, core_tiers, is_coin, read_instrument, refuse_leverage
from backtest.units import E8, time_text
from backtest.venues.contracts import contract_at
from backtest.venues.tiers import TierTable, tier_tables

BASKET = "basket"


@dataclass(frozen=True, slots=True)
class Pool:
    """What the runs of several legs have beside their market: instruments, the core's first, and the replay's form.

    `assets` are the valued assets that rules may hold: to the replay they are instruments after all others. `sync` is
    the market of the same bars in which only opens and closes are visited, `terms` the study's.
    """

    instruments: tuple[Instrument, ...]
    form: Form
    sync: PoolMarket
    terms: Terms
    assets: tuple[AssetResult, ...] = ()

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(one.symbol for one in self.instruments)

    @property
    def asset_names(self) -> tuple[str, ...]:
        return tuple(one.tape.name for one in self.assets)


def takes_pool(study: Study, symbol: str) -> bool:
    """Say whether the runs of a symbol have more than one linear leg with quote as margin."""
    return not study.form.is_single or is_coin(study, symbol)


def load_pool(study: Study, terms: Terms, lake: Lake, core: Sequence[str]) -> tuple[Pool, PoolMarket]:
    """Read every instrument and asset that runs with these core symbols need, and lay them side by side.

    Errors: `StudyError` for a layer without tier tables or with too much leverage, and for an asset that the lake does
    not have; `DataError` where the instruments have no bar in common.
    """
    tables = {symbol: core_tiers(study, symbol) for symbol in core}
    for layer in study.form.layers:
        for symbol in core if layer.symbol is None else (layer.symbol,):
            tables[symbol] = _layer_tiers(study, symbol, layer, layer.place)
    for number, collateral in enumerate(study.form.collaterals, 1):
        tables.setdefault(collateral.symbol, _tiers(study, collateral.symbol, f"collateral[{number}]"))
    instruments = _read_instruments(study, lake, tables)
    assets = tuple(_read_assets(study, lake, list(tables)))
    tapes, inverse = [one.result.tape for one in instruments], [one.is_inverse for one in instruments]
    marks = [one.tape for one in assets]
    synced = pool_market(tapes, inverse, assets=marks, sync=True)
    pool = Pool(instruments, _form(study, len(core), list(tables)), synced, terms, assets)
    return pool, pool_market(tapes, inverse, assets=marks)


def _read_instruments(study: Study, lake: Lake, tables: Mapping[str, tuple[TierTable, ...]]) -> tuple[Instrument, ...]:
    """Build the tapes of several symbols; finer bars fill those bars that they fill for all of them."""
    finer = study.market.finer_ms
    if finer and (len(finer) > 1 or study.form.assets):
        what = "is taken in one length for runs with several legs, and not beside valued assets, which have none"
        raise StudyError.at("market.finer", what, "take one length, or take it out")
    instruments = tuple(read_instrument(study, lake, symbol, tiers) for symbol, tiers in tables.items())
    filled = [one.result.filled_ms for one in instruments]
    within = reduce(np.intersect1d, filled)
    return tuple(
        one if len(mine) == len(within) else read_instrument(study, lake, one.symbol, one.tiers, within.tolist())
        for one, mine in zip(instruments, filled, strict=True)
    )


def _read_assets(study: Study, lake: Lake, symbols: Sequence[str]) -> Iterator[AssetResult]:
    """Read the marks of each valued asset. A hole in them is one of the study's: its policy says whether it may be."""
    spec = study.market
    for asset in study.form.assets:
        where = f"{asset.place}.asset"
        try:
            result = build_asset(
                lake,
                asset.asset,
                interval_ms=spec.interval_ms,
                start_ms=spec.start_ms,
                stop_ms=spec.stop_ms,
                taker_e8=asset.fee_e8,
            )
        except CoverageError as error:
            raise StudyError(*(Problem(where, f"{p.where}: {p.what}", p.remedy) for p in error.problems)) from None
        if result.tape.name in symbols:
            what = f"is called {result.tape.name}, as a contract of the runs is"
            raise StudyError.at(where, what, "import it under another name")
        if result.holes and spec.gaps == "error":
            raise CoverageError(*_hole_problems(result))
        yield result


def _hole_problems(asset: AssetResult) -> Iterator[Problem]:
    for first, last in asset.holes[:5]:
        yield Problem(f"{asset.dataset} {time_text(first)}", f"rows are missing until {time_text(last)}")
    remedy = 'import what is missing, or set gaps = "flag": the last close and margins then stand in'
    yield Problem(str(asset.dataset), f"{len(asset.holes)} hole{'s' if len(asset.holes) > 1 else ''} in marks", remedy)


def _layer_tiers(study: Study, symbol: str, layer: LayerSpec, where: str) -> tuple[TierTable, ...]:
    tables = _tiers(study, symbol, where)
    refuse_leverage((layer.leverage_e2,), symbol, tables, f"{where}.leverage")
    return tables


def _tiers(study: Study, symbol: str, where: str) -> tuple[TierTable, ...]:
    try:
        return tier_tables(study.market.venue, symbol, study.market.tiers)
    except CoverageError as error:
        what = f"{symbol} has no tier table ({error.problems[0]})"
        remedy = 'name a file with the tiers of all symbols: market.tiers = "FILE.json"'
        raise StudyError.at(f"{where}.symbol", what, remedy) from None


def _form(study: Study, core_count: int, symbols: Sequence[str]) -> Form:
    return Form(
        core_count,
        tuple(
            Layer(
                schema.TARGETS.index(layer.use),
                layer.leverage_e2,
                None if layer.symbol is None else symbols.index(layer.symbol),
            )
            for layer in study.form.layers
        ),
        tuple(Collateral(symbols.index(one.symbol), one.share_e8, one.ratio_e8) for one in study.form.collaterals),
        assets=tuple(_asset_terms(one) for one in study.form.assets),
        isolated=tuple(sorted(symbols.index(symbol) for symbol in study.form.isolated)),
    )


def _asset_terms(asset: AssetSpec) -> AssetTerms:
    return AssetTerms(
        side=asset.side,
        paid=asset.settlement == "paid",
        own_account=asset.account == "own",
        ratio_e8=asset.ratio_e8,
        size_by=schema.SIZE_BY.index(asset.size_by),
        slippage_e8=asset.slippage_e8,
    )


# --- names and entries -----------------------------------------------------------------------------------------------


def symbols_by_slot(pool: Pool) -> list[str]:
    """Name the instrument of each slot; an opposite leg is told from its core leg, "" where there is no leg.

    The two are positions of their own in one contract: BTCUSDT and BTCUSDT.opposite. Valued assets come last.
    """
    named = [*pool.symbols[: pool.form.core_count], *[""] * (pool.form.core_count + 2)]
    for layer in pool.form.layers:
        for place, slot in enumerate(slots_of(layer.target, pool.form.core_count)):
            opposite = f"{named[place]}.{schema.TARGETS[OPPOSITE]}"
            named[slot] = opposite if layer.instrument is None else pool.symbols[layer.instrument]
    return [*named, *pool.asset_names]


def ledger_names(study: Study, pool: Pool) -> LedgerNames:
    """Name assets, accounts and slots: a wallet that stands alone is `margin.` and the layer's kind, or the symbol.

    The opposite legs of a basket stand alone beside isolated ones only, each with a symbol of its own.
    """
    found = [contract_at(study.market.venue, one, study.market.start_ms) for one in pool.symbols]
    accounts = [*schema.ACCOUNTS, *[""] * SLOTS_MAX]
    for target, name in enumerate(schema.TARGETS):
        for slot in slots_of(target, pool.form.core_count):
            accounts[at.INSURANCE + slot] = f"margin.{name}"
    for slot in pool.form.isolated:
        accounts[at.INSURANCE + slot] = f"margin.{pool.symbols[slot]}"
        accounts[at.INSURANCE + pool.form.core_count + slot] = f"margin.{pool.symbols[slot]}.{schema.TARGETS[OPPOSITE]}"
    quote = next((contract.settle for contract in found if contract.settle == contract.quote), found[0].quote)
    return LedgerNames((quote, *(contract.base for contract in found)), tuple(symbols_by_slot(pool)), tuple(accounts))


def pool_schedule(study: Study, name: str, pool: Pool, market: PoolMarket) -> Entries:
    """Lay out the entries of a pool: those of its first symbol, with steps and minima of each leg."""
    first = pool.symbols[0]
    plain = laid_out(study, name, first, Clock(market.times_ms, market.starts), ledger_names(study, pool))
    rows = np.zeros(len(plain.rows), POOL_ENTRY)
    for field in ENTRY.names or ():
        rows[field] = plain.rows[field]
    named = symbols_by_slot(pool)
    first_asset = slots_of(ASSET, pool.form.core_count)[0]
    for slot, symbol in enumerate(named[:first_asset]):
        if symbol:
            _lay_contract(study, symbol.split(".")[0], slot, rows)
    for slot, asset in enumerate(study.form.assets, first_asset):
        rows["leg_step_e8"][:, slot] = asset.step_e8
    return Entries(name, plain.names, rows, plain.labels, plain.held_ms)


def _lay_contract(study: Study, symbol: str, slot: int, rows: npt.NDArray[Any]) -> None:
    """Write steps and minima of one leg; an inverse contract's step is in quote: contracts x contract size."""
    for from_ms, contract in contracts(study.market.venue, symbol, np.unique(rows["entry_ms"])):
        later = rows["entry_ms"] >= from_ms
        size_e8 = contract.contract_size_e8 if is_coin(study, symbol) else E8
        rows["leg_step_e8"][later, slot] = contract.qty_step_e8 * size_e8 // E8
        rows["leg_min_notional_e8"][later, slot] = contract.min_notional_e8
