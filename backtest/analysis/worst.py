"""The runs in which a strategy did worst against the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtest.analysis.effects import effects
from backtest.analysis.pairs import Pairs
from backtest.units import E8


@dataclass(frozen=True, slots=True)
class WorstRun:
    """One run that ended below its baseline; `effect` is empty where neither side was liquidated first."""

    run_id: str
    strategy: str
    effect: str
    baseline_end_quote: float
    end_quote: float
    difference_quote: float


def worst_runs(groups: Sequence[Pairs], limit: int) -> list[WorstRun]:
    """Give the runs with the largest shortfall against the baseline, the largest first; ties by run id.

    Of the two reactions of an entry under a strategy the worse is given. Runs that did not end below the baseline are
    left out.
    """
    found: list[tuple[int, str, WorstRun]] = []
    for pairs in groups:
        difference = pairs.difference_e8
        order = np.lexsort((pairs.treated["run_id"].astype(str), difference))
        names = effect_names(pairs)
        for i in order[:limit].tolist():
            if difference[i] < 0:
                run = _run(pairs, i, names[i])
                found.append((int(difference[i]), run.run_id, run))
    worst: dict[str, WorstRun] = {}
    for _, run_id, run in sorted(found, key=lambda one: one[:2]):
        worst.setdefault(run_id.rpartition("/")[0], run)
    return list(worst.values())[:limit]


def effect_names(pairs: Pairs) -> list[str]:
    """Name the effect of each pair."""
    one = effects(pairs)
    masks = {name: getattr(one, name) for name in ("avoided", "exited", "delayed", "hastened", "caused")}
    names: list[str] = np.select(list(masks.values()), list(masks), default="").tolist()
    return names


def _run(pairs: Pairs, i: int, effect: str) -> WorstRun:
    return WorstRun(
        run_id=str(pairs.treated["run_id"][i]),
        strategy=pairs.strategy,
        effect=effect,
        baseline_end_quote=int(pairs.baseline["equity_end_e8"][i]) / E8,
        end_quote=int(pairs.treated["equity_end_e8"][i]) / E8,
        difference_quote=int(pairs.difference_e8[i]) / E8,
    )
