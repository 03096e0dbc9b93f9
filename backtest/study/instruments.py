"""Instruments: one symbol with its tape and its tier tables, and what refuses a study before its replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backtest.data.stand_in import LastForMark
from backtest.data.store import Lake
from backtest.data.tape import TapeResult, build_tape
from backtest.errors import StudyError
from backtest.study.config import Study
from backtest.study.form import settles_in_coin
from backtest.units import duration_text
from backtest.venues.contracts import contract_at
from backtest.venues.fees import taker_fee_steps
from backtest.venues.rulebook import rulebook
from backtest.venues.symbols import load_table
from backtest.venues.tiers import TierTable, tier_tables


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol, its tape, and its tier tables."""

    symbol: str
    result: TapeResult
    tiers: tuple[TierTable, ...]
    is_inverse: bool = False  # settled in its base coin


def replayed_lake(study: Study, lake: Lake) -> Lake:
    """Give a lake as a study's replay sees it: last prices as mark, where the study says so."""
    return LastForMark(lake.root) if study.market.last_for_mark else lake


def read_instrument(
    study: Study, lake: Lake, symbol: str, tiers: tuple[TierTable, ...], within_ms: Sequence[int] | None = None
) -> Instrument:
    """Build the tape of a symbol over a study's range; finer bars fill bars that open `within_ms`, if that is given."""
    spec, fee = study.market, study.costs.taker_fee_e8
    result = build_tape(
        lake,
        venue=spec.venue,
        symbol=symbol,
        interval=duration_text(spec.interval_ms),
        start_ms=spec.start_ms,
        stop_ms=spec.stop_ms,
        tiers=tiers,
        taker_fee_steps=taker_fee_steps(spec.venue) if fee is None else ((0, fee),),
        gap_policy=spec.gaps,
        resample=spec.resample,
        finer=[duration_text(length_ms) for length_ms in spec.finer_ms],
        within_ms=within_ms,
        cache=lake.root / ".tapes",
    )
    return Instrument(symbol, result, tiers, is_coin(study, symbol))


def core_tiers(study: Study, symbol: str) -> tuple[TierTable, ...]:
    """Give the tier tables of a symbol that a study enters; StudyError for a leverage that none ever allowed."""
    tables = tier_tables(study.market.venue, symbol, study.market.tiers)
    refuse_leverage(study.entries.leverages_e2, symbol, tables, "entries.leverage")
    return tables


def is_coin(study: Study, symbol: str) -> bool:
    """Say whether a symbol settles in its base coin."""
    return settles_in_coin(contract_at(study.market.venue, symbol, study.market.start_ms))


def check_era(study: Study) -> None:
    """Refuse a study that begins where the venue still took maintenance at the entry price: only mark is replayed."""
    spec = study.market
    if rulebook(spec.venue, spec.start_ms).maintenance_price == "mark":
        return
    eras = load_table(spec.venue, "rules")["eras"]
    first = next(era["from"] for era in eras if era["maintenance_price"] == "mark")
    what = f"{spec.venue} took maintenance margin at the entry price before {first}, which is not replayed"
    raise StudyError.at("market.start", what, f"start at {first} or later")


def check_single(study: Study, symbol: str) -> None:
    """Refuse a study of several legs or of a contract settled in coin, for what is made for one linear position."""
    if not study.form.is_single:
        what = "has a basket, layers or collateral, and this is computed for one position only"
        raise StudyError.at("study", what, "take them out")
    if is_coin(study, symbol):
        contract = contract_at(study.market.venue, symbol, study.market.start_ms)
        what = f"{symbol} is settled in {contract.settle}, and this is computed for linear contracts only"
        raise StudyError.at("market.symbols", what, f"take a linear contract, such as {contract.base}USDT")


def refuse_leverage(leverages_e2: Sequence[int], symbol: str, tables: Sequence[TierTable], where: str) -> None:
    """Refuse, at a place of the study, a leverage above every tier's maximum of a symbol."""
    known = [tier.max_leverage_e2 for table in tables for tier in table.tiers if tier.max_leverage_e2 is not None]
    above = [leverage for leverage in leverages_e2 if known and leverage > max(known)]
    if above:
        what = f"{above[-1] / 100:g}x is above every tier's maximum of {symbol}"
        raise StudyError.at(where, what, f"take at most {max(known) / 100:g}x")
