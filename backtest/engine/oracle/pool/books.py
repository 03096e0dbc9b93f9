"""The books of a run with several legs: balances by account and asset, transfers, fills, and totals in quote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from backtest.engine.oracle.numbers import E8
from backtest.engine.oracle.pool.model import PoolFill, PoolResult, PoolTransfer
from backtest.errors import InvariantError

QUOTE = 0


class At(NamedTuple):
    """Where and why something happens: marks and prices before slippage of all instruments, cause and rule."""

    time_ms: int
    marks: tuple[int, ...]
    prices: tuple[int, ...]
    cause: str
    rule: int = -1


class Coin(NamedTuple):
    """An asset and the instrument whose mark values it; quote has none."""

    asset: int
    instrument: int | None = None

    def in_quote(self, amount: int, marks: tuple[int, ...]) -> int:
        """Value an amount in quote at the marks, rounded down on its absolute."""
        if self.instrument is None:
            return amount
        worth = abs(amount) * marks[self.instrument] // E8
        return worth if amount >= 0 else -worth


IN_QUOTE = Coin(QUOTE)


@dataclass
class Totals:
    """What a run has paid in all, in quote, and the fees that left each account, in its asset."""

    fees: int = 0
    funding: int = 0
    slippage: int = 0
    clearance: int = 0
    turnover: int = 0
    margin_added: int = 0
    premium: int = 0
    fees_of: Counter[str] = field(default_factory=Counter)


@dataclass
class Books:
    """Every movement is a transfer, every change of a leg a fill; `before_change` is told before each."""

    result: PoolResult
    before_change: Callable[[], None]
    balances: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    totals: Totals = field(default_factory=Totals)

    def held(self, account: str, asset: int = QUOTE) -> int:
        """Give a balance."""
        return self.balances[account, asset]

    def transfer(self, at: At, kind: str, debit: str, credit: str, amount: int, coin: Coin = IN_QUOTE) -> None:
        """Move a positive amount; nothing is written for zero."""
        if amount < 0:
            raise InvariantError.at(f"{kind} at {at.time_ms}", f"a transfer of {amount} is negative")
        if amount == 0:
            return
        self.before_change()
        self.balances[debit, coin.asset] -= amount
        self.balances[credit, coin.asset] += amount
        row = PoolTransfer(at.time_ms, kind, debit, credit, coin.asset, amount, at.cause, at.rule)
        self.result.transfers.append(row)
        if kind == "fee":
            self.totals.fees += coin.in_quote(amount, at.marks)
            self.totals.fees_of[debit] += amount
        if kind == "premium":
            self.totals.premium += amount if credit == "market" else -amount

    def settle(self, at: At, account: str, amount: int, kinds: tuple[str, str], other: str, coin: Coin) -> None:
        """Book a gain (positive, the first kind) or a loss (the second) of an account."""
        self.transfer(at, kinds[0], other, account, max(amount, 0), coin)
        self.transfer(at, kinds[1], account, other, max(-amount, 0), coin)

    def fill(self, at: At, slot: int, signed_qty: int, price: int, value: int, mark: int) -> None:
        """Write a fill."""
        self.before_change()
        self.result.fills.append(PoolFill(at.time_ms, slot, signed_qty, price, value, mark, at.cause, at.rule))
