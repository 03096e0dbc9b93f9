"""Jobs: a strategy under one reaction, over all entries of a symbol. The controls are jobs like any other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from backtest.engine.compiled import Rules, prepare
from backtest.study.config import Study
from backtest.study.naming import HOLD, POST_ALL, REACTIONS, SHUFFLED, SMALLER_PCT
from backtest.study.outside import Outside
from backtest.study.rule_files import Uses
from backtest.units import E8

BOTH = "both"


@dataclass(frozen=True, slots=True)
class Job:
    """What one pass over the entries does. `reaction` is "both" where no rule waits for a threshold."""

    strategy: str
    params_json: str
    reaction: str
    rules: Rules
    posted_share_e8: int  # of the capital
    qty_share_e8: int  # of hold's quantity
    latency_ms: int
    shuffled_of: str | None = None  # the strategy whose actions this one plays back
    outside: Outside | None = None  # what its rules are told, once it is on a market

    @property
    def name(self) -> str:
        return f"{self.strategy} {self.reaction}"

    def on(self, times_ms: npt.NDArray[np.int64], outside: Outside) -> Job:
        """Give the job with its signals and events laid out on the bars that open at these times."""
        return replace(self, rules=self.rules.fed(times_ms, outside), outside=outside)


def jobs(study: Study, uses: dict[str, Uses]) -> Iterator[Job]:
    """List a study's jobs in the order of its outcomes: controls first, each strategy before its shuffled twin."""
    nothing = prepare([])
    share = study.entries.margin_share_e8
    yield Job(HOLD, "[]", BOTH, nothing, share, E8, 0)
    yield Job(POST_ALL, "[]", BOTH, nothing, E8, E8, 0)
    for pct in SMALLER_PCT:
        yield Job(f"smaller-{pct}", "[]", BOTH, nothing, share, pct * E8 // 100, 0)
    for strategy in study.strategies:
        rules = prepare([(rule, values, strategy.cooldown_ms) for rule, values in uses[strategy.name]])
        latency = study.reserve.latency_ms if strategy.latency_ms is None else strategy.latency_ms
        for reaction in REACTIONS if rules.has_threshold else (BOTH,):
            yield Job(strategy.name, strategy.params_json, reaction, rules, share, E8, latency)
            yield Job(
                strategy.name + SHUFFLED, strategy.params_json, reaction, nothing, share, E8, latency, strategy.name
            )
