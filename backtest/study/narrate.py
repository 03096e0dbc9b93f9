"""A story in words and numbers, and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from backtest.study.naming import HOLD
from backtest.study.story import Event, Liquidation, Story
from backtest.units import duration_text, e8_text, time_text

CAUSES = {
    "price": "the mark reached the liquidation price",
    "funding": "the funding payment took the wallet below it",
    "fee": "the fee of an action took the wallet below it",
    "tier_change": "the tier table that came into force asks for more",
    "hedge_margin": "the margin of its hedge: without it the account would stand",
}
ENDS = {
    "liquidated": "liquidated whole",
    "horizon": "held to the horizon",
    "closed": "closed by a rule",
    "data_end": "still open where the data end, closed there",
}
REFUSALS = {
    "gap": "there is no bar at its time",
    "leverage_cap": "the tier does not allow this leverage at this notional",
    "below_min_notional": "it is under the minimum notional",
    "below_step": "it is under one quantity step",
}
# How a transfer reads in a sentence; what is not here speaks for itself.
KINDS = {
    "post": "margin posted",
    "put_back": "put back",
    "release": "released",
    "add_margin": "margin added",
    "remove_margin": "margin removed",
    "send": "sent from the reserve",
    "return": "sent margin returned",
    "clearance": "clearance fee",
    "shortfall": "paid by the insurance fund",
    "takeover": "kept by the insurance fund",
    "convert": "exchanged",
}
# Why an action was refused, where its status does not say it all.
STATUSES = {"not_listed": "not listed: the asset's marks have not begun, or have ended"}
REACTIONS = {
    "intrabar": "reacts inside the bar",
    "next_open": "acts at the next open",
    "both": "no threshold to react to",
}
TITLES = {
    "entry": "entry",
    "liquidation": "forced close",
    "exit": "exit at the horizon",
    "expiry": "a valued asset ends and is settled at its last close",
    "data_end": "the data end",
}
INDENT = " " * 18  # under the text behind a time


def facts(story: Story) -> dict[str, Any]:
    """Give a story as JSON values; amounts are integers at 1e-8, times epoch milliseconds."""
    return {
        "run_id": story.outcome["run_id"],
        "margin_mode": story.margin_mode,
        "outcome": dict(story.outcome),
        "events": [asdict(event) for event in story.events],
        "liquidation": None if story.liquidation is None else asdict(story.liquidation),
        "margin_to_survive_e8": story.margin_to_survive_e8,
        "own_margin_to_survive_e8": story.outcome["margin_to_survive_e8"],
    }


def numbers(story: Story) -> dict[str, str]:
    """Give what decided the first liquidation, in words and natural units; empty without one."""
    found = story.liquidation
    if found is None:
        return {}
    cap = "none" if found.tier_cap_e8 is None else e8_text(found.tier_cap_e8)
    return {
        "time": time_text(found.time_ms),
        "cause": CAUSES.get(found.cause, found.cause),
        "mark that decided": e8_text(found.mark_e8),
        "length of the bar": duration_text(found.bar_ms),
        "mark of the bar: open": e8_text(found.mark_open_e8),
        "mark of the bar: high": e8_text(found.mark_high_e8),
        "mark of the bar: low": e8_text(found.mark_low_e8),
        "quantity": e8_text(found.qty_e8),
        "cost": e8_text(found.cost_e8),
        "wallet": e8_text(found.wallet_e8),
        "tier": str(found.tier),
        "tier: from": e8_text(found.tier_floor_e8),
        "tier: to": cap,
        "tier: rate": f"{e8_text(100 * found.tier_rate_e8)} %",
        "tier: deduction": e8_text(found.tier_deduction_e8),
        "tier table of": time_text(found.tier_table_ms)[:10],
        "closing-fee reserve": e8_text(found.fee_reserve_e8),
        "equity": e8_text(found.equity_e8),
        "maintenance margin": e8_text(found.maintenance_margin_e8),
    }


def heading(outcome: Mapping[str, Any], margin_mode: str) -> Iterator[str]:
    """Tell what a run is, and all there is to tell of a refused one."""
    yield f"Run {outcome['run_id']}"
    yield (
        f"{outcome['side']} {outcome['symbol']} on {outcome['venue']}, {outcome['leverage']:g}x {margin_mode}; "
        f"{outcome['strategy']} {outcome['params']}, {REACTIONS[outcome['reaction']]}."
    )
    if outcome["exit_reason"] == "refused":
        yield f"{time_text(outcome['entry_ms'])}  the entry is refused: {REFUSALS[outcome['refusal']]}."


def narrate(story: Story) -> Iterator[str]:
    """Tell a story line by line."""
    yield from heading(story.outcome, story.margin_mode)
    if story.outcome["exit_reason"] == "refused":
        return
    told = False
    for event in story.events:
        if event.settlements:
            yield f"{INDENT}{_funding(event)}"
        if event.what == "liquidation" and story.liquidation is not None and not told:
            told = True
            yield from _predicate(story, story.liquidation)
        yield from _event(event)
    yield from _end(story)


def _funding(event: Event) -> str:
    word = "paid" if event.funding_before_e8 >= 0 else "received"
    often = "1 settlement" if event.settlements == 1 else f"{event.settlements} settlements"
    return f"funding: {e8_text(abs(event.funding_before_e8))} {word} in {often}"


def _event(event: Event) -> Iterator[str]:
    time = time_text(event.time_ms)
    if event.what in ("rule", "arrival"):
        for action in event.asked:
            yield f"{time}  {asked_line(action)}"
        if event.what == "arrival":
            yield f"{time}  margin arrives from the reserve"
    else:
        yield f"{time}  {TITLES[event.what]}"
    for fill in event.fills:
        yield f"{INDENT}{_fill(fill)}"
    moved = ", ".join(f"{KINDS.get(t['kind'], t['kind'])} {e8_text(t['amount_e8'])}" for t in event.transfers)
    if moved:
        yield f"{INDENT}{moved}"
    if event.held.qty_e8:
        at = "nowhere" if event.liquidation_price_e8 is None else f"at a mark of {e8_text(event.liquidation_price_e8)}"
        yield (f"{INDENT}holds {e8_text(event.held.qty_e8)}, wallet {e8_text(event.held.wallet_e8)}; liquidated {at}")


def asked_line(action: Mapping[str, Any]) -> str:
    """Say what a rule asked for, and whether it was refused."""
    amount = f" {action['amount']:g}" if action["amount"] else ""
    why = STATUSES.get(action["status"], action["status"].replace("_", " "))
    became = "" if action["status"] == "done" else f": refused, {why}"
    return (
        f"{action['rule']} asks: {action['verb'].replace('_', ' ')}{amount}, mark {e8_text(action['mark_e8'])}{became}"
    )


def _fill(fill: Mapping[str, Any]) -> str:
    word = "bought" if fill["qty_e8"] > 0 else "sold"
    qty, price, value = e8_text(abs(fill["qty_e8"])), e8_text(fill["price_e8"]), e8_text(fill["cost_e8"])
    return f"{word} {qty} at {price}, value {value} (mark {e8_text(fill['mark_e8'])})"


def _predicate(story: Story, found: Liquidation) -> Iterator[str]:
    """Fill in the formula: what decided, digit by digit."""
    mark, qty, cost, wallet = (e8_text(x) for x in (found.mark_e8, found.qty_e8, found.cost_e8, found.wallet_e8))
    long = story.outcome["side"] == "long"
    profit = f"({qty} × {mark} − {cost})" if long else f"({cost} − {qty} × {mark})"
    reserve = f" + {e8_text(found.fee_reserve_e8)} closing-fee reserve" if found.fee_reserve_e8 else ""
    cap = "and above" if found.tier_cap_e8 is None else f"to {e8_text(found.tier_cap_e8)}"
    rate = f"{e8_text(100 * found.tier_rate_e8)} %"
    where = "at the open of" if found.mark_e8 == found.mark_open_e8 else "on the path of"
    yield f"{time_text(found.time_ms)}  LIQUIDATION, cause {found.cause}: {CAUSES.get(found.cause, found.cause)}"
    yield (
        f"{INDENT}mark row {time_text(found.time_ms)}, {duration_text(found.bar_ms)} long: open "
        f"{e8_text(found.mark_open_e8)}, high {e8_text(found.mark_high_e8)}, low {e8_text(found.mark_low_e8)}; the "
        f"predicate holds {where} this bar, at {mark}"
    )
    yield (
        f"{INDENT}tier row {found.tier}: {e8_text(found.tier_floor_e8)} {cap}, rate {rate}, deduction "
        f"{e8_text(found.tier_deduction_e8)} (table of {time_text(found.tier_table_ms)[:10]}, {found.tier_source})"
    )
    yield f"{INDENT}equity = wallet {wallet} + {profit} = {e8_text(found.equity_e8)}"
    yield (
        f"{INDENT}maintenance margin = {qty} × {mark} × {rate} − {e8_text(found.tier_deduction_e8)}{reserve} "
        f"= {e8_text(found.maintenance_margin_e8)}"
    )
    yield f"{INDENT}{e8_text(found.equity_e8)} ≤ {e8_text(found.maintenance_margin_e8)}: liquidated"


def survival(more_e8: int, capital_e8: int, who: str) -> str:
    """Say with how much more margin a run would not have been liquidated."""
    share = 100 * more_e8 / capital_e8
    return (
        f"Margin to survive: with {e8_text(more_e8)} more posted at entry ({share:.1f} % of the capital) {who} lives."
    )


def _end(story: Story) -> Iterator[str]:
    outcome = story.outcome
    start, end = outcome["equity_start_e8"], outcome["equity_end_e8"]
    yield f"End: {ENDS[outcome['exit_reason']]}, {time_text(outcome['exit_ms'])}."
    yield (
        f"Capital {e8_text(start)} became {e8_text(end)} ({100 * (end - start) / start:+.2f} %): fees "
        f"{e8_text(outcome['fees_e8'])}, funding {e8_text(outcome['funding_e8'])}, slippage "
        f"{e8_text(outcome['slippage_e8'])}, clearance fees {e8_text(outcome['clearance_fee_e8'])}."
    )
    own = outcome["margin_to_survive_e8"]
    if own is not None and outcome["strategy"] != HOLD:
        yield survival(own, start, "this run")
    if story.margin_to_survive_e8 is not None:
        yield survival(story.margin_to_survive_e8, start, "hold")
