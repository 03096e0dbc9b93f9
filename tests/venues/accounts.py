"""Generated accounts in their JSON form: every mode, every era, tiers that are crossed on the way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

KINDS = (
    "binance isolated",
    "binance cross",
    "binance hedge",
    "binance coin",
    "binance multi",
    "bybit isolated",
    "bybit cross",
    "bybit hedge",
    "bybit inverse",
    "bybit classic",
)


def decimals(low: int, high: int, places: int) -> st.SearchStrategy[str]:
    """Decimal text between two integers, with up to `places` decimals."""
    scale = 10**places
    return st.integers(low * scale, high * scale).map(lambda n: format(Decimal(n) / scale, "f"))


@st.composite
def ladders(draw: st.DrawFn, top: int = 1_000_000) -> list[dict[str, str]]:
    """A ladder of 1 to 5 tiers without leverage limits."""
    count = draw(st.integers(1, 5))
    caps = sorted(draw(st.lists(st.integers(1, top), min_size=count, max_size=count, unique=True)))
    rates = sorted(draw(st.lists(st.integers(1, 600), min_size=count, max_size=count, unique=True)))
    return [{"cap": str(cap), "rate": format(Decimal(rate) / 1000, "f")} for cap, rate in zip(caps, rates, strict=True)]


@st.composite
def positions(
    draw: st.DrawFn, symbol: str, side: str, isolated: bool, venue: str, coin: bool = False
) -> dict[str, Any]:
    """A position whose mark is within half of its entry price."""
    entry = draw(st.integers(100, 5_000_000))
    mark = max(1, entry * draw(st.integers(50, 150)) // 100)
    position = {
        "symbol": symbol,
        "side": side,
        "qty": draw(decimals(1, 500_000, 0) if coin else st.integers(1, 200_000).map(lambda n: str(Decimal(n) / 1000))),
        "entry_price": str(Decimal(entry) / 100),
        "mark_price": str(Decimal(mark) / 100),
        "leverage": str(draw(st.integers(1, 100))),
    }
    if isolated:
        position["extra_margin"] = draw(st.sampled_from(["0", "0", "1"] if coin else ["0", "0", "1000"]))
    if venue == "bybit":
        position["tick_size"] = draw(st.sampled_from([None, "0.01", "0.5"]))
    return position


@st.composite
def accounts(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> dict[str, Any]:
    """An account of one of the kinds; it is always a valid one."""
    venue, kind = draw(st.sampled_from(kinds)).split()
    coin = kind in ("coin", "inverse")
    isolated = kind == "isolated" or (kind in ("hedge", "coin", "inverse", "classic") and draw(st.booleans()))
    if (venue, kind) == ("bybit", "hedge"):
        isolated = False
    side = st.sampled_from(["long", "short"])
    name = ("BTCUSD_PERP" if venue == "binance" else "BTCUSD") if coin else "AAAUSDT"
    held = [draw(positions(name, draw(side), isolated, venue, coin))]
    if kind == "hedge":
        other = draw(positions(name, "short" if held[0]["side"] == "long" else "long", isolated, venue))
        held.append(other | {key: held[0][key] for key in ("mark_price", "leverage")})
    if kind in ("cross", "multi") and draw(st.booleans()):
        held.append(draw(positions("BBBUSDT", draw(side), isolated, venue)))
    account: dict[str, Any] = {
        "venue": venue,
        "margin_mode": "multi_assets" if kind == "multi" else "isolated" if isolated else "cross",
        "position_mode": "hedge" if kind == "hedge" else "one_way",
        "taker_fee": draw(st.sampled_from(["0", "0.00055", "0.001"])),
        "positions": held,
        "tiers": {p["symbol"]: draw(ladders(2_000 if coin else 1_000_000)) for p in held},
        "collateral": [
            {
                "asset": "BTC" if coin else "USDT",
                "amount": draw(decimals(-2, 2_000, 1) if coin else decimals(-1_000, 2_000_000, 0)),
                "index_price": draw(st.sampled_from(["1", "1.0007", "0.995"])),
                "ratio": draw(st.sampled_from(["1", "0.9999", "0.95"])),
            }
        ],
    }
    if venue == "bybit":
        account["era"] = "classic" if kind == "classic" else draw(st.sampled_from(["uta_entry", "uta_mark"]))
        if kind == "cross" and draw(st.booleans()):
            account["orders"] = [
                {"symbol": "AAAUSDT", "side": draw(st.sampled_from(["buy", "sell"])), "qty": "3", "price": "900"}
            ]
    return account
