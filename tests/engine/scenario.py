"""Scenarios: a run as a text table that a person can read, and its comparison with what an engine wrote.

A file has blocks; a block begins with its name at the left edge. `#` begins a comment. Times are hours since
`market start`, amounts and prices are natural numbers, `-` is "none". A table's first row names its columns.

    market  start=2021-01-01 interval=1h taker=0.0004      taker=0.0004|2:0.0005 is a change at hour 2
    plan    side=long leverage=10 …                        fields of Plan; defaults in PLAN_DEFAULTS
    tiers   from cap rate deduction max_leverage
    bars    hour open close mark_open mark_high mark_low [funding] [length]      length: - is the market's interval
    rules   use wakes parameters [cooldown]                wakes: headroom_below=4.95|before_event:cpi=1
    script  bars verb amount target
    signals name hour value                                value - is unknown
    events  kind event known due                           due - is a cancellation
    transfers, fills, actions                              all expected rows, in order; no block: no rows expected
    outcome                                                only the figures named are compared

Figures carry the names of the outcome columns without `_e8`, `_e2` (natural numbers) and with `_hour` for `_ms`.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backtest.engine import oracle
from backtest.schema import VERBS
from backtest.units import duration_ms, e8_text, time_ms, to_e8

HOUR_MS = 3_600_000

HOLD = VERBS.index("hold")
REDUCE = VERBS.index("reduce")
CLOSE = VERBS.index("close")
MOVE_MARGIN = VERBS.index("move_margin")


# --- the rules that scenarios use ----------------------------------------------------------------------------------


def deleverage(state: Any, p: Any) -> tuple[int, float, int]:
    """Close part of what is held."""
    return REDUCE, p.share, int(p.put_back)


def top_up(state: Any, p: Any) -> tuple[int, float, int]:
    """Add margin from the reserve."""
    return MOVE_MARGIN, p.amount, 0


def leave(state: Any, p: Any) -> tuple[int, float, int]:
    """Close all."""
    return CLOSE, 0.0, 0


def top_up_share(state: Any, p: Any) -> tuple[int, float, int]:
    """Add a share of the headroom that the rule was shown: the amount tells what state it saw."""
    return MOVE_MARGIN, p.share * state.headroom, 0


def patient_top_up(state: Any, p: Any) -> tuple[int, float, int]:
    """Add margin from the given call on, counted in the rule's own memory."""
    state.memory[0] += 1.0
    if state.memory[0] < p.calls:
        return HOLD, 0.0, 0
    return MOVE_MARGIN, p.amount, 0


RULES = {
    "deleverage": deleverage,
    "top_up": top_up,
    "exit": leave,
    "top_up_share": top_up_share,
    "patient_top_up": patient_top_up,
}

# --- the text ------------------------------------------------------------------------------------------------------

COLUMNS = {
    "tiers": ("from", "cap", "rate", "deduction", "max_leverage"),
    "bars": ("hour", "open", "close", "mark_open", "mark_high", "mark_low", "funding", "length"),
    "rules": ("use", "wakes", "parameters", "cooldown"),
    "script": ("bars", "verb", "amount", "target"),
    "signals": ("name", "hour", "value"),
    "events": ("kind", "event", "known", "due"),
    "transfers": ("hour", "kind", "debit", "credit", "amount", "cause", "rule"),
    "fills": ("hour", "qty", "price", "cost", "mark", "cause", "rule"),
    "actions": ("hour", "bars", "rule", "verb", "amount", "mark", "status"),
}
OPTIONAL = {"funding", "length", "cooldown"}
SETTINGS = ("market", "plan")
PLAN_DEFAULTS = {
    "entry": "0",
    "horizon": "10h",
    "stop": "1000h",
    "side": "long",
    "leverage": "10",
    "capital": "20",
    "sizing_margin": "10",
    "qty_share": "1",
    "posted_margin": "10.94",
    "step": "0.1",
    "min_notional": "5",
    "slippage": "0",
    "liq_slippage": "0",
    "clearance_rate": "0.005",
    "margin_mode": "isolated",
    "procedure": "ioc",
    "fee_reserve": "no",
    "release": "pro_rata",
    "reaction": "intrabar",
    "latency": "0h",
    "reaction_latency": "0h",
    "daily_cap": "-",
    "baseline_liquidation": "-",
    "baseline_exit": "-",
    "liquidation": "yes",
}
DURATIONS = ("horizon", "latency")
HOURS = ("entry", "baseline_liquidation", "baseline_exit")
FLAGS = ("fee_reserve", "liquidation")
WORDS = ("margin_mode", "procedure", "release", "reaction")

Row = dict[str, str]
Columns = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Scenario:
    """A parsed file: settings by block, and tables as rows of text."""

    name: str
    settings: dict[str, Row]
    tables: dict[str, list[Row]]
    outcome: Row
    columns: Columns = field(default_factory=lambda: COLUMNS)

    @property
    def start_ms(self) -> int:
        return time_ms(self.settings["market"].get("start", "2021-01-01"))

    def ms(self, hours: str) -> int:
        """Give the time of an hour of the scenario."""
        return self.start_ms + int(Decimal(hours) * HOUR_MS)

    def hour(self, ms: int) -> str:
        """Write a time as hours of the scenario."""
        return f"{(Decimal(int(ms)) - self.start_ms) / HOUR_MS:f}"


def read_scenario(path: Path, columns: Columns = COLUMNS) -> Scenario:
    """Parse a file; what is not understood is a ValueError with file and line."""
    settings: dict[str, Row] = {block: {} for block in SETTINGS}
    tables: dict[str, list[Row]] = {block: [] for block in columns}
    outcome: Row = {}
    block = ""
    header: list[str] = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = raw.partition("#")[0].split()
        if not words:
            continue
        try:
            if not raw[0].isspace():
                block, header = words.pop(0), []
            if block in SETTINGS:
                settings[block] |= _pairs(words)
            elif block == "outcome":
                outcome |= dict([words]) if words else {}
            elif block not in columns:
                raise ValueError(f"unknown block {block!r}")
            elif words and not header:
                header = _header(block, words, columns[block])
            elif words:
                tables[block].append(dict(zip(header, words, strict=True)))
        except ValueError as error:
            raise ValueError(f"{path.name} line {number}: {error}") from error
    return Scenario(path.stem, settings, tables, outcome, columns)


def _pairs(words: list[str]) -> Row:
    return dict(word.split("=", 1) for word in words)


def _header(block: str, words: list[str], columns: tuple[str, ...]) -> list[str]:
    if not set(columns) - OPTIONAL <= set(words) <= set(columns):
        raise ValueError(f"columns of {block} are {', '.join(columns)}")
    return words


# --- what an engine gets -------------------------------------------------------------------------------------------


def _number(text: str) -> Decimal | None:
    return None if text == "-" else Decimal(text)


def build_market(scenario: Scenario) -> oracle.Market:
    """Give the market of a scenario."""
    rows = scenario.tables["bars"]
    taker = [text.rpartition(":")[::2] for text in scenario.settings["market"]["taker"].split("|")]
    return oracle.Market(
        interval_ms=duration_ms(scenario.settings["market"].get("interval", "1h")),
        bars=tuple(_bar(scenario, row) for row in rows),
        funding={scenario.ms(row["hour"]): Decimal(row["funding"]) for row in rows if row.get("funding", "-") != "-"},
        tiers=tier_tables(scenario, scenario.tables["tiers"]),
        taker=tuple((scenario.ms(hour or "0"), Decimal(rate)) for hour, rate in taker),
    )


def _bar(scenario: Scenario, row: Row) -> oracle.Bar:
    prices = (Decimal(row[name]) for name in ("open", "close", "mark_open", "mark_high", "mark_low"))
    length = row.get("length", "-")
    return oracle.Bar(scenario.ms(row["hour"]), *prices, None if length == "-" else duration_ms(length))


def tier_tables(scenario: Scenario, rows: list[Row]) -> tuple[tuple[int, tuple[oracle.TierRow, ...]], ...]:
    """Give dated risk tables."""
    tables: dict[int, list[oracle.TierRow]] = {}
    for row in rows:
        tier = oracle.TierRow(
            _number(row["cap"]), Decimal(row["rate"]), Decimal(row["deduction"]), _number(row["max_leverage"])
        )
        tables.setdefault(scenario.ms(row["from"]), []).append(tier)
    return tuple((from_ms, tuple(table)) for from_ms, table in sorted(tables.items()))


def build_plan(scenario: Scenario) -> oracle.Plan:
    """Give the plan of a scenario."""
    given = scenario.settings["plan"]
    if unknown := set(given) - set(PLAN_DEFAULTS):
        raise ValueError(f"{scenario.name}: unknown plan settings {sorted(unknown)}")
    fields: dict[str, Any] = {}
    for name, text in (PLAN_DEFAULTS | given).items():
        if name == "reaction_latency":
            fields["reaction_ms"] = duration_ms(text)
        elif name in DURATIONS:
            fields[name + "_ms"] = duration_ms(text)
        elif name == "stop":
            fields["stop_ms"] = scenario.start_ms + duration_ms(text)
        elif name in HOURS:
            fields[name + "_ms"] = None if text == "-" else scenario.ms(text)
        elif name in FLAGS:
            fields[name] = {"yes": True, "no": False}[text]
        elif name == "side":
            fields["side"] = {"long": 1, "short": -1}[text]
        else:
            fields[name] = text if name in WORDS else _number(text)
    return oracle.Plan(
        **fields,
        rules=tuple(rule_use(row, RULES) for row in scenario.tables["rules"]),
        script=tuple(
            oracle.ScriptedAction(int(row["bars"]), VERBS.index(row["verb"]), float(row["amount"]), int(row["target"]))
            for row in scenario.tables["script"]
        ),
        signals=_signals(scenario),
        events=_events(scenario),
    )


def _signals(scenario: Scenario) -> dict[str, tuple[oracle.Reading, ...]]:
    """Give the rows of each signal; one that is not told has none."""
    signals: dict[str, tuple[oracle.Reading, ...]] = defaultdict(tuple)
    for row in scenario.tables["signals"]:
        value = float("nan" if row["value"] == "-" else row["value"])
        signals[row["name"]] += (oracle.Reading(scenario.ms(row["hour"]), value),)
    return signals


def _events(scenario: Scenario) -> dict[str, tuple[oracle.Statement, ...]]:
    """Give what was said of each kind of event, in the order in which it was known; of one that is not told nothing."""
    events: dict[str, tuple[oracle.Statement, ...]] = defaultdict(tuple)
    for row in scenario.tables["events"]:
        due_ms = None if row["due"] == "-" else scenario.ms(row["due"])
        events[row["kind"]] += (oracle.Statement(row["event"], due_ms, scenario.ms(row["known"])),)
    return events


def rule_use(row: Row, functions: Mapping[str, Callable[..., Any]]) -> oracle.RuleUse:
    """Give a rule with its wakes and parameters."""
    wakes = [text.partition("=") for text in row["wakes"].split("|")]
    parameters = {} if row["parameters"] == "-" else _pairs(row["parameters"].split(","))
    return oracle.RuleUse(
        name=row["use"],
        function=functions[row["use"]],
        params=SimpleNamespace(**{name: float(text) for name, text in parameters.items()}),
        wakes=tuple(
            oracle.Wake(kind.partition(":")[0], Decimal(value) if value else None, kind.partition(":")[2])
            for kind, _, value in wakes
        ),
        cooldown_ms=duration_ms(row.get("cooldown", "0h")),
    )


# --- what came out, as the file writes it --------------------------------------------------------------------------


def actual_tables(scenario: Scenario, result: oracle.Result) -> dict[str, list[Row]]:
    """Give the ledger of a result as rows of text."""

    def rule(index: int) -> str:
        return "-" if index < 0 else str(index)

    return {
        "transfers": [
            _row("transfers", scenario.hour(t.time_ms), t.kind, t.debit, t.credit, e8_text(t.amount_e8), t.cause)
            | {"rule": rule(t.rule)}
            for t in result.transfers
        ],
        "fills": [
            _row(
                "fills", scenario.hour(f.time_ms), *map(e8_text, (f.qty_e8, f.price_e8, f.cost_e8, f.mark_e8)), f.cause
            )
            | {"rule": rule(f.rule)}
            for f in result.fills
        ],
        "actions": [
            _row("actions", scenario.hour(a.time_ms), str(a.bars), rule(a.rule), a.verb, repr(float(a.amount)))
            | {"mark": e8_text(a.mark_e8), "status": a.status}
            for a in result.actions
        ],
    }


def _row(block: str, *values: str) -> Row:
    return dict(zip(COLUMNS[block], values, strict=False))


def actual_figure(scenario: Scenario, result: oracle.Result, name: str) -> str:
    """Write one outcome figure as the file writes it; an unknown name is a KeyError."""
    outcome = result.outcome
    if name.endswith("_hour"):
        value = outcome[name.removesuffix("_hour") + "_ms"]
        return "none" if value is None else scenario.hour(int(str(value)))
    column = next((name + unit for unit in ("", "_e8", "_e2") if name + unit in outcome), name)
    value = outcome[column]
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    scale = {"_e8": 1, "_e2": 1_000_000}.get(column.removeprefix(name))
    return str(value) if scale is None else e8_text(int(str(value)) * scale)


NUMERIC = {"hour", "qty", "price", "cost", "mark", "bars"}


def _same_form(row: Row, block: str, columns: tuple[str, ...]) -> Row:
    """Write the numbers of an expected row as the actual rows write them."""

    def form(column: str, text: str) -> str:
        if column in NUMERIC or (column == "amount" and block == "transfers"):
            return e8_text(to_e8(text))
        return repr(float(text)) if column == "amount" else text

    return {column: form(column, row[column]) for column in columns}


def differences(scenario: Scenario, result: oracle.Result) -> list[str]:
    """Say where a result is not what the file expects: a diff a block, `-` expected and `+` actual."""
    return differences_of(scenario, actual_tables(scenario, result), result)


def differences_of(scenario: Scenario, tables: dict[str, list[Row]], result: oracle.Result) -> list[str]:
    """Say where a result, and its rows as text, are not what the file expects."""
    lines: list[str] = []
    for block, rows in tables.items():
        columns = scenario.columns[block]
        expected = _aligned(columns, [_same_form(row, block, columns) for row in scenario.tables[block]])
        actual = _aligned(columns, [_same_form(row, block, columns) for row in rows])
        if expected != actual:
            lines += [block, *(f"  {line}" for line in difflib.ndiff(expected, actual) if not line.startswith("?"))]
    for name, expected_text in scenario.outcome.items():
        actual_text = actual_figure(scenario, result, name)
        if not _equal(expected_text, actual_text):
            lines.append(f"outcome {name}: expected {expected_text}, actual {actual_text}")
    return lines


def _equal(expected: str, actual: str) -> bool:
    try:
        return Decimal(expected) == Decimal(actual)
    except ArithmeticError:
        return expected == actual


def _aligned(columns: tuple[str, ...], rows: list[Row]) -> list[str]:
    width = {c: max([len(c), *(len(row[c]) for row in rows)]) for c in columns}
    return ["  ".join(row[c].ljust(width[c]) for c in columns).rstrip() for row in rows]


def transcript(scenario: Scenario, result: oracle.Result) -> str:
    """Write everything that came out, for a person to look at."""
    return transcript_of(scenario, actual_tables(scenario, result), result)


def transcript_of(scenario: Scenario, tables: dict[str, list[Row]], result: oracle.Result) -> str:
    """Write a result and its rows as text."""
    lines: list[str] = []
    for block, rows in tables.items():
        lines += [block, *(f"  {line}" for line in _aligned(scenario.columns[block], rows))]
    lines += ["outcome", *(f"  {name} {value}" for name, value in result.outcome.items())]
    return "\n".join(lines)
