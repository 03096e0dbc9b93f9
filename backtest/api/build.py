"""A study from Python objects, with the keys, the checks and the messages of its TOML form."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from backtest.data.disk import write_atomic
from backtest.errors import StudyError
from backtest.study.canonical import study_toml
from backtest.study.config import Study, parse_study
from backtest.study.listed import lines_of
from backtest.study.reader import BadValueError

if TYPE_CHECKING:
    import pandas as pd

WHERE = "study"  # what messages name in place of a file

Moment = str | dt.date
Duration = str | dt.timedelta
Number = str | float
Many = Sequence[Number] | Number
RuleUse = Mapping[str, object]
StrategyForm = Mapping[str, object]
WindowForm = Mapping[str, object]
RegimeForm = Mapping[str, object]
LayerForm = Mapping[str, object]
CollateralForm = Mapping[str, object]


class _MarketNeeds(TypedDict):
    venue: str
    symbols: str | Sequence[str]
    interval: Duration
    start: Moment
    stop: Moment


class Market(_MarketNeeds, total=False):
    """What is replayed: the keys of `[market]`."""

    tiers: Moment
    gaps: str
    release: str
    resample: Mapping[str, object]
    finer: Duration | Sequence[Duration]
    last_for_mark: bool


class Entries(TypedDict, total=False):
    """How positions are opened: the keys of `[entries]`. By a schedule (`every`, `leverage`), or from a `list`.

    A `basket` opens all symbols together, in one cross account; those that `isolated` names stand beside it.

    Each is held for a `horizon`; `continuous` accounts, which say `on_liquidation`, live to the end of the data.
    """

    horizon: Duration
    continuous: bool
    on_liquidation: str
    block: str
    every: Duration
    leverage: Many
    list: Sequence[str]
    side: str | Sequence[str]
    margin_mode: str
    margin_share: Number
    basket: bool
    isolated: Sequence[str]


class Costs(TypedDict, total=False):
    """What trading costs: the keys of `[costs]`."""

    taker_fee_bps: Number
    slippage_bps: Number
    liquidation_slippage_bps: Number
    clearance_fee_bps: Number
    capital_cost_apr: Number


class Approval(TypedDict):
    """How many signatures a transfer of the reserve needs, and how long each signer takes."""

    needed: int
    delays: Sequence[Duration]


class Reserve(TypedDict, total=False):
    """The capital outside the venue: the keys of `[reserve]`."""

    latency: Duration
    approval: Approval
    preset: str
    daily_cap: str | int


def listed(
    trades: pd.DataFrame, *, symbol: str | None = None, side: str | None = None, leverage: Number | None = None
) -> list[str]:
    """Turn a table of trades into the `list` of `Entries`: your own positions in place of a schedule.

    Columns are found by their names, as in a file: ours (time, symbol, side, leverage, exit_time), freqtrade's, or
    those of vectorbt's `portfolio.trades.records_readable`. What is given as one value holds for all of them.

    Errors: `StudyError` for a column that is missing.

    >>> import pandas as pd
    >>> listed(pd.DataFrame({"time": ["2021-05-18"], "side": ["long"]}), symbol="BTCUSDT", leverage=10)
    ['2021-05-18 BTCUSDT long 10']
    """
    try:
        return lines_of(trades.to_dict("records"), symbol, side, leverage)
    except BadValueError as bad:
        raise StudyError.at("trades", bad.what, bad.remedy) from None


def use(rule: str, **params: object) -> RuleUse:
    """Use a rule with parameters; a list is swept.

    >>> use("deleverage", trigger=[0.25, 0.5])
    {'use': 'deleverage', 'trigger': [0.25, 0.5]}
    """
    return {"use": rule, **params}


def strategy(
    name: str,
    *rules: RuleUse,
    profile: str | None = None,
    latency: Duration | None = None,
    approval: Approval | None = None,
    preset: str | None = None,
    cooldown: Duration | None = None,
    reaction_latency: Duration | None = None,
) -> StrategyForm:
    """Name a list of rules, or a `profile` that stands for one: what a study compares.

    `latency`, `approval` and `preset` replace those of the reserve; `cooldown` is the least time between two actions of
    one rule, `reaction_latency` what passes between what wakes a rule and its call.

    >>> strategy("careful", profile="steward", preset="multi-sig")
    {'name': 'careful', 'profile': 'steward', 'preset': 'multi-sig'}
    """
    given = _given(profile=profile, latency=latency, approval=approval, preset=preset)
    given |= _given(cooldown=cooldown, reaction_latency=reaction_latency)
    return {"name": name} | ({} if profile is not None and not rules else {"rules": list(rules)}) | given


def window(name: str, start: Moment, stop: Moment) -> WindowForm:
    """Name a stretch of time, such as a crash, for a breakdown of its own; `stop` is exclusive."""
    return {"name": name, "from": start, "to": stop}


def regime(
    name: str | None = None,
    series: str | None = None,
    edges: Many | None = None,
    *,
    enter: str | Sequence[str] | None = None,
    **keys: object,
) -> RegimeForm:
    """Part entries by a series of the lake (`venue/symbol`); `enter` names the parts in which positions are opened.

    `keys` are other ones of `[[regime]]`: `use`, `signal`, `event`, `over`, `thirds`, `cycle`, `labels` and so on.

    >>> regime("VIX", "cboe/VIX", [20, 30], enter="30 or more")
    {'name': 'VIX', 'series': 'cboe/VIX', 'edges': [20, 30], 'enter': '30 or more'}
    >>> regime(use="fomc_window")
    {'use': 'fomc_window'}
    """
    return _given(name=name, series=series, edges=edges, enter=enter) | keys


def layer(kind: str, leverage: Number, symbol: str | None = None) -> LayerForm:
    """Give rules a hedge to trade: "opposite" in the position's own contract, "inverse" or "other" in a symbol's.

    >>> layer("opposite", 20), layer("other", 10, "ETHUSDT")
    ({'use': 'opposite', 'leverage': 20}, {'use': 'other', 'leverage': 10, 'symbol': 'ETHUSDT'})
    """
    return {"use": kind, "leverage": leverage} | _given(symbol=symbol)


def asset(
    name: str,
    *,
    account: str,
    step: str | Number,
    fee_bps: Number,
    slippage_bps: Number,
    side: str = "long",
    settlement: str = "paid",
    ratio: Number | None = None,
    size_by: str = "quantity",
) -> LayerForm:
    """Let rules hold a valued asset, whose marks are in the lake, in the "core" account or in its "own".

    >>> asset("BTC-PUT", account="own", step="0.01", fee_bps=3, slippage_bps=100, size_by="capital")["use"]
    'asset'
    """
    keys = {"account": account, "side": side, "settlement": settlement, "size_by": size_by}
    costs = {"step": step, "fee_bps": fee_bps, "slippage_bps": slippage_bps}
    return {"use": "asset", "asset": name} | keys | costs | _given(ratio=ratio)


def collateral(symbol: str, share: Number, ratio: Number) -> CollateralForm:
    """Post coin for a share of the margin: a symbol's mark prices it, and a ratio of that counts.

    >>> collateral("BTCUSDT", share=0.5, ratio=0.95)
    {'symbol': 'BTCUSDT', 'share': 0.5, 'ratio': 0.95}
    """
    return {"symbol": symbol, "share": share, "ratio": ratio}


def make_study(
    name: str,
    *,
    capital: str | int,
    market: Market,
    entries: Entries,
    strategies: Iterable[StrategyForm] = (),
    costs: Costs | None = None,
    reserve: Reserve | None = None,
    windows: Iterable[WindowForm] = (),
    regimes: Iterable[RegimeForm] = (),
    layers: Iterable[LayerForm] = (),
    collaterals: Iterable[CollateralForm] = (),
    seed: int = 1,
) -> Study:
    """Make a study from Python objects; it equals the one that is read from the same values in TOML.

    Durations may be `datetime.timedelta`, times dates or datetimes, lists any sequence or numpy array.

    Errors: `StudyError` with every problem, worded as for a TOML file.

    >>> study = make_study(
    ...     "demo",
    ...     capital="10_000",
    ...     market=Market(venue="binance", symbols="BTCUSDT", interval="1h", start="2023-01-01", stop="2024-01-01"),
    ...     entries=Entries(every="24h", leverage=[5, 10, 20], horizon="30d"),
    ...     strategies=[strategy("deleverage", use("deleverage", trigger=[0.25, 0.5]))],
    ... )
    >>> [one.name for one in study.strategies]
    ['deleverage-0.25', 'deleverage-0.5']
    """
    form: dict[str, object] = {
        "study": {"name": name, "seed": seed, "capital": capital},
        "market": market,
        "entries": entries,
        "strategy": list(strategies),
        "window": list(windows),
        "regime": list(regimes),
        "layer": list(layers),
        "collateral": list(collaterals),
    }
    plain = _plain(form | _given(costs=costs, reserve=reserve))
    assert isinstance(plain, dict)
    return parse_study(plain, WHERE)


def write_study(study: Study, path: str | Path) -> Path:
    """Write a study as a TOML file for the command line; give the file."""
    file = Path(path)
    write_atomic(file, study_toml(study).encode())
    return file


def _given(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


def _plain(value: object) -> object:
    """Turn what Python people write into what a TOML file holds."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, dt.timedelta):
        return f"{value // dt.timedelta(milliseconds=1)}ms"
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value
