"""What a comparison assumes, in sentences: printed in every report."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from backtest.study.config import Study
from backtest.study.continuous import CONTINUE, REFILL, STOP
from backtest.study.form import AssetSpec
from backtest.study.naming import decimal_text
from backtest.units import duration_text, time_text
from backtest.venues.rulebook import Rulebook, rulebook
from backtest.venues.tiers import is_dated, tier_tables


def _bps(rate_e8: int) -> str:
    return decimal_text(Decimal(rate_e8) / 10_000)


def _tiers(study: Study, outcomes: pa.Table) -> str:
    """Say which tier tables were in force, where one table stands in for all when it was seen, and how sure that is."""
    spec = study.market
    counts = pc.value_counts(outcomes["tier_fidelity"]).to_pylist()
    fidelity = ", ".join(f"{row['counts']:,} {row['values']}" for row in sorted(counts, key=lambda r: r["values"]))
    words = f"{spec.tiers}; runs by fidelity of the tables in force: {fidelity}"
    if is_dated(spec.tiers) or spec.tiers.endswith(".json"):
        return words
    tables = {symbol: tier_tables(spec.venue, symbol, spec.tiers)[0] for symbol in spec.symbols}
    seen = ", ".join(f"{symbol} {_day(t.first_ms)} to {_day(t.last_ms)}" for symbol, t in tables.items())
    return f"{words}; one table stands for all dates, seen {seen}"


def _day(ms: int) -> str:
    return time_text(ms)[:10]


def _margins(rules: Rulebook) -> list[tuple[str, str]]:
    """Say what of a venue's margins differs from value at mark over leverage, and where its rule was in transition."""
    rows: list[tuple[str, str]] = []
    if rules.fee_reserve:
        rows.append(
            ("Closing fee", "the fee to close at the bankruptcy price is part of initial and maintenance margin")
        )
    if rules.initial_price_isolated != rules.maintenance_price:
        rows.append(("Initial margin", "at mark, as the buffer is measured; the venue takes it at entry when isolated"))
    if rules.uncertain:
        rows.append(
            (
                "Era",
                "margin at mark price from the start on; the venue moved accounts to it one by one in the first "
                "months, so a real account may have had margin at entry price then",
            )
        )
    return rows


def _bars(study: Study) -> list[tuple[str, str]]:
    """Say which price decides, and on which bars."""
    spec = study.market
    decides = "at the first {} price where equity is at or below maintenance margin; the {} price never decides"
    prices = ("last", "mark") if spec.last_for_mark else ("mark", "last")
    said = [("Liquidation", decides.format(*prices))]
    if spec.last_for_mark:
        said.append(("Last for mark", "last prices stand in for mark: the venue would have liquidated other runs"))
    if spec.finer_ms:
        lengths = " and ".join(duration_text(length_ms) for length_ms in spec.finer_ms)
        what = (
            f"{duration_text(spec.interval_ms)}; stored bars of {lengths} are replayed in place of those that they "
            "fill whole and join to"
        )
        said.append(("Bars", what))
    return said


def _entries(study: Study) -> list[tuple[str, str]]:
    said = []
    if study.entries.listed:
        held = "held to its own end where it has one, at most for the horizon"
        said.append(("Entries", f"from a list, each at the first bar open at or after its time, and {held}"))
    if study.entries.when is not None:
        what = f'at the first bar open after each change of "{study.entries.when}" to a value that is not 0'
        sides = "" if study.entries.sides else ", long where it is positive, else short"
        said.append(("Entries", what + sides))
    when = [f"{spec.name} {' or '.join(spec.enter)}" for spec in study.regimes if spec.enter]
    if when:
        said.append(("Signal", f"entries only while, as published by then: {'; '.join(when)}"))
    return said


def _legs(study: Study) -> list[tuple[str, str]]:
    """Say what is assumed of runs with several legs."""
    form, said = study.form, []
    if form.basket:
        said.append(
            ("Basket", "all symbols in one account, each with an equal part of the margin; one run an entry time")
        )
    if form.isolated:
        text = (
            f"{', '.join(form.isolated)}: each with its part of the margin in an account of its own beside the basket"
        )
        said.append(("Isolated", text))
    if form.layers:
        kinds = ", ".join(
            f"{layer.use}{'' if layer.symbol is None else f' ({layer.symbol})'} at {layer.leverage_e2 / 100:g}x"
            for layer in form.layers
        )
        said.append(("Hedges", f"{kinds}, where a rule opens one; both legs of a hedge need their maintenance in full"))
    said += [("Valued asset", _valued(asset)) for asset in form.assets]
    for one in form.collaterals:
        share, ratio = (decimal_text(Decimal(rate_e8) / 1_000_000) for rate_e8 in (one.share_e8, one.ratio_e8))
        text = f"{share} % of the posted margin in the coin of {one.symbol}, bought at entry; {ratio} % of it counts"
        said.append(("Collateral", text))
    if not form.is_single:
        text = (
            "all reach their adverse extremes together, then the others; a liquidation is certain where the core is "
            "alone in its account, or where it comes with opens and closes alone, too; else it is possible"
        )
        forced = (
            "the leg with the largest maintenance margin first, until the account is safe; a loss beyond it is insured"
        )
        said += [
            ("Several marks", text),
            ("Forced close of several legs", forced),
            ("Margin to survive", "with several legs sought of hold and the other controls without rules only"),
            ("Liquidation price", "not drawn for runs with several legs: it depends on all marks"),
        ]
    return said


def _valued(asset: AssetSpec) -> str:
    """Say what an asset is here, and what its marks decide."""
    held = {"paid": "paid in full" if asset.side > 0 else "written for its price", "margined": "on margin"}
    counts = f", {decimal_text(Decimal(asset.ratio_e8) / 1_000_000)} % of its value counts there"
    where = {
        "core": f"in the core's account{counts if asset.is_bought_and_paid else ''}",
        "own": "in an account of its own, which helps the core only with money that is moved",
    }
    word = "bought" if asset.side > 0 else "sold"
    costs = f"slippage {_bps(asset.slippage_e8)} bps and fee {_bps(asset.fee_e8)} bps of the value"
    return (
        f"{asset.asset}, {word} where a rule does so, {held[asset.settlement]}, {where[asset.account]}; value and "
        f"margins are the stored marks, {costs}; settled at its last close when its marks end"
    )


def assumptions(study: Study, outcomes: pa.Table) -> list[tuple[str, str]]:
    """List the assumptions of a study, each with a short heading."""
    rules = rulebook(study.market.venue, study.market.start_ms)
    costs = study.costs
    clearance = rules.clearance_fee_e8 if costs.clearance_fee_e8 is None else costs.clearance_fee_e8
    taker = "the venue's dated base rate" if costs.taker_fee_e8 is None else f"{_bps(costs.taker_fee_e8)} bps"
    reserve = "at once" if not study.reserve.latency_ms else f"after {duration_text(study.reserve.latency_ms)}"
    forced = (
        f"at the mark made worse by {_bps(costs.liquidation_slippage_e8)} bps, never beyond bankruptcy; clearance fee "
        f"{_bps(clearance)} bps; the remainder comes back"
        if rules.liquidation == "ioc"
        else "taken over at the bankruptcy price; nothing comes back"
    )
    released = (
        "goes to the free balance, by the share closed" if study.release == "pro_rata" else "stays in the position"
    )
    return [
        *_bars(study),
        *_entries(study),
        *_legs(study),
        ("Path inside a bar", "open, adverse extreme, other extreme; the true order is not known"),
        (
            "Reaction",
            "two bounds: inside the bar at the crossing price (a bot that is never late), and at the next bar's open",
        ),
        *_reactions(study),
        ("Tiers", _tiers(study, outcomes)),
        *_margins(rules),
        ("Forced close", forced),
        (
            "Fees and slippage",
            f"taker {taker}; slippage {_bps(costs.slippage_e8)} bps on every fill that is not forced",
        ),
        ("Funding", "the venue's own settlements, at the mark of the bar's open"),
        ("Released margin", released),
        ("Reserve", f"arrives {reserve}"),
        ("Market impact", "none: every fill is assumed to find its size"),
        _compared(study),
    ]


def _reactions(study: Study) -> list[tuple[str, str]]:
    """Say of each strategy that takes time to act how long it takes on the study's bars."""
    bar_ms, said = study.market.interval_ms, []
    for strategy in study.strategies:
        if strategy.reaction_ms:
            used = duration_text(-(-strategy.reaction_ms // bar_ms) * bar_ms)
            said.append(
                (
                    f"Reaction of {strategy.name}",
                    f"takes {duration_text(strategy.reaction_ms)}; its rules are called at the first bar's open that "
                    f"is late enough: {used} after the open of the bar that woke them (intrabar), or after its close "
                    "(next open)",
                )
            )
    return said


def _compared(study: Study) -> tuple[str, str]:
    """Say what is compared with what, and of continuous accounts what joins their positions."""
    account = study.entries.continuous
    if account is None:
        return "Pairs", "every strategy has the same entries; a strategy is compared with hold on the same entry"
    after = {
        STOP: "ends the account",
        REFILL: "is followed by another position, with the study's capital again if less is left",
        CONTINUE: "is followed by another position with what is left",
    }[account.on_liquidation]
    return (
        "Accounts",
        f"one for each symbol, side and leverage, compared as a whole with that of hold; a whole liquidation {after}, "
        "a position that a rule closed by another one with what is there, each at the first entry time after it; "
        "rules begin anew with each position; an account whose entry the venue refuses ends, an entry time without a "
        "bar is waited out",
    )
