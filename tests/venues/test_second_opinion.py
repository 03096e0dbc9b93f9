"""Pools computed a second time, straight from the venues' pages and without the package's formulas."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.venues.report import compute
from tests.venues.accounts import make_account, make_ladder

FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
POOLS = (
    "binance cross",
    "binance hedge",
    "binance coin",
    "binance multi",
    "bybit cross",
    "bybit hedge",
    "bybit inverse",
)
UNIT = Fraction(1, 10**8)


def make_pool(seed: int) -> dict[str, Any]:
    """A pool with several balances in slices, and orders on both sides."""
    random = Random(seed)
    content = make_account(random, POOLS)
    content["margin_mode"] = "multi_assets" if content["margin_mode"] == "multi_assets" else "cross"
    for held in content["positions"]:
        held.pop("extra_margin", None)
    coin = content["collateral"][0]["asset"] == "BTC"
    if content["margin_mode"] == "multi_assets" or (content["venue"] == "bybit" and not coin):
        slices = [["0", "5", "0.98"], ["5", "50", "0.9"], ["50", "", "0.5"]]
        amount = str(random.randint(-20, 200))
        content["collateral"].append({"asset": "ETH", "amount": amount, "index_price": "2999.5", "ratio": slices})
    symbol, leverage = content["positions"][0]["symbol"], content["positions"][0]["leverage"]
    content["orders"] = [
        {"symbol": symbol, "side": random.choice(["buy", "sell"]), "leverage": leverage}
        | {"qty": str(random.randint(1, 300)), "price": str(random.randint(1, 60_000))}
        for _ in range(random.randint(0, 3))
    ]
    if content["venue"] == "bybit" and random.random() < 0.3:
        content["haircut_loss"] = str(random.randint(0, 5_000))
    content["tiers"][symbol] = make_ladder(random, 2_000 if coin else 1_000_000)
    return content


class Book:
    """What a pool holds, in plain numbers."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.bybit = content["venue"] == "bybit"
        self.coin = content["collateral"][0]["asset"] == "BTC"
        self.size = Fraction(100) if self.coin and not self.bybit else Fraction(1)
        self.at_mark = content.get("era") != "uta_entry"
        self.fee = Fraction(content["taker_fee"])
        self.dollars = self.bybit or content["margin_mode"] == "multi_assets"
        self.index = Fraction(content["collateral"][0]["index_price"]) if self.dollars else Fraction(1)

    def value(self, qty: str, price: str) -> Fraction:
        return Fraction(qty) * self.size / Fraction(price) if self.coin else Fraction(qty) * self.size * Fraction(price)

    def rate_and_amount(self, symbol: str, value: Fraction) -> tuple[Fraction, Fraction]:
        """Find the bracket, and add up its amount from the brackets below."""
        amount, rate_before, cap_before = Fraction(0), Fraction(0), Fraction(0)
        for row in self.content["tiers"][symbol]:
            rate, cap = Fraction(row["rate"]), Fraction(row["cap"])
            amount += cap_before * (rate - rate_before)
            rate_before, cap_before = rate, cap
            if value <= cap:
                break
        return rate_before, amount

    def maintenance(self, symbol: str, value: Fraction) -> Fraction:
        rate, amount = self.rate_and_amount(symbol, value)
        return value * rate - amount

    def profit(self, position: dict[str, Any]) -> Fraction:
        side = 1 if position["side"] == "long" else -1
        at_entry = self.value(position["qty"], position["entry_price"])
        gain = self.value(position["qty"], position["mark_price"]) - at_entry
        return -side * gain if self.coin else side * gain

    def profits(self) -> Fraction:
        return sum((self.profit(p) for p in self.content["positions"]), start=Fraction(0))

    def balance(self, place: int = 0) -> Fraction:
        return Fraction(self.content["collateral"][place]["amount"])

    def counted(self, place: int, quantity: Fraction) -> Fraction:
        """Give the dollars that a quantity counts."""
        held = self.content["collateral"][place]
        price, ratio = Fraction(held["index_price"]), held["ratio"]
        if quantity <= 0:
            return quantity * price
        if isinstance(ratio, str):
            return quantity * price * Fraction(ratio)
        worth = Fraction(0)
        for low, high, share in ratio:
            top = quantity if high == "" else min(quantity, Fraction(high))
            worth += max(Fraction(0), top - Fraction(low)) * Fraction(share) * price
        return worth


def up(value: Fraction) -> Fraction:
    return Fraction(ceil(value * 10**8), 10**8)


def binance_pool(book: Book) -> tuple[Fraction, Fraction, Fraction]:
    """Give equity, initial and maintenance margin, by the account documentation and the two articles."""
    content, equity = book.content, Fraction(0)
    if book.dollars:
        for place, _ in enumerate(content["collateral"]):
            equity += book.counted(place, book.balance(place) + (book.profits() if place == 0 else 0))
    else:
        equity = book.balance() + book.profits()
    initial = maintenance = Fraction(0)
    for symbol in {p["symbol"] for p in content["positions"]}:
        legs = [p for p in content["positions"] if p["symbol"] == symbol]
        orders = [o for o in content["orders"] if o["symbol"] == symbol]
        worth = {side: Fraction(0) for side in ("long", "short", "buy", "sell")}
        for leg in legs:
            value = book.value(leg["qty"], leg["mark_price"])
            worth[leg["side"]] += value
            maintenance += book.maintenance(symbol, value)
        for order in orders:
            worth[order["side"]] += book.value(order["qty"], order["price"])
        net = worth["long"] - worth["short"]
        held = (
            sum(worth.values())
            if content["position_mode"] == "hedge"
            else max(abs(net + worth["buy"]), abs(net - worth["sell"]))
        )
        initial += Fraction(held) / Fraction(legs[0]["leverage"])
    return equity, initial * book.index, maintenance * book.index


def bybit_pool(book: Book) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Give margin balance, what rates are taken over, initial and maintenance margin, all in dollars."""
    content = book.content
    equity = sum(
        (book.counted(place, book.balance(place)) for place, _ in enumerate(content["collateral"])), start=Fraction(0)
    )
    equity += book.profits() * book.index
    initial = maintenance = Fraction(0)
    for symbol in {p["symbol"] for p in content["positions"]}:
        for leg_initial, leg_maintenance in bybit_legs(
            book, [p for p in content["positions"] if p["symbol"] == symbol]
        ):
            initial += leg_initial * book.index
            maintenance += leg_maintenance * book.index
    behind = equity - Fraction(content.get("haircut_loss", "0"))
    for order in content["orders"]:
        order_initial, order_maintenance, loss = bybit_order(book, order)
        initial += order_initial * book.index
        maintenance += order_maintenance * book.index
        behind += loss * book.index
    debts = [(book.balance() + book.profits()) * book.index]
    debts += (
        [book.balance(1) * Fraction(content["collateral"][1]["index_price"])] if len(content["collateral"]) > 1 else []
    )
    owed = sum((-debt for debt in debts if debt < 0), start=Fraction(0))
    return equity, behind, initial + owed / 5, maintenance + owed / 25


def bybit_legs(book: Book, legs: list[dict[str, Any]]) -> list[tuple[Fraction, Fraction]]:
    """Initial margin on the larger leg, maintenance on the net, the closing fee on each size and the hedged size."""
    smaller = min((Fraction(p["qty"]) for p in legs), default=Fraction(0)) if len(legs) == 2 else Fraction(0)
    larger = max(legs, key=lambda p: (Fraction(p["qty"]), p["side"] == "long"))
    out = []
    for leg in legs:
        side = 1 if leg["side"] == "long" else -1
        lever, qty = Fraction(leg["leverage"]), Fraction(leg["qty"])
        fee_rate = up(book.fee * (1 + side / lever if book.coin else 1 - side / lever))
        reserve = book.value(str(qty + smaller), leg["entry_price"]) * fee_rate
        if leg is not larger:
            out.append((reserve, reserve))
            continue
        price = leg["mark_price"] if book.at_mark else leg["entry_price"]
        share = 1 / lever if book.at_mark else up(1 / lever)
        net = book.value(str(qty - smaller), price)
        base = book.maintenance(leg["symbol"], net) if net else Fraction(0)
        out.append((book.value(leg["qty"], price) * share + reserve, base + reserve))
    return out


def bybit_order(book: Book, order: dict[str, Any]) -> tuple[Fraction, Fraction, Fraction]:
    """Margins of the part of an order that opens, and what filling it would lose at the mark."""
    side = 1 if order["side"] == "buy" else -1
    opens = ("long", "short")[side < 0]
    legs = [p for p in book.content["positions"] if p["symbol"] == order["symbol"]]
    hedge = book.content["position_mode"] == "hedge"

    def opening(one: dict[str, Any]) -> Fraction:
        against = (
            Fraction(0) if hedge else sum((Fraction(p["qty"]) for p in legs if p["side"] != opens), start=Fraction(0))
        )
        return book.value(str(max(Fraction(0), Fraction(one["qty"]) - against)), one["price"])

    price = "mark_price" if book.at_mark else "entry_price"
    reached = sum((book.value(p["qty"], p[price]) for p in legs if p["side"] == opens), start=Fraction(0))
    beside = [o for o in book.content["orders"] if (o["symbol"], o["side"]) == (order["symbol"], order["side"])]
    reached += sum((opening(o) for o in beside), start=Fraction(0))
    rate, _ = book.rate_and_amount(order["symbol"], reached)
    lever = Fraction(order["leverage"])
    fee_rate = up(book.fee * (1 + side / lever if book.coin else 1 - side / lever))
    share = 1 / lever if book.at_mark else up(1 / lever)
    mark = legs[0]["mark_price"]
    gain = book.value(order["qty"], mark) - book.value(order["qty"], order["price"])
    loss = min(Fraction(0), -side * gain if book.coin else side * gain)
    return opening(order) * (share + fee_rate), opening(order) * rate, loss


@FAST
@given(st.integers(0, 2**62).map(make_pool))
def test_a_pool_is_what_the_pages_say(content: dict[str, Any]) -> None:
    book, shown = Book(content), compute(content).account
    if book.bybit:
        equity, behind, initial, maintenance = bybit_pool(book)
    else:
        equity, initial, maintenance = binance_pool(book)
        behind = equity
    for ours, theirs in (
        (shown.equity, equity),
        (shown.initial_margin, initial),
        (shown.maintenance_margin, maintenance),
    ):
        assert abs(Fraction(ours or "") - theirs) < UNIT
    if behind <= 0:
        assert shown.margin_ratio is None
    else:
        finest = Fraction(1, 10**4) if book.bybit else UNIT
        assert abs(Fraction(shown.margin_ratio or "") - maintenance / behind) < finest
