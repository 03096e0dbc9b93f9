"""What a report is made from, and everything it shows, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backtest.analysis.breakdown import CRASH_WINDOWS, Part, Window, breakdowns, crash_windows, sensitivity
from backtest.analysis.frontier import Point, frontier
from backtest.analysis.inference import Calendar
from backtest.analysis.pairs import BASELINE, REACTIONS, Pairs, pair_up
from backtest.analysis.summary import Comparison, compare
from backtest.analysis.survival import HoldingRow, Incidence, by_leverage_and_holding, holding_days, incidence
from backtest.analysis.survive import SurvivalRow, margin_to_survive
from backtest.analysis.sweep import Sweep, sweeps
from backtest.analysis.worst import WorstRun, worst_runs
from backtest.units import duration_ms, time_ms

if TYPE_CHECKING:
    import pyarrow as pa


# How many of the worst runs a report lists.
WORST_RUNS = 12


@dataclass(frozen=True, slots=True)
class ReportInput:
    """Everything a report is made from.

    `study` is the resolved study as plain JSON. `trace` follows one liquidated run: time_ms, mark_open, mark_high,
    mark_low, qty, wallet, equity, initial_margin, maintenance_margin, liquidation_price, margin_ratio, buffer, in
    natural units. `sensitivity` holds outcomes replayed under other assumptions, by name. `synthetic` says that the
    market is made up.
    """

    study: Mapping[str, Any]
    outcomes: pa.Table
    coverage: Sequence[Mapping[str, object]]
    assumptions: Sequence[tuple[str, str]]
    trace: pa.Table | None
    trace_story: Sequence[str]
    reproduce: Sequence[str]
    synthetic: bool
    sensitivity: Mapping[str, pa.Table] = field(default_factory=dict)


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


def _summary(study: Mapping[str, Any], groups: Sequence[Pairs]) -> Summary:
    calendar = Calendar.of(time_ms(study["market"]["start"]), horizon_ms(study))
    rows = {(row.strategy, row.reaction): row for row in compare(groups, calendar, int(study["study"]["seed"]))}
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
class Model:
    """Everything a report shows."""

    input: ReportInput
    summary: Summary
    points: tuple[Point, ...]
    days: tuple[int, ...]
    holding: tuple[HoldingRow, ...]
    incidence: Mapping[tuple[str, str], Incidence]
    breakdowns: tuple[Part, ...]
    crashes: tuple[Part, ...]
    sensitivity: tuple[Part, ...]
    worst: tuple[WorstRun, ...]
    survive: tuple[SurvivalRow, ...]
    sweeps: tuple[Sweep, ...]
    pairs: Mapping[tuple[str, str], Pairs]
    windows: tuple[Window, ...]


def build(source: ReportInput) -> Model:
    """Compute everything a report shows."""
    groups = _pairs(source.study, source.outcomes)
    summary = _summary(source.study, groups)
    by_name = {(pairs.strategy, pairs.reaction): pairs for pairs in groups}
    days = holding_days(horizon_ms(source.study))
    ordered = [by_name[one.name, reaction] for one in summary.strategies for reaction in REACTIONS]
    own = [one for one in summary.strategies if not one.control]
    windows = _windows(source.study)
    others = {name: _pairs(source.study, table) for name, table in source.sensitivity.items()}
    return Model(
        input=source,
        summary=summary,
        points=tuple(frontier([row for one in summary.strategies for row in (one.intrabar, one.next_open)])),
        days=days,
        holding=tuple(by_leverage_and_holding(by_name[BASELINE, REACTIONS[0]].treated, days)),
        incidence={key: incidence(pairs.treated) for key, pairs in by_name.items()},
        breakdowns=tuple(breakdowns(ordered)),
        crashes=tuple(crash_windows(ordered, windows)),
        sensitivity=tuple(sensitivity(ordered, others)),
        worst=tuple(worst_runs([by_name[one.name, r] for one in own for r in REACTIONS], WORST_RUNS)),
        survive=tuple(margin_to_survive(by_name[BASELINE, REACTIONS[0]].treated)),
        sweeps=tuple(sweeps(source.study["strategy"])),
        pairs=by_name,
        windows=windows,
    )


def _windows(study: Mapping[str, Any]) -> tuple[Window, ...]:
    if study["market"].get("resample", {}).get("method") == "bootstrap":
        return ()  # no crash of history is at its date there
    own = tuple(Window(w["name"], time_ms(w["from"]), time_ms(w["to"])) for w in study["window"])
    return own or CRASH_WINDOWS
