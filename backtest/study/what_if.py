"""One position with and without a rule: a study of a single entry, and the story of each of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from backtest.data.store import Lake
from backtest.errors import UsageError, did_you_mean
from backtest.study.config import Study, parse_study
from backtest.study.facts import facts_of
from backtest.study.jobs import BOTH, Job
from backtest.study.naming import HOLD, REACTIONS
from backtest.study.outcomes import ledger_tables, outcome_table
from backtest.study.rerun import again, rerun
from backtest.study.runner import SymbolData, load, run, study_jobs
from backtest.study.story import Ledger, hold_id, replayed_ledger
from backtest.study.telling import AnyStory, tell_run
from backtest.units import DAY_MS, duration_ms, duration_text, time_ms, time_text

WHERE = "what-if"
STRATEGY = "with-rule"
_ASSET_EXAMPLE = "--layer asset:BTC-PUT:account=own,step=0.01,fee_bps=3,slippage_bps=100"
Told = tuple[Mapping[str, Any], Ledger]  # an outcome, and the rows that led to it


@dataclass(frozen=True, slots=True)
class Position:
    """What a person asks about: a position opened at 00:00 UTC of a day and held for a while."""

    symbol: str
    side: str
    leverage: str
    on: str
    venue: str = "binance"
    interval: str = "1h"
    horizon: str = "30d"
    capital: str = "10_000"
    margin_mode: str = "isolated"
    layers: tuple[str, ...] = ()  # hedges that the rules may open, as `parse_layer` reads them
    reaction_latency: str = "0s"  # of the rules
    finer: tuple[str, ...] = ()  # bars that stand in place of those that they fill


@dataclass(slots=True)
class MemorySink:
    """Keep a study's outcomes in memory."""

    tables: list[pa.Table] = field(default_factory=list)

    def write(self, outcomes: pa.Table, ledger: dict[str, pa.Table]) -> None:
        self.tables.append(outcomes)


def parse_rule(text: str) -> dict[str, object]:
    """Read a rule as a person types it.

    Errors: `UsageError` where it is not NAME or NAME:KEY=VALUE,KEY=VALUE.

    >>> parse_rule("deleverage:trigger=0.5,put_back=false")
    {'use': 'deleverage', 'trigger': 0.5, 'put_back': False}
    """
    name, colon, rest = text.partition(":")
    rule: dict[str, object] = {"use": name}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise UsageError.at(text, f'"{part}" sets nothing', 'write --rule "deleverage:trigger=0.5,step=0.25"')
        rule[key.strip()] = _value(text, value.strip())
    return rule


def parse_layer(text: str) -> dict[str, object]:
    """Read a hedge as a person types it: KIND:LEVERAGE, KIND:SYMBOL:LEVERAGE, or asset:NAME:KEY=VALUE,KEY=VALUE.

    Errors: `UsageError` where it is none of them.

    >>> parse_layer("opposite:10"), parse_layer("other:ETHUSDT:5")
    ({'use': 'opposite', 'leverage': '10'}, {'use': 'other', 'symbol': 'ETHUSDT', 'leverage': '5'})
    >>> parse_layer("asset:BTC-PUT:account=own,step=0.01")
    {'use': 'asset', 'asset': 'BTC-PUT', 'account': 'own', 'step': '0.01'}
    """
    match text.split(":"):
        case ["asset", name, *more]:
            keys = [part.partition("=") for part in ":".join(more).split(",") if part]
            if bad := [key for key, sign, value in keys if not (key and sign and value)]:
                raise UsageError.at(text, f'"{bad[0]}" sets nothing', f"write it like {_ASSET_EXAMPLE}")
            return {"use": "asset", "asset": name, **{key.strip(): value.strip() for key, _, value in keys}}
        case [use, leverage]:
            return {"use": use, "leverage": leverage}
        case [use, symbol, leverage]:
            return {"use": use, "symbol": symbol, "leverage": leverage}
    raise UsageError.at(
        text, "is no hedge", f"write --layer opposite:10, --layer other:ETHUSDT:10, or {_ASSET_EXAMPLE}"
    )


def _value(text: str, value: str) -> float | bool:
    if value in ("true", "false"):
        return value == "true"
    try:
        return float(value)
    except ValueError:
        raise UsageError.at(text, f'"{value}" is not a value', "write a number, true or false") from None


def single_study(position: Position, rules: Sequence[Mapping[str, object]]) -> Study:
    """Make the study of one entry, with a strategy of the given rules."""
    try:
        start = time_ms(position.on)
        horizon = duration_ms(position.horizon)
    except ValueError as error:
        raise UsageError.at(WHERE, str(error)) from None
    if start % DAY_MS:
        raise UsageError.at("--on", f"{position.on} is not a day", "entries are at 00:00 UTC: give a date")
    # One entry: the next would come when the data read here have ended.
    span = -(-horizon // DAY_MS) * DAY_MS + DAY_MS
    return parse_study(
        {
            "study": {"name": WHERE, "capital": position.capital},
            "market": {
                "venue": position.venue,
                "symbols": [position.symbol],
                "interval": position.interval,
                **({"finer": list(position.finer)} if position.finer else {}),
                "start": time_text(start),
                "stop": time_text(start + span),
                "gaps": "flag",
            },
            "entries": {
                "every": duration_text(span),
                "side": position.side,
                "leverage": position.leverage,
                "horizon": position.horizon,
                "margin_mode": position.margin_mode,
            },
            "layer": [parse_layer(text) for text in position.layers],
            "strategy": [_strategy(position, rules)] if rules else [],
        },
        WHERE,
    )


def _strategy(position: Position, rules: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {
        "name": STRATEGY,
        "rules": [dict(rule) for rule in rules],
        "reaction_latency": position.reaction_latency,
    }


def what_if(
    position: Position,
    rules: Sequence[Mapping[str, object]],
    lake: Path,
    *,
    reaction: str | None = None,
    debug: bool = False,
) -> list[AnyStory]:
    """Tell how a position fares under `hold`, and under the rules with each reaction, or with one.

    With `debug` a rule is called once for each of its wakes and for nothing else, so that a debugger can wait in it;
    what margin would have saved the position is then not sought. Raises `UsageError` for what is no reaction.
    """
    if reaction is not None and reaction not in REACTIONS:
        raise UsageError.at("--reaction", f"{reaction!r} is no reaction", did_you_mean(reaction, REACTIONS))
    study = single_study(position, rules)
    wanted = (HOLD, STRATEGY)
    all_jobs = [
        job
        for job in study_jobs(study, WHERE, tried=not debug)
        if job.strategy in wanted and job.reaction in (BOTH, reaction or job.reaction)
    ]
    (data,) = load(study, Lake(lake))
    told = _replayed_once(study, data, all_jobs) if debug else _replayed(study, data, all_jobs)
    holds = {outcome["run_id"]: outcome for outcome, _ in told}
    return [tell_run(study, data, outcome, ledger, holds[hold_id(outcome["run_id"])]) for outcome, ledger in told]


def _replayed(study: Study, data: SymbolData, all_jobs: Sequence[Job]) -> list[Told]:
    sink = MemorySink()
    run(study, [data], sink, all_jobs, WHERE)
    outcomes = pa.concat_tables(sink.tables).to_pylist()
    return [(outcome, Ledger.of(replayed_ledger(study, data, all_jobs, outcome))) for outcome in outcomes]


def _replayed_once(study: Study, data: SymbolData, all_jobs: Sequence[Job]) -> list[Told]:
    told = []
    hold = rerun(study, data, all_jobs, all_jobs[0], [0])
    for job in all_jobs:
        runs = hold if job.strategy == HOLD else rerun(study, data, all_jobs, job, [0])
        facts = facts_of(data, study.market.tiers, runs, hold, again)
        (outcome,) = outcome_table(study.market.venue, job, runs.entries, runs.batch, facts).to_pylist()
        told.append((outcome, Ledger.of(ledger_tables(job, runs.entries, runs.batch, np.ones(1, bool)))))
    return told
