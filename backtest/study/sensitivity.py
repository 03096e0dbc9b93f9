"""The study's entries replayed again, each time with one assumption changed: what the sensitivity table compares.

Replayed are `hold` and the strategies of the study, so that each is still paired with a `hold` under the same
assumption. What a replay may cost is fixed in runs and bars, never in seconds: a study that is larger is replayed on
every n-th entry time, and so gives the same bytes on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from backtest.engine.plan import NONE, SCRIPT_ROW
from backtest.engine.pool.market import PoolMarket
from backtest.study.config import Study
from backtest.study.crew import crew
from backtest.study.entries import Entries
from backtest.study.facts import Runs, facts_of
from backtest.study.jobs import Job
from backtest.study.kernels import replay_on
from backtest.study.naming import HOLD
from backtest.study.outcomes import coded, outcome_table
from backtest.study.rerun import again
from backtest.study.runner import SymbolData, terms
from backtest.units import E8

# At most so many runs are replayed under one assumption, and so many bars where every bar is visited.
RUNS_MAX = 100_000
BARS_MAX = 5_000_000


@dataclass(frozen=True, slots=True)
class Variant:
    """One assumption changed: what it does to the study and to the market. Without `skip` every bar is visited."""

    name: str
    study: Callable[[Study], Study] = lambda study: study
    data: Callable[[SymbolData], SymbolData] = lambda data: data
    skip: bool = True


def adverse_last(data: SymbolData) -> SymbolData:
    """Exchange high and low of every bar: a long then meets the high first, a short the low.

    Blocks and segments keep their true extremes, so nothing may be skipped by a bar's own. Runs of several legs, which
    choose between the extremes by their margin, stay as they are.
    """
    market = data.market
    if isinstance(market, PoolMarket):
        return data
    bars = market.bars.copy()
    bars["mark_low_e8"], bars["mark_high_e8"] = market.bars["mark_high_e8"], market.bars["mark_low_e8"]
    return replace(data, market=market._replace(bars=bars))


def neighbour_tiers(data: SymbolData, step: int) -> SymbolData:
    """Put the tier table seen before (-1) or after (+1) in the place of each; the first and last have themselves."""
    market = data.market
    segments = market.segments.copy()
    if isinstance(market, PoolMarket):  # the tables of all instruments are numbered through
        ends = np.cumsum([len(one.tiers) for one in data.instruments])
        dated = segments["table"][:, : len(ends)]  # valued assets have none
        dated[:] = np.clip(dated + step, np.append(0, ends[:-1]), ends - 1)
    else:
        segments["table"][:-1] = np.clip(market.segments["table"][:-1] + step, 0, len(market.tiers) - 1)
    return replace(data, market=market._replace(segments=segments))


def variants(study: Study, loaded: Sequence[SymbolData]) -> Iterator[Variant]:
    """List the assumptions that can matter to a study.

    Reactions and gaps need no replay of their own. With one position in each margin unit, extremes of several marks
    never come together, so every liquidation is certain; with several legs opens and closes show those that are.
    """
    if any(data.pool is None for data in loaded):
        yield Variant("adverse extreme last", data=adverse_last, skip=False)
    if any(data.pool is not None for data in loaded):
        yield Variant("opens and closes only", data=lambda data: data.synced())
    if any(len(one.tiers) > 1 for data in loaded for one in data.instruments):
        yield Variant("previous tier table", data=lambda data: neighbour_tiers(data, -1))
        yield Variant("next tier table", data=lambda data: neighbour_tiers(data, 1))
    if study.entries.margin_mode == "isolated":
        other = {"pro_rata": "keep", "keep": "pro_rata"}[study.release]
        yield Variant(
            "freed margin kept" if other == "keep" else "freed margin released",
            study=lambda study: replace(study, release=other),
        )


def sensitivity(
    study: Study, loaded: Sequence[SymbolData], all_jobs: Sequence[Job], workers: int | None = None
) -> dict[str, pa.Table]:
    """Replay a study under each other assumption; give the outcomes by name, whatever the number of workers.

    Where entries were left out, the replay of the same entries as stated comes before, under its own name.
    """
    own = [job for job in all_jobs if job.strategy == HOLD or job.rules.names]
    planned: dict[str, tuple[Variant, int]] = {}
    for variant in variants(study, loaded):
        stride = _stride(loaded, len(own), variant.skip)
        of = "" if stride == 1 else f", 1 in {stride} entries"
        for one in (Variant("as stated"), variant) if stride > 1 else (variant,):
            planned.setdefault(one.name + of, (one, stride))

    def replayed(plan: tuple[Variant, int]) -> pa.Table:
        return pa.concat_tables([_replay(plan[0], study, data, own, plan[1]) for data in loaded])

    with crew(workers) as team:
        return dict(zip(planned, team.pool.map(replayed, planned.values()), strict=True))


def _stride(loaded: Sequence[SymbolData], jobs: int, skip: bool) -> int:
    runs = jobs * sum(len(data.entries.rows) for data in loaded)
    if skip:
        return -(-runs // RUNS_MAX)
    lived = [data.entries.rows["exit_bar"] - data.entries.rows["entry_bar"] for data in loaded]
    bars = jobs * sum(int(np.maximum(bars, 0).sum()) for bars in lived)
    return max(-(-bars // BARS_MAX), -(-runs // RUNS_MAX))


def _replay(variant: Variant, study: Study, data: SymbolData, own: Sequence[Job], stride: int) -> pa.Table:
    study, data = variant.study(study), variant.data(data)
    entries = _every(data.entries, stride)
    hold: Runs | None = None
    tables = []
    for job in (one.on(data.times_ms, data.outside) for one in own):
        rows = entries.under(posted_e8=study.capital_e8 * job.posted_share_e8 // E8, qty_share_e8=job.qty_share_e8)
        if hold is not None:
            outcome = hold.batch.outcomes
            rows["baseline_liquidation_ms"] = np.where(outcome["liquidated"] == 1, outcome["liquidation_ms"], NONE)
            rows["baseline_exit_ms"] = outcome["exit_ms"]
        settings = job.under(terms(study))
        plan = data.plan(settings, job.rules, next_open=job.reaction == "next_open", skip=variant.skip)
        # Of `hold` the rows are kept: the exposure of a partly liquidated baseline is summed from its fills. With
        # several legs, those of all: what shares an account is read off them.
        batch = replay_on(data.market, plan, job.rules, rows, record=hold is None or data.pool is not None)
        runs = Runs(job, settings, replace(entries, rows=rows), np.zeros(0, SCRIPT_ROW), batch)
        hold = hold or runs
        facts = facts_of(data, study.market.tiers, runs, hold, again)
        tables.append(coded(outcome_table(study.market.venue, job, runs.entries, batch, facts)))
    return pa.concat_tables(tables)


def _every(entries: Entries, stride: int) -> Entries:
    """Keep every n-th entry time, with all of its sides and leverages."""
    _, time = np.unique(entries.rows["entry_ms"], return_inverse=True)
    kept = np.flatnonzero(time % stride == 0)
    return entries.only(kept.tolist())
