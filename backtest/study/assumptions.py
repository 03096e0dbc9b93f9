"""What a comparison assumes, in sentences: printed in every report."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from backtest.study.config import Study
from backtest.study.naming import decimal_text
from backtest.units import duration_text
from backtest.venues.rulebook import rulebook


def _bps(rate_e8: int) -> str:
    from decimal import Decimal

    return decimal_text(Decimal(rate_e8) / 10_000)


def assumptions(study: Study, outcomes: pa.Table) -> list[tuple[str, str]]:
    """List the assumptions of a study, each with a short heading."""
    rules = rulebook(study.market.venue, study.market.start_ms)
    costs = study.costs
    clearance = rules.clearance_fee_e8 if costs.clearance_fee_e8 is None else costs.clearance_fee_e8
    counts = pc.value_counts(outcomes["tier_fidelity"]).to_pylist()
    fidelity = ", ".join(f"{row['counts']:,} {row['values']}" for row in sorted(counts, key=lambda r: r["values"]))
    taker = "the venue's dated base rate" if costs.taker_fee_e8 is None else f"{_bps(costs.taker_fee_e8)} bps"
    reserve = "at once" if not study.reserve.latency_ms else f"after {duration_text(study.reserve.latency_ms)}"
    forced = (
        f"at the mark made worse by {_bps(costs.liquidation_slippage_e8)} bps, never beyond bankruptcy; clearance fee "
        f"{_bps(clearance)} bps; the remainder comes back"
        if rules.liquidation == "ioc"
        else "taken over at the bankruptcy price; nothing comes back"
    )
    pro_rata = study.release == "pro_rata"
    released = "the closed share goes to the free balance" if pro_rata else "stays in the position"
    return [
        (
            "Liquidation",
            "at the first mark price where equity is at or below maintenance margin; the last price never decides",
        ),
        ("Path inside a bar", "open, adverse extreme, other extreme; the true order is not known"),
        (
            "Reaction",
            "two bounds: inside the bar at the crossing price (a bot that is never late), and at the next bar's open",
        ),
        ("Tiers", f"{study.market.tiers}; runs by fidelity of the tables in force: {fidelity}"),
        ("Forced close", forced),
        (
            "Fees and slippage",
            f"taker {taker}; slippage {_bps(costs.slippage_e8)} bps on every fill that is not forced",
        ),
        ("Funding", "the venue's own settlements, at the mark of the bar's open"),
        (
            "Released margin",
            "the closed share goes to the free balance" if study.release == "pro_rata" else "stays in the position",
        ),
        ("Reserve", f"arrives {reserve}"),
        ("Market impact", "none: every fill is assumed to find its size"),
        ("Pairs", "every strategy has the same entries; a strategy is compared with hold on the same entry"),
    ]
