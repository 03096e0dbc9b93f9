"""What a run of several legs holds, rebuilt from its rows: the replay's record of it, measured by its formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.engine import cells as at
from backtest.engine.compile import jit
from backtest.engine.compiled import prepare
from backtest.engine.oracle.numbers import half_even
from backtest.engine.pool.batch import pool_plan
from backtest.engine.pool.forms import BOUGHT, POOL_RUN, QUOTE, WRITTEN, wallet_of
from backtest.engine.pool.legs import refresh
from backtest.engine.pool.market import PoolMarket
from backtest.engine.pool.units import collateral_value, figures, is_held
from backtest.engine.pool.values import leg_figures, tier_of
from backtest.study.pools import symbols_by_slot
from backtest.units import E8

if TYPE_CHECKING:
    from backtest.study.runner import SymbolData

Ints = npt.NDArray[np.int64]
OWN = (at.MARGIN, at.FREE, at.RESERVE, at.TRANSIT)


# The replay's own functions have no way in from Python; these let it ask.


@jit
def leg_at(market: PoolMarket, plan: Any, run: Any, slot: int, mark: int) -> tuple[int, int, int]:
    """Give profit, maintenance and initial margin of a leg at a mark, in its asset."""
    return leg_figures(market, plan, run, slot, mark)


@jit
def leg_tier(market: PoolMarket, plan: Any, run: Any, slot: int, mark: int) -> int:
    """Give the tier row of a leg at a mark, from 0."""
    return tier_of(market, run, plan.leg_instrument[slot], run.qty[slot], mark)


@jit
def unit_at(market: PoolMarket, plan: Any, run: Any, unit: int, marks: Any) -> tuple[int, int, int]:
    """Give equity, maintenance and initial margin of a unit."""
    return figures(market, plan, run, unit, marks, False)


@jit
def collateral_at(plan: Any, run: Any, place: int, mark: int) -> int:
    """Give what a collateral counts for."""
    return collateral_value(plan, run, place, mark)


@jit
def unit_held(plan: Any, run: Any, unit: int) -> bool:
    """Tell whether a leg of a unit has quantity."""
    return is_held(plan, run, unit)


@jit
def refresh_legs(market: PoolMarket, plan: Any, run: Any) -> None:
    """Recompute the closing-fee reserves."""
    for slot in range(plan.slot_count):
        refresh(market, plan, run, slot)


class Holding:
    """A run's legs and balances after the rows it has taken, at the terms of the bar it is in."""

    def __init__(self, data: SymbolData, outcome: Mapping[str, Any]) -> None:
        assert data.pool is not None
        assert isinstance(data.market, PoolMarket)
        self.market, self.pool, self.names = data.market, data.pool, data.entries.names
        self.plan = pool_plan(self.pool.terms, self.pool.form, self.market, prepare([]), next_open=False)
        self.run = np.zeros(1, POOL_RUN)[0]
        side = 1 if outcome["side"] == "long" else -1
        core = self.pool.form.core_count
        self.run["side"][:core], self.run["side"][core:] = side, -side
        own_side = self.plan["leg_side"] != 0
        self.run["side"][own_side] = self.plan["leg_side"][own_side]
        self.run["leverage_e2"] = self.plan["leg_leverage_e2"]
        self.run["leverage_e2"][:core] = round(outcome["leverage"] * 100)
        self._slots = {symbol: slot for slot, symbol in enumerate(symbols_by_slot(self.pool)) if symbol}

    def slot(self, symbol: str) -> int:
        """Give the slot of a leg by the name that its fills bear."""
        return self._slots[symbol]

    def bar_of(self, time_ms: int) -> int:
        """Give the last bar that opens at or before a time."""
        return int(np.searchsorted(self.market.times_ms, time_ms, side="right")) - 1

    def enter(self, bar: int) -> None:
        """Take the tier tables, fees and margins per unit of a bar."""
        segment = int(np.searchsorted(self.market.starts, bar, side="right")) - 1
        for i, row in enumerate(self.market.segments[segment]):
            self.run["table"][i], self.run["taker"][i] = row["table"], row["taker_e8"]
        self.run["segment"] = self.run["margins"] = segment
        refresh_legs(self.market, self.plan, self.run)

    def take(self, transfers: Sequence[Mapping[str, Any]], fills: Sequence[Mapping[str, Any]]) -> None:
        """Take rows, in their order."""
        for row in transfers:
            amount = row["amount_e8"]
            for account, change in ((row["debit"], -amount), (row["credit"], amount)):
                code = self.names.accounts.index(account)
                self.run["balance"][self._asset(code, row["asset"]), code] += change
        for row in fills:
            slot = self._slots[row["symbol"]]
            change = row["qty_e8"] * int(self.run["side"][slot])
            held, cost = int(self.run["qty"][slot]), int(self.run["cost"][slot])
            value = 0 if self.form(slot) in (BOUGHT, WRITTEN) else row["cost_e8"]  # what is paid for leaves no cost
            self.run["cost"][slot] = cost + (value if change > 0 else -half_even(cost * -change, held))
            self.run["qty"][slot] = held + change
        refresh_legs(self.market, self.plan, self.run)

    def act(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """Take what rules were granted: a change of leverage leaves no other row."""
        for row in actions:
            if row["verb"] == "set_leverage" and row["status"] == "done":
                self.run["leverage_e2"][: self.pool.form.core_count] = round(row["amount"] * 100)
        refresh_legs(self.market, self.plan, self.run)

    def _asset(self, account: int, name: str) -> int:
        """Give the code of an asset: two contracts of one coin are two assets to the replay, in different wallets."""
        if name == self.names.assets[QUOTE]:
            return QUOTE
        unit = max(account - at.INSURANCE, 0)
        own = int(self.plan["unit_asset"][unit])
        if own != QUOTE and self.names.assets[own] == name:
            return own
        return self.names.assets.index(name, 1)

    # --- what it is worth ---

    def slots(self, unit: int | None = None) -> list[int]:
        """List the legs that have quantity, of one unit or of all."""
        return [
            slot
            for slot in range(int(self.plan["slot_count"]))
            if self.run["qty"][slot] > 0 and unit in (None, int(self.plan["leg_unit"][slot]))
        ]

    def units(self) -> list[int]:
        """List the units that hold a leg."""
        return sorted({int(self.plan["leg_unit"][slot]) for slot in self.slots()})

    def instrument(self, slot: int) -> int:
        """Give the instrument of a leg."""
        return int(self.plan["leg_instrument"][slot])

    def form(self, slot: int) -> int:
        """Give what kind of leg a slot has: VENUE, MARGINED, WRITTEN or BOUGHT."""
        return int(self.plan["leg_form"][slot])

    def margins_e8(self, slot: int) -> tuple[int, int]:
        """Give initial and maintenance margin of a unit of a valued asset, as they are in force."""
        row = self.market.segments[int(self.run["margins"]), self.instrument(slot)]
        return int(row["initial_e8"]), int(row["maintenance_e8"])

    def wallet_e8(self, unit: int) -> int:
        """Give the wallet of a unit, in its asset."""
        return int(self.run["balance"][self.plan["unit_asset"][unit], wallet_of(unit)])

    def leg(self, slot: int, mark_e8: int) -> tuple[int, int, int]:
        """Give profit, maintenance and initial margin of a leg at a mark."""
        profit, maintenance, initial = leg_at(self.market, self.plan, self.run, slot, mark_e8)
        return int(profit), int(maintenance), int(initial)

    def tier(self, slot: int, mark_e8: int) -> int:
        """Give the tier row of a leg at a mark, from 0."""
        return int(leg_tier(self.market, self.plan, self.run, slot, mark_e8))

    def collateral_e8(self, place: int, mark_e8: int) -> int:
        """Give what a collateral counts for at a mark."""
        return int(collateral_at(self.plan, self.run, place, mark_e8))

    def unit(self, unit: int, marks_e8: Ints) -> tuple[int, int, int]:
        """Give equity, maintenance and initial margin of a unit, in its asset."""
        equity, maintenance, initial = unit_at(self.market, self.plan, self.run, unit, marks_e8)
        return int(equity), int(maintenance), int(initial)

    def worth_e8(self, marks_e8: Ints) -> int:
        """Give all that the run owns in quote: balances, profits, coin at its instrument's mark rounded down.

        A bought asset is worth its mark, whatever share of it counts as equity.
        """
        amounts = [0] * len(self.names.assets)
        for asset in range(len(amounts)):
            own = [*OWN, *range(at.INSURANCE + 1, self.run["balance"].shape[1])]
            amounts[asset] = sum(int(self.run["balance"][asset, account]) for account in own)
        for slot in self.slots():
            asset = int(self.plan["unit_asset"][self.plan["leg_unit"][slot]])
            mark = int(marks_e8[self.instrument(slot)])
            if self.form(slot) == BOUGHT:
                amounts[asset] += int(self.run["qty"][slot]) * mark // E8
            else:
                amounts[asset] += self.leg(slot, mark)[0]
        coin = sum(amount * int(marks_e8[asset]) // E8 for asset, amount in enumerate(amounts[1:]))
        return amounts[QUOTE] + coin

    def marks(self, bar: int, name: str = "mark_open_e8") -> Ints:
        """Give the marks of all instruments at a bar's open, or its other prices by their column."""
        return np.ascontiguousarray(self.market.bars[name][bar])
