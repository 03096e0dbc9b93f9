"""Turn raw answers of the venues into the JSON form of an account.

A position answer holds no wallet of a cross pool: `collateral` stays empty there, and computing the account says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from backtest.errors import AccountError, Problem
from backtest.units import e8_text, time_ms, time_text
from backtest.venues.contracts import contract_at
from backtest.venues.exact import to_fraction
from backtest.venues.symbols import load_table

WORDS: dict[str, tuple[str, ...]] = {"symbol": (), "side": ("Buy", "Sell"), "marginType": ("isolated", "cross")}
LAST_MS = time_ms("2100-01-01")
# The first key tells a list of positions from another answer.
BINANCE_NEEDED = ("positionAmt", "symbol", "entryPrice", "markPrice")
BINANCE_NUMBERS = (
    "positionAmt",
    "isolatedMargin",
    "unRealizedProfit",
    "positionInitialMargin",
    "notional",
)
BYBIT_NEEDED = ("size", "symbol", "side", "avgPrice", "markPrice", "leverage")
BYBIT_NUMBERS = ("size", "tradeMode", "positionIdx", "positionBalance", "positionIM")


def from_binance_position_risk(raw: object) -> dict[str, Any]:
    """Convert the answer of GET /fapi/v2/positionRisk, /fapi/v3/positionRisk or /dapi/v1/positionRisk.

    The isolated wallet is `isolatedWallet`, else `isolatedMargin` - `unRealizedProfit`. Version 3 has no leverage; it
    follows from notional and initial margin.

    Raises AccountError where the answer has another form.
    """
    rows = _rows(raw, BINANCE_NEEDED, BINANCE_NUMBERS)
    positions = [_binance_position(row) for row in rows]
    return {
        "venue": "binance",
        "as_of": _day(row.get("updateTime") for row in rows),
        "margin_mode": _common_mode(positions),
        "position_mode": "hedge" if any(row.get("positionSide") in ("LONG", "SHORT") for row in rows) else "one_way",
        "collateral": [],
        "positions": positions,
    }


def from_bybit_position_list(raw: object, margin_mode: str | None = None) -> dict[str, Any]:
    """Convert the answer of GET /v5/position/list, whole or its list.

    In isolated mode the margin beyond the initial margin, `positionBalance` - `positionIM`, is extra margin. Unified
    accounts no longer say their mode in a position (`tradeMode` stays 0): `margin_mode` says it. The tick size is that
    of the packaged contract, where there is one. With `autoAddMargin` the free balance counts, so it must be added.

    Raises AccountError where the answer has another form.
    """
    rows = _rows(raw, BYBIT_NEEDED, BYBIT_NUMBERS)
    moments = (
        [raw.get("time")] if isinstance(raw, Mapping) and raw.get("time") else [r.get("updatedTime") for r in rows]
    )
    day = _day(moments)
    positions = [_bybit_position(row, day, margin_mode) for row in rows]
    return {
        "venue": "bybit",
        "as_of": day,
        "margin_mode": _common_mode(positions),
        "position_mode": "hedge" if any(_number(row, "positionIdx") for row in rows) else "one_way",
        "collateral": [],
        "positions": positions,
    }


def _binance_position(row: Mapping[str, Any]) -> dict[str, Any]:
    amount, margin = _number(row, "positionAmt"), _number(row, "isolatedMargin")
    isolated = row["marginType"] == "isolated" if "marginType" in row else margin != 0
    wallet = row.get("isolatedWallet") or str(margin - _number(row, "unRealizedProfit"))
    return {
        "symbol": row["symbol"],
        "side": "long" if amount > 0 else "short",
        "qty": str(abs(amount)),
        "entry_price": row["entryPrice"],
        "mark_price": row["markPrice"],
        "leverage": row.get("leverage") or _leverage(row),
        "settle_asset": row.get("marginAsset"),
        "isolated_wallet": wallet if isolated else None,
        "margin_mode": "isolated" if isolated else "cross",
    }


def _leverage(row: Mapping[str, Any]) -> str | None:
    """Give the leverage of an answer that has none: a whole number, notional / initial margin of the position."""
    initial = _number(row, "positionInitialMargin")
    return str(round(abs(_number(row, "notional")) / initial)) if initial else None


def _bybit_position(row: Mapping[str, Any], day: str | None, margin_mode: str | None) -> dict[str, Any]:
    stated = "isolated" if _number(row, "tradeMode") == 1 else "cross"
    isolated = (margin_mode or stated) == "isolated"
    linear = str(row["symbol"]).endswith(("USDT", "PERP"))
    held, initial = _number(row, "positionBalance"), _number(row, "positionIM")
    extra = held - initial if isolated and held and initial else Decimal(0)
    return {
        "symbol": row["symbol"],
        "side": "long" if row["side"] == "Buy" else "short",
        "qty": row["size"],
        "entry_price": row["avgPrice"],
        "mark_price": row["markPrice"],
        "leverage": row["leverage"],
        "extra_margin": format(extra, "f"),
        "auto_add_margin": isolated and linear and bool(row.get("autoAddMargin")),
        "tick_size": _tick_size(row["symbol"], day),
        "margin_mode": "isolated" if isolated else "cross",
    }


def _tick_size(symbol: str, day: str | None) -> str | None:
    """Give the tick of a packaged contract."""
    if symbol not in load_table("bybit", "contracts")["symbols"]:
        return None
    tick_e8 = contract_at("bybit", symbol, time_ms(day or "2100-01-01")).price_tick_e8
    return e8_text(tick_e8) if tick_e8 else None


def _rows(raw: object, needed: Sequence[str], numbers: Sequence[str]) -> list[Mapping[str, Any]]:
    """Find the positions that are held in an answer, and check them: what is needed, words and numbers."""
    inner = raw.get("result", raw) if isinstance(raw, Mapping) else raw
    rows = inner.get("list", [inner]) if isinstance(inner, Mapping) else inner
    size = needed[0]
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) and size in row for row in rows):
        what = f'is not a list of positions with "{size}"'
        raise AccountError.at("payload", what, "give the raw answer of the venue")
    problems: list[Problem] = []
    held: list[Mapping[str, Any]] = []
    for number, row in enumerate(rows):
        where = f"payload[{number}]"
        if any(_number_problems(where, row, (size,))) or _number(row, size):
            problems += [*_word_problems(where, row, needed), *_number_problems(where, row, numbers)]
            held.append(row)
    if problems:
        raise AccountError(*problems)
    return held


def _word_problems(where: str, row: Mapping[str, Any], needed: Sequence[str]) -> Iterator[Problem]:
    yield from (Problem(f"{where}.{key}", "is missing") for key in needed if key not in row)
    for key, known in WORDS.items():
        value = row.get(key, known[0] if known else "")
        if not isinstance(value, str) or (known and value not in known):
            yield Problem(f"{where}.{key}", f"is {value!r}", f"known: {', '.join(known)}" if known else "give a name")


def _number_problems(where: str, row: Mapping[str, Any], numbers: Sequence[str]) -> Iterator[Problem]:
    for key in numbers:
        try:
            to_fraction(str(row.get(key) or 0))
        except ValueError as error:
            yield Problem(f"{where}.{key}", str(error))


def _number(row: Mapping[str, Any], key: str) -> Decimal:
    """Give a number that has been checked; absent or empty is 0."""
    return Decimal(str(row.get(key) or 0))


def _day(moments: Iterable[object]) -> str | None:
    """Give the latest UTC day among epoch milliseconds."""
    known = [str(moment) for moment in moments if moment]
    for moment in known:
        if not moment.isdecimal() or int(moment) >= LAST_MS:
            raise AccountError.at(
                "payload", f"{moment!r} is no time in milliseconds", "give the raw answer of the venue"
            )
    return time_text(max(map(int, known)))[:10] if known else None


def _common_mode(positions: list[dict[str, Any]]) -> str:
    """Give the mode of the account: cross where one position is."""
    return "cross" if any(position["margin_mode"] == "cross" for position in positions) else "isolated"
