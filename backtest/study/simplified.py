"""What breaks when margin rules are simplified: the same positions under the full rule and under each short cut.

1. The `hold` positions of a study are replayed under the full rule; those that the venue accepts are the positions.
2. They are replayed over the changed history of each short cut, where every leverage and notional is allowed.
3. Each position is compared by the time of its first liquidation.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.data.exact import floats_to_e8
from backtest.data.resample import read_market
from backtest.data.store import Lake
from backtest.engine.batch import replay_batch
from backtest.engine.compiled import prepare
from backtest.engine.market import market_of
from backtest.errors import StudyError
from backtest.schema import Tape
from backtest.study.config import Study
from backtest.study.continuous import require_separate
from backtest.study.entries import schedule
from backtest.study.instruments import check_era, check_single, replayed_lake
from backtest.study.naming import leverage_text
from backtest.study.outcomes import REFUSED
from backtest.study.runner import Progress, terms
from backtest.study.shortcuts import FULL, LADDERLESS, RULES, Form, History, Ints, Prices, Rule
from backtest.units import E8, HOUR_MS, duration_text, e8_text
from backtest.venues.fees import taker_fee_steps
from backtest.venues.tiers import tier_tables

ALL = "all"
NEVER = -1  # the liquidation time of a position that lives


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What every rule says of the same positions: the time of the first liquidation, or NEVER."""

    capital_e8: int
    symbol: str
    leverage_e2: int
    tier: Ints  # of the notional at the full rule's first liquidation, from 1; 0 where there is none
    share: npt.NDArray[np.float64]  # of the position that the full rule's forced closes took
    by_rule: dict[str, Ints]  # rule name, FULL's too, to times in ms


def read_history(study: Study, lake: Lake, symbol: str) -> History:
    """Read what the study's market says of a symbol."""
    check_era(study)
    check_single(study, symbol)
    spec = study.market
    interval, finer = duration_text(spec.interval_ms), [duration_text(length_ms) for length_ms in spec.finer_ms]
    seen, span = replayed_lake(study, lake), (spec.start_ms, spec.stop_ms)
    joined = read_market(seen, spec.venue, symbol, interval, *span, spec.gaps, spec.resample, finer)
    rates = floats_to_e8(joined.funding_rate)
    fee = study.costs.taker_fee_e8
    return History(
        joined.time_ms,
        joined.close_ms,
        Prices(*(floats_to_e8(column) for column in joined.last)),
        Prices(*(floats_to_e8(column) for column in joined.mark)),
        tuple(zip(joined.funding_ms.tolist(), rates.tolist(), strict=True)),
        tier_tables(spec.venue, symbol, spec.tiers),
        taker_fee_steps(spec.venue) if fee is None else ((0, fee),),
    )


def judge(study: Study, symbol: str, history: History, rules: Sequence[Rule] = RULES) -> Verdicts:
    """Ask every rule about the positions of a study that has one leverage."""
    if study.entries.when is not None:
        raise StudyError.at("entries.when", "is not taken here", "open positions by a schedule or a list")
    if any(spec.enter for spec in study.regimes):
        raise StudyError.at("regime.enter", "is not taken here: every entry is judged", "take it out")
    (leverage_e2,) = study.entries.leverages_e2
    tape = history.tape()
    rows = schedule(study, symbol, tape).rows
    outcomes = _hold(study, tape, rows)
    taken = outcomes["reason"] != REFUSED
    rows, outcomes = rows[taken], outcomes[taken]
    form = Form(leverage_e2, study.capital_e8 * study.entries.margin_share_e8 // E8)
    by_rule = {FULL.name: liquidation_ms(outcomes)}
    for rule in rules:
        changed = rule.change(history, form).tape()
        rows["entry_segment"] = np.searchsorted(changed.segment_start, rows["entry_bar"], side="right") - 1
        by_rule[rule.name] = liquidation_ms(_hold(study, changed, rows))
    share = outcomes["forced_qty_e8"] / outcomes["entry_qty_e8"]
    return Verdicts(study.capital_e8, symbol, leverage_e2, tier_at_liquidation(tape, outcomes), share, by_rule)


def judge_all(
    study: Study, lake: Lake, capitals_e8: Sequence[int], progress: Progress = lambda done, total: None
) -> list[Verdicts]:
    """Ask every rule about every position of a study, under each capital."""
    require_separate(study, "simplified")
    histories = {symbol: read_history(study, lake, symbol) for symbol in study.market.symbols}
    leverages = study.entries.leverages_e2
    total = len(capitals_e8) * len(histories) * len(leverages)
    verdicts: list[Verdicts] = []
    for capital_e8 in capitals_e8:
        for symbol, history in histories.items():
            for leverage_e2 in leverages:
                entries = replace(study.entries, leverages_e2=(leverage_e2,))
                verdicts.append(judge(replace(study, capital_e8=capital_e8, entries=entries), symbol, history))
                progress(len(verdicts), total)
    return verdicts


def _hold(study: Study, tape: Tape, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    nothing = prepare([])
    plan = terms(study).plan(nothing, next_open=False)
    return replay_batch(market_of(tape), plan, nothing, rows, record=False).outcomes


def liquidation_ms(outcomes: npt.NDArray[Any]) -> Ints:
    """Give the time of each run's first liquidation, or NEVER."""
    return np.where(outcomes["liquidated"] == 1, outcomes["liquidation_ms"], NEVER)


def tier_at_liquidation(tape: Tape, outcomes: npt.NDArray[Any]) -> Ints:
    """Give the tier of the entry's quantity at the mark of its first liquidation, from 1; 0 for a run without one."""
    tiers = np.zeros(len(outcomes), np.int64)
    for run in np.flatnonzero(outcomes["liquidated"] == 1).tolist():
        bar = int(np.searchsorted(tape.time_ms, outcomes["liquidation_ms"][run]))
        table = tape.segment_table[np.searchsorted(tape.segment_start, bar, side="right") - 1]
        notional = int(outcomes["entry_qty_e8"][run]) * int(outcomes["liquidation_price_e8"][run])
        caps = tape.tier_cap_e8[table][: tape.tier_count[table] - 1].tolist()
        tiers[run] = 1 + sum(notional > cap * E8 for cap in caps)
    return tiers


# --- counting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Count:
    """How often a rule is wrong: against the full rule, on the positions of one row of the table.

    `missed`: the full rule liquidates, this one never does; `false_alarms`: the other way round. Of the liquidations
    that both have, `early` and `late` are in another bar; their hours are medians, None where there is none.
    """

    capital_e8: int
    symbol: str
    leverage_e2: int | None  # None: all
    rule: str
    positions: int
    liquidations: int
    missed: int
    false_alarms: int
    early: int
    hours_early: float | None
    late: int
    hours_late: float | None

    @property
    def wrong_share(self) -> float | None:
        """Missed and false liquidations over the full rule's; None where it has none."""
        truth = self.liquidations + self.missed - self.false_alarms
        return (self.missed + self.false_alarms) / truth if truth else None


@dataclass(frozen=True, slots=True)
class LadderCount:
    """Liquidations by the full rule in tier 2 or above, and what becomes of them without the ladder."""

    capital_e8: int
    symbol: str
    liquidations: int
    upper: int  # in tier 2 or above
    highest: int  # the highest tier reached
    partial: int  # of `upper`: the step-down never took the whole position
    missed: int  # of `upper`: not liquidated at the rate of tier 1
    late: int
    hours_late: float | None


def compare_times(truth: Ints, answer: Ints) -> tuple[int, int, Ints, Ints]:
    """Give how many liquidations an answer misses and invents, and by how many ms it is early and late."""
    missed = int(((truth != NEVER) & (answer == NEVER)).sum())
    invented = int(((truth == NEVER) & (answer != NEVER)).sum())
    off = (answer - truth)[(truth != NEVER) & (answer != NEVER)]
    return missed, invented, -off[off < 0], off[off > 0]


def count(verdicts: Sequence[Verdicts], rules: Sequence[Rule] = RULES) -> list[Count]:
    """Count errors by capital, symbol, leverage and rule; `all` symbols and all leverages first."""
    return [
        _count(group, capital_e8, symbol, leverage_e2, rule.name)
        for capital_e8, symbol, leverage_e2, group in _groups(verdicts, by_leverage=True)
        for rule in (FULL, *rules)
    ]


def count_ladder(verdicts: Sequence[Verdicts]) -> list[LadderCount]:
    """Count liquidations in tier 2 or above by capital and symbol, `all` first."""
    return [
        _count_ladder(group, capital_e8, symbol)
        for capital_e8, symbol, _, group in _groups(verdicts, by_leverage=False)
    ]


def _groups(
    verdicts: Sequence[Verdicts], *, by_leverage: bool
) -> Iterator[tuple[int, str, int | None, list[Verdicts]]]:
    for capital_e8 in dict.fromkeys(v.capital_e8 for v in verdicts):
        for symbol in (ALL, *dict.fromkeys(v.symbol for v in verdicts)):
            held = [v for v in verdicts if v.capital_e8 == capital_e8 and symbol in (ALL, v.symbol)]
            yield capital_e8, symbol, None, held
            for leverage_e2 in dict.fromkeys(v.leverage_e2 for v in held if by_leverage):
                yield capital_e8, symbol, leverage_e2, [v for v in held if v.leverage_e2 == leverage_e2]


def _count(group: list[Verdicts], capital_e8: int, symbol: str, leverage_e2: int | None, rule: str) -> Count:
    truth = np.concatenate([v.by_rule[FULL.name] for v in group])
    answer = np.concatenate([v.by_rule[rule] for v in group])
    missed, invented, early, late = compare_times(truth, answer)
    return Count(
        capital_e8=capital_e8,
        symbol=symbol,
        leverage_e2=leverage_e2,
        rule=rule,
        positions=len(truth),
        liquidations=int((answer != NEVER).sum()),
        missed=missed,
        false_alarms=invented,
        early=len(early),
        hours_early=_median_hours(early),
        late=len(late),
        hours_late=_median_hours(late),
    )


def _count_ladder(group: list[Verdicts], capital_e8: int, symbol: str) -> LadderCount:
    tier = np.concatenate([v.tier for v in group])
    upper = tier > 1
    share = np.concatenate([v.share for v in group])[upper]
    truth = np.concatenate([v.by_rule[FULL.name] for v in group])
    without = np.concatenate([v.by_rule[LADDERLESS.name] for v in group])
    missed, _, _, late = compare_times(truth[upper], without[upper])
    return LadderCount(
        capital_e8=capital_e8,
        symbol=symbol,
        liquidations=int((tier > 0).sum()),
        upper=int(upper.sum()),
        highest=int(tier.max(initial=0)),
        partial=int((share < 1).sum()),
        missed=missed,
        late=len(late),
        hours_late=_median_hours(late),
    )


def _median_hours(ms: Ints) -> float | None:
    return float(np.median(ms)) / HOUR_MS if len(ms) else None


def counts_csv(counts: Sequence[Count]) -> str:
    """Write counts as CSV: amounts and leverages in natural units, no value where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("capital", "symbol", "leverage", *(column.name for column in fields(Count)[3:])))
    for row in counts:
        leverage = ALL if row.leverage_e2 is None else leverage_text(row.leverage_e2)
        values = (getattr(row, column.name) for column in fields(Count)[3:])
        writer.writerow((e8_text(row.capital_e8), row.symbol, leverage, *values))
    return text.getvalue()
