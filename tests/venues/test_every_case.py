"""Every number of the venues that lies beside the real data is reproduced, within the tolerance stated with it."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from backtest.venues.report import compute
from tests.venues.cases import account_named, found
from tests.venues.other_figures import OTHERS

pytestmark = pytest.mark.real

# The name of a figure in the collection, and where it is in a result.
FIGURES = {
    "liquidation_price": "positions.0.liquidation_price",
    "liq_price": "positions.0.liquidation_price",
    "bankruptcy_price": "positions.0.bankruptcy_price",
    "bust_price": "positions.0.bankruptcy_price",
    "unrealized_profit": "positions.0.unrealized_pnl",
    "isolated_margin": "positions.0.equity",
    "notional": "positions.0.notional",
    "notional_value": "positions.0.notional",
    "max_notional_value": "positions.0.max_notional",
    "initial_margin": "positions.0.initial_margin",
    "initial_margin_btc": "positions.0.initial_margin",
    "position_initial_margin": "positions.0.initial_margin",
    "maintenance_margin": "positions.0.maintenance_margin",
    "maintenance_margin_btc": "positions.0.maintenance_margin",
    "maint_margin": "positions.0.maintenance_margin",
    "position_mm": "positions.0.maintenance_margin",
    "total_mm": "account.maintenance_margin",
    "im_long": "positions.0.initial_margin",
    "mm_long": "positions.0.maintenance_margin",
    "im_short": "positions.1.initial_margin",
    "mm_short": "positions.1.maintenance_margin",
}
# Two cases of one account, each with the price of one of its positions.
JOINED = {
    "usdm-thirdparty-cross-two-contracts-BTCUSDT": "positions.0.liquidation_price",
    "usdm-thirdparty-cross-two-contracts-ETHUSDT": "positions.1.liquidation_price",
}
# The collection counts what the fund loses, we count its result.
OTHER = {
    ("usdm-faq-cum-level3", "cum"): "maintenance amount",
    ("usdm-faq-cum-level3", "mmr_at_264000"): "rate at 264,000",
    ("A05", "base_mm"): "maintenance without the closing fee",
    ("A06", "order_mm"): "maintenance of the order",
    ("A07", "mm_deduction"): "deduction",
    ("A16", "fund_gain_a"): "fund's result, closed at 64,980",
    ("A16", "fund_loss_b"): "fund's result, closed at 63,950",
    ("A17", "taker_fee_btc"): "taker fee, BTC",
    ("A17", "maker_fee_btc"): "maker fee, BTC",
    ("A18", "upper_funding_rate"): "funding cap",
    ("B33", "closing_fee"): "closing fee",
}


def ours(case: dict[str, Any], figure: str) -> Fraction | None:
    """Give what we compute for a figure of a case."""
    name = case["id"]
    if (name, figure) in OTHER:
        return next(o.ours() for o in OTHERS if (o.case, o.figure) == (name, OTHER[name, figure]))
    account = account_named("usdm-cross-two-contracts" if name in JOINED else name)
    value = found(compute(account).to_dict(), JOINED.get(name, FIGURES[figure]))
    return None if value is None else Fraction(value)


def tolerance(case: dict[str, Any], figure: str) -> Fraction:
    """Give the stated tolerance; a recorded liquidation price of an isolated position must be met to the digit."""
    recorded = "payload" in case.get("provenance", "") or case["id"] == "B33"
    alone = case.get("margin_mode", "isolated") == "isolated"
    exact = recorded and alone and figure in ("liquidation_price", "liq_price", "bust_price")
    return Fraction(0) if exact else Fraction(str(case["tolerance"].get(figure, "1e-8")))


@pytest.mark.parametrize(("venue", "count"), [("binance", 15), ("bybit", 21)])
def test_every_case_is_within_its_tolerance(venue: str, count: int, real_data: Path) -> None:
    cases = json.loads((real_data.parent / "cases" / f"{venue}.json").read_text(encoding="utf-8"))["cases"]
    assert len(cases) == count
    off = []
    for case in cases:
        for figure, expected in case["expected"].items():
            value = ours(case, figure)
            if value is None:
                assert Decimal(expected) == 0, (case["id"], figure)  # the venue prints 0 where there is no price
            elif abs(abs(value) - abs(Fraction(str(expected)))) > tolerance(case, figure):
                off.append((case["id"], figure, expected, str(value)))
    assert not off
