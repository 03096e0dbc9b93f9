"""The answer in words: what was asked, over what, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtest.report.model import Model, ReportInput, Strategy
from backtest.report.text import date, number, per_cent, plural, share, two
from backtest.units import time_ms


def headline(source: ReportInput) -> str:
    """Give the title: the study's name."""
    return str(source.study["study"]["name"])


def quote_unit(study: Mapping[str, Any]) -> str:
    """Give the quote asset where all symbols share a known one, else the word quote."""
    for asset in ("USDT", "USDC"):
        if all(str(symbol).endswith(asset) for symbol in study["market"]["symbols"]):
            return asset
    return "quote"


def scope(model: Model) -> str:
    """Say in one line what was replayed."""
    study = model.input.study
    market, entries = study["market"], study["entries"]
    levels = ", ".join(f"{level}×" for level in entries["leverage"])
    runs = plural(model.input.outcomes.num_rows, "run")
    return (
        f"{market['venue'].capitalize()} {', '.join(market['symbols'])}, {date(time_ms(market['start']))} to "
        f"{date(time_ms(market['stop']))}: an entry every {entries['every']}, {' and '.join(entries['side'])}, {levels}, "
        f"{entries['margin_mode']} margin, held {entries['horizon']}; {runs}."
    )


def answer(model: Model) -> str:
    """Give the answer in a sentence or two."""
    summary = model.summary
    hold = summary.baseline.intrabar
    start = f"Left alone, {number(hold.liquidated)} of {plural(hold.pairs, 'position')} ({per_cent(hold.liquidated_pct)}) "
    start += "were liquidated. "
    best = summary.best
    if best is None:
        return start + "No strategy of the study saved more positions than it cost."
    return start + _best(best)


def _best(best: Strategy) -> str:
    a, b = best.intrabar, best.next_open
    lost = two(number(a.liquidated), number(b.liquidated))
    cost = two(number(a.running_cost_pct, 2), number(b.running_cost_pct, 2))
    kept = two(share(a.exposure_kept), share(b.exposure_kept))
    sure = "" if best.p_holm < 0.05 else f" The difference could be luck (p = {best.p_holm:.2f})."
    caused = f", caused {number(best.caused)} new ones" if best.caused else ""
    return (
        f"{best.name} saved most: {lost} liquidations, {number(best.saved)} positions saved under both reactions{caused}, "
        f"at a running cost of {cost} % of capital, with {kept} of the exposure kept.{sure}"
    )
