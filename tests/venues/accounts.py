"""Generated accounts in their JSON form: every mode, every era, tiers that are crossed on the way."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import strategies as st

KINDS = (
    "binance isolated",
    "binance cross",
    "binance hedge",
    "binance coin",
    "binance multi",
    "bybit isolated",
    "bybit auto",
    "bybit cross",
    "bybit hedge",
    "bybit inverse",
    "bybit classic",
)


def accounts(kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[dict[str, Any]]:
    """Valid accounts of some kinds, each made from one seed."""
    return st.integers(0, 2**62).map(lambda seed: make_account(Random(seed), kinds))


def ladders(top: int = 1_000_000) -> st.SearchStrategy[list[dict[str, str]]]:
    """Ladders of 1 to 5 tiers without leverage limits."""
    return st.integers(0, 2**62).map(lambda seed: make_ladder(Random(seed), top))


def make_ladder(random: Random, top: int) -> list[dict[str, str]]:
    count = random.randint(1, 5)
    caps, rates = sorted(random.sample(range(1, top), count)), sorted(random.sample(range(1, 600), count))
    return [{"cap": str(cap), "rate": str(Decimal(rate) / 1000)} for cap, rate in zip(caps, rates, strict=True)]


def make_position(random: Random, symbol: str, side: str, isolated: bool, venue: str, coin: bool) -> dict[str, Any]:
    """A position whose mark is within half of its entry price."""
    entry = random.randint(100, 5_000_000)
    mark = max(1, entry * random.randint(50, 150) // 100)
    position = {
        "symbol": symbol,
        "side": side,
        "qty": str(random.randint(1, 500_000)) if coin else str(Decimal(random.randint(1, 200_000)) / 1000),
        "entry_price": str(Decimal(entry) / 100),
        "mark_price": str(Decimal(mark) / 100),
        "leverage": str(random.randint(1, 100)),
    }
    if isolated:
        position["extra_margin"] = random.choice(["0", "0", "1" if coin else "1000"])
    if venue == "bybit":
        position["tick_size"] = random.choice([None, "0.01", "0.5"])
    return position


def make_account(random: Random, kinds: tuple[str, ...]) -> dict[str, Any]:
    venue, kind = random.choice(kinds).split()
    coin = kind in ("coin", "inverse")
    isolated = kind in ("isolated", "auto") or (
        kind in ("hedge", "coin", "inverse", "classic") and random.random() < 0.5
    )
    isolated = isolated and (venue, kind) != ("bybit", "hedge")
    symbol = ("BTCUSD_PERP" if venue == "binance" else "BTCUSD") if coin else "AAAUSDT"
    sides = random.sample(["long", "short"], 2)
    held = [make_position(random, symbol, sides[0], isolated, venue, coin)]
    if kind == "hedge":
        other = make_position(random, symbol, sides[1], isolated, venue, coin)
        held.append(other | {key: held[0][key] for key in ("mark_price", "leverage")})
    if kind in ("cross", "multi") and random.random() < 0.5:
        held.append(make_position(random, "BBBUSDT", random.choice(sides), isolated, venue, coin))
    amount = Decimal(random.randint(-20, 20_000)) / 10 if coin else random.randint(-1_000, 2_000_000)
    collateral = {
        "asset": "BTC" if coin else "USDT",
        "amount": str(amount),
        "index_price": random.choice(["1", "1.0007", "0.995"]),
        "ratio": random.choice(["1", "0.9999", "0.95"]),
    }
    account: dict[str, Any] = {
        "venue": venue,
        "margin_mode": "multi_assets" if kind == "multi" else "isolated" if isolated else "cross",
        "position_mode": "hedge" if kind == "hedge" else "one_way",
        "taker_fee": random.choice(["0", "0.00055", "0.001"]),
        "collateral": [collateral],
        "positions": held,
        "tiers": {p["symbol"]: make_ladder(random, 2_000 if coin else 1_000_000) for p in held},
    }
    if venue == "bybit":
        account["era"] = "classic" if kind == "classic" else random.choice(["uta_entry", "uta_mark"])
    if kind == "auto":
        held[0]["auto_add_margin"] = True
    if (venue, kind) == ("bybit", "cross") and random.random() < 0.5:
        account["orders"] = [{"symbol": "AAAUSDT", "side": random.choice(["buy", "sell"]), "qty": "3", "price": "900"}]
    return account
