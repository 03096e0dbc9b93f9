"""Each shipped rule in a short story that a person can read: oracle and kernel write the ledger of its file.

The files have the form of the other scenarios; a rule is named as a study names it, and wakes as it says itself.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from harness import replay_tape, to_tape
from scenario import Row, Scenario, build_market, build_plan, differences, read_scenario

from backtest.engine import oracle
from backtest.engine.compiled import prepare
from backtest.engine.plan import NONE
from backtest.study.jobs import Job
from backtest.study.rule_files import load_rules
from backtest.study.verify import oracle_rules
from backtest.units import duration_ms

FOLDER = Path(__file__).parent.parent / "scenarios" / "rules"
FILES = sorted(FOLDER.glob("*.txt"))
SHIPPED = load_rules()


def job(rows: list[Row]) -> Job:
    """Give the rules of a scenario as a study has them."""
    uses = []
    for row in rows:
        given = dict(word.split("=") for word in row["parameters"].split(",")) if row["parameters"] != "-" else {}
        rule = SHIPPED[row["use"]]
        values = {name: text == "yes" if text in ("yes", "no") else float(text) for name, text in given.items()}
        uses.append((rule, rule.values(values), duration_ms(row.get("cooldown", "0h"))))
    return Job("scenario", "[]", "intrabar", prepare(uses), NONE, NONE, 0)


def results(scenario: Scenario) -> dict[str, oracle.Result]:
    """Replay a scenario in the oracle, and in the kernel with and without skipping."""
    market = build_market(scenario)
    bare = replace(scenario, tables=scenario.tables | {"rules": []})
    uses = job(scenario.tables["rules"])
    plan = replace(build_plan(bare), rules=oracle_rules(uses, SHIPPED))
    tape = to_tape(market, plan.stop_ms)
    assert tape is not None
    return {
        "oracle": oracle.replay(market, plan),
        "kernel": replay_tape(tape, plan, uses.rules),
        "kernel, every bar": replay_tape(tape, plan, uses.rules, skip=False),
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_rule_does_what_its_story_tells(path: Path) -> None:
    scenario = read_scenario(path)
    for engine, result in results(scenario).items():
        lines = differences(scenario, result)
        assert not lines, f"{path.name} ({engine}):\n" + "\n".join(lines)


def test_every_shipped_rule_has_a_story() -> None:
    told = {row["use"] for path in FILES for row in read_scenario(path).tables["rules"]}
    hedges = {path.stem for path in FOLDER.with_name("hedges").glob("*.txt")}
    assert told | hedges == set(SHIPPED)


def test_a_wrong_number_in_a_story_is_seen() -> None:
    scenario = read_scenario(FILES[0])
    row = scenario.tables["transfers"][-1]
    row["amount"] = str(Decimal(row["amount"]) + Decimal("0.00000001"))
    assert all(differences(scenario, result) for result in results(scenario).values())


EXIT = {"use": "exit", "parameters": "trigger=0.5", "wakes": "-"}


@pytest.mark.parametrize(("share", "other"), [("0", []), ("1", [EXIT])], ids=["hold", "exit"])
def test_a_false_binary_of_nothing_holds_and_of_all_leaves(share: str, other: list[Row]) -> None:
    scenario = read_scenario(FOLDER / "false_binary.txt")

    def ledgers(rows: list[Row]) -> list[object]:
        told = replace(scenario, tables=scenario.tables | {"rules": rows})
        return [(result.transfers, result.fills) for result in results(told).values()]

    extreme = {"use": "false_binary", "parameters": f"trigger=0.5,share={share}", "wakes": "-"}
    assert ledgers([extreme]) == ledgers(other)
