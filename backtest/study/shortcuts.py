"""Short cuts of the margin rules, as found in backtesters: each a change of what the replay reads.

No short cut has margin code of its own: it changes prices, funding or tier tables, and the one replay decides. Two of
them depend on the position: maintenance by rate / leverage, and the tier chosen by the margin posted. Within one
leverage and capital both are ladders of one tier, so these too are exact (rate / leverage to 1e-8, rounded up).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.data.tape import tape_from_arrays
from backtest.schema import Tape
from backtest.units import E8
from backtest.venues.tiers import Tier, TierTable

Ints = npt.NDArray[np.int64]
EDGE_E8 = E8  # a ladder that jumps is looked at this much notional above each jump, too


class Prices(NamedTuple):
    """Open, high, low and close of each bar at 1e-8."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints


class Form(NamedTuple):
    """What the positions of one replay share: leverage, and margin posted."""

    leverage_e2: int
    posted_e8: int


@dataclass(frozen=True, slots=True)
class History:
    """What decides a liquidation: the prices, funding, tiers and fees of one symbol."""

    time_ms: Ints
    close_ms: Ints
    last: Prices
    mark: Prices
    funding: tuple[tuple[int, int], ...]  # time, rate at 1e-8
    tiers: tuple[TierTable, ...]
    taker: tuple[tuple[int, int], ...]  # from, rate at 1e-8

    def tape(self) -> Tape:
        """Lay the history out for the replay."""
        return tape_from_arrays(
            int((self.close_ms - self.time_ms).min()),
            self.time_ms,
            self.last.open,
            self.last.close,
            *self.mark,
            self.funding,
            self.tiers,
            self.taker,
            self.close_ms,
        )


Change = Callable[[History, Form], History]


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to decide liquidation, by the history that it looks at."""

    name: str
    change: Change


def as_it_is(history: History, form: Form) -> History:
    """Change nothing: the full rule."""
    return history


def ladders(history: History, rows: Callable[[tuple[Tier, ...]], Sequence[Tier]]) -> History:
    """Replace the rows of every tier table; the last has no upper bound, and no row limits leverage."""

    def changed(table: TierTable) -> TierTable:
        free = [tier._replace(max_leverage_e2=None) for tier in rows(table.tiers)]
        return replace(table, tiers=(*free[:-1], free[-1]._replace(cap_e8=None)))

    return replace(history, tiers=tuple(changed(table) for table in history.tiers))


def one_tier(rate_e8: int, deduction_e8: int = 0) -> tuple[Tier, ...]:
    """Give a ladder of one rate for every notional."""
    return (Tier(0, None, rate_e8, deduction_e8, None),)


def flat_rate(rate_e8: int) -> Change:
    """One maintenance rate for every symbol, notional and date."""
    return lambda history, form: ladders(history, lambda tiers: one_tier(rate_e8))


def first_tier(history: History, form: Form) -> History:
    """The dated rate of tier 1 for every notional: the table without its ladder."""
    return ladders(history, lambda tiers: one_tier(tiers[0].rate_e8))


def tier_by_collateral(history: History, form: Form) -> History:
    """Rate and deduction of the row that holds the margin posted, in place of the notional."""

    def row(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        held = next((tier for tier in tiers if tier.cap_e8 is None or form.posted_e8 <= tier.cap_e8), tiers[-1])
        return one_tier(held.rate_e8, held.deduction_e8)

    return ladders(history, row)


def rate_over_leverage(history: History, form: Form) -> History:
    """Maintenance = notional / leverage x the dated rate of tier 1."""
    return ladders(history, lambda tiers: one_tier(-(-tiers[0].rate_e8 * 100 // form.leverage_e2)))


def no_deduction(history: History, form: Form) -> History:
    """The rate of the tier on the whole notional, so that maintenance jumps where a tier begins.

    Inside a bar the replay looks at both ends of each tier; a second border just above each jump shows it the upper
    side of the jump as well.
    """

    def jumping(tiers: tuple[Tier, ...]) -> Iterator[Tier]:
        for tier in tiers:
            bare = tier._replace(deduction_e8=0)
            if tier.floor_e8:
                yield bare._replace(cap_e8=tier.floor_e8 + EDGE_E8)
            yield bare

    return ladders(history, lambda tiers: tuple(jumping(tiers)))


def last_for_mark(history: History, form: Form) -> History:
    """The last price in place of the mark: for the test, for unrealised profit and for funding."""
    return replace(history, mark=history.last)


def closes_only(history: History, form: Form) -> History:
    """Test at closes only: what a bar did in between is not seen."""
    mark = history.mark
    before = np.append(mark.open[:1], mark.close[:-1])
    seen = Prices(before, np.maximum(before, mark.close), np.minimum(before, mark.close), mark.close)
    return replace(history, mark=seen)


def no_funding(history: History, form: Form) -> History:
    """Funding is never paid."""
    return replace(history, funding=())


def latest_tiers(history: History, form: Form) -> History:
    """The newest tier table for all of history."""
    return ladders(replace(history, tiers=history.tiers[-1:]), lambda tiers: tiers)


def together(*changes: Change) -> Change:
    """Make several changes, one after the other."""
    return lambda history, form: reduce(lambda changed, change: change(changed, form), changes, history)


FLAT_LOW = flat_rate(400_000)
FULL = Rule("full rule", as_it_is)
LADDERLESS = Rule("tier 1 for all (no ladder)", first_tier)
RULES = (
    Rule("flat rate 0.4 %", FLAT_LOW),
    Rule("flat rate 1 %", flat_rate(1_000_000)),
    Rule("tier by collateral", tier_by_collateral),
    Rule("notional / leverage x rate", rate_over_leverage),
    Rule("no deduction", no_deduction),
    Rule("last price for mark", last_for_mark),
    Rule("closes only", closes_only),
    Rule("no funding", no_funding),
    Rule("today's tiers", latest_tiers),
    LADDERLESS,
    Rule("0.4 %, last, closes, no funding", together(FLAT_LOW, last_for_mark, closes_only, no_funding)),
)
