"""The story of one run of several legs: its events, what each account holds, and each predicate number by number.

Told from the run's own ledger rows and the tapes, by the formulas of the replay: what is printed is what decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backtest.engine.pool.forms import MARGINED, VENUE, wallet_of
from backtest.study.pool_breach import Ints, breach_marks
from backtest.study.pool_life import Holding
from backtest.study.story import ORDER, Ledger, Rows
from backtest.venues.tiers import as_of

if TYPE_CHECKING:
    from backtest.study.runner import SymbolData


@dataclass(frozen=True, slots=True)
class LegFigures:
    """One leg at a mark: what it is worth and what it needs, in its asset."""

    symbol: str
    side: int
    is_inverse: bool
    qty_e8: int
    cost_e8: int
    mark_e8: int
    profit_e8: int
    maintenance_margin_e8: int
    fee_reserve_e8: int
    tier: int  # from 1
    tier_rate_e8: int
    tier_deduction_e8: int
    tier_table_ms: int


@dataclass(frozen=True, slots=True)
class AssetFigures:
    """A valued asset at its mark: what it adds to equity, and what it needs."""

    symbol: str
    side: int
    is_paid: bool
    qty_e8: int
    cost_e8: int  # 0 of what is paid for
    mark_e8: int
    ratio_e8: int  # share of a bought asset's value that counts
    value_e8: int  # of a margined one its profit
    unit_maintenance_e8: int  # maintenance margin of one unit
    maintenance_margin_e8: int


@dataclass(frozen=True, slots=True)
class CollateralFigures:
    """Coin that counts as margin, at a mark and its ratio."""

    asset: str
    coin_e8: int
    mark_e8: int
    ratio_e8: int
    value_e8: int


@dataclass(frozen=True, slots=True)
class UnitFigures:
    """One account with all that hangs on it: both sides of its predicate, term by term, in its asset."""

    account: str
    is_core: bool  # the shared account, or that of a core leg that stands isolated beside it
    asset: str
    wallet_e8: int
    legs: tuple[LegFigures, ...]
    assets: tuple[AssetFigures, ...]
    collaterals: tuple[CollateralFigures, ...]
    equity_e8: int
    maintenance_margin_e8: int
    initial_margin_e8: int

    @property
    def is_liquidated(self) -> bool:
        return self.equity_e8 <= self.maintenance_margin_e8


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """One moment of a run: what was asked there, the rows it left, and the accounts afterwards.

    `funding_before_e8` was paid, by asset, in `settlements` since the event before. `units` are empty where not all
    marks of that moment are known: on the path, those of what was not filled.
    """

    time_ms: int
    what: str
    asked: tuple[Mapping[str, Any], ...]
    fills: tuple[Mapping[str, Any], ...]
    transfers: tuple[Mapping[str, Any], ...]
    funding_before_e8: Mapping[str, int]
    settlements: int
    breaches: tuple[UnitFigures, ...]  # of a forced close: the accounts that were forced, just before
    units: tuple[UnitFigures, ...]


@dataclass(frozen=True, slots=True)
class PoolStory:
    """One run of several legs told whole."""

    outcome: Mapping[str, Any]
    margin_mode: str
    events: tuple[PoolEvent, ...]

    @property
    def first_breach(self) -> UnitFigures | None:
        """The account that the run's first liquidation was of: the shared one, or an isolated one beside it."""
        if not self.outcome["liquidated"]:
            return None
        forced = [unit for event in self.events if event.time_ms == self.outcome["liquidation_ms"]
                  for unit in event.breaches]  # fmt: skip
        return next(unit for unit in forced if unit.is_core)


def tell_pool(data: SymbolData, outcome: Mapping[str, Any], ledger: Ledger, margin_mode: str) -> PoolStory:
    """Tell a run of several legs from its outcome and its rows."""
    return PoolStory(outcome, margin_mode, tuple(_Teller(data, outcome, ledger).events()))


class _Teller:
    """The rows of a run, cut where one looks."""

    def __init__(self, data: SymbolData, outcome: Mapping[str, Any], ledger: Ledger) -> None:
        self.data, self.outcome, self.ledger = data, outcome, ledger
        self.told_breach = False

    def holding(self, transfers: Rows, fills: Rows, time_ms: int) -> Holding:
        """Rebuild the run after some rows, at the terms of the bar of a time."""
        held = Holding(self.data, self.outcome)
        held.enter(held.bar_of(time_ms))
        held.take(transfers, fills)
        held.act([row for row in self.ledger.actions if row["time_ms"] <= time_ms])
        return held

    def events(self) -> list[PoolEvent]:
        """Group rows by moment and cause; funding between two moments is summed."""
        moments = {(row["time_ms"], row["cause"]) for row in (*self.ledger.transfers, *self.ledger.fills)}
        moments |= {(row["time_ms"], "rule") for row in self.ledger.actions}
        found: list[PoolEvent] = []
        paid: dict[str, int] = {}
        settlements: set[int] = set()
        for time_ms, cause in sorted(moments, key=lambda moment: (moment[0], ORDER.index(moment[1]))):
            transfers = _at(self.ledger.transfers, time_ms, cause)
            if cause == "funding":
                settlements.add(time_ms)
                for row in transfers:
                    sign = -1 if row["debit"] == "funding" else 1
                    paid[row["asset"]] = paid.get(row["asset"], 0) + sign * row["amount_e8"]
                continue
            fills = _at(self.ledger.fills, time_ms, cause)
            asked = tuple(row for row in self.ledger.actions if row["time_ms"] == time_ms) if cause == "rule" else ()
            after = self.holding(
                _up_to(self.ledger.transfers, transfers, time_ms), _up_to(self.ledger.fills, fills, time_ms), time_ms
            )
            breaches = tuple(self._breaches(time_ms, fills)) if cause == "liquidation" else ()
            marks = _known_marks(after, time_ms, fills, asked)
            units = () if marks is None else tuple(unit_figures(after, unit, marks, time_ms) for unit in after.units())
            found.append(PoolEvent(time_ms, cause, asked, fills, transfers, paid, len(settlements), breaches, units))
            paid, settlements = {}, set()
        return found

    def _breaches(self, time_ms: int, fills: Rows) -> list[UnitFigures]:
        """Take each account that was forced in a bar as it stood just before."""
        found = []
        plan = Holding(self.data, self.outcome)
        by_unit: dict[int, list[Mapping[str, Any]]] = {}
        for fill in fills:
            by_unit.setdefault(int(plan.plan["leg_unit"][plan.slot(fill["symbol"])]), []).append(fill)
        for unit, forced in by_unit.items():
            account = plan.names.accounts[wallet_of(unit)]
            before = self.holding(self._before(account, time_ms), self.ledger.fills[: forced[0]["sequence"]], time_ms)
            marks = before.marks(before.bar_of(time_ms)).copy()
            if unit > 0:
                marks[before.instrument(before.slot(forced[0]["symbol"]))] = forced[0]["mark_e8"]
            elif time_ms == self.outcome["liquidation_ms"] and forced[0] is self._first_of_core(fills):
                marks = self._first_marks(before, time_ms, forced)
            else:
                continue
            found.append(unit_figures(before, unit, marks, time_ms))
        return found

    def _first_of_core(self, fills: Rows) -> Mapping[str, Any] | None:
        """Give the first forced fill of a core account: marks are known of the liquidation that comes first."""
        plan = Holding(self.data, self.outcome)
        core = int(plan.plan["core_count"])
        return next((f for f in fills if plan.plan["leg_unit"][plan.slot(f["symbol"])] < core), None)

    def _before(self, account: str, time_ms: int) -> Rows:
        """Give the transfers before the first forced one of an account in a bar."""
        for place, row in enumerate(self.ledger.transfers):
            forced = row["time_ms"] == time_ms and row["cause"] == "liquidation"
            if forced and account in (row["debit"], row["credit"]):
                return self.ledger.transfers[:place]
        return [row for row in self.ledger.transfers if row["time_ms"] <= time_ms]

    def _first_marks(self, before: Holding, time_ms: int, forced: Rows) -> Ints:
        bar = before.bar_of(time_ms)
        opens = before.marks(bar)
        fills = [
            fill
            for fill in self.ledger.fills[: forced[0]["sequence"]]
            if fill["time_ms"] < time_ms or fill["mark_e8"] == opens[before.instrument(before.slot(fill["symbol"]))]
        ]
        at_open = self.holding(self.ledger.transfers[:0], fills, time_ms)
        return breach_marks(at_open, before, bar, self.outcome["liquidation_price_e8"], forced)


def _at(rows: Rows, time_ms: int, cause: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(row for row in rows if row["time_ms"] == time_ms and row["cause"] == cause)


def _up_to(rows: Rows, last: Sequence[Mapping[str, Any]], time_ms: int) -> Rows:
    """Give the rows up to the last of an event; where it left none, those before its time."""
    return rows[: last[-1]["sequence"] + 1] if last else [row for row in rows if row["time_ms"] < time_ms]


def _known_marks(after: Holding, time_ms: int, fills: Rows, asked: Rows) -> Ints | None:
    """Give the marks of a moment; None on the path, where something held was neither filled nor asked about."""
    bar = after.bar_of(time_ms)
    if time_ms != after.market.times_ms[bar]:
        return None  # the end of the data
    marks = after.marks(bar).copy()
    known = {after.instrument(after.slot(fill["symbol"])): int(fill["mark_e8"]) for fill in fills}
    if asked:
        known[0] = int(asked[-1]["mark_e8"])
    on_path = any(mark != marks[instrument] for instrument, mark in known.items())
    held = {after.instrument(slot) for slot in after.slots()} | {one.instrument for one in after.pool.form.collaterals}
    if on_path and not held <= known.keys():
        return None
    for instrument, mark in known.items():
        marks[instrument] = mark
    return marks


def unit_figures(held: Holding, unit: int, marks: Ints, time_ms: int) -> UnitFigures:
    """Measure one account at marks, term by term."""
    equity, maintenance, initial = held.unit(unit, marks)
    legs, assets = [], []
    for slot in held.slots(unit):
        mark = int(marks[held.instrument(slot)])
        if held.form(slot) == VENUE:
            legs.append(_leg(held, slot, mark, time_ms))
        else:
            assets.append(_asset(held, slot, mark))
    collaterals = []
    for place, one in enumerate(held.pool.form.collaterals if unit == 0 else ()):
        mark = int(marks[one.instrument])
        coin = int(held.run["balance"][one.instrument + 1, wallet_of(0)])
        asset = held.names.assets[one.instrument + 1]
        collaterals.append(CollateralFigures(asset, coin, mark, one.ratio_e8, held.collateral_e8(place, mark)))
    return UnitFigures(
        account=held.names.accounts[wallet_of(unit)],
        is_core=unit < int(held.plan["core_count"]),
        asset=held.names.assets[int(held.plan["unit_asset"][unit])],
        wallet_e8=held.wallet_e8(unit),
        legs=tuple(legs),
        assets=tuple(assets),
        collaterals=tuple(collaterals),
        equity_e8=equity,
        maintenance_margin_e8=maintenance,
        initial_margin_e8=initial,
    )


def _asset(held: Holding, slot: int, mark: int) -> AssetFigures:
    value, maintenance, _ = held.leg(slot, mark)
    return AssetFigures(
        symbol=held.names.symbols[slot],
        side=int(held.run["side"][slot]),
        is_paid=held.form(slot) != MARGINED,
        qty_e8=int(held.run["qty"][slot]),
        cost_e8=int(held.run["cost"][slot]),
        mark_e8=mark,
        ratio_e8=int(held.plan["leg_ratio_e8"][slot]),
        value_e8=value,
        unit_maintenance_e8=held.margins_e8(slot)[1],
        maintenance_margin_e8=maintenance,
    )


def _leg(held: Holding, slot: int, mark: int, time_ms: int) -> LegFigures:
    profit, maintenance, _ = held.leg(slot, mark)
    place = held.tier(slot, mark)
    dated = as_of(held.pool.instruments[held.instrument(slot)].tiers, time_ms)
    return LegFigures(
        symbol=held.names.symbols[slot],
        side=int(held.run["side"][slot]),
        is_inverse=bool(held.market.inverse[held.instrument(slot)]),
        qty_e8=int(held.run["qty"][slot]),
        cost_e8=int(held.run["cost"][slot]),
        mark_e8=mark,
        profit_e8=profit,
        maintenance_margin_e8=maintenance,
        fee_reserve_e8=int(held.run["fee_reserve"][slot]),
        tier=place + 1,
        tier_rate_e8=dated.tiers[place].rate_e8,
        tier_deduction_e8=dated.tiers[place].deduction_e8,
        tier_table_ms=dated.first_ms,
    )
