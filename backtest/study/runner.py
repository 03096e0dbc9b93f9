"""Run a study: every entry under every strategy, over each symbol's tape.

One symbol after the other:

1. the tape is built from the lake, and the entries are laid out on it;
2. `hold` is replayed first: its liquidation and exit times pair all other runs;
3. each job is replayed (controls, then each strategy under each reaction);
4. after a strategy come its twins: one plays back the actions of other runs, one has its events drawn by lot;
5. outcomes and kept ledger rows go to the sink, in the order of the jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.data.assets import AssetResult
from backtest.data.store import Lake
from backtest.data.tape import TapeResult
from backtest.engine.batch import Batch, Keep, Terms
from backtest.engine.compiled import Rules
from backtest.engine.market import Market, market_of
from backtest.engine.plan import NONE, SCRIPT_ROW
from backtest.engine.pool.batch import pool_plan
from backtest.errors import StudyError
from backtest.schema import REFUSALS
from backtest.study.config import Study
from backtest.study.crew import Crew, crew
from backtest.study.entries import Entries, at_signal, schedule
from backtest.study.facts import Runs, facts_of
from backtest.study.instruments import Instrument, check_era, core_tiers, read_instrument, replayed_lake
from backtest.study.jobs import Job, jobs
from backtest.study.kernels import AnyMarket
from backtest.study.least_margin import HALVES, REACHES, least_margins_e8
from backtest.study.outcomes import REFUSED, ledger_tables, outcome_table
from backtest.study.outside import Outside, outside_of
from backtest.study.pools import BASKET, Pool, load_pool, pool_schedule, takes_pool
from backtest.study.regime import entered, parts_by_signal, tags
from backtest.study.regime_steps import Market as RegimeMarket
from backtest.study.rule_files import load_rules, require_layers, require_signals, resolve_rules, try_rules
from backtest.study.scripts import draw_donors, play_back
from backtest.units import E8
from backtest.venues.rulebook import rulebook
from backtest.venues.tiers import TierTable

Progress = Callable[[int, int], None]  # runs done, runs in all
Tally = Callable[[str, str, int, int], None]  # of a finished job: strategy, reaction, runs, liquidated runs


class Sink(Protocol):
    """Where a study's tables go, job by job."""

    def write(self, outcomes: pa.Table, ledger: dict[str, pa.Table]) -> None: ...


class Kept(Protocol):
    """What an earlier call finished of the same study: tables by symbol, strategy and reaction."""

    def has(self, symbol: str, job: Job) -> bool: ...

    def tables(self, symbol: str, job: Job) -> tuple[pa.Table, dict[str, pa.Table]]: ...


class _Nothing:
    """What there is at a first call."""

    def has(self, symbol: str, job: Job) -> bool:
        return False

    def tables(self, symbol: str, job: Job) -> tuple[pa.Table, dict[str, pa.Table]]:
        raise KeyError(symbol, job.name)


@dataclass(frozen=True, slots=True)
class SymbolData:
    """What the runs of one symbol are replayed on."""

    symbol: str
    result: TapeResult  # of several core symbols the first one's
    tiers: tuple[TierTable, ...]
    market: AnyMarket
    entries: Entries
    outside: Outside
    tags: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)  # regime of each entry, by name
    pool: Pool | None = None  # of runs with several legs

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Everything that the runs are replayed on, the core's first."""
        return (Instrument(self.symbol, self.result, self.tiers),) if self.pool is None else self.pool.instruments

    @property
    def assets(self) -> tuple[AssetResult, ...]:
        """The valued assets that rules of the runs may hold."""
        return () if self.pool is None else self.pool.assets

    @property
    def times_ms(self) -> npt.NDArray[np.int64]:
        """The opens of the bars that are replayed."""
        return self.result.tape.time_ms if isinstance(self.market, Market) else self.market.times_ms

    @property
    def closes_ms(self) -> npt.NDArray[np.int64]:
        """When those bars close."""
        return self.result.tape.close_ms if isinstance(self.market, Market) else self.market.closes_ms

    def clock(self, entry_ms: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        """Give what plays actions of runs with these entry times back by time: where bars differ in length."""
        lengths_ms = self.closes_ms - self.times_ms
        return (self.times_ms, entry_ms) if lengths_ms.min() < lengths_ms.max() else None

    @property
    def marks_e8(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The mark opens and closes of those bars, of the first core instrument."""
        if isinstance(self.market, Market):
            return self.result.tape.mark_open_e8, self.result.tape.mark_close_e8
        return self.market.bars["mark_open_e8"][:, 0], self.market.bars["mark_close_e8"][:, 0]

    def synced(self) -> SymbolData:
        """Give the same with opens and closes only, where the runs have several legs."""
        if self.pool is None:
            return self
        return replace(self, market=self.pool.sync, pool=replace(self.pool, form=replace(self.pool.form, sync=True)))

    def plan(self, settings: Terms, rules: Rules, *, next_open: bool, liquidate: bool = True, skip: bool = True) -> Any:
        """Join terms and rules as the replay of this market takes them."""
        if self.pool is None or isinstance(self.market, Market):
            return settings.plan(rules, next_open=next_open, liquidate=liquidate, skip=skip)
        switches = {"next_open": next_open, "liquidate": liquidate, "skip": skip}
        return pool_plan(settings, self.pool.form, self.market, rules, **switches)


@dataclass(slots=True)
class Totals:
    """What the replay did, for the person who waits."""

    runs: int = 0
    run_bars: int = 0
    bars_visited: int = 0
    replay_seconds: float = 0.0


def terms(study: Study) -> Terms:
    """Turn a study's costs and account form into the replay's terms."""
    rules = rulebook(study.market.venue, study.market.start_ms)
    costs = study.costs
    return Terms(
        slippage_e8=costs.slippage_e8,
        liquidation_slippage_e8=costs.liquidation_slippage_e8,
        clearance_e8=rules.clearance_fee_e8 if costs.clearance_fee_e8 is None else costs.clearance_fee_e8,
        cross=study.entries.margin_mode == "cross",
        takeover=rules.liquidation == "takeover",
        fee_reserve=rules.fee_reserve,
        keep=study.release == "keep",
        latency_ms=study.reserve.latency_ms,
        daily_cap_e8=study.reserve.daily_cap_e8,
    )


def load_symbol(study: Study, lake: Lake, symbol: str) -> SymbolData:
    """Build what the runs of a symbol, or of the study's basket, are replayed on, and lay out their entries."""
    check_era(study)
    lake = replayed_lake(study, lake)
    pool: Pool | None = None
    market: AnyMarket
    if symbol == BASKET or takes_pool(study, symbol):
        pool, market = load_pool(study, terms(study), lake, study.market.symbols if symbol == BASKET else [symbol])
        first = pool.instruments[0]
        outside = outside_of(study, lake, first.symbol)
        entries = pool_schedule(at_signal(study, first.symbol, outside, market.times_ms), symbol, pool, market)
    else:
        first = read_instrument(study, lake, symbol, core_tiers(study, symbol))
        market = market_of(first.result.tape)
        outside = outside_of(study, lake, symbol)
        tape = first.result.tape
        entries = schedule(at_signal(study, symbol, outside, tape.time_ms), symbol, tape)
    regimes = tags(study.regimes, lake, RegimeMarket(study.market.venue, first.symbol), entries.rows["entry_ms"])
    inside = np.flatnonzero(entered(study.regimes, regimes, len(entries.rows)))
    if not len(inside):
        raise StudyError.at(f"{symbol}: regime.enter", "no entry falls into these regimes", "take more of them")
    regimes = {name: places[inside] for name, places in regimes.items()}
    kept = entries.only(inside.tolist())
    return SymbolData(symbol, first.result, first.tiers, market, kept, outside, regimes, pool)


def study_jobs(study: Study, where: str, *, tried: bool = True) -> list[Job]:
    """Find and compile the rules of a study, and list its jobs; rules are `tried` unless a debugger waits in them."""
    rules = load_rules()
    uses = resolve_rules(study.strategies, rules, where)
    require_layers(uses, study.form.targets, where)
    require_signals(uses, (*(signal.name for signal in study.signals), *parts_by_signal(study.regimes)), where)
    if tried:
        try_rules({rule.name: rule for use in uses.values() for rule, _ in use}.values())
    return list(jobs(study, uses))


def load(study: Study, lake: Lake) -> list[SymbolData]:
    """Build what every symbol of a study is replayed on, or all of them together."""
    names = (BASKET,) if study.form.basket else study.market.symbols
    return [load_symbol(study, lake, name) for name in names]


def run(
    study: Study,
    loaded: Sequence[SymbolData],
    sink: Sink,
    all_jobs: Sequence[Job],
    where: str,
    *,
    kept: Kept | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    tally: Tally | None = None,
) -> Totals:
    """Replay a whole study into a sink, and tell what was done. The first job is `hold`.

    Jobs whose tables are `kept` are handed over as they are. `workers` replay at once: None stands for the study's own
    number, else for every processor.

    Raises StudyError, with the file `where`, when the venue would have refused every entry.
    """
    totals = Totals()
    expected = sum(len(data.entries.rows) for data in loaded) * len(all_jobs)

    def advance(runs: int) -> None:
        totals.runs += runs
        if progress is not None:
            progress(totals.runs, expected)

    def finish(outcomes: pa.Table, ledger: dict[str, pa.Table]) -> None:
        sink.write(outcomes, ledger)
        if tally is not None:
            lost = int(np.count_nonzero(outcomes["liquidated"].to_numpy()))
            tally(outcomes["strategy"][0].as_py(), outcomes["reaction"][0].as_py(), len(outcomes), lost)

    with crew(workers or study.workers) as hands:
        replays = [_Replay(study, data, finish, totals, advance, hands, all_jobs[0]) for data in loaded]
        require_an_entry([replay.hold for replay in replays], where)
        for replay in replays:
            replay.play(all_jobs, kept or _Nothing())
    return totals


_REMEDIES = {
    "gap": "import the missing bars",
    "leverage_cap": "lower the leverage or the margin",
    "below_min_notional": "post more margin",
    "below_step": "post more margin",
}


def require_an_entry(holds: Sequence[Batch], where: str) -> None:
    """Refuse a study, named by its file, when the venue would have refused every entry of `hold`."""
    refusals = np.concatenate([hold.outcomes["refusal"] for hold in holds])
    if (refusals >= 0).all():
        names, counts = np.unique(np.array(REFUSALS)[refusals], return_counts=True)
        reasons = ", ".join(f"{count} {name}" for name, count in zip(names.tolist(), counts.tolist(), strict=True))
        remedy = _REMEDIES[str(names[np.argmax(counts)])]
        raise StudyError.at(f"{where}: entries", f"every entry was refused ({reasons})", remedy)


class _Replay:
    """The jobs of one symbol, each paired with `hold`, which is replayed at once."""

    def __init__(
        self,
        study: Study,
        data: SymbolData,
        finish: Callable[[pa.Table, dict[str, pa.Table]], None],
        totals: Totals,
        advance: Callable[[int], None],
        hands: Crew,
        hold: Job,
    ) -> None:
        self.study, self.data, self.finish, self.totals, self.advance = study, data, finish, totals, advance
        self.hands = hands
        self.terms = terms(study)
        self.scripts: dict[str, Batch] = {}
        self.hold_job = hold
        self.hold = self._replay(hold, self._entries(hold), None)

    def play(self, all_jobs: Sequence[Job], kept: Kept) -> None:
        self._hand_over(all_jobs[0], self.hold, self._entries(all_jobs[0]))
        for job, following in zip_longest(all_jobs[1:], all_jobs[2:]):
            if self._needs_no_replay(job, following, kept):
                outcomes, ledger = kept.tables(self.data.symbol, job)
                self.finish(outcomes, ledger)
                self.advance(len(outcomes))
            else:
                self._play_one(job)

    def _needs_no_replay(self, job: Job, following: Job | None, kept: Kept) -> bool:
        """Tell whether a job's tables are kept, and nothing of it is needed by the twin that comes after it."""
        twin = following if following is not None and following.shuffled_of == job.strategy else None
        return kept.has(self.data.symbol, job) and (twin is None or kept.has(self.data.symbol, twin))

    def _play_one(self, job: Job) -> None:
        job = job.on(self.data.times_ms, self.data.outside)
        outcome, rows = self.hold.outcomes, self._entries(job)
        rows["baseline_liquidation_ms"] = np.where(outcome["liquidated"] == 1, outcome["liquidation_ms"], NONE)
        rows["baseline_exit_ms"] = outcome["exit_ms"]
        donors: list[str | None] | None = None
        script = None
        if job.shuffled_of is not None:
            done = self.scripts.pop(f"{job.shuffled_of} {job.reaction}")
            drawn = draw_donors(self.study.seed, rows, done.outcomes["reason"] != REFUSED)
            script = play_back(rows, drawn, done, self.data.clock(rows["entry_ms"]))
            labels = self.data.entries.labels
            donors = [f"{job.shuffled_of}/{labels[d]}/{job.reaction}" if d >= 0 else None for d in drawn.tolist()]
        batch = self._replay(job, rows, script)
        if job.rules.names and not job.is_twin:
            self.scripts[job.name] = batch
        self._hand_over(job, batch, rows, script, donors)

    def _entries(self, job: Job) -> npt.NDArray[Any]:
        posted = self.study.capital_e8 * job.posted_share_e8 // E8
        return self.data.entries.under(posted_e8=posted, qty_share_e8=job.qty_share_e8)

    def _plan(self, job: Job, *, liquidate: bool = True) -> Any:
        settings = job.under(self.terms)
        return self.data.plan(settings, job.rules, next_open=job.reaction == "next_open", liquidate=liquidate)

    def _replay(self, job: Job, rows: npt.NDArray[Any], script: npt.NDArray[Any] | None) -> Batch:
        begin = time.perf_counter()
        keep: Keep = "actions" if job.rules.names else "liquidated"
        batch = self.hands.replay(
            self.data.market, self._plan(job), job.rules, rows, script=script, keep=keep, progress=self.advance
        )
        self.totals.replay_seconds += time.perf_counter() - begin
        taken = batch.outcomes["reason"] != REFUSED
        stop = np.searchsorted(self.data.times_ms, batch.outcomes["exit_ms"], side="right")
        self.totals.run_bars += int((stop - rows["entry_bar"])[taken].sum())
        self.totals.bars_visited += int(batch.outcomes["bars_visited"].sum())
        return batch

    def _hand_over(
        self,
        job: Job,
        batch: Batch,
        rows: npt.NDArray[Any],
        script: npt.NDArray[Any] | None = None,
        donors: list[str | None] | None = None,
    ) -> None:
        runs = self._runs(job, rows, script, batch)
        hold = self._runs(self.hold_job, self._entries(self.hold_job), None, self.hold)
        survive = self._margin_to_survive(job, batch, rows, script)
        mode = self.study.market.tiers
        facts = facts_of(self.data, mode, runs, hold, self._again, to_survive_e8=survive, donors=donors)
        table = outcome_table(self.study.market.venue, job, runs.entries, batch, facts)
        self.finish(table, ledger_tables(job, runs.entries, batch, batch.outcomes["liquidated"] == 1))

    def _runs(self, job: Job, rows: npt.NDArray[Any], script: npt.NDArray[Any] | None, batch: Batch) -> Runs:
        settings = job.under(self.terms)
        played = np.zeros(0, SCRIPT_ROW) if script is None else script
        return Runs(job, settings, replace(self.data.entries, rows=rows), played, batch)

    def _again(
        self, market: AnyMarket, plan: Any, rules: Rules, rows: npt.NDArray[Any], script: npt.NDArray[Any] | None
    ) -> Batch:
        return self.hands.replay(market, plan, rules, rows, script=script, record=False)

    def _margin_to_survive(
        self, job: Job, batch: Batch, rows: npt.NDArray[Any], script: npt.NDArray[Any] | None
    ) -> npt.NDArray[np.int64] | None:
        """Give the least extra margin with which each liquidated run lives; NONE for the others, None if not sought.

        Where nothing acts nothing depends on the wallet either: with one leg one replay without liquidation finds the
        largest deficit, and 1e-8 more is enough. With several it is sought by halving, and under rules not at all: it
        would take longer than all the rest of a study.
        """
        legs, acts = self.data.pool is not None, bool(job.rules.names) or script is not None
        if legs and acts:
            return None
        answer = np.full(len(batch.outcomes), NONE, np.int64)
        lost = np.flatnonzero(batch.outcomes["liquidated"] == 1)
        sought = legs or acts
        plan = self._plan(job, liquidate=sought)

        def replay(tried: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return self.hands.replay(self.data.market, plan, job.rules, tried, script=script, record=False).outcomes

        if len(lost) and sought:
            notional, reaches = batch.outcomes["entry_notional_e8"][lost], HALVES if legs else REACHES
            answer[lost] = least_margins_e8(replay, rows[lost], notional, reaches)
        elif len(lost):
            answer[lost] = replay(rows[lost])["largest_deficit_e8"] + 1
        return answer
