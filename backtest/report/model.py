"""What a report is made from, and everything it shows, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from backtest.analysis.breakdown import CRASH_WINDOWS, Part, Tag, Window, breakdowns, crash_windows, sensitivity
from backtest.analysis.choice import crash_runs, one_after_the_other, typical_liquidation
from backtest.analysis.confidence_set import confidence_set
from backtest.analysis.frontier import Point, frontier
from backtest.analysis.inference import Calendar
from backtest.analysis.money import Account, Money, account
from backtest.analysis.pairs import BASELINE, REACTIONS, Columns, Pairs, pair_up
from backtest.analysis.summary import Comparison, compare
from backtest.analysis.survival import HoldingRow, Incidence, by_leverage_and_holding, holding_days, incidence
from backtest.analysis.survive import SurvivalRow, margin_to_survive
from backtest.analysis.sweep import Sweep, sweeps
from backtest.analysis.timing import Timing, is_twin, timing
from backtest.analysis.worst import WorstRun, worst_runs
from backtest.units import duration_ms, time_ms

if TYPE_CHECKING:
    import pyarrow as pa


# How many of the worst runs a report lists.
WORST_RUNS = 12
# How many strategies a chart of curves shows, the baseline among them.
CURVES = 5


class Runs(Protocol):
    """What a report asks about single runs, by their names."""

    def story(self, run_id: str) -> Sequence[str]:
        """Tell a run line by line."""

    def bars(self, run_id: str) -> pa.Table:
        """Follow a run bar by bar, in natural units: columns as `study.trace` names them."""

    def money(self, run_ids: Sequence[str]) -> Sequence[Money]:
        """Give what runs of one strategy, reaction and symbol did to the money."""


Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class ReportInput:
    """Everything a report is made from.

    `study` is the resolved study as plain JSON. `runs` brings single runs back; without it the report follows none.
    `sensitivity` holds outcomes replayed under other assumptions, by name. `volatility` has symbol, entry_ms and
    volatility_pct, `regimes` the labels of entries by the study's regimes, `events` what fell into event windows.
    `synthetic` says that the market is made up.
    """

    study: Mapping[str, Any]
    outcomes: pa.Table
    coverage: Rows
    assumptions: Sequence[tuple[str, str]]
    reproduce: Sequence[str]
    synthetic: bool
    runs: Runs | None = None
    sensitivity: Mapping[str, pa.Table] = field(default_factory=dict)
    volatility: pa.Table | None = None
    regimes: Sequence[Tag] = ()
    events: Rows = ()
    gaps: Rows = ()
    finer: Rows = ()
    refused_actions: Rows = ()
    large_fills: Rows = ()


@dataclass(frozen=True, slots=True)
class Strategy:
    """One strategy under both reactions."""

    name: str
    control: bool
    intrabar: Comparison
    next_open: Comparison

    @property
    def worst_liquidated(self) -> int:
        return max(self.intrabar.liquidated, self.next_open.liquidated)

    @property
    def saved(self) -> int:
        return self.intrabar.saved

    @property
    def caused(self) -> int:
        return max(self.intrabar.caused, self.next_open.caused)

    @property
    def p_holm(self) -> float:
        """The weaker of the two reactions' evidence."""
        return max(self.intrabar.p_holm, self.next_open.p_holm)


@dataclass(frozen=True, slots=True)
class Summary:
    """The comparison in the order in which it is read: fewest liquidations first, the baseline on top."""

    strategies: tuple[Strategy, ...]

    @property
    def baseline(self) -> Strategy:
        return self.named(BASELINE)

    @property
    def controls(self) -> frozenset[str]:
        """The names of strategies that every study has."""
        return frozenset(one.name for one in self.strategies if one.control)

    def named(self, name: str) -> Strategy:
        """Give a strategy by its name."""
        return next(one for one in self.strategies if one.name == name)

    @property
    def shown(self) -> list[Strategy]:
        """The baseline, then the strategies of the study that save most: as many as a chart can tell apart."""
        own = sorted((s for s in self.strategies if not s.control), key=lambda s: (s.caused - s.saved, s.name))
        return [self.baseline, *own[: CURVES - 1]]

    @property
    def best(self) -> Strategy | None:
        """The strategy of the study that saves most, less what it causes; null if none saves more than it causes."""
        own = [one for one in self.strategies if not one.control]
        ranked = sorted(own, key=lambda one: (one.caused - one.saved, one.worst_liquidated, one.name))
        return ranked[0] if ranked and ranked[0].saved > ranked[0].caused else None


def summarise(study: Mapping[str, Any], outcomes: pa.Table) -> Summary:
    """Compare the strategies of a study: what the terminal, `summary.csv` and the report show."""
    return _summary(study, _pairs(study, outcomes))


def _pairs(study: Mapping[str, Any], outcomes: pa.Table) -> list[Pairs]:
    return pair_up(outcomes, float(study["costs"]["capital_cost_apr"]))


def _calendar(study: Mapping[str, Any]) -> Calendar:
    return Calendar.of(time_ms(study["market"]["start"]), horizon_ms(study))


def _seed(study: Mapping[str, Any]) -> int:
    return int(study["study"]["seed"])


def _summary(study: Mapping[str, Any], groups: Sequence[Pairs]) -> Summary:
    rows = {(row.strategy, row.reaction): row for row in compare(groups, _calendar(study), _seed(study))}
    own = {strategy["name"] for strategy in study["strategy"]}
    strategies = [
        Strategy(name, name not in own, rows[name, REACTIONS[0]], rows[name, REACTIONS[1]])
        for name in dict.fromkeys(name for name, _ in rows)
    ]
    order = sorted(strategies, key=lambda one: (one.name != BASELINE, one.control, one.worst_liquidated, one.name))
    return Summary(tuple(order))


def horizon_ms(study: Mapping[str, Any]) -> int:
    """Give how long an entry is held."""
    return duration_ms(study["entries"]["horizon"])


@dataclass(frozen=True, slots=True)
class Told:
    """One run that a report follows: why it was chosen, its name, its story, its bars."""

    title: str
    run_id: str
    story: tuple[str, ...]
    bars: pa.Table


@dataclass(frozen=True, slots=True)
class Model:
    """Everything a report shows."""

    input: ReportInput
    summary: Summary
    points: tuple[Point, ...]
    days: tuple[int, ...]
    holding: tuple[HoldingRow, ...]
    incidence: Mapping[tuple[str, str], Incidence]
    timing: tuple[Timing, ...]
    best_set: Mapping[tuple[str, str], float]
    breakdowns: tuple[Part, ...]
    crashes: tuple[Part, ...]
    sensitivity: tuple[Part, ...]
    worst: tuple[WorstRun, ...]
    survive: tuple[SurvivalRow, ...]
    sweeps: tuple[Sweep, ...]
    pairs: Mapping[tuple[str, str], Pairs]
    windows: tuple[Window, ...]
    typical: Told | None
    crash_runs: tuple[Told, ...]
    stories: Mapping[str, tuple[str, ...]]
    accounts: Mapping[str, Account]


def build(source: ReportInput) -> Model:
    """Compute everything a report shows."""
    groups = _pairs(source.study, source.outcomes)
    summary = _summary(source.study, groups)
    by_name = {(pairs.strategy, pairs.reaction): pairs for pairs in groups}
    days = holding_days(horizon_ms(source.study))
    ordered = [by_name[one.name, reaction] for one in summary.strategies for reaction in REACTIONS]
    own = [one for one in summary.strategies if not one.control]
    windows = _windows(source.study)
    others = ((name, _pairs(source.study, table)) for name, table in source.sensitivity.items())  # one at a time
    held = by_name[BASELINE, REACTIONS[0]].treated
    worst = tuple(worst_runs([by_name[one.name, r] for one in own for r in REACTIONS], WORST_RUNS))
    calendar, seed = _calendar(source.study), _seed(source.study)
    return Model(
        input=source,
        summary=summary,
        points=tuple(frontier([row for one in summary.strategies for row in (one.intrabar, one.next_open)])),
        days=days,
        holding=tuple(by_leverage_and_holding(held, days)),
        incidence={key: incidence(pairs.treated) for key, pairs in by_name.items()},
        timing=tuple(timing(groups, calendar, seed)),
        best_set=_best_set(groups, calendar, seed),
        breakdowns=tuple(breakdowns(ordered, source.volatility, source.regimes)),
        crashes=tuple(crash_windows(ordered, windows)),
        sensitivity=tuple(sensitivity(ordered, others)),
        worst=worst,
        survive=tuple(margin_to_survive(held)),
        sweeps=tuple(sweeps(source.study["strategy"])),
        pairs=by_name,
        windows=windows,
        typical=_typical(source.runs, held),
        crash_runs=_crash_runs(source.runs, held, windows),
        stories={} if source.runs is None else {one.run_id: tuple(source.runs.story(one.run_id)) for one in worst},
        accounts=_accounts(source, summary, by_name),
    )


def _best_set(groups: Sequence[Pairs], calendar: Calendar, seed: int) -> dict[tuple[str, str], float]:
    """Give each strategy's p of the confidence set, by reaction; twins do not compete."""
    found: dict[tuple[str, str], float] = {}
    for reaction in REACTIONS:
        mine = [pairs for pairs in groups if pairs.reaction == reaction and not is_twin(pairs.strategy)]
        found |= {(name, reaction): p for name, p in confidence_set(mine, calendar, seed).items()}
    return found


def _typical(runs: Runs | None, held: Columns) -> Told | None:
    run_id = typical_liquidation(held)
    if runs is None or run_id is None:
        return None
    return Told("One liquidation", run_id, tuple(runs.story(run_id)), runs.bars(run_id))


def _crash_runs(runs: Runs | None, held: Columns, windows: Sequence[Window]) -> tuple[Told, ...]:
    if runs is None:
        return ()
    return tuple(Told(window.name, run_id, (), runs.bars(run_id)) for window, run_id in crash_runs(held, windows))


def _accounts(source: ReportInput, summary: Summary, by_name: Mapping[tuple[str, str], Pairs]) -> dict[str, Account]:
    """Chain runs of the baseline and of the strategies that save most, at the next open."""
    runs = source.runs
    if runs is None:
        return {}
    found = {}
    for one in summary.shown:
        treated = by_name[one.name, REACTIONS[1]].treated
        chosen = one_after_the_other(treated, horizon_ms(source.study))
        if chosen.any():
            found[one.name] = account(runs.money([str(run_id) for run_id in treated["run_id"][chosen]]))
    return found


def _windows(study: Mapping[str, Any]) -> tuple[Window, ...]:
    if study["market"].get("resample", {}).get("method") == "bootstrap":
        return ()  # no crash of history is at its date there
    own = tuple(Window(w["name"], time_ms(w["from"]), time_ms(w["to"])) for w in study["window"])
    return own or CRASH_WINDOWS
