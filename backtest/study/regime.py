"""Regimes: a study's entries sorted by what was known when they were made: a dated series, or events around them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backtest.data.store import Lake
from backtest.signals.spec import Signal
from backtest.study import reader
from backtest.study.reader import Section
from backtest.study.regime_steps import Cycle, Edges, EventPart, Market, Part, Parting, SeriesPart, SignalPart, Thirds
from backtest.units import E8

NOT_KNOWN = "not known"
_LABEL = reader.text("[^<>\n]{1,60}", "a label of up to 60 characters", '"VIX"')
_SERIES = reader.text(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", "a series of the lake", '"cboe/VIX"')
_KIND = reader.text("[a-z][a-z0-9_]{0,30}", "a kind of event", '"fomc"')
_SIGNAL = reader.text("[a-z][a-z0-9_]{0,60}", "a signal", '"vol_30d"')
_SOURCES = ("series", "signal", "event")
_PARTINGS = ("edges", "thirds", "cycle")

# What a study takes with `use`; its own keys go before these.
PRESETS: Mapping[str, Mapping[str, object]] = {
    "vix_bands": {"name": "VIX", "series": "cboe/VIX", "edges": ["15", "20", "28"]},
    "vix_curve": {
        "name": "VIX curve",
        "series": "cboe/VIX",
        "over": "cboe/VIX3M",
        "edges": ["0.95", "1"],
        "labels": ["contango", "flat", "backwardation"],
    },
    "btc_dvol_thirds": {"name": "BTC implied volatility", "series": "deribit/BTC-DVOL", "thirds": True},
    "realised_thirds": {"name": "realised volatility", "signal": "vol_30d", "thirds": True},
    "gdp_cycle": {"name": "GDP", "series": "fred/A191RL1Q225SBEA", "cycle": True},
    "fomc_window": {"name": "FOMC window", "event": "fomc", "before": "24h", "after": "2h"},
    "cpi_window": {"name": "CPI window", "event": "cpi", "before": "12h", "after": "1h"},
    "ppi_window": {"name": "PPI window", "event": "ppi", "before": "6h", "after": "1h"},
    "gdp_window": {"name": "GDP window", "event": "gdp", "before": "6h", "after": "1h"},
}


@dataclass(frozen=True, slots=True)
class RegimeSpec:
    """A name, and what parts entries under it.

    Positions are opened in those of its regimes alone that `enter` names; in all of them where it is empty.
    """

    name: str
    part: Part
    enter: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Name the regimes, then what is not known."""
        return (*self.part.labels, NOT_KNOWN)


def read_regimes(top: Section) -> tuple[RegimeSpec, ...]:
    """Read every `[[regime]]`."""
    regimes: list[RegimeSpec] = []
    for section in top.tables("regime"):
        use = section.get("use", reader.choice(*PRESETS), None)
        if use is not None:
            section.fill(PRESETS[use])
        name, part, enter = section.get("name", _LABEL), _part(section), section.many("enter", _LABEL, ())
        if part is not None and section.ok:
            spec = RegimeSpec(name, part, enter)
            if unknown := [label for label in enter if label not in spec.labels]:
                section.problem("enter", f'names "{unknown[0]}", no regime of it', f"known: {', '.join(spec.labels)}")
            if name in {other.name for other in regimes}:
                section.problem("name", f'"{name}" is already the name of another regime', "take another name")
            regimes.append(spec)
    return tuple(regimes)


def resolved_regimes(regimes: tuple[RegimeSpec, ...]) -> Iterator[dict[str, object]]:
    """Give the canonical form of each."""
    for spec in regimes:
        yield {"name": spec.name} | spec.part.form() | ({"enter": list(spec.enter)} if spec.enter else {})


def tags(
    regimes: tuple[RegimeSpec, ...], lake: Lake, market: Market, entry_ms: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.int64]]:
    """Give, for each regime, the place in its `labels` of every entry of a symbol, by what had been published by then.

    Raises `CoverageError` where the lake has no such series, and where a calendar does not cover the entries;
    `SignalError` for a signal that there is not.
    """
    found = {}
    for spec in regimes:
        place = spec.part.steps(lake, market, entry_ms).at(entry_ms)
        found[spec.name] = np.where(place < 0, len(spec.labels) - 1, place)
    return found


def signal_name(regime: str) -> str:
    """Give the name by which rules read a regime as a signal: small letters, digits and "_".

    >>> signal_name("VIX curve")
    'vix_curve'
    """
    return re.sub("[^a-z0-9]+", "_", regime.lower()).strip("_")


def parts_by_signal(regimes: Iterable[RegimeSpec]) -> dict[str, Part]:
    """Give what rules may read as a signal: the study's own regimes, and those that come along by their `use`."""
    preset = {"regime": [{"use": name} for name in PRESETS]}
    shipped = dict(zip(PRESETS, read_regimes(Section("presets", "", preset, [])), strict=True))
    return {name: spec.part for name, spec in shipped.items()} | {signal_name(spec.name): spec.part for spec in regimes}


def as_signal(part: Part, lake: Lake, market: Market, start_ms: int, stop_ms: int) -> Signal:
    """Give a regime as a signal that a rule can read: its place in `labels`, 0 the lowest; NaN: not known.

    Rows are those available before `stop_ms`; the first is the newest at or before `start_ms`, where there is one.
    """
    steps = part.steps(lake, market, np.array([start_ms, stop_ms - 1]))
    since_ms, value = steps.since_ms, np.where(steps.place < 0, np.nan, steps.place)
    last = np.append(np.diff(since_ms) > 0, True) & (since_ms < stop_ms)  # of the steps of one moment, the last holds
    since_ms, value = since_ms[last], value[last]
    first = max(0, int(np.searchsorted(since_ms, start_ms, side="right")) - 1)
    return Signal(since_ms[first:], value[first:])


def entered(
    regimes: tuple[RegimeSpec, ...], tagged: Mapping[str, npt.NDArray[np.int64]], count: int
) -> npt.NDArray[np.bool_]:
    """Tell for each of `count` entries whether every regime that says where to enter is in such a part."""
    inside = np.ones(count, bool)
    for spec in regimes:
        if spec.enter:
            inside &= np.isin(tagged[spec.name], [spec.labels.index(label) for label in spec.enter])
    return inside


def _part(section: Section) -> Part | None:
    source = _one_of(section, _SOURCES)
    if source == "event":
        width = reader.duration(0)
        return EventPart(section.get("event", _KIND), section.get("before", width), section.get("after", width))
    by = _parting(section)
    if source == "signal":
        signal = section.get("signal", _SIGNAL)
        if isinstance(by, Cycle):
            section.problem("cycle", "takes growth as first published, which a signal is not", "take edges or thirds")
        return None if by is None else SignalPart(signal, by)
    over = section.get("over", _SERIES, None)
    series = section.get("series", _SERIES)
    return None if by is None else SeriesPart(series, over, by)


def _parting(section: Section) -> Parting | None:
    way = _one_of(section, _PARTINGS)
    if way == "thirds" and section.get("thirds", reader.switch):
        return Thirds()
    if way == "cycle" and section.get("cycle", reader.switch):
        return Cycle()
    edges = section.many("edges", reader.scaled(E8, "-1_000_000_000", "1_000_000_000"))
    names = section.many("labels", _LABEL, ())
    if not section.ok:
        return None
    if list(edges) != sorted(edges):
        section.problem("edges", "are not in order", "write the lowest first")
    if names and len(names) != len(edges) + 1:
        section.problem("labels", f"are {len(names)} for {len(edges)} edges", f"give {len(edges) + 1}, lowest first")
    return Edges(edges, names)


def _one_of(section: Section, keys: tuple[str, ...]) -> str:
    """Give the one of several keys that a table has, the first where it has none; note it where it has more."""
    given = [key for key in keys if section.has(key)]
    if len(given) > 1:
        section.problem(given[1], f'is given beside "{given[0]}"', "take one of them out")
    return given[0] if given else keys[0]
