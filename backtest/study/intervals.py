"""What finer bars change: the same entries under the same strategies on a study's own bars, and on shorter ones.

A long bar hides two things: the order in which its extremes came, and how long a bot that acts at the next open waits.
So a liquidation on the study's bars may not happen on finer ones (it *vanishes*), one that was not there may *appear*,
and one that happens on both may *move* to another bar. Where nothing acts nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.data.store import Lake
from backtest.errors import UsageError
from backtest.study.config import Study
from backtest.study.continuous import require_separate
from backtest.study.jobs import Job
from backtest.study.outcomes import REFUSED
from backtest.study.rerun import rerun
from backtest.study.runner import Progress, SymbolData, load_symbol
from backtest.units import duration_text


@dataclass(frozen=True, slots=True)
class Change:
    """What finer bars change of one strategy's liquidations under one reaction."""

    strategy: str
    reaction: str
    runs: int  # that neither replay refused
    coarse: int  # liquidated on the study's bars
    fine: int  # liquidated on the finer ones
    appear: int
    vanish: int
    move: int  # liquidated on both, but not within the same bar of the study


def compare_intervals(
    study: Study, lake: Lake, fine_ms: int, all_jobs: Sequence[Job], progress: Progress | None = None
) -> list[Change]:
    """Replay a study on its own bars and on finer ones, and count by strategy and reaction what changed.

    Where the lake holds only the finer bars, the study's are joined from them; `finer` of the study counts for nothing
    here. Twins are left out: what they play back
    is counted in bars. Errors: `UsageError` where the finer bars are not finer or do not divide the others;
    `CoverageError` where they are not there.
    """
    require_separate(study, "compare-intervals")
    coarse_ms = study.market.interval_ms
    if not 0 < fine_ms < coarse_ms or coarse_ms % fine_ms:
        what = f"{duration_text(fine_ms)} does not divide the study's {duration_text(coarse_ms)}"
        raise UsageError.at("--fine", what, "take a shorter interval, such as 1m")
    own = [job for job in all_jobs if not job.is_twin]
    study = replace(study, market=replace(study.market, finer_ms=()))
    finer = replace(study, market=replace(study.market, interval_ms=fine_ms))
    counted: dict[tuple[str, str], list[Change]] = {}
    done, expected = 0, len(study.market.symbols) * len(own)
    for symbol in study.market.symbols:
        both = [(form, load_symbol(form, lake, symbol)) for form in (study, finer)]
        for job in own:
            coarse, fine = (_outcomes(form, data, own, job) for form, data in both)
            counted.setdefault((job.strategy, job.reaction), []).append(_change(job, coarse, fine, coarse_ms))
            done += 1
            if progress is not None:
                progress(done, expected)
    return [_sum(parts) for parts in counted.values()]


def _outcomes(study: Study, data: SymbolData, own: Sequence[Job], job: Job) -> dict[str, Any]:
    outcomes = rerun(study, data, own, job, range(len(data.entries.labels))).batch.outcomes
    return dict(zip(data.entries.labels, outcomes, strict=True))


def _change(job: Job, coarse: dict[str, Any], fine: dict[str, Any], coarse_ms: int) -> Change:
    """Compare the runs that both replays took, by their names."""
    named = [n for n, row in coarse.items() if n in fine and REFUSED not in (row["reason"], fine[n]["reason"])]
    dead, dead_fine = _column(coarse, named, "liquidated") == 1, _column(fine, named, "liquidated") == 1
    when, when_fine = _column(coarse, named, "liquidation_ms"), _column(fine, named, "liquidation_ms")
    return Change(
        job.strategy,
        job.reaction,
        runs=len(named),
        coarse=int(dead.sum()),
        fine=int(dead_fine.sum()),
        appear=int((dead_fine & ~dead).sum()),
        vanish=int((dead & ~dead_fine).sum()),
        move=int((dead & dead_fine & (when_fine // coarse_ms != when // coarse_ms)).sum()),
    )


def _column(rows: dict[str, Any], named: Sequence[str], column: str) -> npt.NDArray[np.int64]:
    return np.array([rows[name][column] for name in named], np.int64)


def _sum(parts: Sequence[Change]) -> Change:
    """Add the counts of several symbols."""
    counts = ("runs", "coarse", "fine", "appear", "vanish", "move")
    return replace(parts[0], **{name: sum(getattr(part, name) for part in parts) for name in counts})
