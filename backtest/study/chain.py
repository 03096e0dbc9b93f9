"""Play continuous accounts: chains of ordinary runs, the present link of every account replayed at once.

All links of one generation are one batch. What each leaves decides, with the study's `on_liquidation`, whether the
account opens another position, when, and with how much; the next generation holds those. An account has at most as
many links as there are entry times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.engine.batch import Batch
from backtest.errors import StudyError
from backtest.schema import EXIT_REASONS, REFUSALS
from backtest.study.config import NOTIONAL_MAX_E8, Study
from backtest.study.continuous import REFILL, STOP
from backtest.study.entries import Entries
from backtest.study.jobs import Job
from backtest.units import E8

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]
Replay = Callable[[Rows], Batch]  # of entries under one job, every row kept


@dataclass(frozen=True, slots=True)
class Link:
    """One position of an account: its entry by place among all, its capital, and how much of that was paid in anew."""

    account: int
    place: int
    capital_e8: int
    refill_e8: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """All links of one job's accounts over a symbol, account by account, each account's in order of time.

    `entries.rows[i]` is the entry of run i of `batch`, which holds every row of every link.
    """

    job: Job
    links: tuple[Link, ...]
    entries: Entries
    batch: Batch

    def of_account(self, account: int) -> range:
        """Give the links of an account, by their places."""
        numbers = [link.account for link in self.links]
        first = numbers.index(account)
        return range(first, first + numbers.count(account))


def accounts_of(entries: Entries) -> list[Ints]:
    """Give the entries that each account may take, as places in `entries`: one account by side and leverage."""
    forms = list(dict.fromkeys(entries.rows[["side", "leverage_e2"]].tolist()))
    rows = entries.rows
    return [np.flatnonzero((rows["side"] == side) & (rows["leverage_e2"] == leverage)) for side, leverage in forms]


def link_rows(study: Study, job: Job, entries: Entries, capitals_e8: Sequence[int]) -> Rows:
    """Give the kernel's entries of links that begin with these capitals, sized and posted by the study's shares.

    Raises StudyError for a position that would pass the engine's range.
    """
    rows = entries.under(posted_e8=0, qty_share_e8=job.qty_share_e8)
    for row, label, capital_e8 in zip(rows, entries.labels, capitals_e8, strict=True):
        if capital_e8 * int(row["leverage_e2"]) > NOTIONAL_MAX_E8 * 100:
            what = f"the account has grown to {capital_e8 / E8:,.0f}: times leverage that is over 900,000,000"
            raise StudyError.at(f"{job.strategy}/{label}/{job.reaction}", what, "take less capital or leverage")
        row["capital_e8"] = capital_e8
        row["sizing_margin_e8"] = capital_e8 * study.entries.margin_share_e8 // E8
        row["posted_e8"] = capital_e8 * job.posted_share_e8 // E8
    return rows


def play(study: Study, job: Job, entries: Entries, replay: Replay) -> Chain:
    """Play every account of a symbol under one job to its end."""
    places = accounts_of(entries)
    present = [Link(account, int(own[0]), study.capital_e8) for account, own in enumerate(places)]
    generations: list[tuple[list[Link], Batch]] = []
    while present:
        batch = replay(_rows(study, job, entries, present))
        generations.append((present, batch))
        following = (
            next_link(study, link, outcome, entries.rows["entry_ms"], places[link.account])
            for link, outcome in zip(present, batch.outcomes, strict=True)
        )
        present = [link for link in following if link is not None]
    return _chain(study, job, entries, generations)


def next_link(study: Study, link: Link, outcome: Any, entry_ms: Ints, places: Ints) -> Link | None:
    """Say which position an account opens after a link, and with how much; None where it has come to its end.

    An entry time without a bar is waited out; any other refusal ends the account.
    """
    assert study.entries.continuous is not None
    policy = study.entries.continuous.on_liquidation
    reason = EXIT_REASONS[outcome["reason"]]
    left_e8, after_ms = int(outcome["equity_end_e8"]), max(int(outcome["exit_ms"]), int(entry_ms[link.place]))
    if reason == "data_end" or (reason == "liquidated" and policy == STOP):
        return None
    if reason == "refused" and REFUSALS[outcome["refusal"]] != "gap":
        return None
    later = places[np.searchsorted(entry_ms[places], after_ms, side="right") :]
    if not len(later):
        return None
    refill_e8 = max(study.capital_e8 - left_e8, 0) if reason == "liquidated" and policy == REFILL else 0
    return Link(link.account, int(later[0]), left_e8 + refill_e8, refill_e8)


def _chain(study: Study, job: Job, entries: Entries, generations: Sequence[tuple[list[Link], Batch]]) -> Chain:
    """Put the generations together, and their links in the order of accounts."""
    links = [link for present, _ in generations for link in present]
    order = np.argsort([link.account for link in links], kind="stable")
    place = np.empty(len(order), np.int64)  # where each link goes
    place[order] = np.arange(len(order))
    starts = np.cumsum([0, *(len(present) for present, _ in generations)])

    def rows(name: str) -> Rows:
        parts = []
        for start, (_, batch) in zip(starts.tolist(), generations, strict=False):
            part = getattr(batch, name)
            part["run"] = place[part["run"] + start]
            parts.append(part)
        joined = np.concatenate(parts)
        return joined[np.argsort(joined["run"], kind="stable")]

    outcomes = np.concatenate([batch.outcomes for _, batch in generations])[order]
    links = [links[i] for i in order.tolist()]
    chosen = replace(entries.only([link.place for link in links]), rows=_rows(study, job, entries, links))
    batch = Batch(outcomes, rows("transfers"), rows("fills"), rows("actions"))
    return Chain(job, tuple(links), chosen, batch)


def _rows(study: Study, job: Job, entries: Entries, links: Sequence[Link]) -> Rows:
    chosen = entries.only([link.place for link in links])
    return link_rows(study, job, chosen, [link.capital_e8 for link in links])
