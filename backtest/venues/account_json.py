"""Read an account from its JSON form: every problem at once, one line each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from backtest.errors import AccountError, BacktestError, CoverageError, did_you_mean
from backtest.units import time_ms, time_text
from backtest.venues.account import (
    ERAS,
    MARGIN_MODES,
    POSITION_MODES,
    Account,
    Collateral,
    Order,
    Position,
    Slice,
)
from backtest.venues.exact import cut, text
from backtest.venues.fees import taker_fee_e8
from backtest.venues.fields import Fields
from backtest.venues.ladder import Ladder
from backtest.venues.modes import mode_problems
from backtest.venues.rulebook import rulebook
from backtest.venues.symbols import VENUES, load_table, normalize_symbol
from backtest.venues.tiers import TierTable, as_of, fidelity, read_tiers, tier_tables

ACCOUNT_KEYS = (
    "venue",
    "as_of",
    "era",
    "margin_mode",
    "position_mode",
    "taker_fee",
    "collateral",
    "positions",
    "orders",
    "tiers",
    "haircut_loss",
    "vip_level",
)
COLLATERAL_KEYS = ("asset", "amount", "index_price", "ratio", "exchange_haircut")
POSITION_KEYS = (
    "symbol",
    "side",
    "qty",
    "entry_price",
    "mark_price",
    "leverage",
    "isolated_wallet",
    "extra_margin",
    "margin_mode",
    "settle_asset",
    "contract_size",
    "tick_size",
    "entry_price_decimals",
    "notional_coef",
    "auto_add_margin",
)
ORDER_KEYS = ("symbol", "side", "qty", "price", "leverage")
TIER_KEYS = ("floor", "cap", "rate", "deduction", "max_leverage")
STABLE_ASSETS = ("USDT", "USDC", "BUSD", "FDUSD", "USD")
SIDES = {"long": 1, "short": -1}
ORDER_SIDES = {"buy": 1, "sell": -1}
ENTRY_DECIMALS = 8
MOST_DECIMALS = Fraction(30)
ONE = Fraction(1)
VIP_LEVELS = range(10)
LARGEST_FEE = Fraction("0.1")  # more is a percentage written by mistake

_BYBIT_INVERSE = re.compile(r"[A-Z0-9]+USD([FGHJKMNQUVXZ]\d\d)?")
_BINANCE_INVERSE = re.compile(r"[A-Z0-9]+USD_([A-Z]+|\d+)")


def read_account(content: object) -> Account:
    """Turn the JSON form of an account into an Account.

    Raises AccountError with every problem found: unknown keys, floats, negative quantities, unknown symbols, missing
    collateral, leverage over the tier's maximum, modes that the venue forbids together.
    """
    if not isinstance(content, Mapping):
        raise AccountError.at("account", "is not a JSON object", 'write {"venue": "binance", "positions": [...], ...}')
    return _Reader(content).account()


class _Reader(Fields):
    """Reads one account and collects what is wrong with it."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.venue = ""
        self.as_of_ms: int | None = None
        self.ladders: dict[tuple[str, Fraction], Ladder | None] = {}

    def account(self) -> Account:
        self.keys("account", self.content, ACCOUNT_KEYS)
        self.venue = self.word("account", self.content, "venue", VENUES) or ""
        if not self.venue:
            raise AccountError(*self.problems)
        self.as_of_ms = self.moment()
        rules = rulebook(self.venue, self.as_of_ms if self.as_of_ms is not None else time_ms("2100-01-01"))
        margin_mode = self.word("account", self.content, "margin_mode", MARGIN_MODES) or "isolated"
        fee = self.number(
            "account", self.content, "taker_fee", least=Fraction(0), most=LARGEST_FEE, missing=self.dated_fee()
        )
        account = Account(
            venue=self.venue,
            era=self.era(rules.era),
            era_uncertain=rules.uncertain and self.content.get("era") is None,
            as_of_ms=self.as_of_ms,
            margin_mode=margin_mode,
            position_mode=self.word("account", self.content, "position_mode", POSITION_MODES, "one_way") or "one_way",
            taker_fee=fee if fee is not None else Fraction(0),
            collateral=tuple(c for where, row in self.objects("collateral") if (c := self.collateral(where, row))),
            positions=tuple(
                p for where, row in self.objects("positions") if (p := self.position(where, row, margin_mode))
            ),
            orders=tuple(o for where, row in self.objects("orders") if (o := self.order(where, row))),
            haircut_loss=self.number("account", self.content, "haircut_loss", least=Fraction(0), missing=Fraction(0))
            or Fraction(0),
            vip_level=self.whole("account", self.content, "vip_level", VIP_LEVELS),
        )
        self.unused_tiers()
        self.problems += mode_problems(account)
        if self.problems:
            raise AccountError(*dict.fromkeys(self.problems))
        return account

    # --- whole account ------------------------------------------------------------------------------------------

    def moment(self) -> int | None:
        value = self.content.get("as_of")
        if value is None:
            return None
        try:
            return time_ms(value) if isinstance(value, str) else self.fault("account.as_of", f"is {value!r}")
        except ValueError as error:
            return self.fault("account.as_of", str(error))

    def dated_fee(self) -> Fraction:
        at_ms = self.as_of_ms if self.as_of_ms is not None else time_ms("2100-01-01")
        return Fraction(taker_fee_e8(self.venue, at_ms), 10**8)

    def era(self, dated: str) -> str:
        if self.content.get("era") is None:
            return dated
        if self.venue != "bybit":
            self.fault("account.era", "only Bybit has eras", "leave it out")
            return dated
        return self.word("account", self.content, "era", ERAS) or dated

    # --- parts --------------------------------------------------------------------------------------------------

    def collateral(self, where: str, row: Mapping[str, Any]) -> Collateral | None:
        self.keys(where, row, COLLATERAL_KEYS)
        asset = self.name(where, row, "asset")
        amount = self.number(where, row, "amount")
        # A dollar-like asset without a price is taken at 1; any other needs one only where values are in USD.
        default = Fraction(1) if asset in STABLE_ASSETS else Fraction(0)
        index_price = self.number(where, row, "index_price", above=Fraction(0), missing=default)
        slices = self.slices(f"{where}.ratio", row.get("ratio"))
        haircut = self.number(where, row, "exchange_haircut", least=Fraction(0), most=Fraction(1), optional=True)
        if asset is None:
            return None
        # A value that was at fault is replaced, so that what depends on the others is still checked.
        whole = (Slice(Fraction(0), None, ONE),)
        return Collateral(asset, amount or Fraction(0), index_price or default, slices or whole, haircut)

    def slices(self, where: str, ratio: object) -> tuple[Slice, ...] | None:
        if not isinstance(ratio, list):
            share = self.value(where, "1" if ratio is None else ratio, least=Fraction(0), most=Fraction(1))
            return None if share is None else (Slice(Fraction(0), None, share),)
        slices: list[Slice] = []
        for number, part in enumerate(ratio):
            place = f"{where}[{number}]"
            if not isinstance(part, list) or len(part) != 3:
                return self.fault(place, "is not [min_qty, max_qty, ratio]")
            low = self.value(place, part[0], least=Fraction(0))
            high = None if part[1] in (None, "") else self.value(place, part[1], above=low or Fraction(0))
            share = self.value(place, part[2], least=Fraction(0), most=Fraction(1))
            if low is None or share is None:
                return None
            if low != (slices[-1].high if slices else 0):
                return self.fault(place, "does not begin where the slice before it ends")
            slices.append(Slice(low, high, share))
        return tuple(slices) or self.fault(where, "is an empty list")

    def position(self, where: str, row: Mapping[str, Any], account_mode: str) -> Position | None:
        self.keys(where, row, POSITION_KEYS)
        symbol = self.symbol(where, row)
        side = self.word(where, row, "side", tuple(SIDES))
        qty = self.number(where, row, "qty", above=Fraction(0))
        entry = self.entry_price(where, row)
        mark = self.number(where, row, "mark_price", above=Fraction(0))
        leverage = self.leverage(where, row)
        wallet = self.number(where, row, "isolated_wallet", optional=True)
        extra = self.number(where, row, "extra_margin", missing=Fraction(0))
        mode = self.word(where, row, "margin_mode", MARGIN_MODES, account_mode)
        tick = self.number(where, row, "tick_size", above=Fraction(0), optional=True)
        coef = self.number(where, row, "notional_coef", above=Fraction(0), missing=Fraction(1))
        if coef not in (None, 1) and self.venue != "binance":
            self.fault(f"{where}.notional_coef", "only Binance has it", "leave it out")
        if symbol is None or coef is None:
            return None
        ladder = self.ladder(where, symbol, coef)
        size = self.number(where, row, "contract_size", above=Fraction(0), missing=self.contract_size(symbol))
        settle = self.settle_asset(where, row, symbol) if ladder else None
        if not (side and ladder and settle and mode):
            return None
        # A value that was at fault is replaced, so that what depends on the others is still checked.
        if leverage is None and row.get("leverage") is not None:
            leverage = ONE
        return Position(
            symbol=symbol,
            side=SIDES[side],
            qty=qty or ONE,
            entry_price=entry or ONE,
            mark_price=mark or ONE,
            leverage=leverage,
            isolated_wallet=wallet,
            extra_margin=extra or Fraction(0),
            margin_mode=mode,
            inverse=self.is_inverse(symbol),
            settle_asset=settle,
            contract_size=size or ONE,
            tick_size=tick,
            ladder=ladder,
            auto_add_margin=self.flag(where, row, "auto_add_margin"),
        )

    def order(self, where: str, row: Mapping[str, Any]) -> Order | None:
        self.keys(where, row, ORDER_KEYS)
        symbol = self.symbol(where, row)
        side = self.word(where, row, "side", tuple(ORDER_SIDES))
        qty = self.number(where, row, "qty", above=Fraction(0))
        price = self.number(where, row, "price", above=Fraction(0))
        leverage = self.leverage(where, row)
        if symbol is None:
            return None
        beside = [p for _, p in self.objects("positions", quiet=True) if self.spelling(p.get("symbol")) == symbol]
        own = beside[0] if beside else {}
        ladder = self.ladder(where, symbol, self.quiet(own.get("notional_coef"), Fraction(1)))
        settle = own.get("settle_asset") or (self.settle_asset(where, {}, symbol) if ladder else None)
        if not (side and qty and price and ladder and settle):
            return None
        return Order(
            symbol=symbol,
            side=ORDER_SIDES[side],
            qty=qty,
            price=price,
            leverage=leverage if leverage is not None else self.quiet(own.get("leverage"), None),
            inverse=self.is_inverse(symbol),
            settle_asset=settle,
            contract_size=self.quiet(own.get("contract_size"), self.contract_size(symbol)),
            ladder=ladder,
        )

    def entry_price(self, where: str, row: Mapping[str, Any]) -> Fraction | None:
        """Read the entry price; Binance keeps 8 decimals of it, older payloads fewer."""
        entry = self.number(where, row, "entry_price", above=Fraction(0))
        decimals = self.number(
            where, row, "entry_price_decimals", least=Fraction(0), most=MOST_DECIMALS, missing=Fraction(ENTRY_DECIMALS)
        )
        if entry is None or decimals is None or self.venue != "binance":
            return entry
        if decimals.denominator != 1 or not cut(entry, int(decimals)):
            return self.fault(f"{where}.entry_price_decimals", f"{text(decimals)} decimals cannot hold the entry price")
        return cut(entry, int(decimals))

    def leverage(self, where: str, row: Mapping[str, Any]) -> Fraction | None:
        return self.number(where, row, "leverage", least=Fraction(1), optional=True)

    # --- symbols ------------------------------------------------------------------------------------------------

    def spelling(self, symbol: object) -> str | None:
        return normalize_symbol(symbol, self.venue) if isinstance(symbol, str) and symbol.strip() else None

    def symbol(self, where: str, row: Mapping[str, Any]) -> str | None:
        name = self.name(where, row, "symbol")
        return self.spelling(name) if name else None

    def is_inverse(self, symbol: str) -> bool:
        return bool((_BINANCE_INVERSE if self.venue == "binance" else _BYBIT_INVERSE).fullmatch(symbol))

    def settle_asset(self, where: str, row: Mapping[str, Any], symbol: str) -> str | None:
        if row.get("settle_asset") is not None:
            return self.name(where, row, "settle_asset")
        if self.is_inverse(symbol):
            return symbol[: symbol.rindex("USD")]
        if self.venue == "bybit" and symbol.endswith("PERP"):
            return "USDC"
        head = symbol.split("_")[0].split("-")[0]
        known = next((asset for asset in STABLE_ASSETS if head.endswith(asset) and head != asset), None)
        return known or self.fault(f"{where}.settle_asset", f"cannot be told from {symbol}", "state it")

    def contract_size(self, symbol: str) -> Fraction:
        """Give the size of a contract: COIN-M 100 USD for BTC and 10 USD for others; else one unit."""
        if self.venue == "binance" and self.is_inverse(symbol):
            return Fraction(100 if symbol.startswith("BTCUSD") else 10)
        return Fraction(1)

    def ladder(self, where: str, symbol: str, coef: Fraction) -> Ladder | None:
        if (symbol, coef) not in self.ladders:
            self.ladders[symbol, coef] = self.find_ladder(where, symbol, coef)
        return self.ladders[symbol, coef]

    def find_ladder(self, where: str, symbol: str, coef: Fraction) -> Ladder | None:
        stated = self.stated_tiers()
        if symbol in stated:
            place = f"account.tiers.{symbol}"
            rows = self.tier_rows(place, stated[symbol])
            try:
                return (
                    Ladder.of(read_tiers(rows, place, excerpt=True), "given with the account", coef) if rows else None
                )
            except CoverageError as error:
                self.problems += error.problems
                return None
        try:
            tables = tier_tables(self.venue, symbol, "as-of")
        except BacktestError:
            known = [*load_table(self.venue, "tiers")["symbols"], *stated]
            return self.fault(f"{where}.symbol", f'unknown symbol "{symbol}"', did_you_mean(symbol, known))
        table = as_of(tables, self.as_of_ms) if self.as_of_ms is not None else tables[-1]
        return Ladder.of(table.tiers, f"{table.source}; {self.seen(tables, table)}", coef)

    def seen(self, tables: Sequence[TierTable], table: TierTable) -> str:
        """Say when a table was seen, and how well it is known on the day of the account."""
        days = f"seen from {time_text(table.first_ms)[:10]} to {time_text(table.last_ms)[:10]}"
        known = "exact" if self.as_of_ms is None else fidelity(tables, self.as_of_ms, self.as_of_ms)
        return days if known == "exact" else f"{days}, {known} on the day of the account"

    def unused_tiers(self) -> None:
        """Refuse a table that nothing held goes by while something held has none: its symbol is misspelt."""
        rows = [row for key in ("positions", "orders") for _, row in self.objects(key, quiet=True)]
        held = {symbol for row in rows if (symbol := self.spelling(row.get("symbol")))}
        stated = self.stated_tiers()
        if not held <= stated.keys():
            for symbol in sorted(stated.keys() - held):
                self.fault(f"account.tiers.{symbol}", "nothing is held in it", did_you_mean(symbol, held))

    def stated_tiers(self) -> dict[str, Any]:
        tiers = self.content.get("tiers")
        tiers = {} if tiers is None else tiers
        if not isinstance(tiers, Mapping):
            self.fault("account.tiers", "is not an object of symbols")
            return {}
        return {normalize_symbol(name, self.venue): rows for name, rows in tiers.items()}

    def tier_rows(self, where: str, rows: object) -> list[dict[str, Any]]:
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows) or not rows:
            self.fault(where, "is not a list of tiers")
            return []
        before = len(self.problems)
        for number, row in enumerate(rows, start=1):
            self.keys(f"{where} tier {number}", row, TIER_KEYS)
            for key in TIER_KEYS:
                self.number(f"{where} tier {number}", row, key, least=Fraction(0), optional=key != "rate")
        return [dict(row) for row in rows] if len(self.problems) == before else []
