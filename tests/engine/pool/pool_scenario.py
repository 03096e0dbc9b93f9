"""Scenarios of runs with several legs, in the form of tests/engine/scenario.py with a few columns more.

market       start=2021-01-01 interval=1h
instruments  name inverse taker                         inverse: yes or no; assets are `quote` and the name
tiers        instrument from cap rate deduction max_leverage
bars         hour instrument open close mark_open mark_high mark_low mark_close [funding]
plan         core=A:STEP:MIN_NOTIONAL|B:… isolated=B|… joint=worst …
layers       target instrument leverage step min_notional
assets       name side settlement account ratio size_by step fee slippage    as in a study's [[layer]]
asset_bars   hour asset open high low close initial maintenance              margins per unit
collaterals  instrument share ratio
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import scenario as single
from pool_worlds import POOL_RULES
from scenario import Row, Scenario, build_plan

from backtest.engine.oracle import pool as twin
from backtest.units import duration_ms, e8_text

COLUMNS = single.COLUMNS | {
    "instruments": ("name", "inverse", "taker"),
    "tiers": ("instrument", *single.COLUMNS["tiers"]),
    "bars": ("hour", "instrument", "open", "close", "mark_open", "mark_high", "mark_low", "mark_close", "funding"),
    "layers": ("target", "instrument", "leverage", "step", "min_notional"),
    "assets": ("name", "side", "settlement", "account", "ratio", "size_by", "step", "fee", "slippage"),
    "asset_bars": ("hour", "asset", "open", "high", "low", "close", "initial", "maintenance"),
    "collaterals": ("instrument", "share", "ratio"),
    "transfers": ("hour", "kind", "debit", "credit", "asset", "amount", "cause", "rule"),
    "fills": ("hour", "slot", "qty", "price", "cost", "mark", "cause", "rule"),
}
FUNCTIONS = {name: rule.function for name, rule in POOL_RULES.items()}
PRICES = ("open", "close", "mark_open", "mark_high", "mark_low", "mark_close")
OWN_SETTINGS = {"core": "", "isolated": "", "joint": "worst"}


@dataclass(frozen=True)
class PoolScenario:
    """A parsed file and the names of its instruments."""

    file: Scenario
    names: tuple[str, ...]


def read_pool_scenario(path: Path) -> PoolScenario:
    """Parse a file."""
    file = single.read_scenario(path, COLUMNS)
    return PoolScenario(file, tuple(row["name"] for row in file.tables["instruments"]))


def build_market(scenario: PoolScenario) -> twin.PoolMarket:
    """Give the market of a scenario."""
    interval_ms = duration_ms(scenario.file.settings["market"].get("interval", "1h"))
    instruments = tuple(_instrument(scenario, row) for row in scenario.file.tables["instruments"])
    assets = tuple(_asset(scenario, row) for row in scenario.file.tables["assets"])
    return twin.PoolMarket(interval_ms, instruments, assets)


def _asset(scenario: PoolScenario, row: Row) -> twin.Asset:
    file = scenario.file
    rows = [bar for bar in file.tables["asset_bars"] if bar["asset"] == row["name"]]
    columns = COLUMNS["asset_bars"][2:]
    bars = (twin.AssetBar(file.ms(bar["hour"]), *(Decimal(bar[name]) for name in columns)) for bar in rows)
    return twin.Asset(row["name"], tuple(bars), Decimal(row["fee"]))


def _instrument(scenario: PoolScenario, row: Row) -> twin.Instrument:
    file, name = scenario.file, row["name"]
    rows = [bar for bar in file.tables["bars"] if bar["instrument"] == name]
    tiers = [tier for tier in file.tables["tiers"] if tier["instrument"] == name]
    return twin.Instrument(
        name,
        row["inverse"] == "yes",
        tuple(twin.PoolBar(file.ms(bar["hour"]), *(Decimal(bar[p]) for p in PRICES)) for bar in rows),
        {file.ms(bar["hour"]): Decimal(bar["funding"]) for bar in rows if bar.get("funding", "-") != "-"},
        single.tier_tables(file, tiers),
        ((file.start_ms, Decimal(row["taker"])),),
    )


def build_pool_plan(scenario: PoolScenario) -> twin.PoolPlan:
    """Give the plan of a scenario."""
    file = scenario.file
    given = dict(file.settings["plan"])
    own = {name: given.pop(name, default) for name, default in OWN_SETTINGS.items()}
    bare = replace(file, settings=file.settings | {"plan": given}, tables=file.tables | {"rules": []})
    plan = build_plan(bare)
    legs = [text.split(":") for text in own["core"].split("|")]
    slots = {name: slot for slot, (name, *_) in enumerate(legs)}
    return twin.PoolPlan(
        **{name: getattr(plan, name) for name in plan.__dataclass_fields__}
        | {"rules": tuple(single.rule_use(row, FUNCTIONS) for row in file.tables["rules"])},
        core=tuple(twin.CoreLeg(scenario.names.index(n), Decimal(step), Decimal(least)) for n, step, least in legs),
        layers=tuple(_layer(scenario, row) for row in file.tables["layers"]),
        collaterals=tuple(
            twin.Collateral(scenario.names.index(row["instrument"]), Decimal(row["share"]), Decimal(row["ratio"]))
            for row in file.tables["collaterals"]
        ),
        assets=tuple(_asset_spec(row) for row in file.tables["assets"]),
        isolated=tuple(slots[name] for name in own["isolated"].split("|") if name),
        joint=own["joint"],
    )


def _asset_spec(row: Row) -> twin.AssetSpec:
    return twin.AssetSpec(
        side=1 if row["side"] == "long" else -1,
        paid=row["settlement"] == "paid",
        own_account=row["account"] == "own",
        ratio=Decimal(row["ratio"]),
        size_by=row["size_by"],
        step=Decimal(row["step"]),
        slippage=Decimal(row["slippage"]),
    )


def _layer(scenario: PoolScenario, row: Row) -> twin.LayerSpec:
    instrument = None if row["instrument"] == "-" else scenario.names.index(row["instrument"])
    numbers = (Decimal(0) if row[name] == "-" else Decimal(row[name]) for name in ("leverage", "step", "min_notional"))
    return twin.LayerSpec(row["target"], instrument, *numbers)


def actual_tables(scenario: PoolScenario, result: twin.PoolResult) -> dict[str, list[Row]]:
    """Give the ledger of a result as rows of text."""
    file = scenario.file
    assets = ["quote", *scenario.names]

    def row(block: str, *values: Any) -> Row:
        return dict(zip(COLUMNS[block], map(str, values), strict=True))

    def rule(index: int) -> str:
        return "-" if index < 0 else str(index)

    return {
        "transfers": [
            row(
                "transfers", file.hour(t.time_ms), *t[1:4], assets[t.asset], e8_text(t.amount_e8), t.cause, rule(t.rule)
            )
            for t in result.transfers
        ],
        "fills": [
            row("fills", file.hour(f.time_ms), f.slot, *map(e8_text, f[2:6]), f.cause, rule(f.rule))
            for f in result.fills
        ],
        "actions": [
            row("actions", file.hour(a.time_ms), a.bars, rule(a.rule), *a[3:5], e8_text(a.mark_e8), a.status)
            for a in result.actions
        ],
    }


def differences(scenario: PoolScenario, result: twin.PoolResult) -> list[str]:
    """Say where a result is not what the file expects."""
    return single.differences_of(scenario.file, actual_tables(scenario, result), result)


def transcript(scenario: PoolScenario, result: twin.PoolResult) -> str:
    """Write everything that came out."""
    return single.transcript_of(scenario.file, actual_tables(scenario, result), result)
