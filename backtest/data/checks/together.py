"""Checks of datasets beside each other: what must cover, add up to or equal what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

import numpy as np

from backtest.data import detect
from backtest.data.checks.finding import Finding, Sheet, rows_finding
from backtest.data.detect import Floats, Prices
from backtest.schema import BAR_TABLES
from backtest.units import DAY_MS, HOUR_MS, MINUTE_MS, duration_ms, duration_text, time_text

# Bars of two sources that differ by less than this share are taken as equal: venues round differently.
SAME = 1e-9
# How symbols of perpetuals end; an index or a share has neither mark nor funding.
_QUOTES = ("USDT", "USDC", "USD", "PERP")
_EXCERPT_MS = 60 * DAY_MS
# A difference of prices that matters to a reader.
_CLEAR = 0.002


def check_together(sheets: Iterable[Sheet]) -> Iterator[Finding]:
    """Check the tables of one venue and symbol against each other."""
    by_table: dict[str, list[Sheet]] = {}
    for sheet in sheets:
        if len(sheet.time_ms):
            by_table.setdefault(sheet.dataset.table, []).append(sheet)
    for klines in by_table.get("klines", []):
        if klines.dataset.venue.endswith("-spot") or not klines.dataset.symbol.endswith(_QUOTES):
            continue
        yield from _check_mark(klines, by_table.get("mark_price", []))
        yield from _check_funding_cover(klines, by_table.get("funding_rate", []))
    for one, other in combinations(by_table.get("funding_rate", []), 2):
        yield from _check_same_funding(one, other)
    for table in BAR_TABLES:
        bars = sorted(by_table.get(table, []), key=lambda sheet: duration_ms(sheet.dataset.interval))
        for index, fine in enumerate(bars):
            for coarse in bars[index + 1 :]:
                if fine.dataset.interval == coarse.dataset.interval:
                    yield from disagreements(fine, coarse)
                else:
                    yield from _check_adds_up(fine, coarse)


def _check_mark(klines: Sheet, marks: list[Sheet]) -> Iterator[Finding]:
    if not marks:
        what = "there are klines but no mark price"
        yield rows_finding(klines, "warning", np.array([0]), what, "import mark bars: only mark decides liquidation")
        return
    same = [sheet for sheet in marks if sheet.dataset.interval == klines.dataset.interval]
    for mark in same:
        missing = np.flatnonzero(~np.isin(klines.time_ms, mark.time_ms))
        if missing.size:
            until = time_text(int(klines.time_ms[missing[-1]]))
            what = f"klines have no mark bar beside them, until {until}"
            yield rows_finding(klines, "warning", missing, what, "import mark bars, or start the study later")
    first_ms = min(int(mark.time_ms[0]) for mark in marks)
    if 0 < klines.time_ms[0] - first_ms < _EXCERPT_MS:  # more, and the klines are an excerpt
        what = f"klines begin {duration_text(int(klines.time_ms[0]) - first_ms)} after the mark bars"
        yield rows_finding(klines, "note", np.array([0]), what, "a study starts where both are there")
    if not same:
        there = ", ".join(sheet.dataset.interval for sheet in marks)
        what = f"mark bars are there at {there} only"
        yield rows_finding(klines, "note", np.array([0]), what, "import mark bars of this interval for a study on it")


def _check_funding_cover(klines: Sheet, fundings: list[Sheet]) -> Iterator[Finding]:
    if not fundings:
        yield rows_finding(
            klines, "warning", np.array([0]), "there are klines but no funding", "import the funding history"
        )
        return
    stamps = np.array([edge for sheet in fundings for edge in (sheet.time_ms[0], sheet.time_ms[-1])])
    reach_ms = 8 * HOUR_MS + MINUTE_MS
    outside = (klines.time_ms < stamps.min() - reach_ms) | (klines.time_ms > stamps.max() + reach_ms)
    missing = np.flatnonzero(outside)
    if missing.size:
        span = f"funding covers {time_text(int(stamps.min()))} to {time_text(int(stamps.max()))} only"
        yield rows_finding(klines, "warning", missing, span, "import the funding history of the rest")


def _check_adds_up(fine: Sheet, coarse: Sheet) -> Iterator[Finding]:
    """Compare finer bars, aggregated, with stored coarser bars: archives and APIs disagree around outages."""
    coarse_ms, fine_ms = duration_ms(coarse.dataset.interval), duration_ms(fine.dataset.interval)
    if coarse_ms % fine_ms:
        return
    time_ms, joined, volume = detect.aggregate(
        fine.time_ms, fine.prices, coarse_ms, coarse_ms // fine_ms, fine.values.get("volume")
    )
    yield from disagreements(
        Sheet(fine.where, fine.dataset, time_ms, joined._asdict() | ({} if volume is None else {"volume": volume})),
        coarse,
        tolerance=1e-6,
    )


def disagreements(one: Sheet, other: Sheet, tolerance: float = SAME) -> Iterator[Finding]:
    """Compare the columns that two datasets share at the times that both have."""
    _, mine, theirs = np.intersect1d(one.time_ms, other.time_ms, return_indices=True)
    for names, severity in ((Prices._fields, "warning"), (("volume", "funding_rate"), "note")):
        apart = {
            name: _apart(one.values[name][mine], other.values[name][theirs])
            for name in names
            if name in one.values and name in other.values
        }
        differs = {name: share > tolerance for name, share in apart.items()}
        rows = mine[np.any([np.zeros(len(mine), bool), *differs.values()], axis=0)]
        if rows.size:
            counts = ", ".join(f"{name} {count}" for name, rows in differs.items() if (count := int(rows.sum())))
            what = f"{'prices' if severity == 'warning' else 'volumes or rates'} disagree with {other.where} ({counts}"
            clear = int((apart["close"] > _CLEAR).sum()) if "close" in apart else 0
            what += f"; {clear} of {len(mine)} closes by more than {_CLEAR:.1%})" if clear else ")"
            remedy = "archive and API differ around outages; decide which one to keep"
            yield rows_finding(one, severity, rows, what, remedy)


def _apart(a: Floats, b: Floats) -> Floats:
    """Give how far a column is from another, as a share of the other."""
    size = np.abs(b)
    apart: Floats = np.abs(a - b) / np.where(size > 0, size, 1.0)
    return apart


def _check_same_funding(one: Sheet, other: Sheet) -> Iterator[Finding]:
    """Compare two histories of one symbol, and find whether one is the other on a clock that is hours ahead."""
    minutes = [detect.settlement_minute(sheet.time_ms) for sheet in (one, other)]
    for hours in range(-12, 13):
        _, mine, theirs = np.intersect1d(minutes[0] - hours * 60, minutes[1], return_indices=True)
        rates = one.values["funding_rate"][mine], other.values["funding_rate"][theirs]
        equal = np.isclose(*rates, rtol=0, atol=1e-8)
        if len(mine) < 10 or equal.mean() < 0.9:
            continue
        if hours:
            what = f"{equal.sum()} of {len(mine)} rates are those of {other.where} {abs(hours)} h"
            what += " later: the clock is ahead of UTC" if hours > 0 else " earlier: the other clock is ahead"
            yield rows_finding(one, "warning", mine, what, f"import with utc-offset {hours}h")
        elif not equal.all():
            yield rows_finding(one, "warning", mine[~equal], f"rates disagree with {other.where}", "compare a third")
        return
