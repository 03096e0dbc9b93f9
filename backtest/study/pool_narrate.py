"""A story of several legs in words and numbers, and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from backtest.study.narrate import CAUSES, ENDS, INDENT, KINDS, TITLES, asked_line, heading, survival
from backtest.study.pool_story import AssetFigures, CollateralFigures, LegFigures, PoolEvent, PoolStory, UnitFigures
from backtest.units import E8, e8_text, time_text

ACCOUNTS = {"margin": "the account"}
CERTAINTY = {
    "certain": "certain: it does not need the extremes of several marks to have come together",
    "possible": "possible: not with opens and closes alone, it needs the extremes as assumed in a bar",
}


def pool_facts(story: PoolStory) -> dict[str, Any]:
    """Give a story as JSON values; amounts are integers at 1e-8, times epoch milliseconds."""
    breach = story.first_breach
    return {
        "run_id": story.outcome["run_id"],
        "margin_mode": story.margin_mode,
        "outcome": dict(story.outcome),
        "events": [asdict(event) for event in story.events],
        "liquidation": None if breach is None else asdict(breach),
        "margin_to_survive_e8": None,
        "own_margin_to_survive_e8": story.outcome["margin_to_survive_e8"],
    }


def pool_numbers(story: PoolStory) -> dict[str, str]:
    """Give what decided the first liquidation, in words and natural units; empty without one."""
    found = story.first_breach
    if found is None:
        return {}
    rows = {
        "time": time_text(story.outcome["liquidation_ms"]),
        "cause": CAUSES[story.outcome["cause"]],
        "certainty": CERTAINTY[story.outcome["certainty"]],
        f"wallet, {found.asset}": e8_text(found.wallet_e8),
    }
    for leg in found.legs:
        rows |= {
            f"{leg.symbol}: quantity": e8_text(leg.side * leg.qty_e8),
            f"{leg.symbol}: mark": e8_text(leg.mark_e8),
            f"{leg.symbol}: profit": e8_text(leg.profit_e8),
            f"{leg.symbol}: maintenance margin": e8_text(leg.maintenance_margin_e8),
        }
    for asset in found.assets:
        rows |= {
            f"{asset.symbol}: quantity": e8_text(asset.side * asset.qty_e8),
            f"{asset.symbol}: mark": e8_text(asset.mark_e8),
            f"{asset.symbol}: {'counts for' if asset.is_paid else 'profit'}": e8_text(asset.value_e8),
            f"{asset.symbol}: maintenance margin": e8_text(asset.maintenance_margin_e8),
        }
    rows |= {f"{one.asset} counts for": e8_text(one.value_e8) for one in found.collaterals}
    return rows | {"equity": e8_text(found.equity_e8), "maintenance margin": e8_text(found.maintenance_margin_e8)}


def narrate_pool(story: PoolStory) -> Iterator[str]:
    """Tell a story line by line."""
    yield from heading(story.outcome, story.margin_mode)
    if story.outcome["exit_reason"] == "refused":
        return
    for event in story.events:
        yield from _event(story, event)
    yield from _end(story)


def _event(story: PoolStory, event: PoolEvent) -> Iterator[str]:
    if event.settlements:
        yield f"{INDENT}{_funding(event)}"
    time = time_text(event.time_ms)
    for unit in event.breaches:
        yield from _breach(story, event, unit)
    for action in event.asked:
        yield f"{time}  {asked_line(action)}"
    if event.what == "arrival":
        yield f"{time}  margin arrives from the reserve"
    elif event.what == "exit" and story.outcome["exit_reason"] != "horizon":
        yield f"{time}  the core is flat: its layers are closed"
    elif event.what in TITLES:
        yield f"{time}  {TITLES[event.what]}"
    for fill in event.fills:
        yield f"{INDENT}{_fill(fill)}"
    if event.transfers:
        yield f"{INDENT}{', '.join(_moved(row) for row in event.transfers)}"
    for unit in event.units:
        yield f"{INDENT}{_state(unit)}"


def _funding(event: PoolEvent) -> str:
    often = "1 settlement" if event.settlements == 1 else f"{event.settlements} settlements"
    amounts = (
        f"{e8_text(abs(paid))} {asset} {'paid' if paid >= 0 else 'received'}"
        for asset, paid in event.funding_before_e8.items()
    )
    return f"funding: {', '.join(amounts)} in {often}"


def _fill(fill: Mapping[str, Any]) -> str:
    word = "bought" if fill["qty_e8"] > 0 else "sold"
    qty, price, value = e8_text(abs(fill["qty_e8"])), e8_text(fill["price_e8"]), e8_text(fill["cost_e8"])
    return f"{fill['symbol']}: {word} {qty} at {price}, value {value} (mark {e8_text(fill['mark_e8'])})"


def _moved(row: Mapping[str, Any]) -> str:
    kind = KINDS.get(row["kind"], row["kind"])
    return f"{kind} {e8_text(row['amount_e8'])} {row['asset']} ({row['debit']} to {row['credit']})"


def _name(unit: UnitFigures) -> str:
    return ACCOUNTS.get(unit.account, unit.account)


def _state(unit: UnitFigures) -> str:
    held: list[LegFigures | AssetFigures] = [*unit.legs, *unit.assets]
    legs = ", ".join(f"{e8_text(leg.side * leg.qty_e8)} {leg.symbol}" for leg in held)
    worth = "".join(
        f", of it {asset.symbol} {e8_text(asset.value_e8)} at {e8_text(asset.mark_e8)}" for asset in unit.assets
    )
    coin = "".join(f" and {e8_text(one.coin_e8)} {one.asset}" for one in unit.collaterals)
    room = unit.initial_margin_e8 - unit.maintenance_margin_e8
    left = "" if room <= 0 else f", buffer {(unit.equity_e8 - unit.maintenance_margin_e8) / room:.4f}"
    return (
        f"{_name(unit)} holds {legs}; wallet {e8_text(unit.wallet_e8)} {unit.asset}{coin}, equity "
        f"{e8_text(unit.equity_e8)}{worth}, maintenance margin {e8_text(unit.maintenance_margin_e8)}{left}"
    )


def _breach(story: PoolStory, event: PoolEvent, unit: UnitFigures) -> Iterator[str]:
    """Fill in the formula: what decided, leg by leg and digit by digit."""
    time, outcome = time_text(event.time_ms), story.outcome
    if unit is story.first_breach:
        cause, where = outcome["cause"], "" if unit.account == "margin" else f" of {unit.account}"
        yield f"{time}  LIQUIDATION{where}, cause {cause}: {CAUSES[cause]}; {CERTAINTY[outcome['certainty']]}"
    elif unit.is_core:
        yield f"{time}  LIQUIDATION of {unit.account}"
    else:
        yield f"{time}  LIQUIDATION of a layer alone, {unit.account}"
    for leg in unit.legs:
        yield f"{INDENT}{leg.symbol} {'long' if leg.side > 0 else 'short'}: profit {_profit(leg)}"
        yield f"{INDENT}{leg.symbol}: maintenance margin {_maintenance(leg)}"
    for asset in unit.assets:
        yield from (f"{INDENT}{line}" for line in _asset(asset))
    for one in unit.collaterals:
        yield f"{INDENT}{_collateral(one)}"
    terms = [f"wallet {e8_text(unit.wallet_e8)}", *(f"({e8_text(leg.profit_e8)})" for leg in unit.legs)]
    terms += [f"({e8_text(asset.value_e8)})" for asset in unit.assets]
    terms += [e8_text(one.value_e8) for one in unit.collaterals]
    yield f"{INDENT}equity = {' + '.join(terms)} = {e8_text(unit.equity_e8)} {unit.asset}"
    held: list[LegFigures | AssetFigures] = [*unit.legs, *unit.assets]
    needs = " + ".join(e8_text(leg.maintenance_margin_e8) for leg in held if leg.maintenance_margin_e8) or "0"
    yield f"{INDENT}maintenance margin = {needs} = {e8_text(unit.maintenance_margin_e8)} {unit.asset}"
    sign = "≤" if unit.is_liquidated else ">"
    yield f"{INDENT}{e8_text(unit.equity_e8)} {sign} {e8_text(unit.maintenance_margin_e8)}: liquidated"


def _profit(leg: LegFigures) -> str:
    qty, cost, mark = (e8_text(value) for value in (leg.qty_e8, leg.cost_e8, leg.mark_e8))
    value = f"{qty} / {mark}" if leg.is_inverse else f"{qty} × {mark}"
    plus, minus = (value, cost) if (leg.side > 0) != leg.is_inverse else (cost, value)
    return f"{plus} − {minus} = {e8_text(leg.profit_e8)}"


def _maintenance(leg: LegFigures) -> str:
    qty, mark, rate = e8_text(leg.qty_e8), e8_text(leg.mark_e8), f"{e8_text(100 * leg.tier_rate_e8)} %"
    value = f"{qty} / {mark}" if leg.is_inverse else f"{qty} × {mark}"
    reserve = f" + {e8_text(leg.fee_reserve_e8)} closing-fee reserve" if leg.fee_reserve_e8 else ""
    return (
        f"{value} × {rate} − {e8_text(leg.tier_deduction_e8)}{reserve} = {e8_text(leg.maintenance_margin_e8)} "
        f"(tier {leg.tier}, table of {time_text(leg.tier_table_ms)[:10]})"
    )


def _asset(asset: AssetFigures) -> Iterator[str]:
    """Fill in what a valued asset adds to equity, and what it needs."""
    value = f"{e8_text(asset.qty_e8)} × {e8_text(asset.mark_e8)}"
    result = e8_text(asset.value_e8)
    if not asset.is_paid:
        cost = e8_text(asset.cost_e8)
        plus, minus = (value, cost) if asset.side > 0 else (cost, value)
        yield f"{asset.symbol} {'bought' if asset.side > 0 else 'sold'} on margin: profit {plus} − {minus} = {result}"
    elif asset.side < 0:
        yield f"{asset.symbol} written: to buy it back takes {value}, so it counts for {result}"
    else:
        haircut = "" if asset.ratio_e8 == E8 else f" × {e8_text(asset.ratio_e8)} that counts"
        yield f"{asset.symbol} bought and paid: worth {value}{haircut} = {result}"
        return
    each = e8_text(asset.unit_maintenance_e8)
    needed = e8_text(asset.maintenance_margin_e8)
    yield f"{asset.symbol}: maintenance margin {e8_text(asset.qty_e8)} × {each} a unit = {needed}"


def _collateral(one: CollateralFigures) -> str:
    return (
        f"{one.asset} counts for {e8_text(one.coin_e8)} × {e8_text(one.mark_e8)} × {e8_text(one.ratio_e8)} = "
        f"{e8_text(one.value_e8)}"
    )


def _end(story: PoolStory) -> Iterator[str]:
    outcome = story.outcome
    start, end = outcome["equity_start_e8"], outcome["equity_end_e8"]
    yield f"End: {ENDS[outcome['exit_reason']]}, {time_text(outcome['exit_ms'])}."
    premium = f", premium {e8_text(outcome['premium_e8'])}" if outcome["premium_e8"] else ""
    yield (
        f"Capital {e8_text(start)} became {e8_text(end)} ({100 * (end - start) / start:+.2f} %): fees "
        f"{e8_text(outcome['fees_e8'])}, funding {e8_text(outcome['funding_e8'])}, slippage "
        f"{e8_text(outcome['slippage_e8'])}, clearance fees {e8_text(outcome['clearance_fee_e8'])}{premium}."
    )
    if outcome["layer_liquidations"]:
        yield f"Layers that stand alone were liquidated {outcome['layer_liquidations']} times."
    if outcome["margin_to_survive_e8"] is not None:
        yield survival(outcome["margin_to_survive_e8"], start, "this run")
