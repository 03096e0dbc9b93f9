"""A study: from TOML to a typed, frozen model, with every problem of the file told at once."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from backtest.data.resample import Bootstrap
from backtest.errors import StudyError
from backtest.signals.spec import SignalSpec
from backtest.study import naming, reader
from backtest.study.continuous import ContinuousSpec, read_continuous
from backtest.study.form import SINGLE, FormSpec, read_form
from backtest.study.listed import Frame, Listed, read_listed
from backtest.study.market import AS_OF, MarketSpec, Window, read_market
from backtest.study.naming import NAME_PATTERN, SIDES, Param, RuleTable
from backtest.study.profiles import read_profile
from backtest.study.reader import BadValueError, Section
from backtest.study.regime import RegimeSpec, read_regimes
from backtest.study.reserve import ReserveSpec, read_latency, read_reserve
from backtest.study.signal_spec import SIGNAL_NAME, read_signals
from backtest.units import duration_text

MARGIN_MODES = ("isolated", "cross")
MODES_LATER = ("multi_assets", "portfolio")

# One run holds at most this much at entry, so that even a hundredfold price stays inside the engine's range.
NOTIONAL_MAX_E8 = 900_000_000 * 10**8
# The kernel has a fixed number of places for rules.
RULES_MAX = 8
WORKERS_MAX = 1024

_NAME = reader.text(NAME_PATTERN, "a name of small letters, digits and hyphens", '"btc-buffers"')
_RULE = reader.text("[a-z][a-z0-9_]*", "the name of a rule", '"deleverage"')
_LABEL = reader.text("[^<>\n]{1,60}", "a label of up to 60 characters", '"2021-05-19"')

BPS_E8 = 10_000
UNIT_E8 = 100_000_000


@dataclass(frozen=True, slots=True)
class EntrySpec:
    """How positions are opened: every `every_ms`, for each side and leverage, held for `horizon_ms`.

    Or from a list: then `every_ms` is None, and sides and leverages are those of the list. Or `when` a signal changes:
    to the side of its sign where there are no `sides`. As `continuous` accounts: then `horizon_ms` reaches from the
    first entry to the end of the data.
    """

    every_ms: int | None
    sides: tuple[int, ...]
    leverages_e2: tuple[int, ...]
    margin_mode: str
    margin_share_e8: int
    horizon_ms: int
    listed: tuple[Listed, ...] = ()
    when: str | None = None
    continuous: ContinuousSpec | None = None


@dataclass(frozen=True, slots=True)
class CostSpec:
    """What trading costs, as fractions at 1e-8; None stands for the rulebook's dated rate."""

    taker_fee_e8: int | None
    slippage_e8: int
    liquidation_slippage_e8: int
    clearance_fee_e8: int | None
    capital_cost_apr_e8: int


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One rule of a strategy and the parameters that the study sets, sorted by name."""

    use: str
    params: tuple[tuple[str, Param], ...]


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """A named list of rules.

    `base_name` is the name in the file, before swept values were added. `latency_ms` replaces the latency of the
    reserve (None: the reserve's). `cooldown_ms` is the least time between two accepted actions of one rule.
    `reaction_ms` is how long after its wake a rule is called.
    """

    name: str
    base_name: str
    rules: tuple[RuleSpec, ...]
    latency_ms: int | None
    cooldown_ms: int
    reaction_ms: int = 0

    @property
    def params_json(self) -> str:
        """Give the rules and their parameters as canonical JSON."""
        return naming.params_json((rule.use, rule.params) for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Study:
    """A market, a way of entering, and several strategies to compare. Exact integers throughout.

    `workers` is how many threads replay (None: one for each processor). It decides nothing, so it is no part of the
    canonical form.

    `release` says where the closed share of an isolated wallet goes: "pro_rata" (to the free balance) or "keep".
    """

    name: str
    seed: int
    capital_e8: int
    market: MarketSpec
    entries: EntrySpec
    costs: CostSpec
    reserve: ReserveSpec
    release: str
    strategies: tuple[StrategySpec, ...]
    windows: tuple[Window, ...]
    regimes: tuple[RegimeSpec, ...] = ()
    form: FormSpec = SINGLE
    signals: tuple[SignalSpec, ...] = ()
    workers: int | None = field(default=None, compare=False)

    def _repr_html_(self) -> str:
        from backtest.study.notebook import study_html

        return study_html(self)


# --- reading -------------------------------------------------------------------------------------------------------


def load_study(path: str | Path) -> Study:
    """Read a study from its TOML file, or from the folder that holds `study.toml`.

    Errors: `StudyError` with every problem of the file.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "study.toml"
    try:
        # Decimals keep the digits of the file: 0.1 is one tenth.
        raw = tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        remedy = "write one with: backtest new study NAME"
        raise StudyError.at(file, f"cannot be read ({error.strerror})", remedy) from None
    except UnicodeDecodeError:
        raise StudyError.at(file, "is not UTF-8 text", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise StudyError.at(file, f"is not TOML: {error}", "mend the line") from None
    return parse_study(raw, str(file))


def parse_study(mapping: Mapping[str, object], where: str) -> Study:
    """Check a study given as nested mappings, and give it its typed form.

    `where` names the origin in messages. Floats are taken by their shortest decimal text.

    Errors: `StudyError` with every problem found.
    """
    top = Section(where, "", mapping, [])
    head = top.table("study", required=True)
    name = head.get("name", _NAME)
    seed = head.get("seed", reader.whole(0, 2**63 - 1), 1)
    capital_e8 = head.get("capital", reader.money("1_000_000_000"))
    market_section = top.table("market", required=True)
    windows = _windows(top)
    market = read_market(market_section, windows, seed)
    entries_section = top.table("entries", required=True)
    entries = _entries(entries_section, market, market_section.ok, Path(where).parent)
    if head.ok and entries_section.ok and capital_e8 * max(entries.leverages_e2) > NOTIONAL_MAX_E8 * 100:
        head.problem("capital", "times leverage is over 900,000,000", "take less capital or leverage")
    study = Study(
        name=name,
        seed=seed,
        capital_e8=capital_e8,
        market=market,
        entries=entries,
        costs=_costs(top.table("costs", required=False)),
        reserve=read_reserve(top.table("reserve", required=False)),
        release=market_section.get("release", reader.choice("pro_rata", "keep"), "pro_rata"),
        strategies=_strategies(top),
        windows=windows,
        regimes=read_regimes(top),
        form=read_form(top, entries_section, market if market_section.ok else None, entries.margin_mode),
        signals=read_signals(top),
        workers=top.table("run", required=False).get("workers", reader.whole(1, WORKERS_MAX), None),
    )
    if study.regimes and isinstance(market.resample, Bootstrap):
        top.problem("regime", "cannot be told in a bootstrap, which scatters the days", "take it out")
    top.finish()
    return study


def _entries(section: Section, market: MarketSpec, market_ok: bool, folder: Path) -> EntrySpec:
    interval_ms = market.interval_ms  # None where it could not be read
    continuous = read_continuous(section)
    listed: tuple[Listed, ...] = ()
    every_ms: int | None = None
    when: str | None = None
    if section.has("list") or section.has("from"):
        if market_ok:
            frame = Frame(market.venue, market.symbols, market.interval_ms, market.start_ms, market.stop_ms)
            listed = read_listed(section, frame, folder)
        sides = tuple(side for side in SIDES.values() if any(entry.side == side for entry in listed))
        leverages_e2 = tuple(sorted({entry.leverage_e2 for entry in listed}))
    else:
        when = section.get("when", SIGNAL_NAME, None)
        if when is not None and section.has("every"):
            section.problem("every", "does not go with when", "take one of them out")
        if when is None:
            every_ms = section.get("every", _bars(interval_ms))
        both = tuple(SIDES) if when is None else ()
        sides = tuple(SIDES[side] for side in section.many("side", reader.choice(*SIDES), both) or ())
        leverages_e2 = section.many("leverage", reader.scaled(100, "1", "1000"))
    return EntrySpec(
        every_ms=every_ms,
        sides=sides,
        leverages_e2=leverages_e2,
        margin_mode=section.get("margin_mode", reader.choice(*MARGIN_MODES, later=MODES_LATER), "isolated"),
        margin_share_e8=section.get("margin_share", reader.scaled(UNIT_E8, "0", "1", above=True), UNIT_E8 // 2),
        horizon_ms=_horizon_ms(section, market, market_ok, continuous),
        listed=listed,
        when=when,
        continuous=continuous,
    )


def _horizon_ms(section: Section, market: MarketSpec, market_ok: bool, continuous: ContinuousSpec | None) -> int:
    if continuous is None:
        return section.get("horizon", _bars(market.interval_ms))
    return market.stop_ms - market.start_ms if market_ok else 0


def _bars(interval_ms: int | None) -> Callable[[object], int]:
    """Read a duration that is a whole number of bars; without a known bar length, any duration."""

    def convert(raw: object) -> int:
        ms = reader.duration(1)(raw)
        if interval_ms is not None and ms % interval_ms:
            raise BadValueError(
                f"is {reader.show(raw)}, not a multiple of interval", f"take multiples of {duration_text(interval_ms)}"
            )
        return ms

    return convert


def _costs(section: Section) -> CostSpec:
    bps = reader.scaled(BPS_E8, "0", "1000")
    return CostSpec(
        taker_fee_e8=section.get("taker_fee_bps", reader.word_or(AS_OF, bps), None),
        slippage_e8=section.get("slippage_bps", bps, 2 * BPS_E8),
        liquidation_slippage_e8=section.get("liquidation_slippage_bps", bps, 10 * BPS_E8),
        clearance_fee_e8=section.get("clearance_fee_bps", reader.word_or(AS_OF, bps), None),
        capital_cost_apr_e8=section.get("capital_cost_apr", reader.scaled(UNIT_E8, "0", "10"), 0),
    )


def _strategies(top: Section) -> tuple[StrategySpec, ...]:
    strategies: list[StrategySpec] = []
    taken: dict[str, str] = {}
    for section in top.tables("strategy"):
        base_name = section.get("base_name", _strategy_name, None)
        written_name = section.get("name", _strategy_name if base_name is None else _swept_name(base_name))
        rules = read_profile(section) if section.has("profile") else _rules(section)
        latency_ms = read_latency(section)
        cooldown_ms = section.get("cooldown", reader.duration(0), 0)
        reaction_ms = section.get("reaction_latency", reader.duration(0), 0)
        if not section.ok:
            continue
        base_name = base_name or written_name
        for name, members in naming.sweep(written_name, rules):
            if name in taken:
                section.problem("name", f'"{name}" is already the name of another strategy', "take another name")
                break
            taken[name] = base_name
            specs = tuple(RuleSpec(use, tuple(sorted(params))) for use, params in members)
            strategies.append(StrategySpec(name, base_name, specs, latency_ms, cooldown_ms, reaction_ms))
    return tuple(strategies)


def _strategy_name(raw: object) -> str:
    name = _NAME(raw)
    if naming.is_reserved(name):
        raise BadValueError(f'is "{name}", the name of a control that every study has', "take another name")
    return name


def _swept_name(base_name: str) -> Callable[[object], str]:
    """Read the name of one member of a sweep, as the canonical form writes it: the base name and the swept values."""

    def convert(raw: object) -> str:
        if not isinstance(raw, str) or not raw.startswith(f"{base_name}-"):
            raise BadValueError(f"is {reader.show(raw)}, not {base_name}-VALUE", "take base_name out, or name it so")
        return raw

    return convert


def _rules(strategy: Section) -> list[RuleTable]:
    rules: list[RuleTable] = []
    for section in strategy.tables("rules", required=True, most=RULES_MAX):
        use = section.get("use", _RULE)
        params = {key: section.many(key, _param) for key in section.rest()}
        rules.append((use, params))
        strategy.ok = strategy.ok and section.ok
    return rules


def _param(raw: object) -> Param:
    if isinstance(raw, (bool, str)):
        return raw
    if isinstance(raw, (int, float, Decimal)) and math.isfinite(raw):
        return float(raw)
    raise BadValueError(f"is {reader.show(raw)}, which cannot be a parameter", "write a number, true, false or text")


def _windows(top: Section) -> tuple[Window, ...]:
    windows: list[Window] = []
    for section in top.tables("window"):
        window = Window(
            name=section.get("name", _LABEL),
            from_ms=section.get("from", reader.moment),
            to_ms=section.get("to", reader.moment),
        )
        if section.ok and window.from_ms >= window.to_ms:
            section.problem("from", "is not before to", "swap them, or take a later to")
        if window.name in {other.name for other in windows}:
            section.problem("name", f'"{window.name}" is already the name of another window', "take another name")
        windows.append(window)
    return tuple(windows)
