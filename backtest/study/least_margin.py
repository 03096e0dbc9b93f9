"""How much more margin, posted at entry, would have kept one liquidated run alive: sought by replaying it.

Under a rule the need cannot be read off one replay, as for `hold`: a rule acts on what the margin makes of the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.engine.batch import replay_batch
from backtest.study.config import Study
from backtest.study.jobs import Job
from backtest.study.rerun import Runs, find_job, rerun
from backtest.study.runner import SymbolData
from backtest.units import E8

# Margins tried in one replay: each narrows the search so many times.
TRIED = 64
MOST_E8 = 900_000_000 * E8


def least_margin_e8(study: Study, data: SymbolData, all_jobs: Sequence[Job], outcome: Mapping[str, Any]) -> int | None:
    """Give the extra margin with which a run lives and with 1e-8 less is liquidated; None where none up to 9e8 does.

    The margin comes on top of the capital and is posted whole. More margin need not always help under a rule, so it is
    the least one only as far as it does; that the two neighbours differ is certain.
    """
    label = outcome["run_id"].split("/", 1)[1].rsplit("/", 1)[0]
    job = find_job(all_jobs, outcome["strategy"], outcome["reaction"])
    runs = rerun(study, data, all_jobs, job, [data.entries.labels.index(label)], [outcome["seed_run_id"]])
    dead, alive = 0, int(outcome["entry_notional_e8"])
    while not lives(data, runs, np.array([alive]))[0]:
        dead, alive = alive, 2 * alive
        if alive > MOST_E8:
            return None
    while alive - dead > 1:
        step = max((alive - dead) // TRIED, 1)
        tried = np.arange(dead, alive + 1, step, dtype=np.int64)
        tried[-1] = alive
        # Of those tried, the first is known to die and the last to live.
        first = 1 + int(np.argmax(lives(data, runs, tried[1:])))
        dead, alive = int(tried[first - 1]), int(tried[first])
    return alive


def lives(data: SymbolData, runs: Runs, more_e8: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell for each amount of margin on top whether the run is then not liquidated."""
    rows = np.repeat(runs.entries.rows, len(more_e8))
    rows["posted_e8"] += more_e8
    rows["capital_e8"] += more_e8
    plan = runs.terms.plan(runs.job.rules, next_open=runs.job.reaction == "next_open")
    batch = replay_batch(data.market, plan, runs.job.rules, rows, script=runs.script, record=False)
    return np.asarray(batch.outcomes["liquidated"] == 0)
