"""The answer in words: what was asked, over what, and what came out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backtest.report.model import Model, ReportInput, Strategy, Summary
from backtest.report.text import date, number, per_cent, plural, share
from backtest.units import time_ms

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a sentence; `strong` marks a name."""

    text: str
    strong: bool = False


def headline(source: ReportInput) -> str:
    """Give the title: the study's name."""
    return str(source.study["study"]["name"])


def quote_unit(study: Mapping[str, Any]) -> str:
    """Give the quote asset where all symbols share a known one, else the word quote."""
    for asset in ("USDT", "USDC"):
        if all(str(symbol).endswith(asset) for symbol in study["market"]["symbols"]):
            return asset
    return "quote"


def opening(study: Mapping[str, Any]) -> str:
    """Say how positions are opened, and with which legs."""
    entries = study["entries"]
    levels = ", ".join(f"{level}×" for level in entries.get("leverage", []))
    if "when" in entries:
        sides = " and ".join(entries.get("side", ["to the side of its sign"]))
        opened = f"an entry at each change of {entries['when']}, {sides}, {levels}"
    elif "every" in entries:
        opened = f"an entry every {entries['every']}, {' and '.join(entries['side'])}, {levels}"
    else:
        opened = f"{plural(len(entries['list']), 'position')} of a list"
    signals = [one for one in study.get("regime", []) if "enter" in one]
    opened += "".join(f", while {one['name']} is {' or '.join(one['enter'])}" for one in signals)
    layers = study.get("layer", [])
    hedges = ", ".join(f"{one['use']} at {one['leverage']}×" for one in layers if one["use"] != "asset")
    assets = ", ".join(one["asset"] for one in layers if one["use"] == "asset")
    opened += ", all symbols in one account" if entries.get("basket") else ""
    opened += f" but {' and '.join(entries['isolated'])}" if entries.get("isolated") else ""
    return opened + (f", hedges {hedges}" if hedges else "") + (f", to hold {assets}" if assets else "")


def scope(model: Model) -> str:
    """Say in one line what was replayed."""
    study = model.input.study
    market, entries = study["market"], study["entries"]
    runs = plural(model.input.outcomes.num_rows, "run")
    return (
        f"{market['venue'].capitalize()} {', '.join(market['symbols'])}, {date(time_ms(market['start']))} to "
        f"{date(time_ms(market['stop']))}: {opening(study)}, "
        f"{entries['margin_mode']} margin, held {entries['horizon']}; {runs}."
    )


def possible(summary: Summary) -> str | None:
    """Say how many liquidations are possible only, where several marks leave that open; else null."""
    hold = summary.baseline.intrabar
    if all(one.liquidated_possible == 0 for s in summary.strategies for one in (s.intrabar, s.next_open)):
        return None
    return (
        f"{number(hold.liquidated_possible)} of {number(hold.liquidated)} liquidations of hold are possible only: they "
        "need the extremes of several marks in one bar to have come together."
    )


def unlike_history(study: Mapping[str, Any]) -> str | None:
    """Say what of the market is not history as it was: a stress market, last prices for mark; else null."""
    if study["market"].get("last_for_mark"):
        return (
            "LAST FOR MARK: last prices stand in for mark prices. It compares rules with rules, and does not count the "
            "venue's liquidations."
        )
    made = study["market"].get("resample")
    if made is None:
        return None
    if made["method"] == "bootstrap":
        how = f"blocks of {made['block']} drawn from real history with seed {made['seed']}"
    else:
        how = f"real history with moves {made['scale']}× as large in {', '.join(made['windows'])}"
    return f"RESAMPLED market: {how}. It is a stress test, not what happened."


def answer(model: Model) -> tuple[Span, ...]:
    """Give the answer in a sentence or two."""
    summary = model.summary
    hold = summary.baseline.intrabar
    lost = f"{number(hold.liquidated)} of {plural(hold.pairs, 'position')} ({per_cent(hold.liquidated_pct)})"
    start = Span(f"Left alone, {lost} were liquidated")
    best = summary.best
    if best is None:
        return (start, Span("; no strategy of the study saved more of them than it newly lost."))
    return (start, *_best(best), *_rival(summary, best))


def plain(spans: Iterable[Span]) -> str:
    """Join spans as plain text."""
    return "".join(span.text for span in spans)


def _best(best: Strategy) -> Iterator[Span]:
    a, b = best.intrabar, best.next_open
    cost = _range(number(a.running_cost_pct, 2), number(b.running_cost_pct, 2))
    kept = _range(share(a.exposure_kept).removesuffix(" %"), share(b.exposure_kept).removesuffix(" %"))
    yield Span("; ")
    yield Span(best.name, strong=True)
    yield Span(f" saved {number(best.saved)} of them under both reactions")
    if best.caused:
        yield Span(f" and lost {number(best.caused)} that would have lived")
    yield Span(f", at a running cost of {cost} % of capital and with {kept} % of the exposure kept.")
    if best.p_holm >= SIGNIFICANT:
        yield Span(f" The difference may be luck (p = {best.p_holm:.2f}).")


def _rival(summary: Summary, best: Strategy) -> Iterator[Span]:
    """Name the control that saves at least as much, if one does."""
    controls = [one for one in summary.strategies if one.control and one.saved - one.caused >= best.saved - best.caused]
    if controls:
        rival = max(controls, key=lambda one: (one.saved - one.caused, one.intrabar.exposure_kept or 0.0, one.name))
        kept = share(rival.intrabar.exposure_kept)
        yield Span(" The control ")
        yield Span(rival.name, strong=True)
        yield Span(f" saved {number(rival.saved)}, with {kept} of the exposure kept.")


def _range(intrabar: str, next_open: str) -> str:
    return intrabar if intrabar == next_open else f"{intrabar} to {next_open}"
