"""The `[market]` of a study: what is replayed, and the stress market that may be made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from backtest.data.join import GapPolicy
from backtest.data.resample import Bootstrap, Resample, ScaledWindows
from backtest.errors import did_you_mean
from backtest.study import reader
from backtest.study.reader import BadValueError, Section
from backtest.units import DAY_MS, MINUTE_MS, duration_text, time_text
from backtest.venues.symbols import VENUES, normalize_symbol

AS_OF = "as-of"
CURRENT = "current"
GAP_POLICIES: tuple[GapPolicy, ...] = ("error", "flag", "mark-from-index")
METHODS = ("bootstrap", "crash")

SYMBOL = reader.text("[A-Z0-9]+([_-][A-Z0-9]+|/[A-Z]+:[A-Z0-9]+)?", "a symbol", '"BTCUSDT" or "BTC/USDT:USDT"')
_WINDOW = reader.text("[^\n]+", "the name of a window", '"2021-05-19"')


@dataclass(frozen=True, slots=True)
class Window:
    """A named stretch of time, such as a crash, for breakdowns; `to_ms` is exclusive."""

    name: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """What is replayed: venue, symbols, bar length, range, and the tables of tiers in force.

    `tiers` is "as-of", "current", a date, or the path of a JSON file, or of a folder of snapshots. `gaps` says what a
    missing row means: "error"; "flag" (the runs near it are marked); or "mark-from-index" (the same, and index bars
    stand in for missing mark bars). `resample` makes a stress market of the history. Bars of the lengths `finer_ms`,
    the longest first, stand in place of those that they fill; `last_for_mark`: last prices are taken for mark.
    """

    venue: str
    symbols: tuple[str, ...]
    interval_ms: int
    start_ms: int
    stop_ms: int
    tiers: str
    gaps: GapPolicy
    resample: Resample | None = None
    finer_ms: tuple[int, ...] = ()
    last_for_mark: bool = False


def read_market(section: Section, windows: Sequence[Window], seed: int) -> MarketSpec:
    """Read the section. `windows` are the study's, which a scaled crash names; `seed` is the study's."""
    venue = section.get("venue", reader.choice(*VENUES))
    market = MarketSpec(
        venue=venue,
        symbols=section.many("symbols", lambda raw: normalize_symbol(SYMBOL(raw), venue)),
        interval_ms=section.get("interval", _interval),
        start_ms=section.get("start", reader.moment),
        stop_ms=section.get("stop", reader.moment),
        tiers=section.get("tiers", _tiers, AS_OF),
        gaps=section.get("gaps", _gaps, "error"),
        resample=_resample(section, windows, seed) if section.has("resample") else None,
        finer_ms=section.many("finer", _interval, ()),
        last_for_mark=section.get("last_for_mark", reader.switch, False),
    )
    if section.ok and market.start_ms >= market.stop_ms:
        what = f"is {time_text(market.start_ms)}, not before stop ({time_text(market.stop_ms)})"
        section.problem("start", what, "take an earlier start or a later stop")
    elif section.ok:
        _check_resample(section, market)
        _check_finer(section, market)
    return market


def _interval(raw: object) -> int:
    ms = reader.duration(MINUTE_MS)(raw)
    if DAY_MS % ms:
        raise BadValueError(f"is {reader.show(raw)}, which does not divide a day", 'take "1m", "15m", "1h" or the like')
    return ms


def _check_finer(section: Section, market: MarketSpec) -> None:
    lengths = (market.interval_ms, *market.finer_ms)
    for longer_ms, shorter_ms in pairwise(lengths):
        if shorter_ms >= longer_ms or longer_ms % shorter_ms:
            what = f"holds {duration_text(shorter_ms)}, which is no part of {duration_text(longer_ms)}"
            section.problem("finer", what, "take shorter bars that fill those of interval; several: the longest first")
            break
    for key, given in (("finer", market.finer_ms), ("last_for_mark", market.last_for_mark)):
        if given and market.resample is not None:
            section.problem(key, "does not go with resample", "take one of them out")


def _tiers(raw: object) -> str:
    if raw in (AS_OF, CURRENT) or (isinstance(raw, str) and raw.endswith((".json", "/"))):
        return str(raw)
    try:
        return time_text(reader.moment(raw))[:10]
    except BadValueError:
        what = f"is {reader.show(raw)}, which chooses no tiers"
        remedy = 'write "as-of", "current", a date, or the path of a JSON file, or of a folder, with "/" at its end'
        raise BadValueError(what, remedy) from None


def _gaps(raw: object) -> GapPolicy:
    name = reader.choice(*GAP_POLICIES)(raw)
    return next(policy for policy in GAP_POLICIES if policy == name)


def _resample(market: Section, windows: Sequence[Window], seed: int) -> Resample | None:
    section = market.table("resample", required=True)
    method = section.get("method", reader.choice(*METHODS))
    made: Resample | None = None
    if method == "bootstrap":
        made = Bootstrap(
            block_ms=section.get("block", _whole_days), seed=section.get("seed", reader.whole(0, 2**63 - 1), seed)
        )
        if windows:
            section.problem("method", 'is "bootstrap", which scatters the days of every [[window]]', "take those out")
    elif method == "crash":
        by_name = {window.name: (window.from_ms, window.to_ms) for window in windows}

        def span(raw: object) -> tuple[int, int]:
            name = _WINDOW(raw)
            if name not in by_name:
                what = f'names "{name}", which is no [[window]] of the study'
                raise BadValueError(what, did_you_mean(name, by_name) if by_name else "add it: name, from, to")
            return by_name[name]

        spans = section.many("windows", span)
        scale_e2 = section.get("scale", reader.scaled(100, "0", "10", above=True))
        made = ScaledWindows(tuple(sorted(spans or ())), scale_e2)
    market.ok = market.ok and section.ok
    return made


def _whole_days(raw: object) -> int:
    ms = reader.duration(DAY_MS)(raw)
    if ms % DAY_MS:
        raise BadValueError(f"is {reader.show(raw)}, not a number of whole days", 'write it as "7d"')
    return ms


def _check_resample(section: Section, market: MarketSpec) -> None:
    made = market.resample
    if isinstance(made, Bootstrap) and made.block_ms > market.stop_ms - market.start_ms:
        section.problem("resample.block", "is longer than the range", "take a shorter block")
    if isinstance(made, ScaledWindows):
        if made.windows[0][0] < market.start_ms or made.windows[-1][1] > market.stop_ms:
            section.problem("resample.windows", "are not all between start and stop", "take others, or a longer range")
        if any(one[1] > other[0] for one, other in pairwise(made.windows)):
            section.problem("resample.windows", "overlap", "take one of them out")
