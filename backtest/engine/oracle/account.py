"""The accounts of a run: every movement is a transfer, every change of position a fill."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from backtest.engine.oracle.model import Fill, Plan, Result, Transfer
from backtest.engine.oracle.numbers import E8, ceil_div, e8, fill_value, half_even, worse_price
from backtest.engine.oracle.position import Figures, Position
from backtest.errors import InvariantError
from backtest.schema import ACCOUNTS

INFINITE_RATIO_PPM = 10**15


class Moment(NamedTuple):
    """Where and why something happens: bar time, deciding mark, cause and rule."""

    time_ms: int
    mark: int
    cause: str
    rule: int = -1


class Account:
    """Balances, the position, the books, and the extremes of what was seen."""

    def __init__(self, plan: Plan, position: Position, result: Result) -> None:
        self.position = position
        self.balances = dict.fromkeys(ACCOUNTS, 0)
        self.slippage_rate = e8(plan.slippage)
        self.releases = plan.margin_mode == "isolated" and plan.release == "pro_rata"
        self.fees = self.funding = self.slippage = self.clearance = self.margin_added = self.turnover = 0
        self.min_buffer_ppm: int | None = None
        self.max_ratio_ppm: int | None = None
        self._result = result
        self._seen: tuple[int, int] | None = None  # least and greatest mark of the present stretch
        self._figures: dict[int, Figures] = {}  # by mark, of the present stretch

    @property
    def wallet(self) -> int:
        return self.balances["margin"]

    def figures(self, mark: int) -> Figures:
        """Give equity, maintenance and initial margin at a mark; computed once in a stretch of constant state."""
        if mark not in self._figures:
            self._figures[mark] = self.position.figures(self.wallet, mark)
        return self._figures[mark]

    def liquidated(self, mark: int) -> bool:
        """Say whether the liquidation predicate holds at a mark."""
        return self.position.qty > 0 and self.figures(mark).liquidated

    # --- what was seen -------------------------------------------------------------------------------------------

    def see(self, mark: int) -> None:
        """Note that the mark was here with the present state."""
        low, high = self._seen or (mark, mark)
        self._seen = (min(low, mark), max(high, mark))

    def end_stretch(self) -> None:
        """Close a stretch of constant state, before a change: take buffer and ratio at its least and greatest mark."""
        for mark in self._seen or ():
            figures = self.figures(mark)
            ratio = INFINITE_RATIO_PPM
            if figures.equity > 0:
                ratio = min(ratio, ceil_div(figures.maintenance * 10**6, figures.equity))
            self.max_ratio_ppm = ratio if self.max_ratio_ppm is None else max(self.max_ratio_ppm, ratio)
            if figures.buffer_base > 0:
                buffer = figures.headroom * 10**6 // figures.buffer_base
                buffer = max(-INFINITE_RATIO_PPM, min(buffer, INFINITE_RATIO_PPM))
                self.min_buffer_ppm = buffer if self.min_buffer_ppm is None else min(self.min_buffer_ppm, buffer)
        self._seen = None
        self._figures.clear()

    # --- the two records -----------------------------------------------------------------------------------------

    def transfer(self, at: Moment, kind: str, debit: str, credit: str, amount: int) -> None:
        """Move a positive amount; nothing is written for zero."""
        if amount < 0:
            raise InvariantError.at(f"{kind} at {at.time_ms}", f"a transfer of {amount} is negative")
        if amount == 0:
            return
        self.end_stretch()
        self.balances[debit] -= amount
        self.balances[credit] += amount
        self._result.transfers.append(Transfer(at.time_ms, kind, debit, credit, amount, at.cause, at.rule))

    def _fill(self, at: Moment, signed_qty: int, price: int, price_before: int, position: Position) -> int:
        """Write a fill and take the new position; the value of the fill is returned."""
        self.end_stretch()
        buying = signed_qty > 0
        value = fill_value(abs(signed_qty), price, buying=buying)
        before = fill_value(abs(signed_qty), price_before, buying=buying)
        self.slippage += max(0, value - before if buying else before - value)
        self.turnover += value
        self.position = position
        self._result.fills.append(Fill(at.time_ms, signed_qty, price, value, at.mark, at.cause, at.rule))
        return value

    # --- compound movements --------------------------------------------------------------------------------------

    def take_terms(self, position: Position) -> None:
        """Take a position of the same size with another leverage, risk table or taker rate."""
        if position != self.position:
            self.end_stretch()
            self.position = position

    def taker_fee(self, value: int) -> int:
        """Give the taker fee of a fill value."""
        return ceil_div(value * self.position.taker, E8)

    def pay_fee(self, at: Moment, value: int) -> int:
        """Charge the taker fee of a fill."""
        fee = self.taker_fee(value)
        self.transfer(at, "fee", "margin", "fees", fee)
        self.fees += fee
        return fee

    def opening(self, qty: int, price_before: int) -> tuple[int, int]:
        """Give fill price and value of buying (long) or selling (short) a quantity to open."""
        buying = self.position.side > 0
        price = worse_price(price_before, self.slippage_rate, buying=buying)
        return price, fill_value(qty, price, buying=buying)

    def enlarge(self, at: Moment, qty: int, price_before: int) -> None:
        """Open or add a quantity at a price made worse by slippage, and pay the fee."""
        price, value = self.opening(qty, price_before)
        grown = replace(self.position, qty=self.position.qty + qty, cost=self.position.cost + value)
        self._fill(at, self.position.side * qty, price, price_before, grown)
        self.pay_fee(at, value)

    def close_part(self, at: Moment, qty: int, price: int, price_before: int) -> tuple[int, int]:
        """Close a quantity at a price and book the realised result; value and result are returned."""
        side = self.position.side
        reduction = self.position.reduced(qty, price)
        self._fill(at, -side * qty, price, price_before, reduction.position)
        self.transfer(at, "profit", "market", "margin", max(reduction.realised, 0))
        self.transfer(at, "loss", "margin", "market", max(-reduction.realised, 0))
        return reduction.value, reduction.realised

    def reduce(self, at: Moment, qty: int, price_before: int) -> int:
        """Close a quantity by choice: slippage, taker fee, and the released share, which is returned."""
        held, wallet = self.position.qty, self.wallet
        price = worse_price(price_before, self.slippage_rate, buying=self.position.side < 0)
        value, realised = self.close_part(at, qty, price, price_before)
        fee = self.pay_fee(at, value)
        if self.position.qty == 0:
            self.empty(at)
            return 0
        released = max(half_even(wallet * qty, held) + realised - fee, 0) if self.releases else 0
        self.transfer(at, "release", "margin", "free", released)
        return released

    def empty(self, at: Moment) -> None:
        """Leave nothing in the wallet of a flat position: a debt is insurance's, the rest goes free."""
        self.transfer(at, "shortfall", "insurance", "margin", max(-self.wallet, 0))
        self.transfer(at, "release", "margin", "free", self.wallet)

    def pay_funding(self, at: Moment, rate: int) -> None:
        """Settle funding on qty x mark: what is paid is rounded up, what is received down."""
        exact = self.position.qty * at.mark * abs(rate)
        if self.position.side * rate > 0:
            amount = ceil_div(exact, E8 * E8)
            self.transfer(at, "funding", "margin", "funding", amount)
            self.funding += amount
        else:
            amount = exact // (E8 * E8)
            self.transfer(at, "funding", "funding", "margin", amount)
            self.funding -= amount

    def add_margin(self, at: Moment, source: str, amount: int) -> None:
        """Bring margin to the position at a rule's wish."""
        self.transfer(at, "add_margin", source, "margin", amount)
        self.margin_added += amount
