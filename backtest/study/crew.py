"""Replay on several threads. Runs do not depend on each other, so any number of workers leaves the same bytes.

The compiled replay runs without Python's lock and all threads read one market, so nothing is copied or sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtest.engine.batch import Batch, Keep, Rows
from backtest.engine.compiled import Rules
from backtest.study.kernels import AnyMarket, replay_on

PART_RUNS = 1024  # fewer are not worth handing over
PARTS_A_WORKER = 4  # so that one that got the long runs does not keep the others waiting


def cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Crew:
    """Workers that replay parts of a batch."""

    pool: ThreadPoolExecutor
    workers: int

    def replay(
        self,
        market: AnyMarket,
        plan: Any,
        rules: Rules,
        entries: Rows,
        *,
        script: Rows | None,
        keep: Keep = "liquidated",
        record: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Batch:
        """Replay entries in parts; give what `engine.batch.replay_batch` gives, whatever the number of workers.

        `progress` is called from this thread. On an interrupt the parts under way are finished, the others dropped.
        """
        size = max(PART_RUNS, -(-len(entries) // (PARTS_A_WORKER * self.workers)))
        starts = range(0, len(entries), size)
        futures = [
            self.pool.submit(
                replay_on, market, plan, rules, entries[i : i + size], script=script, keep=keep, record=record
            )
            for i in starts
        ]
        return _joined(starts, _finished(futures, progress))


def _finished(futures: Sequence[Future[Batch]], progress: Callable[[int], None] | None) -> list[Batch]:
    done = []
    try:
        for future in futures:
            done.append(future.result())
            if progress is not None:
                progress(len(done[-1].outcomes))
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return done


def _joined(starts: Sequence[int], parts: Sequence[Batch]) -> Batch:
    """Put parts together; their rows count runs from 0, each."""
    for start, part in zip(starts, parts, strict=True):
        for rows in (part.transfers, part.fills, part.actions):
            rows["run"] += start
    return Batch(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("outcomes", "transfers", "fills", "actions")
        )
    )


@contextmanager
def crew(workers: int | None = None) -> Iterator[Crew]:
    """Call together so many workers; None: as many as there are processors."""
    count = workers or cores()
    with ThreadPoolExecutor(count, thread_name_prefix="replay") as pool:
        yield Crew(pool, count)
