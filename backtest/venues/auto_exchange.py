"""Binance multi-assets mode: when a negative balance is exchanged for other collateral, and what that takes.

Profit and loss stay in the asset of the contract, so a balance may go negative while other assets back it. The venue
exchanges it when it passes a limit, when the account is liquidated, or, without positions, when loans reach 99.5 % of
what the rest counts. Which asset pays first is not published: each one is shown alone.

Source: Binance FAQ 29b45c485d664028b9ca1cdf90b24f6f (Multi-Assets Mode); limits and haircuts are in the rules table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from backtest.venues.account import Account, Collateral, Unit
from backtest.venues.binance import trigger
from backtest.venues.exact import text
from backtest.venues.symbols import load_table


@dataclass(frozen=True, slots=True)
class Debt:
    """A negative balance: the quantity owed, the rule that it was held against, and whether it is exchanged."""

    asset: str
    owed: Fraction
    rule: str
    due: bool


@dataclass(frozen=True, slots=True)
class Payment:
    """What one asset would pay for a debt, at its price less the haircut of the exchange."""

    asset: str
    quantity: Fraction
    price: Fraction
    haircut: Fraction


def facts() -> dict[str, Any]:
    """Give limits, loan-to-value and haircuts."""
    return dict(load_table("binance", "rules")["auto_exchange"])


def debts(account: Account, unit: Unit) -> Iterator[Debt]:
    """Give every negative balance of a multi-assets pool, and whether it is exchanged now."""
    limits = facts()["debts"]
    if account.vip_level >= facts()["vip_from_level"]:
        limits = limits | facts()["vip_debts"]
    for owing in (c for c in account.collateral if c.amount < 0):
        owed = -owing.amount
        if unit.positions and trigger(account, unit) <= 0:
            yield Debt(owing.asset, owed, "the account is liquidated", due=True)
        elif not unit.positions and loan_to_value(account) >= Fraction(facts()["loan_to_value"]):
            yield Debt(owing.asset, owed, "loans reach the limit of what is held, without positions", due=True)
        elif owing.asset in limits:
            limit = Fraction(limits[owing.asset])
            yield Debt(owing.asset, owed, f"limit {text(limit)} {owing.asset}", due=owed >= limit)
        else:
            yield Debt(owing.asset, owed, f"no limit of {owing.asset} is published", due=False)


def loan_to_value(account: Account) -> Fraction:
    """Give the value of negative balances over what the others count; without others, 1."""
    loans = sum((-c.amount * c.index_price for c in account.collateral if c.amount < 0), start=Fraction(0))
    backing = sum((c.counted(c.amount) for c in account.collateral if c.amount > 0), start=Fraction(0))
    return loans / backing if backing > 0 else Fraction(1)


def payments(account: Account, debt: Debt) -> Iterator[Payment]:
    """Give what each asset held would pay alone: owed x its price / (price of the asset x (1 - haircut))."""
    worth = debt.owed * account.index_price(debt.asset)
    for paying in account.collateral:
        haircut = _haircut(paying)
        if paying.amount > 0 and haircut is not None and haircut < 1:
            yield Payment(paying.asset, worth / (paying.index_price * (1 - haircut)), paying.index_price, haircut)


def _haircut(collateral: Collateral) -> Fraction | None:
    """Give the haircut that the account states, else the published one."""
    if collateral.exchange_haircut is not None:
        return collateral.exchange_haircut
    published = facts()["haircuts"].get(collateral.asset)
    return None if published is None else Fraction(published)
