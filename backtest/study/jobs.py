"""Jobs: a strategy under one reaction, over all entries of a symbol. The controls are jobs like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from backtest.engine.batch import Terms
from backtest.engine.compiled import Rules, prepare
from backtest.study.config import Study
from backtest.study.drawn_calendar import Calendar, drawn_calendar
from backtest.study.naming import HOLD, POST_ALL, RANDOM_WINDOWS, REACTIONS, SHUFFLED, SMALLER_PCT
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
    latency_ms: int  # of the reserve
    reaction_ms: int = 0  # from a wake until its rule is called
    shuffled_of: str | None = None  # the strategy whose actions this one plays back
    drawn: Callable[[Calendar], Calendar] | None = field(default=None, compare=False)  # draws its events by lot
    outside: Outside | None = None  # what its rules are told, once it is on a market

    @property
    def name(self) -> str:
        return f"{self.strategy} {self.reaction}"

    def under(self, terms: Terms) -> Terms:
        """Give a study's terms with what this job has of its own."""
        return replace(terms, latency_ms=self.latency_ms, reaction_ms=self.reaction_ms)

    @property
    def is_twin(self) -> bool:
        return self.shuffled_of is not None or self.drawn is not None

    def on(self, times_ms: npt.NDArray[np.int64], outside: Outside) -> Job:
        """Give the job with its signals and events, or those drawn by lot, laid out on the bars that open then."""
        told = outside if self.drawn is None else Outside(outside.signal, self.drawn(outside.statements))
        return replace(self, rules=self.rules.fed(times_ms, told), outside=told)


def jobs(study: Study, uses: dict[str, Uses]) -> Iterator[Job]:
    """List a study's jobs in the order of its outcomes: controls first, each strategy before its twins.

    Continuous accounts have no shuffled twin: their positions are not matched, so no other run's moments are theirs.
    """
    nothing = prepare([])
    share = study.entries.margin_share_e8
    yield Job(HOLD, "[]", BOTH, nothing, share, E8, 0)
    yield Job(POST_ALL, "[]", BOTH, nothing, E8, E8, 0)
    for pct in SMALLER_PCT:
        yield Job(f"smaller-{pct}", "[]", BOTH, nothing, share, pct * E8 // 100, 0)
    for strategy in study.strategies:
        rules = prepare([(rule, values, strategy.cooldown_ms) for rule, values in uses[strategy.name]])
        latency = study.reserve.latency_ms if strategy.latency_ms is None else strategy.latency_ms
        own = Job(strategy.name, strategy.params_json, BOTH, rules, share, E8, latency, strategy.reaction_ms)
        for reaction in REACTIONS if rules.has_threshold else (BOTH,):
            job = replace(own, reaction=reaction)
            yield job
            if study.entries.continuous is None:
                yield replace(job, strategy=own.strategy + SHUFFLED, rules=nothing, shuffled_of=own.strategy)
            if rules.events:
                yield replace(job, strategy=own.strategy + RANDOM_WINDOWS, drawn=partial(drawn_calendar, study, rules))
