"""docs/rules.md says what is so: the state, the wakes, the verbs, the library, the profiles and the presets."""

from __future__ import annotations

import re
from pathlib import Path

from backtest.engine import rules
from backtest.engine.state import STATE_FIELDS
from backtest.study.profiles import PROFILES
from backtest.study.reserve import PRESETS
from backtest.study.rule_files import load_rules

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, str]:
    """Give the rows of the table under a heading, by the name in its first column."""
    part = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    rows = [line.strip("|").split(" | ") for line in part.splitlines()[2:]]
    return {re.findall(r"`?([\w-]+)", row[0])[0]: row[1].strip() for row in rows}


def test_the_state_is_told_whole() -> None:
    assert table("field") == STATE_FIELDS


def test_every_wake_and_verb_is_told() -> None:
    wakes = {
        name for name, value in vars(rules).items() if getattr(value, "__annotations__", {}).get("return") == "Wakes"
    }
    verbs = {
        name for name, value in vars(rules).items() if getattr(value, "__annotations__", {}).get("return") == "Wish"
    }
    assert set(table("wake")) == wakes
    assert set(table("verb")) == verbs | {"HOLD"}


def test_the_library_is_told_whole() -> None:
    told = {name: f"{rule.doc.split(': ', 1)[1].rstrip('.')}" for name, rule in load_rules().items()}
    assert table("rule") == told


def test_profiles_and_presets_are_told() -> None:
    assert table("profile") == {name: profile.help for name, profile in PROFILES.items()}
    assert table("preset") == {name: latency for name, (latency, _) in PRESETS.items()}
