"""From a rule as written to a function the kernel can call, and from a strategy's rules to the kernel's arrays.

A rule file is copied, with a generated shim, into the cache under a name that holds its hash, imported under that
name and compiled there: once, then read back. In plain Python mode the author's function is called as it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import warnings
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import types
from numba.core.errors import NumbaError
from numba.extending import overload, register_jitable

from backtest.engine import cells as at
from backtest.engine import rules as api
from backtest.engine.compile import MODE, cache_dir, jit
from backtest.engine.feed import NO_FEED, Feed, Outside, lay_out
from backtest.engine.parts import parts_read
from backtest.engine.plan import (
    BEFORE_EVENT,
    DATED,
    DISTANCES,
    INT64_MIN,
    LIQ_ATR_BELOW,
    LIQ_BPS_BELOW,
    NONE,
    THRESHOLDS,
    WAKE_KINDS,
)
from backtest.engine.rules import Rule, Wake, Wish
from backtest.engine.state import STATE_ARRAYS, STATE_DTYPE, STATE_FIELDS
from backtest.errors import Problem, RuleError
from backtest.schema import TARGETS, VERBS
from backtest.units import E8, HOUR_MS, float_to_e8

BPS = 10_000
DISTANCE_MAX = 10_000  # under the mark itself, and more true ranges than anyone means
REASON_LENGTH = 200  # of what the compiler says
_tuple: Any = types.Tuple
WISH = _tuple((types.int64, types.float64, types.int64))
SIGNATURE = WISH(numba.from_dtype(STATE_DTYPE), types.float64[::1])

warnings.filterwarnings("ignore", "First-class function type feature is experimental")

for _verb in (api.reduce, api.increase, api.close, api.set_leverage):
    register_jitable(_verb)


@overload(api.move_margin, prefer_literal=True)
def _move_margin(amount: Any, source: Any = "reserve") -> Any:
    """Resolve the source while compiling, so that no text is handled in the kernel.

    numba wants the annotations of both functions alike.
    """
    target = _written_out("the source of move_margin", source, api.SOURCES)

    def implementation(amount: Any, source: Any = "reserve") -> Any:
        return (4, float(amount), target)

    return implementation


@overload(api.trade, prefer_literal=True)
def _trade(layer: Any, share: Any) -> Any:
    """Resolve the layer while compiling."""
    target = _written_out("the layer of trade", layer, TARGETS)

    def implementation(layer: Any, share: Any) -> Any:
        return (6, float(share), target)

    return implementation


def _written_out(what: str, given: Any, names: tuple[str, ...]) -> int:
    """Give the place of a name that the rule's author wrote out, from the type numba has for it."""
    name = getattr(given, "literal_value", getattr(given, "value", given))
    if name not in names:
        known = " or ".join(f'"{one}"' for one in names)
        raise ValueError(f"{what} is {known}, written out, not {name}")
    return names.index(name)


_SHIM = """

# --- generated: how the replay calls the rule ---
from collections import namedtuple as _namedtuple
from backtest.engine.compile import jit as _jit
from backtest.engine.compiled import SIGNATURE as _SIGNATURE

_Params = _namedtuple("_Params", {names!r})
_function = _jit({rule}.function)


def _shim(state, values):
    return _function(state, _Params({arguments}))


COMPILED = _jit(_shim, _SIGNATURE)
"""


def _hold(state: Any, values: Any) -> Wish:
    return (0, 0.0, 0)


HOLD_RULE = jit(_hold, SIGNATURE)


def _shim_text(rule: Rule, source: str) -> str:
    arguments = [f"values[{i}] != 0.0" if p.is_switch else f"values[{i}]" for i, p in enumerate(rule.params.values())]
    names = list(rule.params) or ["none"]
    return source + _SHIM.format(names=names, rule=rule.name, arguments=", ".join(arguments) or "0.0")


def _import_copy(rule: Rule, text: str) -> Any:
    """Write the copy once and import it under its own name."""
    name = f"rule_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    folder = cache_dir() / "rules"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    if not path.exists() or path.read_text() != text:
        temporary = path.with_suffix(f".{id(text)}.tmp")
        temporary.write_text(text)
        temporary.replace(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RuleError.at(rule.path, "cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba looks the module up while it compiles
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def compile_rule(rule: Rule) -> Callable[[Any, Any], Wish]:
    """Give the function the kernel calls for a rule.

    Raises RuleError with the rule's file, the line where it is known, and the reason when it cannot be compiled.
    """
    if MODE == "0":
        return plain_rule(rule)
    source = Path(rule.path).read_text()
    try:
        module = _import_copy(rule, _shim_text(rule, source))
    except Exception as error:  # numba fails on what it does not know with whatever it came upon
        raise _refusal(rule, source, error) from None
    compiled: Callable[[Any, Any], Wish] = module.COMPILED
    return compiled


def plain_rule(rule: Rule) -> Callable[[Any, Any], Wish]:
    """Give the author's own function, called as the kernel calls the compiled one."""
    params = namedtuple("Params", list(rule.params) or ["none"])  # type: ignore[misc]
    switches = [p.is_switch for p in rule.params.values()]

    def plain(state: Any, values: Any) -> Wish:
        given = [bool(v) if s else float(v) for s, v in zip(switches, values, strict=False)]
        return rule.function(state, params(*(given or [0.0])))

    return plain


def _refusal(rule: Rule, source: str, error: Exception) -> RuleError:
    """Say why a rule does not compile: the first line that says it, and the line of the author's file."""
    text = str(error) if isinstance(error, NumbaError) else f"{type(error).__name__}: {error}"
    lines = [line.strip() for line in text.split("\n")]
    reason = next((line for line in lines if line and not line.startswith("Failed in nopython")), text)
    reason = reason.partition(" Raised from ")[0][:REASON_LENGTH]
    copied = [int(number) for number in re.findall(r'rule_[0-9a-f]{16}\.py(?:", line | \()(\d+)', text)]
    own = next((number for number in copied if number <= source.count("\n")), None)
    place = rule.path if own is None else f"{rule.path}:{own}"
    remedy = "use plain arithmetic on state, p and state.memory, and return one verb"
    return RuleError(Problem(place, f'rule "{rule.name}" does not compile: {reason}', remedy))


@dataclass(frozen=True, slots=True)
class Rules:
    """A strategy's rules as the kernel takes them."""

    functions: tuple[Any, ...]
    params: npt.NDArray[np.float64]
    wake_rule: npt.NDArray[np.int64]
    wake_index: npt.NDArray[np.int64]
    wake_kind: npt.NDArray[np.int64]
    wake_value: npt.NDArray[np.int64]
    cooldown_ms: npt.NDArray[np.int64]
    parts_read: npt.NDArray[np.int64]
    names: tuple[tuple[str, dict[str, float | bool]], ...] = ()  # of each rule, with its values
    sources: tuple[str, ...] = ()  # of each rule
    wake_name: tuple[str, ...] = ()  # the signal or kind of event of each wake
    reads: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()  # signals and kinds of event of each rule
    feed: Feed = NO_FEED

    @property
    def has_threshold(self) -> bool:
        return bool(np.any(self.wake_kind < THRESHOLDS))

    @property
    def has_distance(self) -> bool:
        return bool(np.any((self.wake_kind >= DISTANCES) & (self.wake_kind < THRESHOLDS)))

    @property
    def needs_feed(self) -> bool:
        return bool(self.signals or self.events)

    @property
    def signals(self) -> tuple[str, ...]:
        """Name the signals that the rules wait for or read, sorted."""
        waited = [n for n, k in zip(self.wake_name, self.wake_kind.tolist(), strict=False) if n and k < BEFORE_EVENT]
        return tuple(sorted({*waited, *(name for signals, _ in self.reads for name in signals)}))

    @property
    def events(self) -> tuple[str, ...]:
        """Name the kinds of event that the rules wait for or read, sorted."""
        waited = [n for n, k in zip(self.wake_name, self.wake_kind.tolist(), strict=False) if k >= BEFORE_EVENT]
        return tuple(sorted({*waited, *(name for _, events in self.reads for name in events)}))

    def fed(self, time_ms: npt.NDArray[np.int64], outside: Outside) -> Rules:
        """Give the rules with their signals and events laid out on the bars of a tape."""
        if not self.needs_feed:
            return self
        wakes = zip(self.wake_kind.tolist(), self.wake_name, self.wake_value.tolist(), strict=True)
        return replace(self, feed=lay_out(wakes, self.reads, time_ms, outside))

    def bounds(self) -> tuple[int, int, int]:
        """Give the loosest threshold of each kind: largest buffer, least ratio, largest headroom."""
        buffer, ratio, headroom = (self.wake_value[self.wake_kind == kind] for kind in range(DISTANCES))
        return (
            int(buffer.max()) if len(buffer) else NONE,
            int(ratio.min()) if len(ratio) else NONE,
            int(headroom.max()) if len(headroom) else INT64_MIN,
        )

    def has(self, kind: str) -> int:
        return int(np.any(self.wake_kind == WAKE_KINDS.index(kind)))


def prepare(uses: Sequence[tuple[Rule, dict[str, float | bool], int]]) -> Rules:
    """Compile a strategy's rules with their values and cooldowns (milliseconds)."""
    if len(uses) > at.RULES_MAX:
        raise RuleError.at("strategy", f"{len(uses)} rules", f"at most {at.RULES_MAX} rules in one strategy")
    functions: list[Callable[[Any, Any], Wish]] = [HOLD_RULE] * at.RULES_MAX
    params = np.zeros((at.RULES_MAX, at.PARAMS_MAX))
    cooldown, parts = np.zeros((2, at.RULES_MAX), np.int64)
    wakes: list[tuple[int, int, int, int]] = []
    for i, (rule, values, cooldown_ms) in enumerate(uses):
        functions[i] = compile_rule(rule)
        cooldown[i], parts[i] = cooldown_ms, parts_read(rule)
        for k, name in enumerate(rule.params):
            params[i, k] = float(values[name])
        for k, wake in enumerate(rule.wakes):
            value = values[wake.value] if isinstance(wake.value, str) else wake.value
            wakes.append((i, k, WAKE_KINDS.index(wake.kind), _scaled(rule, wake, 0.0 if value is None else value)))
    if len(wakes) > at.WAKES_MAX:
        raise RuleError.at("strategy", f"{len(wakes)} wakes", f"at most {at.WAKES_MAX} wakes in one strategy")
    table = np.array(wakes, np.int64).reshape(-1, 4)
    columns = [np.ascontiguousarray(table[:, k]) for k in range(4)]
    named = tuple((rule.name, values) for rule, values, _ in uses)
    sources = tuple(Path(rule.path).read_text() for rule, _, _ in uses)
    names = tuple(wake.name for rule, _, _ in uses for wake in rule.wakes)
    reads = tuple((rule.signals, rule.events) for rule, _, _ in uses)
    return Rules(
        tuple(functions),
        params,
        columns[0],
        columns[1],
        columns[2],
        columns[3],
        cooldown,
        parts,
        named,
        sources,
        names,
        reads,
    )


def _scaled(rule: Rule, wake: Wake, value: float) -> int:
    """Give a wake's value as the kernel takes it: milliseconds, a share or a threshold at 1e-8."""
    kind = WAKE_KINDS.index(wake.kind)
    if wake.kind == "every":
        return int(value)
    if kind > DATED:
        return round(value * HOUR_MS)
    if kind in (LIQ_BPS_BELOW, LIQ_ATR_BELOW) and not 0.0 <= value < DISTANCE_MAX:
        what = f"wakes {value:g} {'bps' if kind == LIQ_BPS_BELOW else 'true ranges'} from liquidation"
        raise RuleError.at(rule.path, f'rule "{rule.name}" {what}', f"take 0 to under {DISTANCE_MAX:,}")
    scaled = float_to_e8(value)
    return round(Decimal(scaled) / BPS) if kind == LIQ_BPS_BELOW else scaled


def sample_states(count: int = 64) -> Any:
    """Give made-up states for trying a rule: fresh, thin, rich and edge values, the same every time."""
    generator = np.random.Generator(np.random.PCG64(7))
    states = np.zeros(count, STATE_DTYPE)
    for name in STATE_FIELDS:
        states[name] = np.round(generator.uniform(0.0, 2.0, count), 3)
    states["side"] = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    states["buffer"][::7] = np.nan
    states["hours_since_action"][::3] = np.inf
    for name in STATE_ARRAYS.keys() - {"memory"}:
        states[name] = np.round(generator.normal(0.0, 2.0, states[name].shape), 3)
        states[name][::5] = np.nan if name == "signals" else np.inf
    return states


def check_rule(rule: Rule, values: dict[str, float | bool]) -> None:
    """Try a rule on made-up states: what it returns must be a verb with a finite amount.

    Raises RuleError, before any replay.
    """
    params = np.zeros(at.PARAMS_MAX)
    for k, name in enumerate(rule.params):
        params[k] = float(values[name])
    function, plain = compile_rule(rule), plain_rule(rule)
    for state in sample_states():
        try:
            verb, amount, target = function(state.copy(), params)
            with np.errstate(all="ignore"):
                again = plain(state, params)
        except Exception as error:  # the rule is the user's own code: anything can happen in it
            raise RuleError.at(rule.path, f'rule "{rule.name}" fails: {type(error).__name__}: {error}') from error
        if not np.isfinite(amount) or not 0 <= verb < len(VERBS):
            raise RuleError.at(
                rule.path, f'rule "{rule.name}" returned verb {verb} with amount {amount}', "return a finite amount"
            )
        if again[::2] != (verb, target) or not np.isclose(again[1], amount, rtol=1e-12, atol=0.0):
            what = f'rule "{rule.name}" answers {again} in plain Python and {(verb, amount, target)} compiled'
            raise RuleError.at(rule.path, what, "use plain arithmetic, and state.memory[0] to state.memory[7]")


__all__ = ["E8", "Rules", "check_rule", "compile_rule", "prepare"]
